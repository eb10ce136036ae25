"""What a search is asked for, and everything that the answer starts from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness import __version__
from harness.console import note
from harness.dataset.recipe import Recipe
from harness.dataset.store import Store, open_store
from harness.errors import HarnessError, OutputError
from harness.machine import system
from harness.measurement.data import require_fit
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card
from harness.model.resnet import State
from harness.profiling.conditions import MACHINE, Conditions
from harness.search import split
from harness.search.decision import SEARCHED, UNIFORM
from harness.search.parts import OBJECTIVE, Parts, asked_before
from harness.search.space import baseline
from harness.search.space.ranges import REVISIONS, ranges
from harness.search.space.revisions import Space
from harness.search.split import Split
from harness.typed import LEFT_OUT

UNTIL = ("table", "scouts", "latencies", "finals", "uniform", "models")
"""Parts after which a search can be told to stop; the same call without it goes on."""
MEASURING = ("table", "latencies", "uniform")
"""Those that must measure, as must what follows the last one; the others can compute on another machine."""


INHERITED, RANDOM = INITIAL_WEIGHTS = ("inherited", "random")
"""What candidates begin with: what they can take over from the baseline, or nothing that was learned."""


_FORM = 3
"""Of what is kept in a search's folder."""
_KNOWN_FORMS = {INHERITED: (2, _FORM), RANDOM: (_FORM,)}
"""By initial weights: what has another form is not gone on with, as its networks learned otherwise."""
_WEIGHTS = "set of initial weights"
_WORK = "macs"
_VARIED = ("smallest_area", "flip", "trivial", "padding")


@dataclass(frozen=True)
class Effort:
    """How much of everything; what is finished of one is of use to another in the same folder."""

    scouts: int = 24
    """Networks that are looked at after those that somebody would think of."""
    look_images: int = 8192
    """Images that a network learns from before it is looked at."""
    shortlist: int = 8
    """Candidates that are trained briefly."""
    finetune_epochs: int = 1
    """Of the brief training."""
    epochs: int = 8
    """Of the training of the pick, and of its control, which follows the brief training."""
    finals: int = 2
    """Candidates that are trained to the end at most."""
    images: int | None = field(default=None, metadata=LEFT_OUT)
    """Training images that candidates learn from, both times; None: all."""
    seeds: int = 3
    """Trainings of pick and control, each from a seed of its own, that the verdict rests on."""
    rounds: int = 5
    """LoadGen tests of each model in each scenario in the end."""
    duration_s: float = 10.0
    """Least duration of each."""

    def learned(self, images: int) -> int:
        """Return how many training images are learned from, where there are so many."""
        return images if self.images is None else min(images, self.images)

    def looks_at_all(self, images: int) -> bool:
        """Whether a look, where there are so many training images, is the brief training itself."""
        return self.look_images >= self.learned(images) and self.finetune_epochs == 1


QUICK = Effort(
    scouts=12,
    look_images=2048,
    shortlist=8,
    epochs=4,
    finals=1,
    images=4096,
    seeds=1,
    rounds=3,
    duration_s=2.0,
)
"""For a first look: as little of everything as still shows what comes out."""


