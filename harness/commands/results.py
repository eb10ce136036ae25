"""`harness results`: every test under some folders as one table."""

import sys
from pathlib import Path

import click

from harness.commands import options
from harness.console import note
from harness.machine.price import Price
from harness.results import frame
from harness.results.output import FORMATS, show, write


@click.command("results")
@click.argument("paths", type=options.PATH, nargs=-1, required=True, metavar="PATH...")
@click.option("--csv", "form", flag_value="csv", help="Print all columns as CSV.")
@click.option("--markdown", "form", flag_value="markdown", help="Print the table as Markdown.")
@click.option("--json", "form", flag_value="json", help="Print a list of objects, one a test.")
@click.option(
    "--parquet",
    type=options.PATH,
    metavar="FILE",
    help="Write all columns as Parquet to this new file (extra: parquet).",
)
@options.price
def command(paths: tuple[Path, ...], form: str | None, parquet: Path | None, price: Price | None) -> None:
    """Show every test below PATH... as one table.

    Finds what `harness run`, `compare` and `submit` wrote, and submissions that MLCommons publishes. In
    Python, `harness.results.frame(paths)` returns the same as a pandas.DataFrame.
    """
    found = frame(paths, price)
    if parquet is not None:
        write(found, parquet)
        note(f"{len(found)} tests are in {parquet}.")
    if parquet is None or form is not None:
        click.echo(show(found) if form is None else FORMATS[form](found))
    if found["fault"].notna().any():
        sys.exit(1)
