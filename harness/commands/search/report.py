"""`harness search report`: what a search found, as text, JSON and one page."""

import json
from pathlib import Path

import click

from harness.commands import options
from harness.search import report, result


@click.command()
@click.option(
    "--out", type=options.PATH, required=True, metavar="DIR", help="Folder of a `harness search run`."
)
@options.as_json
def command(out: Path, as_json: bool) -> None:
    """Tell what a search found: scouts, pick, predictions against measurements, controls and costs.

    DIR/report.html is written anew; it needs nothing else to be read.
    """
    outcome = result.read(out)
    report.write(out)
    click.echo(
        json.dumps(result.to_dict(outcome), indent=2, ensure_ascii=False) if as_json else report.text(out)
    )
