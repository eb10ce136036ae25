"""`harness doctor`: what is fit for a measurement here, and what to do about the rest."""

import json
import sys
from pathlib import Path

import click

from harness import doctor
from harness.commands import options

_MARKS = {doctor.GOOD: "ok   ", doctor.NOTE: "note ", doctor.WRONG: "WRONG"}


@click.command()
@click.option("--data", type=options.PATH, metavar="STORE", help="A store to look at, too.")
@options.as_json
def command(data: Path | None, as_json: bool) -> None:
    """Look at the machine, the installed versions, the models and the data.

    Exits with 1 when something is wrong, and says the one thing to do about it.
    """
    findings = doctor.examine(data)
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            cure = f": {finding.cure}" if finding.cure else ""
            click.echo(f"{_MARKS[finding.state]}  {finding.subject}: {finding.detail}{cure}")
    if not doctor.is_fit(findings):
        sys.exit(1)
