"""`harness search images`: the images of the built-in task that a search learns from and decides by."""

from pathlib import Path

import click

from harness import console
from harness.commands import options
from harness.dataset import builtin
from harness.errors import OutputError

TRAIN = 40_000
"""What the shipped baseline learned from."""
HELD_OUT = 6_000


@click.command()
@click.option("--out", type=options.PATH, required=True, metavar="DIR", help="Where the folders go.")
@click.option(
    "--train",
    type=click.IntRange(len(builtin.CLASSES) * 2),
    default=TRAIN,
    show_default=True,
    help="Images to learn from; the shipped baseline has learned from the first 40,000.",
)
@click.option(
    "--held-out",
    type=click.IntRange(len(builtin.CLASSES)),
    default=HELD_OUT,
    show_default=True,
    help="Images to decide by, which the baseline has not learned from.",
)
def command(out: Path, train: int, held_out: int) -> None:
    """Draw the built-in images that `harness search run` takes: DIR/train and DIR/held-out.

    They are the same wherever they are drawn. Those that lie there already are not drawn again.
    """
    wanted = {"train": train, "held-out": held_out}
    for folder, count in wanted.items():
        if (out / folder / builtin.image_name(folder, count)).exists():
            raise OutputError(
                f"{out / folder} holds more than the {count:,} images that are asked for, and a search would "
                f"learn from all of them: give another --out."
            )
    for folder, count in wanted.items():
        builtin.generate(out / folder, count, folder)
    console.note(
        f"For a search of the built-in model: harness search run --baseline builtin-resnet50 "
        f"--train {out / 'train'} --held-out {out / 'held-out'} --data STORE --out DIR"
    )
