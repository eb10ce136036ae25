"""`harness prepare`: decode and preprocess images into a store."""

import json
from pathlib import Path

import click

from harness import console
from harness.commands import options
from harness.dataset import coco, store
from harness.dataset.form import Form
from harness.dataset.images import Listed, find_images, require_known
from harness.errors import DataError
from harness.files import format_bytes
from harness.model.card import Card, doubts, find_card
from harness.task import task_of


@click.command("prepare")
@click.option(
    "--dataset", required=True, help="What the images are: imagenet, coco, cifar10, builtin or custom."
)
@click.option("--images", required=True, type=options.PATH, help="Folder of the images.")
@click.option(
    "--labels",
    type=options.PATH,
    help="Label file: lines `name label`, or Kaggle's LOC_val_solution.csv. "
    "[default: such a file in --images, else one folder per class]",
)
@click.option(
    "--annotations",
    type=options.PATH,
    metavar="FILE",
    help="Boxes in the images, in COCO's format; of its images these are prepared. For detectors.",
)
@click.option(
    "--mlperf-licences",
    is_flag=True,
    help="With --annotations: only images whose licence MLPerf allows, of COCO's validation images 1,525.",
)
@options.model
@click.option(
    "--size",
    type=click.IntRange(min=1, max=4096),
    metavar="N",
    help="Prepare for another input size than the model's, in pixels, cropped alike.",
)
@click.option("--out", required=True, type=options.PATH, help="Folder of the store.")
@click.option(
    "--allow-missing", is_flag=True, help="Leave out unreadable images; the result cannot be submitted."
)
@click.option("--workers", type=options.Workers(min=1), help="Threads to use. [default: one per core]")
@options.as_json
def command(
    dataset: str,
    images: Path,
    labels: Path | None,
    annotations: Path | None,
    mlperf_licences: bool,
    model: str,
    size: int | None,
    out: Path,
    allow_missing: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Decode and preprocess images once, into a store that `harness run` maps into memory.

    A store can hold the samples of several recipes; the one that the model needs is added. After an
    interruption the same command goes on where it stopped.
    """
    require_known(dataset)
    card = find_card(model)
    wanted = card.input.recipe if size is None else card.input.recipe.at(size)
    listed = _listed(card, dataset, images, labels, annotations, mlperf_licences)
    for remark in (*listed.remarks, *doubts(card)):
        console.note(remark)
    made = store.prepare(listed, wanted, out, dataset, allow_missing, workers)
    recipe = made.recipes[wanted.key]
    faults = made.submittable_faults()
    for entry in made.warnings:
        console.note(f"The image {entry.name} is decoded, but with a warning: {entry.fault}.")
    if as_json:
        document = {
            "store": str(out),
            "dataset": dataset,
            "count": made.count,
            "recipe": wanted.key,
            "file": str(out / recipe.file),
            "bytes": recipe.bytes,
            "sha256": recipe.sha256,
            "missing": [entry.name for entry in made.missing],
            "warnings": {entry.name: entry.fault for entry in made.warnings},
            "remarks": listed.remarks,
            "not_submittable": faults,
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(
        f"{out}: {made.count:,} images, recipe {wanted.key}, {format_bytes(recipe.bytes)}, "
        f"sha256 {recipe.sha256[:16]}…"
    )
    for fault in faults:
        console.note(f"Not for submission: {fault}.")


def _listed(
    card: Card,
    dataset: str,
    images: Path,
    labels: Path | None,
    annotations: Path | None,
    mlperf_licences: bool,
) -> Listed:
    """List the images with what the card's task needs to know of them."""
    boxes = annotations is not None or mlperf_licences or dataset == "coco"
    if task_of(card).FORM is Form.LABEL:
        if boxes:
            raise DataError(
                f"Model '{card.name}' is for {card.task}, and boxes are for detectors: give another "
                "--model, or another --dataset without --annotations and --mlperf-licences."
            )
        return find_images(images, card.classifier.labels, labels)
    if annotations is None or labels is not None:
        raise DataError(
            f"Model '{card.name}' is for {card.task}: give the boxes in the images with --annotations, and "
            "no --labels."
        )
    found = coco.read(annotations)
    found.require_classes(card.detector.categories, card.name)
    return coco.find_annotated(images, found, mlperf_licences)
