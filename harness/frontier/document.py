"""The document of a frontier, frontier.json: every network, how the race went, whence the facts are."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__, files, typed
from harness.dataset.store import Store
from harness.errors import OutputError
from harness.frontier import race
from harness.frontier.catalogue import Published
from harness.frontier.entrants import Entrant
from harness.frontier.race import Fate, Outcome
from harness.frontier.request import Request
from harness.frontier.speed import Timed
from harness.machine import identity, system
from harness.machine.system import Machine
from harness.measurement.statistics import Interval
from harness.model.card import Card
from harness.profiling.conditions import Facts

FILE_NAME = "frontier.json"
FORMAT = 1


@dataclass(frozen=True)
class Raced:
    """The race of all entrants, and what of them is known."""

    entrants: dict[str, Entrant]
    outcome: Outcome
    store: Store
    failed: Mapping[str, Card]
    """Whose rows have no network, as it could not be made ready, by name."""


@dataclass(frozen=True)
class Stated:
    """What others say of a network; accuracies are of FP32 weights, and not ours."""

    top1: float
    source: str
    tag: str


@dataclass(frozen=True)
class Run:
    """How a network fared in the race."""

    right: int
    answered: int
    top1: float
    """Of what was answered."""
    low: float
    """The 95 % interval of top-1."""
    high: float
    fate: Fate
    by: str
    """Who is better, where another is."""


@dataclass(frozen=True)
class Network(Timed):
    """A network: its speed, or why it has none, and what is known of it."""

    pixels: int
    licence: str
    published: Stated | None
    race: Run | None
    """None: it took no part."""


@dataclass(frozen=True)
class Images:
    """The store that accuracies are of."""

    path: str
    dataset: str
    count: int


@dataclass(frozen=True)
class RaceTotals:
    """What the race took."""

    answered: int
    of: int
    """What measuring everything would have taken."""
    needed: int
    """Images that had to be known."""
    error_chance: float


@dataclass(frozen=True)
class PickSpeedup:
    """How many times as fast the pick is as the baseline in one precision."""

    against: str
    ratio: Interval | None
    text: str


@dataclass(frozen=True)
class Pick:
    """The network that was measured through LoadGen."""

    name: str
    keeps: bool
    """Whether it keeps the target by a standard error."""
    card: str
    """In the frontier's folder."""
    model: str
    """Name of the card that it was made of."""
    settings: Mapping[str, Any]
    """How it was quantized."""
    calibration: str
    top1: float
    good: int
    total: int
    standard_error: float
    target: float
    needed: int
    valid: bool
    """Whether all rounds are."""
    speedups: tuple[PickSpeedup, ...]
    loadgen: str
    """Folder of the accuracy test."""
    compared: str
    """Folder of the comparison."""


@dataclass(frozen=True)
class Frontier:
    """Everything that was found."""

    harness: str
    """Version."""
    created: str
    """When: ISO 8601, UTC."""
    machine: Machine
    conditions: Facts
    """Under which conditions networks were timed."""
    target: float
    """Top-1 to keep, a fraction."""
    data: Images | None
    """None: no accuracy was measured."""
    networks: tuple[Network, ...]
    not_timed: tuple[str, ...]
    """Of the catalogue, as the budget was used up."""
    race: RaceTotals | None
    pick: Pick | None

    @property
    def timed(self) -> list[Network]:
        return [one for one in self.networks if one.speed is not None]


def found(
    asked: Request, networks: Sequence[Published], timed: Sequence[Timed], raced: Raced | None
) -> Frontier:
    """Return the document, but for the pick."""
    of_tag = {one.name: one for one in networks}
    known = {card.name: card for card in asked.cards} | dict(raced.failed if raced else {})
    rows = []
    for one in timed:
        entrant = raced.entrants.get(one.name) if raced else None
        card = entrant.origin if entrant else known.get(one.name)
        facts = _facts(card, of_tag.get(one.name))
        rows.append(Network(one.name, one.speed, one.failure, *facts, _run(one.name, raced)))
    data, totals = None, None
    if raced is not None:
        outcome = raced.outcome
        data = Images(str(raced.store.path), raced.store.dataset, raced.store.count)
        of = outcome.count * len(outcome.runners)
        totals = RaceTotals(outcome.answered, of, outcome.needed, race.ERROR_CHANCE)
    return Frontier(
        harness=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=system.describe(),
        conditions=asked.conditions.facts,
        target=asked.least_top1,
        data=data,
        networks=tuple(rows),
        not_timed=tuple(name for name in of_tag if name not in {one.name for one in timed}),
        race=totals,
        pick=None,
    )


def _facts(card: Card | None, network: Published | None) -> tuple[int, str, Stated | None]:
    """Return pixels, licence and what is published of a network."""
    if network is not None:
        stated = Stated(network.top1, f"{network.source}, {network.date}", network.tag)
        return network.pixels, network.licence, stated
    assert card is not None
    accuracy = card.accuracy
    known = None if accuracy is None else Stated(accuracy.reference, accuracy.source or "its card", card.name)
    return card.input.size, card.licence, known


def _run(name: str, raced: Raced | None) -> Run | None:
    one = next((one for one in raced.outcome.runners if one.name == name), None) if raced else None
    if one is None or raced is None:
        return None
    count = raced.outcome.count
    low, high = race.bounds(one.right, one.answered, count)
    return Run(one.right, one.answered, one.accuracy, low / count, high / count, one.fate, one.by)


def write(one: Frontier, out: Path) -> None:
    """Write the document in `out`, atomically."""
    files.write_json(out / FILE_NAME, to_dict(one))


def to_dict(one: Frontier) -> dict[str, Any]:
    """Return what frontier.json holds, as JSON values."""
    return {"format": FORMAT, **typed.unstructure(one)}


def read(out: Path) -> Frontier:
    """Return the document in `out`.

    Raises:
        OutputError: it is not there, damaged, or of another format.
    """
    path = out / FILE_NAME
    try:
        document = files.read_json(path)
        form = document["format"]
        if form != FORMAT:
            raise OutputError(
                f"{path} has format {form}, and this harness knows {FORMAT}: give another --out."
            )
        machine = {**identity.LATER, **document["machine"]}
        return typed.structure({**document, "machine": machine}, Frontier)
    except FileNotFoundError as error:
        raise OutputError(f"No frontier in {out}: run `harness frontier --out {out}` first.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"Cannot read {path} ({error}): run `harness frontier` into another --out."
        ) from error
