"""`harness quickstart`: the whole story in five minutes, with nothing but this package."""

import json
import sys
from functools import partial
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from harness import quickstart
from harness.commands import options
from harness.comparison import findings, output, session
from harness.comparison.document import Cell, Comparison
from harness.comparison.published import SOURCE
from harness.dataset import builtin, scenes
from harness.mlperf.scenario import Scenario
from harness.model.card import SPEED_ONLY
from harness.task import CLASSIFICATION, DETECTION

_FOLDERS = {
    CLASSIFICATION: Path("harness-quickstart"),
    DETECTION: Path("harness-quickstart-detection"),
}
"""By what it tells of: where everything goes unless another folder is given."""


@click.command()
@click.option(
    "--out",
    type=options.PATH,
    metavar="DIR",
    help="Where everything goes; a second call goes on from what is there. [default: harness-quickstart, "
    "of detection harness-quickstart-detection]",
)
@click.option(
    "--task",
    type=click.Choice(tuple(_FOLDERS)),
    default=CLASSIFICATION,
    show_default=True,
    help="Classifiers of drawn images, or a detector of drawn shapes.",
)
@options.measures
@options.as_json
def command(out: Path | None, task: str, as_json: bool) -> None:
    """See what INT8 and a search do to a trained classifier, and how fast ResNet-50 is on this CPU.

    Needs no images, no weights and no network: draws a set of images, quantizes the shipped models for
    it, and compares them in alternating rounds of LoadGen tests, accuracy included. With --task detection
    it shows what INT8 does to a trained detector.
    """
    story: quickstart.Tale
    folder = out or _FOLDERS[task]
    if task == DETECTION:
        story = quickstart.detection(folder)
        show = partial(_print_detection, story)
    else:
        told = story = quickstart.quickstart(folder)
        show = partial(_print, told)
    if as_json:
        click.echo(json.dumps(story.to_dict(), indent=2, ensure_ascii=False))
    else:
        show()
    if not story.good:
        sys.exit(1)


def _print_detection(tale: quickstart.Tale) -> None:
    console = Console(file=sys.stdout, highlight=False)
    console.print(_machine(tale))
    count = f"{len(scenes.CLASSES)} classes, {tale.task.data.count:,} images"
    console.print(_table(f"Built-in task on one core: small detector, {count}", tale.task, ("FP32", "INT8")))
    for pair in tale.task.accuracy_pairs:
        console.print(findings.accuracy_text(tale.task, pair), soft_wrap=True, markup=False)
    console.print(
        f"Means over {tale.task.settings.rounds} rounds through MLPerf LoadGen, not official, with 95 % "
        f"intervals; {findings.UNSURE}: no difference can be told.",
        style="dim",
    )
    for remark in tale.remarks:
        console.print(f"- {remark}", soft_wrap=True, markup=False)
    console.print(
        f"\nTo look at in a browser, with links to LoadGen's logs: {tale.folders[0] / output.REPORT}\n"
        "\nNext, with a detector of your own and COCO's images (docs/how-to/own-detector.md has two cards):\n"
        "  harness prepare --dataset coco --annotations instances_val2017.json --images val2017 --model CARD "
        "--out store\n"
        "  harness run --model CARD --data store --scenario SingleStream --out results",
        soft_wrap=True,
        markup=False,
    )


def _machine(tale: quickstart.Tale) -> str:
    machine = tale.task.machine
    return f"\n{tale.task.machine_name}, {machine.usable_cpus} CPU(s): {', '.join(machine.isa or ())}\n"


