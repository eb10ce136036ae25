"""`harness tune`: the OpenVINO settings that serve a model and scenario best on this machine."""

import json
from pathlib import Path

import click

from harness.backend.settings import PRECISIONS
from harness.commands import endpoint_options, options
from harness.endpoint.address import Endpoint
from harness.mlperf.scenario import parse_scenario
from harness.model.card import find_card
from harness.tuner import DEFAULT_BUDGET_MIN


@click.command()
@options.model
@options.data
@options.scenario
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads, for runs with the same option; default: all we may use, or fewer if that is faster.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    default=("f32",),
    show_default=True,
    help="Arithmetic that is allowed for layers that are not quantized; may be given twice, each is tuned.",
)
@click.option(
    "--budget",
    type=options.Finite(min=0, min_open=True),
    default=DEFAULT_BUDGET_MIN,
    show_default=True,
    metavar="MINUTES",
    help="About how long to measure; the more, the more candidates and the longer each test.",
)
@endpoint_options.connection
@options.stall_timeout
@click.option("--replace", is_flag=True, help="Tune again what is tuned already.")
@options.measures
@options.as_json
def command(
    model: str,
    data: Path,
    scenario: str,
    threads: int | None,
    precisions: tuple[str, ...],
    budget: float,
    endpoint: Endpoint | None,
    stall_timeout: float,
    replace: bool,
    as_json: bool,
) -> None:
    """Find the OpenVINO settings that are fastest here by the scenario's own LoadGen metric.

    Tries streams, batch, threads, pinning, SMT and core types by successive halving, each in LoadGen tests
    of its own, and holds the best against the default in alternating rounds. It is kept only if it is
    faster beyond noise; otherwise the default is, and that is said. `run` and `compare` use what is kept,
    for the same model, input size, CPU, number and kind of CPUs, quota, OpenVINO, scenario, precision and
    --threads. It lies in $HARNESS_CACHE, else in the user's cache folder. After an interruption the same
    command goes on. With --endpoint it tries how many calls are under way at a time, and how many samples a
    call holds; what it keeps is for that endpoint.
    """
    from harness.tuner import report, session

    request = session.Request(
        card=find_card(model),
        store=data,
        scenario=parse_scenario(scenario),
        precisions=tuple(dict.fromkeys(precisions)),
        endpoint=endpoint,
        threads=threads,
        budget_min=budget,
        stall_timeout_s=stall_timeout,
        replace=replace,
    )
    found = session.tune(request)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2, ensure_ascii=False))
    else:
        click.echo(report.summary(found))
