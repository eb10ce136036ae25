"""`harness fleet run`: one command on every kind of machine."""

import sys
from pathlib import Path

import click

from harness.commands import options
from harness.commands.fleet.words import parse, require_compare
from harness.errors import HarnessError
from harness.fleet import session, table
from harness.fleet.order import Preparation
from harness.machine.price import Prices


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
@options.send_harness
@click.option(
    "--prepare",
    "images",
    type=options.PATH,
    metavar="IMAGES",
    help="Folder of images, the same on each machine, of which it makes the store that it does not have.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="With --prepare: what the images are, as `harness prepare` has it; default: custom.",
)
@click.option(
    "--annotations",
    type=options.PATH,
    metavar="FILE",
    help="With --prepare: boxes in the images, the same file on each machine.",
)
@options.prices
@options.as_json
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND ...")
def command(
    address: str,
    kinds: str | None,
    out: Path,
    sends_harness: bool,
    images: Path | None,
    dataset: str | None,
    annotations: Path | None,
    prices: Prices | None,
    as_json: bool,
    words: tuple[str, ...],
) -> None:
    """Run `compare`, `run`, `tune` or `frontier` on every kind of machine of a Ray cluster.

    Each machine measures alone. Models travel; a store lies under the same path on each machine, and must
    hold the same samples. What is in DIR is not measured again: after a machine was lost, or an
    interruption, the same command does what is missing. Exits with 1 if something is missing, invalid or
    below its target.
    """
    if prices is not None:
        require_compare(words)
    chosen = tuple(word.strip() for word in (kinds or "").split(",") if word.strip())
    preparation, order = _preparation(images, dataset, annotations), parse(words)
    if preparation is not None and not order.cards:
        raise HarnessError(
            f"--prepare makes stores for the models that `{order.name}` names, and it names none: give its "
            "--card."
        )
    found = session.run(session.Request(address, order, out, chosen, preparation, sends_harness))
    text = (
        table.compared([row.folder for row in found if row.task], out / table.TABLE, prices)
        if words[0] == "compare"
        else None
    )
    if as_json:
        click.echo((out / session.FILE_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo("\n\n".join(filter(None, [text, table.rows(found, out)])))
    if any(row.task is None or row.task.exit_code for row in found):
        sys.exit(1)


def _preparation(images: Path | None, dataset: str | None, annotations: Path | None) -> Preparation | None:
    if images is not None:
        return Preparation(images, dataset or "custom", annotations)
    if dataset is not None or annotations is not None:
        raise HarnessError("--dataset and --annotations tell about the images of --prepare: give it, too.")
    return None
