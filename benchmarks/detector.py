"""Train the built-in detector, which quickstart's task "detection" measures, and write its model and card.

    nice python benchmarks/detector.py --out DIR

makes DIR/model.xml, model.bin and card.toml. The card's accuracy is that of a run of the harness:

    harness prepare --dataset builtin --annotations DIR/val/annotations.json --images DIR/val \\
        --model DIR/card.toml --out STORE
    harness run --model DIR/card.toml --data STORE --scenario Offline --accuracy --out RESULTS
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.console import note
from harness.dataset import coco, drawn_set, scenes
from harness.dataset.coco import AnnotatedImages
from harness.dataset.recipe import MEAN, SCALE, Recipe
from harness.model import detector, file
from harness.model.card import Card, DetectionOutput, FileSpec, InputSpec, write_card
from harness.training.data import normalised
from harness.training.detector import Detector, Scenes, Settings, train
from harness.training.export import versions

RECIPE = Recipe(128, "linear", fit="letterbox", border=114)
NAME = "builtin-detector"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4000, help="training images")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    settings = Settings(epochs=asked.epochs)
    started = time.monotonic()
    given = loaded(listed(scenes.generate(asked.out / "train", asked.images, "train", workers=1)))
    scenes.generate(asked.out / "val", workers=1)
    for epoch, loss, network in train(
        given, len(scenes.CLASSES), settings, lambda pixels: normalised(pixels, torch.device("cpu"))
    ):
        note(f"epoch {epoch}/{settings.epochs}: loss {loss:.3f}, {(time.monotonic() - started) / 60:.1f} min")
        write(network, asked.out, settings, asked.images, (time.monotonic() - started) / 60)


def listed(folder: Path) -> AnnotatedImages:
    return coco.find_annotated(folder, coco.read(folder / coco.ANNOTATIONS))


def loaded(images: AnnotatedImages) -> Scenes:
    """Read all images as the recipe has them, and their boxes in pixels of the model."""
    most = max(len(found) for found in boxes_by_image(images).values())
    count = len(images.names)
    boxes = np.full((count, most, 4), np.nan, np.float32)
    labels = np.zeros((count, most), np.int64)
    pixels = np.empty((count, RECIPE.size, RECIPE.size, 3), np.uint8)
    by_image = boxes_by_image(images)
    for index, (name, (number, width, height)) in enumerate(zip(images.names, images.numbers, strict=True)):
        pixels[index] = RECIPE.read((images.root / name).read_bytes(), name)
        found = by_image.get(number, [])
        edges: NDArray[np.float64] = np.array([box.bbox for box in found]).reshape(-1, 4)
        edges[:, 2:] += edges[:, :2]
        boxes[index, : len(found)] = RECIPE.placement(width, height).to_model(edges)
        labels[index, : len(found)] = [box.category_id - 1 for box in found]
    return Scenes(pixels, boxes, labels)


def boxes_by_image(images: AnnotatedImages) -> dict[int, list[coco.Box]]:
    found: dict[int, list[coco.Box]] = {}
    for box in images.annotations.boxes:
        found.setdefault(box.image_id, []).append(box)
    return found


def write(network: Detector, out: Path, settings: Settings, images: int, minutes: float) -> None:
    file.save(detector.assemble(network.arrays(), RECIPE.size, name=NAME), out / "model.xml")
    card = Card(
        name=NAME,
        task="detection",
        benchmark="yolo",
        file=FileSpec("model.xml", sha256=file_digest(out / "model.xml", out / "model.bin")),
        input=InputSpec.of(RECIPE, "NCHW", "f32", "RGB", MEAN, SCALE),
        output=DetectionOutput("yolox", len(scenes.CLASSES), 0.01, 0.65, 100),
        description="A detector of eight shapes, 128 px, trained on the harness's built-in scenes",
        licence="Apache-2.0",
        training={
            "task": "builtin scenes",
            "images": images,
            "data_seed": drawn_set.SEED,
            "data_version": scenes.VERSION,
            "parameters": sum(one.numel() for one in network.parameters()),
            **asdict(settings),
            "optimizer": "adamw",
            "command": f"python benchmarks/detector.py --images {images} --epochs {settings.epochs}",
            "minutes": round(minutes, 1),
            **{f"{name}_version": version for name, version in versions().items()},
        },
    )
    write_card(card, out / "card.toml")


def file_digest(*paths: Path) -> str:
    from harness.files import sha256_file

    return sha256_file(*paths)


if __name__ == "__main__":
    main()
