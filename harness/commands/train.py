"""`harness train`: train a ResNet-50 v1.5 of any width, or another network of the search, and export it."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.commands import options
from harness.model.architecture import STEMS, read_architecture
from harness.training.settings import OPTIMIZERS, PRECISIONS, Settings

_FOLDER = options.PATH


@click.command()
@click.option(
    "--task",
    type=click.Choice(["builtin", "folder"]),
    required=True,
    help="The built-in images (generated first), or image folders of yours.",
)
@click.option("--train", type=_FOLDER, metavar="DIR", help="Training images, one folder per class.")
@click.option("--test", type=_FOLDER, metavar="DIR", help="Test images, likewise or with a val_map.txt.")
@click.option("--out", type=_FOLDER, required=True, metavar="DIR", help="Where checkpoint and model go.")
@click.option("--name", metavar="NAME", help="Name of the model [default: the name of --out].")
@click.option(
    "--images", type=click.IntRange(1), default=40_000, show_default=True, help="Built-in training images."
)
@click.option("--size", type=click.IntRange(16), default=64, show_default=True, help="Input size in pixels.")
@options.rare(
    "--crop-fraction",
    type=options.Finite(0, 1, min_open=True),
    default=0.875,
    show_default=True,
    help="Share of the short side that the test crop keeps.",
)
@click.option(
    "--width",
    type=options.Finite(0, min_open=True),
    default=0.2,
    show_default=True,
    help="Width over ResNet-50's; 1 is the true one. Channels are multiples of 16.",
)
@options.rare(
    "--stem",
    type=click.Choice(list(STEMS)),
    default="7x7-pool",
    show_default=True,
    help="Kernels, strides and pooling before the blocks; 3x3-pool and 3x3 suit images of about 32 px.",
)
@options.rare(
    "--architecture",
    type=_FOLDER,
    metavar="FILE",
    help="Train this network, in JSON as `architecture` in a search's result.json; its size and width count.",
)
@click.option(
    "--epochs", type=click.IntRange(1), default=60, show_default=True, help="Passes over the images."
)
@click.option("--batch", type=click.IntRange(1), default=128, show_default=True, help="Images per step.")
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    default="sgd",
    show_default=True,
    help="Update rule; muon learns most per epoch, and wants a --learning-rate of about 0.05.",
)
@click.option(
    "--learning-rate",
    type=options.Finite(0, min_open=True),
    default=0.2,
    show_default=True,
    help="Peak learning rate.",
)
@options.rare(
    "--warmup-epochs",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Epochs over which the learning rate rises; half of all at most.",
)
@options.rare(
    "--weight-decay",
    type=options.Finite(0),
    default=5e-5,
    show_default=True,
    help="Weight decay; not applied to biases, norm layers and, by muon, the classifier.",
)
@options.rare(
    "--label-smoothing",
    type=options.Finite(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the target spread over all classes.",
)
@options.rare(
    "--smallest-area",
    type=options.Finite(0, 1, min_open=True),
    default=0.35,
    show_default=True,
    help="Least share of an image that augmentation keeps, without --padding.",
)
@options.rare(
    "--padding",
    type=click.IntRange(0),
    metavar="N",
    help="Cut out no part of an image, but move it by up to N pixels; its edges are mirrored.",
)
@options.rare(
    "--first-size",
    type=click.IntRange(16),
    metavar="N",
    help="Begin with smaller images, which cost less: N pixels, growing to --size.",
)
@options.rare(
    "--growing-share",
    type=options.Finite(0, 1),
    default=0.6,
    show_default=True,
    help="Share of the epochs over which images grow from --first-size.",
)
@options.rare("--flip/--no-flip", default=True, show_default=True, help="Mirror half of the images.")
@options.rare(
    "--trivial-augment",
    "trivial",
    is_flag=True,
    help="Also turn, shear, recolour ... each image, one at random: for long trainings.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="f32",
    show_default=True,
    help="Precision of the forward pass; bf16 by autocast.",
)
@click.option("--workers", type=options.Workers(0), default=0, show_default=True, help="Loader processes.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="PyTorch's threads on the CPU [default: all cores]; fewer are faster where others work, too.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of initial weights, order and augmentation.",
)
@options.rare(
    "--start-from",
    type=_FOLDER,
    metavar="DIR",
    help="Begin with the weights that another training, of the same network, left in DIR.",
)
@options.rare(
    "--until-epoch",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N of the epochs; --resume goes on from there.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, if there is one.")
@options.config
@options.as_json
def command(**options: Any) -> None:
    """Train a ResNet-50 v1.5 of any width, or --architecture, and export it with its card.

    Needs PyTorch: pip install 'inference-harness[train]'. For several GPUs start it with torchrun:
    torchrun --nproc-per-node 4 -m harness train ...
    """
    as_json = options.pop("as_json")
    facts = _train(**options)
    if facts is None:
        return
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{facts['card']}: top-1 {100 * facts['top1']:.2f} % (OpenVINO f32)")


def _train(
    *,
    task: str,
    train: Path | None,
    test: Path | None,
    out: Path,
    name: str | None,
    images: int,
    size: int,
    crop_fraction: float,
    width: float,
    stem: str,
    architecture: Path | None,
    batch: int,
    smallest_area: float,
    padding: int | None,
    flip: bool,
    trivial: bool,
    first_size: int | None,
    growing_share: float,
    epochs: int,
    threads: int | None,
    resume: bool,
    until_epoch: int | None,
    start_from: Path | None,
    **settings: Any,
) -> dict[str, Any] | None:
    network = None if architecture is None else read_architecture(architecture)
    full_size = size if network is None else network.size
    if first_size is not None and first_size > full_size:
        raise click.UsageError(
            f"Images cannot grow from {first_size} to {full_size} pixels: give a smaller --first-size."
        )
    if padding is not None:
        options.refuse_idle("With --padding no part of an image is cut out", "smallest_area")
    if network is not None:
        options.refuse_idle("--architecture tells the whole network", "size", "width", "stem")
    if first_size is None:
        options.refuse_idle("Without --first-size images do not grow", "growing_share")
    if task == "folder":
        options.refuse_idle("All images of --train are learned from", "images")
    if task == "builtin" and (train is not None or test is not None):
        raise click.UsageError(
            "--train and --test are folders of yours, and the task 'builtin' generates its images: give "
            "--task folder, or leave them out."
        )
    with options.needs_torch("Training", "train"):
        from harness.training.data import Augmentation
        from harness.training.session import Request, run
    return run(
        Request(
            task=task,
            out=out,
            settings=Settings(epochs, batch, **settings),
            train_folder=train,
            test_folder=test,
            images=images,
            name=name,
            size=size,
            crop_fraction=crop_fraction,
            width=width,
            stem=stem,
            architecture=network,
            augmentation=Augmentation(
                smallest_area,
                flip,
                trivial,
                first_size,
                0 if first_size is None else round(growing_share * epochs),
                padding=padding,
            ),
            command=options.command_line(sys.argv[1:]),
            threads=threads,
            resume=resume,
            until_epoch=until_epoch,
            start_from=start_from,
        )
    )
