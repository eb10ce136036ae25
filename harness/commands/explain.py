"""`harness explain`: where the time of an inference goes."""

import json
from pathlib import Path

import click

from harness.commands import endpoint_options, options
from harness.endpoint.address import Endpoint
from harness.explain import DEFAULT_ROUNDS
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Scenario, parse_scenario
from harness.model.card import find_card


@click.command()
@options.model
@click.option(
    "--data",
    type=options.PATH,
    metavar="STORE",
    help="Store made by `harness prepare`; default: drawings.",
)
@click.option(
    "--scenario",
    default=str(Scenario.SINGLE_STREAM),
    show_default=True,
    metavar="SCENARIO",
    help="SingleStream or Offline.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: all we may use.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples an inference computes, in Offline.")
@options.precision
@click.option(
    "--rounds", type=int, default=DEFAULT_ROUNDS, show_default=True, metavar="N", help="How often to measure."
)
@click.option(
    "--duration",
    type=options.Finite(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Of each measurement in a round.",
)
@options.stall_timeout
@click.option(
    "--out", type=options.PATH, metavar="DIR", help="Folder for explain.json and explain.html; default: none."
)
@endpoint_options.endpoint
@options.measures
@options.as_json
def command(
    model: str,
    data: Path | None,
    scenario: str,
    threads: int | None,
    batch: int | None,
    precision: str,
    rounds: int,
    duration: float,
    stall_timeout: float,
    out: Path | None,
    endpoint: Endpoint | None,
    concurrency: int | None,
    as_json: bool,
) -> None:
    """Show where the time goes: the model, calling it, copying, waiting; its layers; the machine's peak.

    The same compiled model runs under a bare loop, OpenVINO's pool, benchmark_app and LoadGen, in
    alternating rounds. With --endpoint: LoadGen in front of the model in process and in front of the server
    take turns, and a call is cut into client, wire, queue, compute and rest; --threads, --batch and
    --precision are those of the model in process, and --batch is the calls', too.
    """
    from harness.explain import output, page, session
    from harness.explain.served import page as served_page
    from harness.explain.served import session as served_session

    kind = parse_scenario(scenario)
    calls = endpoint_options.in_flight(endpoint, None, concurrency)
    settings = RunSettings(
        kind,
        precision=precision,
        threads=threads,
        batch=batch,
        duration_s=duration,
        stall_timeout_s=stall_timeout,
    )
    request = session.Request(find_card(model), settings, data, rounds, out)
    if endpoint is None:
        found = session.explain(request)
        document, shown = found.to_dict(), page.page(found)
    else:
        asked = RunSettings(kind, streams=calls, batch=batch, duration_s=duration, endpoint=endpoint)
        answered = served_session.explain(request, asked)
        document, shown = answered.to_dict(), served_page.page(answered)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(page.plain(shown))
    if out is not None:
        output.write(document, shown, out)
