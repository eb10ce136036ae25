"""The models that come out of a search: exported, quantized, measured and published."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.dataset.store import Store
from harness.model import file as model_file
from harness.model.architecture import Architecture
from harness.model.card import AccuracySpec, Card, read_card
from harness.search.accuracy.material import Material
from harness.search.request import INHERITED, Setting
from harness.search.selection.deployment import calibration_store, quantized
from harness.search.selection.trainings import Trainings
from harness.training import export
from harness.training.network import ResNet
from harness.training.settings import lasting


@dataclass(frozen=True)
class Trained:
    """A network trained to the end."""

    architecture: Architecture
    fp32: Card
    int8: dict[str, Any]
    """See deployment.Quantized.to_dict."""


class Models:
    """Makes cards of trained networks."""

    def __init__(
        self, setting: Setting, material: Material, trainings: Trainings, provenance: Mapping[str, Any]
    ) -> None:
        """Take the setting, the images to judge by, how networks are trained, and facts for the cards."""
        self._setting, self._material = setting, material
        self._trainings, self._provenance = trainings, provenance

    def deploy(self, network: ResNet, folder: Path) -> dict[str, Any]:
        """Export and quantize a trained network in `folder`; return how its INT8 twin was chosen."""
        key, recipe = network.architecture.key, self._setting.recipe.at(network.architecture.size)
        description = f"Revision {key} of {self._setting.request.card.name}, found by `harness search`"
        facts = self._facts(network.architecture)
        card = export.export(network, recipe, folder, f"{key}-fp32", description, facts)
        return self._quantized(card, key, folder)

    def _quantized(self, card: Card, name: str, folder: Path) -> dict[str, Any]:
        judge = self._material.held_out_accuracy
        return quantized(card, name, self._calibration(), judge, folder).to_dict()

    def _calibration(self) -> Store:
        """Return a store of training images, at every input size that is searched, to calibrate on."""
        setting = self._setting
        recipes = [setting.recipe.at(size) for size in setting.space.sizes]
        return calibration_store(setting.images, recipes, setting.request.out, setting.store.dataset)

    def publish(self, name: str, trained: Trained) -> Card:
        """Copy a trained network to OUT/models, as NAME (INT8) and NAME-fp32; return the INT8 card."""
        target = self._target()
        self._copied(replace(trained.fp32, accuracy=target), f"{name}-fp32")
        int8 = read_card(trained.fp32.folder / f"{trained.architecture.key}.toml")
        facts = {**int8.quantization, "original": f"{name}-fp32", "tried": trained.int8["accuracies"]}
        return self._copied(replace(int8, quantization=facts, accuracy=target), name)

    def _copied(self, card: Card, name: str) -> Card:
        return model_file.copied(card, name, self._setting.path("models", name))

    def baseline_int8(self) -> tuple[Card, dict[str, Any]]:
        """Quantize the baseline as the candidates are; return its card and how it was chosen."""
        card = self._setting.request.card
        name = f"{card.name}-int8"
        folder = self._setting.path("models", name)

        found = self._setting.parts.kept(
            "baseline-int8", lambda: self._quantized(card, name, folder), model=card.name
        )
        return read_card(folder / f"{name}.toml"), found

    def _facts(self, architecture: Architecture) -> dict[str, Any]:
        inherits = self._trainings.weights == INHERITED
        return {
            **self._provenance,
            "architecture": architecture.to_dict(),
            "key": architecture.key,
            **({"inherits_from": self._setting.space.baseline.key} if inherits else {}),
            **lasting(self._trainings.final),
            "epochs_before": self._trainings.brief.epochs,
            "augmentation": self._material.augmentation(
                self._trainings.final.epochs, architecture.size
            ).to_dict(),
            **{f"{name}_version": found for name, found in export.versions().items()},
        }

    def _target(self) -> AccuracySpec | None:
        """Return the baseline's accuracy less the drop, where the baseline states one.

        Where it came from a search itself, what its card states is that of the network that search began
        with, and what it had to keep thereof; the drop comes on top.
        """
        wanted = self._setting.request.card
        if wanted.accuracy is None:
            return None
        fraction = 1 - self._setting.request.max_drop
        if "search" in wanted.training:
            fraction *= wanted.accuracy.target_fraction
        source = f"that of {wanted.name} ({wanted.accuracy.source or 'its card'})"
        return replace(wanted.accuracy, target_fraction=round(fraction, 6), source=source)