@dataclass(frozen=True)
class Request:
    """What to search, from what, for what."""

    card: Card
    """The baseline."""
    train: Path
    """Training images, one folder per class."""
    data: Path
    """Store of the test images, which are used once, in the end."""
    out: Path
    scenario: Scenario = Scenario.SINGLE_STREAM
    """Whose latency or throughput counts."""
    max_drop: float = 0.01
    """Share of the baseline's accuracy that may be lost; 0.01 is MLPerf's 99 %."""
    space: str = REVISIONS.name
    """Name of what may take the place of the baseline's parts; see ranges.ALL."""
    threads: int | None = None
    held_out: Path | None = None
    """Images to judge by that the baseline has not learned from; None: a tenth of `train`."""
    target_ms: float | None = None
    """Wanted latency; None: see the next."""
    target_speedup: float | None = None
    """Wanted speed over that of the baseline in f32; if this is None, too: what the baseline has in INT8."""
    table: Path | None = None
    """Latency table; None: made in `out`."""
    initial_weights: str | None = None
    """One of INITIAL_WEIGHTS; None: by the space; see `initial_weights`."""
    seed: int = 1
    flip: bool | None = None
    """Whether half of the images are mirrored; None: see `variation`."""
    padding: int | None = None
    """By how many pixels images are moved, at most, at the baseline's input size; None: see `variation`."""
    loaders: int | None = None
    """Processes that load training images which do not fit into memory; None: by the CPUs."""
    crew: str | None = None
    """Address of the Ray cluster that trains; None: this process, with those that torchrun started."""
    effort: Effort = field(default_factory=Effort)
    until: str | None = None
    """One of UNTIL, or None to go through to the end."""
    converged: int = 0
    """Random networks to train to the end as well, twice, to learn what the estimator's order is worth."""
    command: str = ""
    """For the cards: how to repeat this."""


@dataclass(frozen=True)
class Setting:
    """A request, held against the baseline, the data and the machine."""

    request: Request
    space: Space
    state: State
    """The baseline's weights."""
    images: Split
    store: Store
    conditions: Conditions
    parts: Parts

    @property
    def recipe(self) -> Recipe:
        return self.request.card.input.recipe

    @property
    def variation(self) -> dict[str, Any]:
        return variation(self.request)

    @property
    def initial_weights(self) -> str:
        """One of INITIAL_WEIGHTS; see `initial_weights`."""
        return initial_weights(self.request, self.space)

    def path(self, *names: str) -> Path:
        return self.request.out.joinpath(*names)


class Varying(Protocol):
    """Who has said how images shall be varied, beside the baseline's card."""

    @property
    def card(self) -> Card: ...

    @property
    def flip(self) -> bool | None: ...

    @property
    def padding(self) -> int | None: ...


def variation(request: Varying) -> dict[str, Any]:
    """Return how images to learn from are varied, as far as that is known: Augmentation's arguments.

    It is what the request says, else as the card has it for the baseline's images. Candidates learn from
    images that are varied alike: the teacher knows such, and where it saw no mirrored images, as with digits,
    they must not see any. TrivialAugment is for long trainings alone; see `Material.augmentation`.
    """
    given = request.card.training.get("augmentation", {})
    known = {name: given[name] for name in _VARIED if name in given}
    said = {"flip": request.flip, "padding": request.padding}
    return known | {name: value for name, value in said.items() if value is not None}


def note_mirroring(request: Varying) -> None:
    """Say that images are mirrored where nobody has said that they may be."""
    if "flip" not in variation(request):
        note(
            f"The card of {request.card.name} does not say whether its training images were mirrored, so "
            "half of them are here: where left and right differ, as in digits, give --no-flip."
        )


def initial_weights(request: Request, space: Space) -> str:
    """Return what candidates begin with: what was asked for, or what is fair to all networks of the space.

    Blocks of another form than the baseline's inherit nothing, and a brief training ranks networks by what
    they inherit: on CIFAR-10 it put such as end within a point of each other 7 to 22 points apart.
    """
    usual = INHERITED if len(space.ranges.forms) == 1 else RANDOM
    return request.initial_weights or usual


def require_floating_point(card: Card) -> None:
    """Refuse a model whose weights cannot learn.

    Raises:
        HarnessError: it is quantized.
    """
    if card.quantization:
        original = card.quantization.get("original")
        raise HarnessError(
            f"Model '{card.name}' is quantized already, and only floating-point weights can learn: give the "
            "model that it was made from" + (f", '{original}'." if original else ".")
        )


