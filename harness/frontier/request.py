"""What a frontier is asked for, and whether that can be had."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.console import note
from harness.errors import CardError, HarnessError
from harness.frontier import catalogue
from harness.frontier.catalogue import Published
from harness.frontier.speed import BASELINE
from harness.model import file as model_file
from harness.model import licence, zoo
from harness.model.card import Card, OutputSpec, find_card, shipped_cards
from harness.model.hub import CLASSES
from harness.profiling.conditions import Conditions

LEAST_TOP1 = 0.757
"""MLPerf's target for image classification: 99 % of 76.46 %."""


@dataclass(frozen=True)
class Request:
    """What to time, what to race, and what the pick must keep."""

    out: Path
    conditions: Conditions
    patterns: tuple[str, ...] = ()
    """Of networks in the catalogue; none: all, where timm is at hand."""
    cards: tuple[Card, ...] = ()
    """With weights; none: the shipped ones of ImageNet whose weights are at hand."""
    sizes: tuple[int, ...] = ()
    least_top1: float = LEAST_TOP1
    permissive: bool = True
    """Whether only weights that may be used commercially count."""
    data: Path | None = None
    """Store to measure accuracies on; None: speed alone."""
    calibration_data: Path | None = None
    """Store to calibrate on; None: the one that is scored."""
    max_drop: float | None = None
    """Accuracy that may be lost when layers are restored; None: none are."""
    budget_s: float | None = None
    """For timing; None: as long as it takes."""
    rounds: int = 5
    """Of the LoadGen tests of the pick."""
    duration_s: float = 2.0
    """Least duration of each of these."""
    baseline: str = BASELINE
    """Card of what all is timed beside."""


def cards_at_hand(names: Sequence[str]) -> tuple[Card, ...]:
    """Return the cards that a command line names; without names, the shipped ones with ImageNet weights here.

    Raises:
        CardError: a name is not known, or two are of one name.
        HarnessError: a card is no classifier of ImageNet's 1,000 classes, or has no trained weights.
        ModelError: the weights of a named card are not here.
    """
    if not names:
        shipped = (find_card(name) for name in shipped_cards())
        return tuple(one for one in shipped if _is_fit(one) and model_file.state(one) == model_file.PRESENT)
    found = tuple(find_card(name) for name in names)
    for card in found:
        if not _is_fit(card):
            raise HarnessError(
                f"Model '{card.name}' is no trained classifier of ImageNet's 1,000 classes: leave it out."
            )
        if [one.name for one in found].count(card.name) > 1:
            raise CardError(f"Two cards are called '{card.name}': give each once, or rename one.")
        model_file.sha256(card)
    return found


def require_licences(cards: Sequence[Card]) -> None:
    """Raise HarnessError for a card whose licence forbids commercial use, or that states none."""
    for card in cards:
        if doubt := licence.doubt(card.licence):
            raise HarnessError(f"Model '{card.name}' {doubt}: give --licence any, or another --card.")


def published(request: Request) -> list[Published]:
    """Return the catalogue's networks to time; none where none are named and timm is not at hand.

    Raises:
        ModelError: a pattern matches none, or timm is missing for those that are named.
    """
    found = catalogue.choose(
        request.patterns,
        least_top1=request.least_top1,
        permissive=request.permissive,
        sizes=request.sizes,
    )
    if request.patterns:
        zoo.require()
        named = catalogue.choose(request.patterns, permissive=False)
        if left_out := len(named) - len(found):
            note(
                f"{left_out} of {len(named)} networks named are left out by --min-top1 "
                f"{request.least_top1:g}, --licence or --sizes."
            )
        return found
    return found if zoo.is_here() else []


def _is_fit(card: Card) -> bool:
    return isinstance(card.output, OutputSpec) and card.output.labels == CLASSES and not card.speed_only
