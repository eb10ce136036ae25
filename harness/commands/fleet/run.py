"""`harness fleet run`: one command on every kind of machine."""

import sys
from pathlib import Path

import click

from harness.commands import options
from harness.commands.fleet.words import parse
from harness.fleet import session, table


@click.command("run", context_settings={"ignore_unknown_options": False})
@options.address
@click.option(
    "--on",
    "kinds",
    metavar="KIND,...",
    help="Machines as `fleet status` names them, or kinds (a name without its last part), each of which "
    "takes one machine, or 'all'; default: one of each kind.",
)
@click.option("--out", required=True, type=options.PATH, metavar="DIR", help="Folder that results come to.")
@options.as_json
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND ...")
def command(address: str, kinds: str | None, out: Path, as_json: bool, words: tuple[str, ...]) -> None:
    """Run `compare`, `run`, `tune` or `frontier` on every kind of machine of a Ray cluster.

    Each machine measures alone. Models travel; a store lies under the same path on each machine, and must
    hold the same samples. What is in DIR is not measured again: after a machine was lost, or an
    interruption, the same command does what is missing. Exits with 1 if something is missing, invalid or
    below its target.
    """
    chosen = tuple(word.strip() for word in (kinds or "").split(",") if word.strip())
    found = session.run(session.Request(address, parse(words), out, chosen))
    text = (
        table.compared([row.folder for row in found if row.task], out / table.TABLE)
        if words[0] == "compare"
        else None
    )
    if as_json:
        click.echo((out / session.FILE_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo("\n\n".join(filter(None, [text, table.rows(found, out)])))
    if any(row.task is None or row.task.exit_code for row in found):
        sys.exit(1)
