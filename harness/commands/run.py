"""`harness run`: one scenario, from model card and store to verdict."""

import json
import sys
from pathlib import Path

import click

from harness.backend.settings import CORE_TYPES
from harness.commands import endpoint_options, options
from harness.console import note
from harness.endpoint.address import Endpoint
from harness.loadgen.settings import RunSettings
from harness.machine.price import Price
from harness.mlperf import calendar
from harness.mlperf.scenario import Mode, parse_scenario
from harness.model.card import find_card
from harness.run import result
from harness.run import session as runner
from harness.run.summary import summary


@click.command()
@options.model
@options.data
@options.scenario
@click.option(
    "--mode",
    type=click.Choice(["performance", "accuracy", "both"]),
    help="Default: both; performance for a model without trained weights.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: OpenVINO's choice.")
@click.option(
    "--streams",
    type=click.IntRange(min=1),
    help="Parallel streams; default: OpenVINO's in Offline, the probe's choice in MultiStream and Server.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Samples an inference computes (Offline: 1 by default); MultiStream: 8 computes a query at once, 1 "
    "shares it out over the streams; Server: the largest batch. Default in these two: the probe's choice.",
)
@options.precision
@click.option(
    "--pinning/--no-pinning",
    default=None,
    help="Whether each thread keeps to one CPU; default, as in the next two: OpenVINO's choice.",
)
@click.option("--smt/--no-smt", default=None, help="Whether two threads may share a core.")
@click.option("--core-type", type=click.Choice(CORE_TYPES), help="Cores to use on CPUs with several types.")
@endpoint_options.endpoint
@options.tuning
@options.duration
@options.price
@click.option("--official", is_flag=True, help="Use the durations and counts of the rules (mlperf.conf).")
@click.option(
    "--user-conf",
    type=options.PATH,
    metavar="FILE",
    help="Estimates in LoadGen's syntax, in place of the probe's.",
)
@options.stall_timeout
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Results folder.")
@click.option("--system", metavar="NAME", help="Name of the system's folder; default: from the CPU.")
@click.option("--replace", is_flag=True, help="Run again what is finished and valid already.")
@options.measures
@options.as_json
def command(
    model: str,
    data: Path,
    scenario: str,
    mode: str | None,
    threads: int | None,
    streams: int | None,
    batch: int | None,
    precision: str,
    pinning: bool | None,
    smt: bool | None,
    core_type: str | None,
    endpoint: Endpoint | None,
    concurrency: int | None,
    tuning: bool,
    duration: float,
    price: Price | None,
    official: bool,
    user_conf: Path | None,
    stall_timeout: float,
    out: Path,
    system: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Run one MLPerf scenario through LoadGen.

    Writes MLPerf's layout DIR/<system>/<model>/<Scenario>/ with LoadGen's logs and result.json. A test that
    is there, finished and valid, is not repeated: after an interruption the same command goes on. Exits with
    0 when all is good, 1 when the run is invalid or misses its accuracy target, 2 when the request cannot be
    carried out. What `harness tune` found for the model is used wherever an option leaves the choice open.
    With --endpoint a server computes, and the model here only says which answers are right.
    """
    card = find_card(model)
    settings = RunSettings(
        scenario=parse_scenario(scenario),
        precision=precision,
        threads=threads,
        streams=endpoint_options.in_flight(endpoint, streams, concurrency),
        batch=batch,
        pinning=pinning,
        smt=smt,
        core_type=core_type,
        duration_s=duration,
        official=official,
        user_conf=user_conf,
        stall_timeout_s=stall_timeout,
        endpoint=endpoint,
    )
    options.require_throughput(price, [settings.scenario])
    endpoint_options.refuse_price(endpoint, price)
    if official:
        note(calendar.outlook_of_installed())
    if mode is None:
        mode = "performance" if card.speed_only else "both"
    modes = tuple(Mode) if mode == "both" else (Mode(mode),)
    request = runner.Request(card, data, settings, modes, out, system, replace, tuning)
    found, folder = runner.run(request)
    if as_json:
        rate = found.performance.samples_per_second if found.performance else None
        cost = {} if price is None else {"cost": price.facts(rate)}
        click.echo(json.dumps(result.to_dict(found) | cost, indent=2, ensure_ascii=False))
    else:
        click.echo(summary(found, folder, price))
    if not found.is_good:
        sys.exit(1)
