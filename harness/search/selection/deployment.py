"""From a trained network to what `run`, `compare` and `submit` take: an FP32 card and its INT8 twin."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import files
from harness.backend import calibration, calibration_list
from harness.backend.calibration import BIAS_CORRECTIONS, CalibrationSettings
from harness.dataset.recipe import Recipe
from harness.dataset.store import Store, prepare
from harness.model.card import Card, read_card, write_card
from harness.search.split import Split, subset

CALIBRATION_IMAGES = calibration_list.DEFAULT_SAMPLES


@dataclass(frozen=True)
class Quantized:
    """An INT8 model and how it was chosen."""

    card: Card
    accuracies: dict[str, float]
    """Top-1 on held-out training images by bias correction, as fractions."""
    chosen: str

    @property
    def accuracy(self) -> float:
        return self.accuracies[self.chosen]

    def to_dict(self) -> dict[str, Any]:
        """Return what was tried, as JSON values."""
        return {
            "accuracies": self.accuracies,
            "chosen": self.chosen,
            "accuracy": self.accuracy,
        }


def calibration_store(images: Split, recipes: Iterable[Recipe], out: Path, dataset: str) -> Store:
    """Return a store in `out` of images that are learned from, with each recipe, to calibrate on."""
    chosen = subset(images.learned, CALIBRATION_IMAGES)
    for recipe in recipes:
        store = prepare(chosen, recipe, out / "calibration-store", dataset)
    return store


def quantized(
    card: Card, name: str, images: Store, measure: Callable[[Card], float], folder: Path
) -> Quantized:
    """Quantize a model with each bias correction and keep the one that is more accurate.

    Args:
        card: the FP32 model.
        name: of the INT8 model; its files become `folder`/NAME.*.
        images: to calibrate on, all of them.
        measure: top-1 of a card's model on images that are neither calibrated on nor scored in the end.
        folder: takes the model; files of that name are replaced.

    Raises:
        HarnessError: the store lacks the model's recipe, or `folder` cannot be written.
    """
    files.make_writable_folder(folder)
    indices = calibration_list.choose(images, images.count, None)
    made, accuracies = {}, {}
    for correction in BIAS_CORRECTIONS:
        attempt = folder / f".{name}-{correction}"
        shutil.rmtree(attempt, ignore_errors=True)
        settings = CalibrationSettings(bias_correction=correction)
        made[correction], _ = calibration.quantize(card, images, indices, settings, attempt / f"{name}.xml")
        accuracies[correction] = measure(made[correction])
    chosen = max(BIAS_CORRECTIONS, key=lambda correction: accuracies[correction])
    for path in (folder / f".{name}-{chosen}").iterdir():
        path.replace(folder / path.name)
    for correction in BIAS_CORRECTIONS:
        shutil.rmtree(folder / f".{name}-{correction}")
    path = folder / f"{name}.toml"
    named = replace(
        read_card(path), name=name, description=f"INT8 version of {card.name}, by `harness search`."
    )
    write_card(named, path)
    return Quantized(read_card(path), accuracies, chosen)
