"""Detection: an answer is any number of boxes, and what counts is mean average precision (COCO's mAP)."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.dataset.form import Form
from harness.errors import DataError, HarnessError, RunFailed
from harness.task import average_precision, boxes, logged, scoring
from harness.task.average_precision import CATEGORY, COLUMNS, SCORE, Truth
from harness.task.scoring import PairedBoxes, Stated, Verdict, hold

if TYPE_CHECKING:
    from harness.dataset.store import Store

is_far_off = scoring.is_far_off

METRIC = "map"
FORM = Form.BOXES

ANSWER = np.dtype("<f4")
"""A number of an answer as MLPerf's accuracy-coco.py reads it."""
ROW_BYTES = len(COLUMNS) * ANSWER.itemsize
"""Of one box."""

LINE = "mAP=...%"
"""What the line looks like that MLPerf's accuracy-coco.py prints."""
_LINE = re.compile(r"mAP=(\d+\.\d+)%\s*")
# ACC_PATTERN["mAP"] of the checkers: whatever they take for a score, in any line.
_TAKEN_FOR_SCORE = re.compile(r".*(?:mAP=|'Total':)\s*[\d.]+")

_SAME_BOX = 0.5
"""Intersection over union from which two boxes show the same thing."""
_SAME_ANSWER = 0.9
"""Agreement from which two answers say the same; rounding moves a few boxes over a threshold."""


class Detector(Protocol):
    """What is read of a card."""

    @property
    def name(self) -> str: ...

    @property
    def detector(self) -> "Finds": ...


class Finds(Protocol):
    """What is read of a card's output."""

    @property
    def categories(self) -> tuple[int, ...]:
        """The category id of each class."""

    @property
    def max_detections(self) -> int: ...


@dataclass(frozen=True)
class Score:
    """Mean average precision."""

    fraction: float
    """Over the overlaps 0.5 to 0.95."""
    map50: float | None
    """At the overlap 0.5; None where only the line of a script is known."""
    total: int | None

    @property
    def counts(self) -> dict[str, Any]:
        return {} if self.map50 is None else {"total": self.total, "map50": self.map50}

    @property
    def text(self) -> str:
        """The line that MLPerf's accuracy-coco.py prints."""
        return f"mAP={100.0 * self.fraction:.3f}%"


def answer_bytes(card: Detector) -> int:
    """Return how long an answer is at most that LoadGen logs."""
    return ROW_BYTES * card.detector.max_detections


def truth(store: "Store") -> Truth:
    """Return the boxes in each sample's image."""
    return Truth(store.boxes.document, store.image_ids)


def require_fit(card: Detector, store: "Store") -> None:
    """Hold the categories of a store's boxes against those that a card's model finds.

    Raises:
        DataError: the store has labels, or a box that the model cannot find.
    """
    store.boxes.require_classes(card.detector.categories, card.name)


def require_comparable(first: Detector, other: Detector) -> None:
    """Hold two cards against each other, whose models are to be compared.

    Raises:
        HarnessError: they find other categories.
    """
    if set(other.detector.categories) != set(first.detector.categories):
        raise HarnessError(
            f"Model '{first.name}' finds {len(first.detector.categories)} categories and '{other.name}' "
            f"{len(other.detector.categories)} other ones: compare models of one task."
        )


def answers(log_path: Path, expected_count: int) -> list[NDArray[np.float32]]:
    """Return the boxes that mlperf_log_accuracy.json gives each sample, f32 [found, 7], in QSL order.

    The official script scores only the samples that are in the log, so that one with a part of them flatters;
    here each must be there.

    Raises:
        RunFailed: the log is unreadable or empty, lacks samples, or has entries that are not answers.
    """
    return logged.answers(log_path, expected_count, _boxes_of)


def score(log_path: Path, truth: Truth, expected_count: int) -> Score:
    """Score mlperf_log_accuracy.json against the boxes, whose images are in the order of the QSL.

    Raises:
        DataError: the boxes are not of `expected_count` images.
        RunFailed: as `answers`, or a box is of a category that the annotations do not know.
    """
    if len(truth) != expected_count:
        raise DataError(
            f"The boxes of {len(truth)} images do not fit the {expected_count} samples of the run: "
            f"use the store that the run was made with."
        )
    return _score(_known(answers(log_path, expected_count), truth, log_path), truth)


def score_some(log_path: Path, truth: Truth, only: Collection[int]) -> Score | None:
    """Return the score of the samples `only` that an accuracy log answers, or None when it answers none."""
    found = logged.some_answers(log_path, set(only) & set(range(len(truth))), _boxes_of)
    if not found:
        return None
    some = truth[list(found)]
    return _score(_known(list(found.values()), some, log_path), some)


