"""What a narrowing is asked for, held against the network, the images and the machine."""

from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.dataset.store import Store, open_store
from harness.errors import HarnessError
from harness.machine import system
from harness.measurement.data import require_fit
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card
from harness.profiling.conditions import Conditions
from harness.search import split
from harness.search.parts import OBJECTIVE, Parts
from harness.search.request import note_mirroring, require_floating_point, variation
from harness.search.split import Split


@dataclass(frozen=True)
class Request:
    """What to narrow, by how much, with which images."""

    card: Card
    """The network, in floating point."""
    train: Path
    """Images to learn from, one folder per class or with a file of labels."""
    data: Path
    """Store of the test images, which are used once, in the end."""
    out: Path
    target_speedup: float
    """How many times as fast as the network the narrowed one must be, both in INT8."""
    held_out: Path | None = None
    """Images to choose by that are not learned from; None: a tenth of `train`."""
    scenario: Scenario = Scenario.SINGLE_STREAM
    threads: int | None = None
    epochs: int = 30
    """Of the distillation."""
    flip: bool | None = None
    """Whether half of the images are mirrored; None: see `variation`."""
    padding: int | None = None
    """By how many pixels images are moved, at most, at the baseline's input size; None: see `variation`."""
    seed: int = 1
    rounds: int = 5
    """LoadGen tests of each model in the end."""
    duration_s: float = 10.0
    """Least duration of each."""
    command: str = ""
    """For the cards: how to repeat this."""


@dataclass(frozen=True)
class Setting:
    """A request that fits."""

    request: Request
    images: Split
    store: Store
    conditions: Conditions
    parts: Parts

    @property
    def card(self) -> Card:
        return self.request.card


def open_setting(request: Request) -> Setting:
    """Check everything that can be checked before work starts, and claim the folder.

    Raises:
        HarnessError: the network is quantized or untrained, the images are of other classes, the speed is
            none, or the folder holds something else.
    """
    card = request.card
    if not request.target_speedup > 1:
        raise HarnessError(
            f"--target-speedup {request.target_speedup:g} asks for nothing: give more than 1, such as 1.3."
        )
    require_floating_point(card)
    if card.speed_only:
        raise HarnessError(
            f"Model '{card.name}' has random weights, which are of no importance: give one that is trained."
        )
    conditions = Conditions.of(request.scenario, request.threads)
    baseline = [card.name, *model_file.identity(card)]
    labels = card.classifier.labels
    store = open_store(request.data)
    images = split.of_folders(request.train, request.held_out, labels, request.seed)
    require_fit(card, store)
    parts = Parts(
        request.out,
        {
            "baseline": baseline,
            **images.identity,
            "way of varying images": variation(request),
            "store": store.sha256(card.input.recipe),
            OBJECTIVE: conditions.to_dict(),
            "seed": request.seed,
            "version": {"harness": __version__, **system.describe().versions},
        },
    )
    note_mirroring(request)
    return Setting(request, images, store, conditions, parts)
