"""Fine-tunings of candidates, short and long; what each gave is kept, so that none is repeated."""

import shutil
from dataclasses import replace
from pathlib import Path

from harness.model.architecture import Architecture
from harness.search.accuracy.finetuning import BRIEF, FINAL, Material, Tuned
from harness.search.parts import named
from harness.search.request import Setting
from harness.training.loop import Settings
from harness.training.precision import quickest

_WORDS = {"look": "look at", "brief": "brief fine-tuning of"}


class Tunings:
    """Top-1 on the held-out images, as a fraction, of inherited networks that learned for a while."""

    def __init__(self, setting: Setting, material: Material) -> None:
        """Take the setting, with how long each kind of training is, and what networks learn from."""
        self._setting, self._material = setting, material
        effort, seed = setting.request.effort, setting.request.seed
        here = quickest(material.ranks.device)
        self._shortest = replace(BRIEF, seed=seed, precision=here)
        self.brief = replace(self._shortest, epochs=effort.finetune_epochs)
        self.final = replace(FINAL, epochs=effort.epochs, seed=seed, precision=here)

    @property
    def effort(self) -> dict[str, int]:
        """What is spent on a network that is trained to the end, for the names of what that gives."""
        return {"after": self.brief.epochs, "epochs": self.final.epochs}

    @property
    def look_is_brief(self) -> bool:
        """Whether `look` and `briefly` are one training."""
        images = len(self._setting.images.learned.names)
        return self._setting.request.effort.looks_at_all(images)

    def look(self, architecture: Architecture) -> float:
        """Return what a network reaches that has seen some images once.

        Where these are all images, that is the brief fine-tuning, and counts as it.
        """
        if self.look_is_brief:
            return self.briefly(architecture)
        count = self._setting.request.effort.look_images
        folder = self._setting.path("looks", architecture.key)
        accuracy = self._accuracy(f"look-{architecture.key}", architecture, folder, self._shortest, count)
        shutil.rmtree(folder, ignore_errors=True)
        return accuracy

    def briefly(self, architecture: Architecture) -> float:
        """Return what a network reaches by the brief fine-tuning, whose checkpoint stays in `tuned`."""
        return self._accuracy(f"brief-{architecture.key}", architecture, self.tuned(architecture), self.brief)

    def tuned(self, architecture: Architecture) -> Path:
        """Return the folder of the brief fine-tuning."""
        return self._setting.path("tuned", named(architecture.key, epochs=self.brief.epochs))

    def to_the_end(self, architecture: Architecture, seed: int) -> float:
        """Return what a network reaches that is trained as pick and control are, both times with `seed`.

        It starts from a brief fine-tuning of its own: by what went on from another, that other cannot be
        judged.
        """
        name = f"converged-{architecture.key}-{seed}"
        folder = self._setting.path("converged", named(name, **self.effort))

        def learn() -> float:
            return self.whole(architecture, folder, seed).accuracy

        accuracy: float = self._setting.parts.kept(name, learn, **self.effort)
        shutil.rmtree(folder, ignore_errors=True)
        return accuracy

    def whole(self, architecture: Architecture, folder: Path, seed: int) -> Tuned:
        """Train a network, brief fine-tuning and all, from a seed, in `folder`, and return it."""
        name, start = f"{architecture.key} to the end, seed {seed}", folder / "brief"
        brief, final = replace(self.brief, seed=seed), replace(self.final, seed=seed)
        self._material.finetune(architecture, start, brief, name=name)
        return self._material.finetune(architecture, folder, final, start=start, name=name)

    def _accuracy(
        self,
        name: str,
        architecture: Architecture,
        folder: Path,
        settings: Settings,
        count: int | None = None,
    ) -> float:
        """Return the part `name`."""
        accuracy: float = self._setting.parts.kept(
            name,
            lambda: (
                self._material.finetune(
                    architecture,
                    folder,
                    settings,
                    count=count,
                    name=f"{_WORDS[name.partition('-')[0]]} {architecture.key}",
                ).accuracy
            ),
            epochs=settings.epochs,
            images=count or len(self._setting.images.learned.names),
        )
        return accuracy
