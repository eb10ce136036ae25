"""`harness compare`: how much faster, at what accuracy, and how sure that is."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options
from harness.comparison import DEFAULT_ROUNDS
from harness.endpoint.address import parse
from harness.errors import HarnessError
from harness.machine import system
from harness.machine.price import Price, Prices
from harness.mlperf.scenario import parse_scenario
from harness.model.card import find_card

if TYPE_CHECKING:
    from harness.comparison.document import Comparison


@click.group(invoke_without_command=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="CARD",
    help="Shipped model name, or path of a model card; once per model, the searched one last.",
)
@click.option(
    "--data",
    type=options.PATH,
    metavar="STORE",
    help="Store made by `harness prepare`; without it built-in images serve for speed only.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="SCENARIO",
    help="SingleStream, MultiStream or Offline, once per scenario; default: SingleStream and Offline.",
)
@click.option(
    "--rounds",
    type=int,
    default=DEFAULT_ROUNDS,
    show_default=True,
    metavar="N",
    help="Tests of each variant in each scenario; more narrow the intervals.",
)
@click.option(
    "--threads", metavar="N,N,...", help="CPU threads, a row of the tables for each; default: all we may use."
)
@click.option("--baseline", metavar="NAME", help="Variant that speed-ups are against; default: the first.")
@click.option(
    "--precision",
    "precisions",
    metavar="P,P,...",
    help="Variants of each model that is not quantized yet: f32, bf16, int8.",
)
@click.option(
    "--calibration-data",
    type=options.PATH,
    metavar="STORE",
    help="Store with other images to calibrate int8 on; default: --data.",
)
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="URL",
    help="Where the first --model is served (see `harness run --help`), as another variant; once per server.",
)
@options.duration
@options.stall_timeout
@options.tuning
@options.price
@click.option("--out", type=options.PATH, metavar="DIR", help="Folder for logs and tables.")
@options.measures
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    models: tuple[str, ...],
    data: Path | None,
    scenarios: tuple[str, ...],
    rounds: int,
    threads: str | None,
    baseline: str | None,
    precisions: str | None,
    calibration_data: Path | None,
    endpoints: tuple[str, ...],
    duration: float,
    stall_timeout: float,
    tuning: bool,
    price: Price | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare models, or precisions of one model: speed, accuracy, and how sure both are.

    Accuracy comes first, then performance in alternating rounds (A B C, C B A, ...). Finished accuracy tests
    and rounds in DIR are kept: the same command goes on where it stopped, begins anew a round that was not
    finished, or not valid for all, and with more --rounds, --threads or --scenario adds to them. DIR then
    holds report.html, table.md, table.csv, compare.json and LoadGen's logs.
    """
    if context.invoked_subcommand is not None:
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.", context)
    from harness.comparison import session

    asked = tuple(dict.fromkeys(map(parse_scenario, scenarios))) or session.DEFAULT_SCENARIOS
    options.require_throughput(price, asked)
    request = session.Request(
        cards=tuple(find_card(model) for model in models),
        out=out,
        data=data,
        scenarios=asked,
        rounds=rounds,
        threads=_numbers(threads),
        baseline=baseline,
        precisions=_words(precisions),
        calibration_data=calibration_data,
        endpoints=tuple(map(parse, endpoints)),
        duration_s=duration,
        stall_timeout_s=stall_timeout,
        tuning=tuning,
    )
    found = session.compare(request)
    prices = None if price is None else {system.slug(found.machine): price}
    _finish([found], out, as_json, prices)


@command.command("merge")
@click.argument("folders", nargs=-1, required=True, type=options.PATH, metavar="DIR...")
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder for the tables.")
@options.prices
@options.as_json
def merge_command(folders: tuple[Path, ...], out: Path, prices: Prices | None, as_json: bool) -> None:
    """Make one table, a row per machine, from comparisons of the same models on the same data."""
    from harness.comparison import merge

    _finish(merge.merge(folders, out), out, as_json, prices)


def _finish(comparisons: "list[Comparison]", out: Path, as_json: bool, prices: Prices | None) -> None:
    from harness.comparison import costs, output

    bill = None if prices is None else costs.bill(comparisons, prices)
    output.write(comparisons, out, bill)
    if as_json:
        click.echo(json.dumps(output.as_json(comparisons, bill), indent=2, ensure_ascii=False))
    else:
        click.echo(f"{output.text(comparisons, bill)}\n\nfiles: {out}")
    if not output.is_good(comparisons):
        sys.exit(1)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(map(int, _words(text)))
    except ValueError as error:
        raise HarnessError(f"--threads '{text}' is no list of whole numbers: write it as 1,2.") from error