def _print(story: quickstart.Story) -> None:
    console = Console(file=sys.stdout, highlight=False)
    console.print(_machine(story))
    count = f"{len(builtin.CLASSES)} classes, {story.task.data.count:,} images"
    title = f"Built-in task on one core: narrowed ResNet-50 v1.5, {count}"
    console.print(_table(title, story.task, ("FP32", "INT8", "uniform", "searched")))
    console.print(
        "searched: found by `harness search run` on one virtual Zen 4 core, in INT8; uniform: its control, "
        "the model with fewer blocks, narrower in all stages alike, trained the same way.\n",
        style="dim",
    )
    title = f"ResNet-50 v1.5 at 224 px on one core ({SPEED_ONLY})"
    labels = ["FP32", "BF16", "INT8"]
    if story.today is not None:
        labels.append(f"{story.today.name}, INT8")
    resnet50 = _table(title, story.resnet50, tuple(labels))
    published = story.published
    names = ("32-bit", "8-bit", "searched")
    for name, latency_ms, rate in zip(names, published.latency_ms, published.images_per_second, strict=True):
        gains = published.latency_ms[0] / latency_ms, rate / published.images_per_second[0]
        resnet50.add_row(
            f"2020: {name}",
            f"{latency_ms:g} ms",
            f"{rate:g}",
            *(f"{findings.ratio_text(gain)}x" for gain in gains),
        )
    console.print(resnet50)
    if story.today is None:
        console.print(
            f"A third row, {quickstart.TODAY_MODEL} with real weights: {quickstart.GET_TODAY}, then again.",
            style="dim",
            soft_wrap=True,
            markup=False,
        )
    elif story.today.accuracy is not None:
        stated = story.today.accuracy
        published_top1 = f"{stated.reference:.2%} ({stated.source})"
        console.print(
            f"{story.today.name}: real ImageNet weights; the speed is measured here, the accuracy is "
            f"published, of FP32: {published_top1}. `harness frontier` measures it in INT8.",
            style="dim",
        )
    for variant in story.resnet50.variants:
        if variant.not_run:
            console.print(f"{variant.precision.upper()}: {variant.not_run}", soft_wrap=True, markup=False)
    console.print(
        f"2020: {published.hardware}, {SOURCE}; its latency is a mean or median. All else: means over "
        f"{story.task.settings.rounds} and {story.resnet50.settings.rounds} rounds through MLPerf "
        f"LoadGen, not official, with 95 % intervals; {findings.UNSURE}: no difference can be told.",
        style="dim",
    )
    for remark in story.remarks:
        console.print(f"- {remark}", soft_wrap=True, markup=False)
    reports = [folder / output.REPORT for folder in story.folders]
    console.print(
        f"\nTo look at in a browser, with links to LoadGen's logs: {reports[0]}, {reports[1]}\n"
        "\nNext, with ImageNet's validation images and val_map.txt in DIR, and a calibration list of MLPerf\n"
        "(github.com/mlcommons/inference, calibration/ImageNet):\n"
        "  harness model fetch resnet50-mlperf\n"
        "  harness prepare --dataset imagenet --images DIR --model resnet50-mlperf --out store\n"
        "  harness quantize --model resnet50-mlperf --data store --list cal_image_list_option_1.txt "
        "--out models/resnet50-int8.xml\n"
        "  harness run --model models/resnet50-int8.toml --data store --scenario SingleStream --out results",
        soft_wrap=True,
        markup=False,
    )


def _table(title: str, comparison: Comparison, labels: tuple[str, ...]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    metrics = {variant.accuracy.metric for variant in comparison.variants if variant.accuracy is not None}
    table.add_column("")
    for name in ("p90", "samples/s", *metrics, "gain in p90"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in samples/s", justify="right")
    for label, variant in zip(labels, comparison.variants, strict=True):
        if variant.not_run:
            table.add_row(label, "not run")
            continue
        latency, rate = (_cell(comparison, variant.name, scenario) for scenario in session.DEFAULT_SCENARIOS)
        score = variant.accuracy
        accuracy = (
            [] if score is None else [f"{100 * score.fraction:.2f} %{', missed' * variant.misses_target}"]
        )
        gains = (_gain(comparison, cell) for cell in (latency, rate))
        table.add_row(label, _figure(latency, " ms"), _figure(rate), *accuracy, *gains)
    return table


def _cell(comparison: Comparison, variant: str, scenario: Scenario) -> Cell:
    cell = comparison.cell(scenario, quickstart.THREADS, variant)
    assert cell is not None
    return cell


def _figure(cell: Cell, unit: str = "") -> str:
    found = cell.interval()
    return "no valid rounds" if found is None else f"{findings.figure_text(found.center)}{unit}"


def _gain(comparison: Comparison, cell: Cell) -> str:
    if cell.variant == comparison.baseline:
        return ""
    baseline = _cell(comparison, comparison.baseline, cell.scenario)
    found, _ = findings.paired_speedup(cell, baseline, comparison.settings.look)
    if found is None:
        return ""
    return findings.gain_text(found)
