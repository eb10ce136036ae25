"""Trainings of candidates, short and long; what each gave is kept, so that none is repeated."""

import math
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.model.architecture import Architecture
from harness.search.accuracy.trainer import REGIMES, Job, Trainer, Tuned
from harness.search.parts import named
from harness.search.request import INITIAL_WEIGHTS, Setting
from harness.training.loop import CHECKPOINT_NAME
from harness.training.settings import Settings


@dataclass(frozen=True)
class Whole:
    """A training from the initial weights to the end, the brief one and all, from a seed of its own."""

    architecture: Architecture
    folder: Path
    seed: int

    @property
    def start(self) -> Path:
        """The folder of the brief training."""
        return self.folder / "brief"

    @property
    def name(self) -> str:
        return f"{self.architecture.key} to the end, seed {self.seed}"


class Trainings:
    """Top-1 on the held-out images, as a fraction, of networks that learned for a while."""

    def __init__(self, setting: Setting, trainer: Trainer, weights: str | None = None) -> None:
        """Take the setting, with how long each kind of training is, who trains, and the initial weights.

        `weights` is one of request.INITIAL_WEIGHTS; None: the setting's.
        """
        self._setting, self._trainer = setting, trainer
        self.weights = weights or setting.initial_weights
        self.regime = REGIMES[self.weights]
        effort, seed = setting.request.effort, setting.request.seed
        here = trainer.precision
        is_all = effort.learned(len(setting.images.learned.names)) == len(setting.images.learned.names)
        self._count = None if is_all else effort.images
        self._shortest = replace(self.regime.brief, seed=seed, precision=here)
        self.brief = replace(self._shortest, epochs=effort.finetune_epochs)
        self.final = replace(self.regime.final, epochs=effort.epochs, seed=seed, precision=here)

    def all_weights(self) -> "list[Trainings]":
        """Return what trains from each kind of initial weights, as this one does from its own."""
        return [Trainings(self._setting, self._trainer, one) for one in INITIAL_WEIGHTS]

    @property
    def effort(self) -> dict[str, Any]:
        """What is spent on a network that is trained to the end, for the names of what that gives."""
        return {"after": self.brief.epochs, "epochs": self.final.epochs, **self._some}

    @property
    def _some(self) -> dict[str, Any]:
        """For names: how many images are learned from, where not all, and initial weights, where others."""
        images = {} if self._count is None else {"images": self._count}
        return images | self._others

    @property
    def _others(self) -> dict[str, Any]:
        if self.weights == self._setting.initial_weights:
            return {}
        return {"weights": self.weights, "edition": self.regime.edition}

    @property
    def look_is_brief(self) -> bool:
        """Whether `look` and `briefly` are one training."""
        images = len(self._setting.images.learned.names)
        return self._setting.request.effort.looks_at_all(images)

    @property
    def spent_to_choose(self) -> dict[str, Any]:
        """For names: what is spent on a look, and on the brief training that it stands for."""
        return {"images": self._of_a_look, "epochs": self.brief.epochs, "of": self._learned}

    @property
    def _learned(self) -> int:
        """How many images are learned from after a look."""
        return self._setting.request.effort.learned(len(self._setting.images.learned.names))

    @property
    def _of_a_look(self) -> int:
        """How many a look learns from."""
        return min(self._setting.request.effort.look_images, self._learned)

    @property
    def look_share(self) -> float:
        """Which share of the gap to the baseline after a look the brief training leaves, as is expected.

        Such gaps shrink by about the square root of the images that were learned from. Measured on the
        built-in task, 8,192 of 40,000 images and then all, of seven networks: 0.34 to 0.49, 0.43 on average,
        where this gives 0.45.
        """
        if self.look_is_brief:
            return 1.0
        return math.sqrt(self._of_a_look / (self._learned * self.brief.epochs))

    def look(self, architecture: Architecture) -> float:
        """Return what a network reaches that has seen some images once.

        Where these are all images, that is the brief training, and counts as it.
        """
        if self.look_is_brief:
            return self.briefly(architecture)
        job = self._look(architecture)
        accuracy = self._accuracy(f"look-{architecture.key}", job)
        shutil.rmtree(job.folder, ignore_errors=True)
        return accuracy

    def looks(self, architectures: Sequence[Architecture]) -> list[float]:
        """Return the same of several, which may learn at once."""
        with self._ahead_of_looks(architectures):
            return [self.look(one) for one in architectures]

    def _ahead_of_looks(self, architectures: Sequence[Architecture]) -> AbstractContextManager[None]:
        """Let networks learn that will probably be looked at inside."""
        if self.look_is_brief:
            return self._ahead_of_briefs(architectures)
        return self._ahead([(f"look-{one.key}", self._look(one)) for one in architectures])

    def briefly(self, architecture: Architecture) -> float:
        """Return what a network reaches by the brief training, whose checkpoint stays in `tuned`."""
        return self._accuracy(f"brief-{architecture.key}", self._brief(architecture))

    def all_briefly(self, architectures: Sequence[Architecture]) -> list[float]:
        """Return the same of several, which may learn at once."""
        with self._ahead_of_briefs(architectures):
            return [self.briefly(one) for one in architectures]

    def tuned(self, architecture: Architecture) -> Path:
        """Return the folder of the brief training."""
        return self._setting.path("tuned", named(architecture.key, epochs=self.brief.epochs, **self._some))

    def up(self, architecture: Architecture) -> Tuned:
        """Return the network, trained to the end after its brief training."""
        return self._trainer.train(self._begun_final(architecture))

    def ahead_of_the_end(self, architectures: Sequence[Architecture]) -> AbstractContextManager[None]:
        """Let networks learn that will probably be trained to the end inside."""
        parts, different = self._setting.parts, {one.key: one for one in architectures}
        missing = [one for key, one in different.items() if not parts.has(f"final-{key}", **self.effort)]
        return self._trainer.ahead([self._begun_final(one) for one in missing])

    def trained(self, architecture: Architecture) -> Path:
        """Return the folder of a network that is trained to the end."""
        return self._setting.path("trained", named(architecture.key, **self.effort))

    def to_the_end(self, architecture: Architecture, seed: int) -> float:
        """Return what a network reaches that is trained as pick and control are, both times with `seed`.

        It starts from a brief training of its own: by what went on from another, that other cannot be
        judged.
        """
        name = f"converged-{architecture.key}-{seed}"
        folder = self._setting.path("converged", named(name, **self.effort))
        whole = Whole(architecture, folder, seed)

        def learn() -> float:
            self.begin([whole])
            return self.ended(whole).accuracy

        accuracy: float = self._setting.parts.kept(name, learn, **self.effort)
        shutil.rmtree(folder, ignore_errors=True)
        return accuracy

    def begin(self, wholes: Sequence[Whole]) -> None:
        """Train networks briefly, whose trainings `going_on` and `ended` end."""
        briefs = [self._brief_of(one) for one in wholes]
        with self._trainer.ahead(briefs):
            for job in briefs:
                self._trainer.train(job)

    def going_on(self, wholes: Sequence[Whole]) -> AbstractContextManager[None]:
        """Let networks that have begun learn on that will probably be asked for inside."""
        return self._trainer.ahead([self._rest_of(one) for one in wholes])

    def ended(self, whole: Whole) -> Tuned:
        """Return a network that has begun, trained to the end."""
        return self._trainer.train(self._rest_of(whole))

    def _brief_of(self, whole: Whole) -> Job:
        settings = replace(self.brief, seed=whole.seed)
        return self._job(whole.architecture, whole.start, settings, whole.name)

    def _rest_of(self, whole: Whole) -> Job:
        settings = replace(self.final, seed=whole.seed)
        return Job(whole.architecture, whole.folder, settings, self._count, whole.start, whole.name)

    def _look(self, architecture: Architecture) -> Job:
        folder = self._setting.path("looks", architecture.key)
        job = self._job(architecture, folder, self._shortest, f"look at {architecture.key}")
        return replace(job, count=self._of_a_look)

    def _brief(self, architecture: Architecture) -> Job:
        name = f"brief training of {architecture.key}"
        return self._job(architecture, self.tuned(architecture), self.brief, name)

    def _begun_final(self, architecture: Architecture) -> Job:
        """Return the job that trains a network on; its brief training comes again if its weights are gone."""
        brief = self._brief(architecture)
        if not (brief.folder / CHECKPOINT_NAME).exists():
            self._trainer.train(brief)
        return self._final(architecture)

    def _final(self, architecture: Architecture) -> Job:
        folder, start = self.trained(architecture), self.tuned(architecture)
        name = f"{architecture.key} to the end"
        return Job(architecture, folder, self.final, self._count, start, name)

    def _job(self, architecture: Architecture, folder: Path, settings: Settings, name: str) -> Job:
        return Job(architecture, folder, settings, self._count, name=name, weights=self.weights)

    def _ahead_of_briefs(self, architectures: Sequence[Architecture]) -> AbstractContextManager[None]:
        return self._ahead([(f"brief-{one.key}", self._brief(one)) for one in architectures])

    def _ahead(self, named_jobs: Sequence[tuple[str, Job]]) -> AbstractContextManager[None]:
        parts = self._setting.parts
        return self._trainer.ahead(
            [job for name, job in named_jobs if not parts.has(name, **self._spent(job))]
        )

    def _accuracy(self, name: str, job: Job) -> float:
        """Return the part `name`."""
        accuracy: float = self._setting.parts.kept(
            name, lambda: self._trainer.train(job).accuracy, **self._spent(job)
        )
        return accuracy

    def _spent(self, job: Job) -> dict[str, Any]:
        images = job.count or len(self._setting.images.learned.names)
        return {"epochs": job.settings.epochs, "images": images, **self._others}
