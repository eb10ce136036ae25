"""`harness frontier`: the fastest ImageNet network on this CPU that keeps an accuracy."""

import json
from pathlib import Path

import click

from harness.commands import options
from harness.frontier import document, report, request, session
from harness.frontier.request import LEAST_TOP1, Request
from harness.mlperf.scenario import Scenario
from harness.profiling.conditions import Conditions


@click.command()
@click.option(
    "--models",
    metavar="PATTERN,...",
    help="Networks of the catalogue to time, such as 'regnet*,levit*'; default: all, if timm is installed.",
)
@click.option(
    "--card",
    "cards",
    multiple=True,
    metavar="CARD",
    help="Model with weights, may be repeated; default: shipped ones of ImageNet whose weights are here.",
)
@click.option(
    "--sizes",
    metavar="N,...",
    help="Input sizes in pixels; default: those that the store holds, of the catalogue all.",
)
@click.option(
    "--min-top1",
    "least_top1",
    type=options.Finite(min=0, max=1, min_open=True),
    default=LEAST_TOP1,
    show_default=True,
    metavar="X",
    help="Top-1 to keep, a fraction.",
)
@click.option(
    "--licence",
    type=click.Choice(["permissive", "any"]),
    default="permissive",
    show_default=True,
    help="Whether weights count that may not be used commercially.",
)
@options.search_scenario
@options.search_threads
@click.option(
    "--budget",
    type=options.Finite(min=0, min_open=True),
    metavar="MINUTES",
    help="For timing the catalogue, the cheapest first; default: no limit.",
)
@click.option("--data", type=options.PATH, metavar="STORE", help="Store to measure accuracies on.")
@click.option(
    "--calibration-data",
    type=options.PATH,
    metavar="STORE",
    help="Store to calibrate on; default: that of --data.",
)
@click.option(
    "--max-drop",
    type=options.Finite(min=0, max=1),
    metavar="X",
    help="Restore layers of what just misses until top-1 is within X (a fraction) of FP32.",
)
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder of the results.")
@options.measures
@options.as_json
def command(
    models: str | None,
    cards: tuple[str, ...],
    sizes: str | None,
    least_top1: float,
    licence: str,
    scenario: str,
    threads: int | None,
    budget: float | None,
    data: Path | None,
    calibration_data: Path | None,
    max_drop: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Find the fastest ImageNet network in INT8 here that keeps an accuracy, without training.

    Networks are timed beside ResNet-50 in FP32 and INT8. With a store, cards with weights race for accuracy
    at all of its sizes, and the fastest that keeps --min-top1 by a standard error goes through LoadGen; its
    card lies in DIR/models. The same command goes on where it was interrupted.
    """
    if data is None:
        options.refuse_idle("Without --data nothing is quantized to be raced", "calibration_data", "max_drop")
    asked = Request(
        out=out,
        conditions=Conditions.of(Scenario(scenario), threads),
        patterns=tuple(_words(models)),
        cards=request.cards_at_hand(cards),
        sizes=tuple(map(_size, _words(sizes))),
        least_top1=least_top1,
        permissive=licence == "permissive",
        data=data,
        calibration_data=calibration_data,
        max_drop=max_drop,
        budget_s=None if budget is None else 60 * budget,
    )
    found = session.find(asked)
    report.write(out)
    if as_json:
        click.echo(json.dumps(document.to_dict(found), indent=2, ensure_ascii=False))
    else:
        click.echo(report.text(out))
    pick = found.pick
    if pick is not None and not (pick.keeps and pick.valid):
        raise SystemExit(1)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()] if text else []


def _size(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < 16:
        raise click.UsageError(f"--sizes: '{word}' is no size in pixels, from 16 on.")
    return int(word)
