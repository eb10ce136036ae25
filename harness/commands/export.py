"""`harness export`: what a model server wants on disk to serve a model."""

import json
from pathlib import Path

import click

from harness.commands import options
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Scenario, parse_scenario
from harness.model.card import find_card
from harness.serving.formats import FORMATS


@click.command()
@options.model
@click.option(
    "--format", "kind", required=True, type=click.Choice(list(FORMATS)), help="The server that reads it."
)
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder of the server's models.")
@click.option(
    "--version", type=click.IntRange(min=1), metavar="N", help="Version to write; it must be the next one."
)
@click.option("--scores", is_flag=True, help="Serve the model's own scores in place of labels.")
@click.option(
    "--scenario",
    default=str(Scenario.SERVER),
    show_default=True,
    metavar="SCENARIO",
    help="Whose tuning and OpenVINO hint to use.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: OpenVINO's choice.")
@click.option("--streams", type=click.IntRange(min=1), help="Parallel streams; default: OpenVINO's choice.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Images that a call holds; default: the tuning's, or 1; in Server 1.",
)
@options.precision
@options.tuning
@options.as_json
def command(
    model: str,
    kind: str,
    out: Path,
    version: int | None,
    scores: bool,
    scenario: str,
    threads: int | None,
    streams: int | None,
    batch: int | None,
    precision: str,
    tuning: bool,
    as_json: bool,
) -> None:
    """Write a model for a model server: u8 RGB pixels in, answers out, with settings and a README.

    Each call adds the next version; what is there, and may be served, is never changed. What `harness tune`
    found for the scenario is used wherever an option leaves the choice open, but for Server's batch: that is
    the largest of several, and an export has one.
    """
    from harness.serving import session

    settings = RunSettings(
        parse_scenario(scenario), precision=precision, threads=threads, streams=streams, batch=batch
    )
    card = find_card(model)
    request = session.Request(card, kind, out, settings, version, scores, tuning)
    found = session.export(request)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        return
    click.echo(f"{found.deployment.name}, version {found.deployment.version}: {found.folder}")
    click.echo(f"  start: {found.start.command}")
    if measuring := session.run_line(card, settings.scenario, found.deployment, found.start):
        click.echo(f"  then: {measuring}")
