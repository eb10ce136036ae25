"""How candidates learn, and who trains them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness.model.architecture import Architecture
from harness.search.request import INHERITED, RANDOM
from harness.training.loop import CHECKPOINT_NAME, Epoch, start_from
from harness.training.network import ResNet
from harness.training.settings import Settings

T = TypeVar("T")

BRIEF = Settings(
    epochs=1,
    batch_size=128,
    learning_rate=0.05,
    warmup_epochs=0,
    label_smoothing=0.0,
    distillation=0.9,
)
"""How each candidate of a shortlist that inherits weights is trained, if nothing else is said.

Measured on the built-in task at half of the baseline's widths, one epoch of 35,992 images, top-1 on 4,008
others: with 0.9 of the loss from the teacher 94.4 %, with 0.5 94.2 %, without 93.2 %; with 0.5 and a learning
rate of 0.02 93.9 %, of 0.1 93.6 %.
Those were in BF16; see training.precision.
"""

FINAL = replace(BRIEF, optimizer="muon", learning_rate=0.005, weight_decay=0.02, averaging=0.998)
"""How some are trained on, after the brief training, to the end.

Measured on CIFAR-10 at a fifth of the baseline's work, two epochs after a brief training, top-1 on 5,000
held-out images: SGD as in BRIEF 87.2 %; Muon with a learning rate of 0.01 87.0 %, of 0.004 87.7 %. Ten
epochs of it at 0.005 reached 90.1 % in f32, the baseline 89.9 %. On the built-in task, three epochs of each,
95.1 and 95.2 %. In fewer steps, as after inheriting, SGD forgets less.
"""

ANEW = Settings(
    epochs=1, batch_size=128, optimizer="muon", learning_rate=0.03, warmup_epochs=0, weight_decay=0.1
)
"""How a candidate learns from random weights, from the labels alone.

Measured on CIFAR-10 with a network of 18 MMAC (plain 3x3 convolutions, 32, 64 and 240 channels, an early
stride), three epochs on 45,000 images padded by 2 pixels, top-1 on 5,000 others (standard error 0.5): a
weight decay of 0.01 81.0 %, of 0.1 82.1 %, of 0.3 81.6 %; at twice the learning rate 81.5 % with 0.01 and
81.1 % with 0.3. With kernels that begin as identities behind a stem that whitens its patches (as airbench has
it; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024) 81.5 % at 0.01. One training each.
"""


@dataclass(frozen=True)
class Regime:
    """How candidates learn."""

    brief: Settings
    final: Settings
    """Of what goes on after the brief training, to the end."""
    guess: float
    """See decision.Bar."""
    hope: float
    """See decision.Bar."""
    edition: int
    """Another one where `brief` has changed, so that old results are not taken for new ones."""


REGIMES = {
    INHERITED: Regime(BRIEF, FINAL, guess=1 / 3, hope=20, edition=1),
    RANDOM: Regime(ANEW, replace(ANEW, averaging=0.998), guess=1 / 5, hope=100, edition=2),
}
"""By initial weights.

What training to the end leaves of the gap to the baseline: on the built-in task, with inherited weights, a
quarter to a third; on CIFAR-10, after one epoch from random weights, a twentieth to nearly a half of 15 to 28
points.
"""

MANY_EPOCHS = 32
"""From how many epochs on images go through TrivialAugment, if the teacher has learned by it.

Measured on CIFAR-10 at a twelfth of the baseline's latency, as FINAL, top-1 in INT8 on 5,000 held-out images
and on 10,000 test images: after 16 epochs without it 90.36 and 90.60 %, with it 90.98 and 90.00 %, after 48
epochs with it 91.46 and 91.31 %. What 48 epochs without it give was not measured: after 16 the network knew
98.4 % of the images that it had learned from.
"""

VERSIONS = 16
"""In how many versions so long a training shows each image, in turn: the teacher answers once to each.

Its answers take a third of an epoch's time on a CPU, where what learns is a twelfth of it. The 48 epochs
above were three rounds of 16 versions.
"""


@dataclass(frozen=True)
class Tuned:
    """What a training gave."""

    network: ResNet
    accuracy: float
    """Top-1 on the held-out images, as a fraction."""
    history: list[Epoch]


@dataclass(frozen=True)
class Job:
    """A training of a candidate."""

    architecture: Architecture
    folder: Path
    """Where its checkpoint goes."""
    settings: Settings
    """With a share for the teacher (`distillation`) or none."""
    count: int | None = None
    """Images to learn from; None: all but the held-out ones."""
    start: Path | None = None
    """Folder of an earlier training, with whose weights this one begins."""
    name: str = ""
    """Of the training, for those who watch it."""
    weights: str = INHERITED
    """One of request.INITIAL_WEIGHTS, with which it begins where there is no `start`."""


class Trainer(Protocol):
    """Who trains candidates: this process, a team of several, or a crew."""

    @property
    def precision(self) -> str:
        """In which all that is trained is computed, one of training.settings'."""

    def train(self, job: Job) -> Tuned:
        """Return what a job gives; see Material.train."""

    def ahead(self, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        """Begin, where others train, what will probably be asked for inside; nothing else comes out."""

    def asked(self, question: Callable[[Any], T]) -> list[T]:
        """Return what each place that trains answers, given its Material."""


def finished(job: Job, history: list[Epoch]) -> Tuned:
    """Return what a job gave that another process has trained, from the checkpoint in its folder."""
    network = ResNet(job.architecture)
    start_from(network, job.folder / CHECKPOINT_NAME)
    return Tuned(network.eval(), history[-1].top1, history)
