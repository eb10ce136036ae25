"""`harness fleet merge`: the results of several fleets in one table."""

from pathlib import Path

import click

from harness.commands import options
from harness.fleet import table
from harness.machine.price import Prices


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=options.PATH, metavar="DIR...")
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder for the table.")
@options.prices
def command(folders: tuple[Path, ...], out: Path, prices: Prices | None) -> None:
    """Make one table of the comparisons that `fleet run` brought into some folders."""
    table.require_roots(folders)
    text = table.compared(folders, out, prices)
    click.echo(text or "No machine compared anything.")
