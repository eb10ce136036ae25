"""`harness quickstart`: the whole story in five minutes, with nothing but this package."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from harness import builtin, quickstart
from harness.card import SPEED_ONLY
from harness.commands import options
from harness.published import SOURCE


@click.command()
@click.option(
    "--out",
    type=options.PATH,
    default=Path("harness-quickstart"),
    show_default=True,
    metavar="DIR",
    help="Where everything goes; a second call goes on from what is there.",
)
@options.as_json
def command(out: Path, as_json: bool) -> None:
    """See what INT8 and a search do to a trained classifier, and how fast ResNet-50 is on this CPU.

    Needs no images, no weights and no network: draws a set of images, quantizes the shipped models for
    it, and runs them through LoadGen, accuracy included.
    """
    story = quickstart.quickstart(out)
    if as_json:
        click.echo(json.dumps(story.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(story)
    if not story.good:
        sys.exit(1)


def _print(story: quickstart.Story) -> None:
    console = Console(file=sys.stdout, highlight=False)
    machine = story.machine
    console.print(f"\n{machine.cpu_model}, {machine.usable_cpus} CPU(s): {', '.join(machine.isa or ())}\n")
    count = f"{len(builtin.CLASSES)} classes, {builtin.TEST_COUNT:,} test images"
    console.print(_table(f"Built-in task on one core: a narrowed ResNet-50 v1.5, {count}", story.task))
    console.print(
        "searched: found by `harness search run` on one virtual Zen 4 core, in INT8; uniform: its control, "
        "the model with fewer blocks, narrower in all stages alike, trained the same way.\n",
        style="dim",
    )
    resnet50 = _table(f"ResNet-50 v1.5 at 224 px on one core ({SPEED_ONLY})", story.resnet50)
    published = story.published
    names = ("32-bit", "8-bit", "searched")
    for name, latency_ms, rate in zip(names, published.latency_ms, published.images_per_second, strict=True):
        gains = f"{published.latency_ms[0] / latency_ms:.1f}x / {rate / published.images_per_second[0]:.1f}x"
        resnet50.add_row(f"2020: {name}", f"{latency_ms:g} ms", "", f"{rate:g}", "", gains)
    console.print(resnet50)
    console.print(f"2020: {published.hardware}, {SOURCE}; its latency is a mean or median.", style="dim")
    for remark in story.remarks:
        console.print(f"- {remark}", soft_wrap=True, markup=False)
    console.print(
        f"\nShort runs through MLPerf LoadGen, not official. LoadGen's logs: {story.folder / 'results'}\n"
        "\nNext, with ImageNet's validation images and val_map.txt in DIR, and a calibration list of MLPerf\n"
        "(github.com/mlcommons/inference, calibration/ImageNet):\n"
        "  harness model fetch resnet50-mlperf\n"
        "  harness prepare --dataset imagenet --images DIR --model resnet50-mlperf --out store\n"
        "  harness quantize --model resnet50-mlperf --data store --list cal_image_list_option_1.txt "
        "--out models/resnet50-int8.xml\n"
        "  harness run --model models/resnet50-int8.toml --data store --scenario SingleStream --out results",
        soft_wrap=True,
    )


def _table(title: str, rows: list[quickstart.Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("p50", "p90", "samples/s", "top-1", "gain: p90 / rate"):
        table.add_column(name, justify="right")
    baseline = rows[0]
    for row in rows:
        if row.not_run:
            table.add_row(row.variant, "not run", "", "", "", row.not_run)
            continue
        assert row.latency_p50_ms is not None
        assert row.latency_p90_ms is not None
        assert row.samples_per_second is not None
        table.add_row(
            row.variant,
            f"{row.latency_p50_ms:.3g} ms",
            f"{row.latency_p90_ms:.3g} ms",
            f"{row.samples_per_second:.4g}",
            "" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
            row.invalid or row.missed or _gains(row, baseline),
        )
    return table


def _gains(row: quickstart.Row, baseline: quickstart.Row) -> str:
    if row is baseline or not baseline.latency_p90_ms or not baseline.samples_per_second:
        return ""
    assert row.latency_p90_ms is not None
    assert row.samples_per_second is not None
    latency = baseline.latency_p90_ms / row.latency_p90_ms
    return f"{latency:.2f}x / {row.samples_per_second / baseline.samples_per_second:.2f}x"