def is_same(one: bytes, other: bytes) -> bool:
    """Return whether two logged answers show the same boxes.

    MLPerf's TEST01 looks at the first number, the index, and whether there is one; here the boxes count.
    """
    if not one or not other:
        return one == other
    try:
        found = [_numbers(data) for data in (one, other)]
    except logged.NoAnswer:
        return False
    same_index = bool(found[0][0, 0] == found[1][0, 0])
    return same_index and (one == other or agreement(*found) >= _SAME_ANSWER)


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the share of the boxes of two answers that have a partner in the other; 1 where there is none.

    Partners are of one category and overlap by half of what they cover together.
    """
    if not len(one) + len(other):
        return 1.0
    found = (boxes.Boxes(answer[:, CATEGORY], answer[:, SCORE], answer[:, 1:5]) for answer in (one, other))
    matched = np.concatenate(boxes.are_same(*found, overlap=_SAME_BOX))
    return float(np.mean(matched))


def rates(answers: Sequence[NDArray[np.float32]], truth: Truth) -> tuple[float, list[float]]:
    """Return mAP of the answers to some samples, and that of each sample alone, from 0 to 1."""
    overall = average_precision.means(average_precision.evaluate(answers, truth))[0]
    each = [
        average_precision.means(average_precision.evaluate([answer], truth[[place]]))[0]
        for place, answer in enumerate(answers)
    ]
    return overall, each


def compare(
    first: Sequence[NDArray[np.float32]], second: Sequence[NDArray[np.float32]], truth: Truth
) -> PairedBoxes:
    """Compare two variants' answers to the same images, all in the order of the store."""
    agreements = np.array([agreement(one, other) for one, other in zip(first, second, strict=True)])
    found = average_precision.difference(
        *(average_precision.evaluate(answers, truth) for answers in (first, second))
    )
    return PairedBoxes(
        count=len(truth),
        changed=int(np.sum(agreements < _SAME_ANSWER)),
        agreement=float(agreements.mean()),
        difference=found.difference,
        low=found.low,
        high=found.high,
    )


def score_lines(text: str) -> list[str]:
    """Return the different lines that the checkers take for a score; others stand around it."""
    return scoring.lines_like(_TAKEN_FOR_SCORE, text)


def read_line(line: str) -> Stated | None:
    """Return what a line of MLPerf's script states; None where it is another line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    percentage = float(found[1])
    fault = "" if percentage <= 100 else f"says {found[1]} %, more than all"
    return Stated(Score(float(Decimal(found[1]) / 100), None, None), percentage, fault)


def verdict(score: Score, reference: float, target_fraction: float) -> Verdict:
    """Hold a score against `target_fraction` of the `reference` (both fractions), by the digits in its line.

    MLPerf's checkers read the line, which has three decimals of per cent.
    """
    printed = Fraction(Decimal(f"{100.0 * score.fraction:.3f}")) / 100
    return hold(printed, reference, target_fraction)


def advice(score: Score, target: float, quantized: bool) -> str:
    """Return by how much a target of mAP is missed, and what to change.

    Args:
        score: of all images.
        target: what is wanted of them, as a fraction.
        quantized: whether the model was quantized here.
    """
    start = f"mAP is {100 * score.fraction:.3f} % where {100 * target:.3f} % are wanted"
    if is_far_off(score.fraction, target):
        return (
            f"{start}, so far off that the pixels or boxes are likely not the model's: check input.channels, "
            f"mean, scale, fit and place, and output.decoder and class_map of the card."
        )
    if quantized:
        return f"{start}: {scoring.QUANTIZE_AGAIN}"
    return (
        f"{start}: check input.fit and output.score_threshold of the card, or correct accuracy.reference and "
        f"target_fraction of the card."
    )


def _score(found: Sequence[NDArray[np.float32]], truth: Truth) -> Score:
    overall, at_half = average_precision.means(average_precision.evaluate(found, truth))
    return Score(overall, at_half, len(truth))


def _known(
    found: Sequence[NDArray[np.float32]], truth: Truth, log_path: Path
) -> Sequence[NDArray[np.float32]]:
    """Return the answers, or raise RunFailed where a box is of no category of the annotations."""
    named = {float(one) for answer in found for one in answer[:, CATEGORY]}
    if unknown := sorted(named - truth.categories):
        raise RunFailed(
            f"The accuracy log {log_path} has boxes of the unknown category {unknown[0]:g}: correct "
            "output.class_map of the card, or prepare a store from annotations that list this category, too."
        )
    return found


def _boxes_of(index: int, data: bytes) -> NDArray[np.float32]:
    """Return the boxes of one entry of the log, f32 [found, 7].

    Raises:
        NoAnswer: it is no answer to the sample.
    """
    found = _numbers(data)
    if not np.isfinite(found).all():
        raise logged.NoAnswer(
            "answer with a number that is not finite", "answers with numbers that are not finite"
        )
    if (found[:, 0] != index).any():
        raise logged.NoAnswer("answer that names another sample", "answers that name other samples")
    if (found[:, 3:5] < found[:, 1:3]).any():
        raise logged.NoAnswer("answer with a box upside down", "answers with boxes upside down")
    return found


def _numbers(data: bytes) -> NDArray[np.float32]:
    if len(data) % ROW_BYTES:
        raise logged.NoAnswer(
            f"answer that is not made of {len(COLUMNS)} float32 a box",
            f"answers that are not made of {len(COLUMNS)} float32 a box",
        )
    return np.frombuffer(data, ANSWER).reshape(-1, len(COLUMNS))