def open_setting(request: Request) -> Setting:
    """Check everything that can be checked before work starts, and claim the folder.

    Raises:
        HarnessError: the baseline is outside the space, the data have another class count, or the folder
            holds another search.
    """
    if not 0 <= request.max_drop < 1:
        raise HarnessError(f"--max-drop {request.max_drop:g} is no share: give 0 or more, less than 1.")
    if request.target_ms is not None and not request.target_ms > 0:
        raise HarnessError(f"--target-latency {request.target_ms:g} cannot be reached: give more than 0 ms.")
    if request.target_speedup is not None and not request.target_speedup > 0:
        raise HarnessError(f"--target-speedup {request.target_speedup:g} is none: give more than 0.")
    if None not in (request.target_ms, request.target_speedup):
        raise HarnessError("--target-latency and --target-speedup are two wishes for one: give one of them.")
    conditions = _conditions(request)
    card = request.card
    require_floating_point(card)
    if card.name in (SEARCHED, UNIFORM):
        raise HarnessError(
            f"The baseline is called '{card.name}', as a model that comes out of a search: change the name "
            f"in {card.path}."
        )
    architecture, state = baseline.read(card)
    store = open_store(request.data)
    images = split.of_folders(request.train, request.held_out, card.classifier.labels, request.seed)
    require_fit(card, store)
    sizes = _sizes(store, card.input.recipe)
    space = Space(architecture, sizes, ranges(request.space))
    before, weights = asked_before(request.out), initial_weights(request, space)
    form = before.get("form") if before else _FORM
    known = form in _KNOWN_FORMS[before.get(_WEIGHTS, weights)]
    # Older searches may have ranked by distilled costs.
    if not known or before.get("estimator", _WORK) != _WORK:
        raise OutputError(
            f"The folder {request.out} holds a search of another version of the harness: choose another "
            "--out."
        )
    asked = {
        "form": form,
        "baseline": model_file.sha256(card),
        "search space": space.key,
        **images.identity,
        "way of varying images": variation(request),
        "store": {str(size): store.sha256(card.input.recipe.at(size)) for size in sizes},
        OBJECTIVE: conditions.to_dict(),
        "allowed drop": request.max_drop,
        "wanted latency": request.target_ms,
        "wanted speed": request.target_speedup,
        "seed": request.seed,
        _WEIGHTS: weights,
        "version": {"harness": __version__, **system.describe().versions},
    }
    parts = Parts(request.out, asked)
    note_mirroring(request)
    held = ", ".join(f"{size} px" for size in sizes)
    note(f"Input sizes that {store.path} holds for this baseline's recipe: {held}; only these are searched.")
    return Setting(request, space, state, images, store, conditions, parts)


def _conditions(request: Request) -> Conditions:
    """Return the conditions to search for: those here, or, to compute, those where the search was begun.

    Raises:
        HarnessError: the search was begun on another machine, and its next part may have to measure.
    """
    there = asked_before(request.out).get(OBJECTIVE, {})
    machine = {name: there[name] for name in MACHINE if name in there}
    if machine.items() <= Conditions(request.scenario, 1).to_dict().items():
        return Conditions.of(request.scenario, request.threads)
    if request.until is None or request.until in MEASURING:
        computing = [part for part in UNTIL if part not in MEASURING]
        raise HarnessError(
            f"The folder {request.out} holds a search for {machine['cpu']}, which is not the CPU here: go on "
            f"there, or give --until {' or '.join(computing)}, which measure nothing."
        )
    note(f"This search is for {machine['cpu']}; the CPU here is another and only computes for it.")
    return Conditions(request.scenario, request.threads or there["threads"], machine)


def _sizes(store: Store, recipe: Recipe) -> tuple[int, ...]:
    """Return the input sizes at which the store holds the baseline's recipe."""
    store.samples(recipe)
    alike = (
        entry.recipe.size
        for entry in store.recipes.values()
        if recipe.at(entry.recipe.size) == entry.recipe and entry.recipe.size <= recipe.size
    )
    return tuple(sorted(alike))
