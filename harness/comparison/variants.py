"""What is compared: each model in each precision asked for, INT8 twins made where they are missing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness import files
from harness.backend import calibration, calibration_list
from harness.backend.settings import SERVED
from harness.console import note
from harness.dataset.store import Store
from harness.endpoint.address import Endpoint
from harness.errors import HarnessError, ModelError, did_you_mean
from harness.model import file as model_file
from harness.model.card import Card, read_card
from harness.task import task_of

PRECISIONS = ("f32", "bf16", "int8")

_SPEED_ONLY_SAMPLES = 16
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class Candidate:
    """A variant before anything is known of it."""

    name: str
    card: Card
    precision: str
    """Of the layers that are not quantized: f32 or bf16."""
    quantize: bool = False
    """Whether its INT8 twin is meant, which is still to be made."""
    endpoint: Endpoint | None = None
    """Where it is served; None: it is computed here."""

    @property
    def shown_precision(self) -> str:
        if self.endpoint is not None:
            return SERVED
        return "int8" if self.quantize or self.card.quantization else self.precision


def candidates(
    cards: Sequence[Card], precisions: Sequence[str], endpoints: Sequence[Endpoint] = ()
) -> list[Candidate]:
    """Return each model in each precision; a model that is quantized already stands for itself.

    The first model is also each endpoint's.

    Raises:
        HarnessError: a precision is unknown, fewer than two variants, two of one name, models of different
            tasks, or a model that cannot be read.
    """
    for precision in precisions:
        if precision not in PRECISIONS:
            raise HarnessError(f"Precision '{precision}' is not known.{did_you_mean(precision, PRECISIONS)}")
    found = []
    for card in cards:
        if not precisions or card.quantization or calibration.stands_for_itself(card):
            found.append(Candidate(card.name, card, "f32"))
            continue
        for precision in precisions:
            name, quantize = f"{card.name}-{precision}", precision == "int8"
            found.append(Candidate(name, card, "f32" if quantize else precision, quantize))
    for endpoint in endpoints if cards else ():
        name = _NOT_PLAIN.sub("-", f"{cards[0].name}-{endpoint.scheme}-{endpoint.target}")
        found.append(Candidate(name, cards[0], "f32", endpoint=endpoint))
    names = [candidate.name for candidate in found]
    for name in names:
        if names.count(name) > 1:
            raise HarnessError(
                f"Two variants are called '{name}': give each model and precision once, or change the name "
                f"on one of the cards."
            )
    if len(found) < 2:
        raise HarnessError(
            "A comparison needs at least two variants: give --model twice, or --precision f32,int8, or an "
            "--endpoint of the model."
        )
    _require_one_task(cards)
    return found


def quantized(
    candidate: Candidate,
    images: Store,
    scored: Store,
    folder: Path,
    settings: calibration.CalibrationSettings = calibration.USUAL,
) -> tuple[Card, str]:
    """Return the INT8 twin's card, and say how it was made.

    It is made now, unless `folder` holds the twin of this very model, calibrated on the same images by the
    same versions of the libraries.

    Args:
        candidate: a model that is not quantized.
        images: the store to calibrate on.
        scored: the store that the accuracy is measured on.
        folder: takes the model.
        settings: how to quantize; other than the usual ones are in the twin's name.

    Raises:
        HarnessError: the model cannot be quantized, or the store lacks its recipe.
    """
    card = candidate.card
    target = folder / f"{settings.twin_of(card.name)}.xml"
    samples = min(_SPEED_ONLY_SAMPLES, images.count) if card.speed_only else None
    if settings.max_drop is not None:
        # The others tell the drop.
        samples = min(calibration_list.DEFAULT_SAMPLES, max(1, images.count // 2))
    indices = calibration_list.choose(images, samples, None)
    words = _calibration_words(card, images, scored, indices)
    card_path = target.with_suffix(".toml")
    if card_path.exists():
        made = read_card(card_path)
        if _is_twin(made, card, images, indices, settings):
            note(f"{target} is up to date.")
            # The target is the one that the card has by now.
            return replace(made, accuracy=card.accuracy), words
    for path in folder.glob(f"{target.stem}.*"):
        path.unlink()
    made, _ = calibration.quantize(card, images, indices, settings, target)
    return made, words


def _is_twin(
    made: Card,
    card: Card,
    images: Store,
    indices: Sequence[int],
    settings: calibration.CalibrationSettings,
) -> bool:
    facts = made.quantization
    try:
        record = files.read_json(made.folder / facts["record"])
        names = [images.names[index] for index in indices]
        return bool(
            facts["original_sha256"] == model_file.sha256(card)
            and made.input == card.input
            and made.output in (card.output, card.output.only_one)
            and record["list"]["names"] == names
            and "replaced_quantizers" in record
            and settings.made(record)
            and record["versions"] == calibration.versions()
            and record["data"]["pixels_sha256"] == images.sha256(card.input.recipe)
            and model_file.files(made)
        )
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return False


def _calibration_words(card: Card, images: Store, scored: Store, indices: Sequence[int]) -> str:
    what = f"INT8 by NNCF, calibrated on {len(indices)} images of {images.path.name}"
    if card.speed_only:
        return what
    shared = _shared(card, images, scored, indices)
    if shared:
        return f"{what}, of which {shared} are scored too, which may flatter its accuracy"
    return f"{what}, none of them scored"


def _shared(card: Card, images: Store, scored: Store, indices: Sequence[int]) -> int:
    """Return how many calibration images the accuracy is measured on too: same name, same pixels."""
    places = {name: index for index, name in enumerate(scored.names)}
    recipe = card.input.recipe
    ours, theirs = images.samples(recipe), scored.samples(recipe)
    pairs = [(index, places[images.names[index]]) for index in indices if images.names[index] in places]
    return sum(np.array_equal(ours[index], theirs[place]) for index, place in pairs)


def _require_one_task(cards: Sequence[Card]) -> None:
    first = cards[0]
    for card in cards[1:]:
        if card.benchmark != first.benchmark:
            raise HarnessError(
                f"Model '{first.name}' is of the benchmark '{first.benchmark}' and '{card.name}' of "
                f"'{card.benchmark}': compare models of one rule set."
            )
        task_of(first).require_comparable(first, card)
