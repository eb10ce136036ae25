"""Classification: an answer is one label, and what counts is the share of right ones (top-1)."""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.dataset.form import Form
from harness.errors import DataError, HarnessError
from harness.task import logged, scoring
from harness.task.scoring import PairedAnswers, Stated, Verdict, hold, mcnemar

if TYPE_CHECKING:
    from harness.dataset.store import Store

is_far_off = scoring.is_far_off

METRIC = "top1"
FORM = Form.LABEL

ANSWER = np.dtype("<f4")
"""The label as MLPerf's accuracy-imagenet.py reads it."""
ANSWER_BYTES = ANSWER.itemsize

LINE = "accuracy=...%, good=..., total=..."
"""What the line looks like that MLPerf's accuracy-imagenet.py prints."""
_LINE = re.compile(r"accuracy=(\d+\.\d+)%, good=(\d+), total=(\d+)\s*")
# ACC_PATTERN["acc"] of the checkers: whatever they take for a score, in any line.
_TAKEN_FOR_SCORE = re.compile(r"(?:\{\"accuracy|accuracy)[\": ]*=?\s*[\d.]+")
# Three digits are printed.
_PERCENTAGE_TOLERANCE = 0.00051


class Classifier(Protocol):
    """What is read of a card."""

    @property
    def name(self) -> str: ...

    @property
    def output(self) -> "Labels": ...


class Labels(Protocol):
    """What is read of a card's output."""

    @property
    def labels(self) -> int:
        """Labels are 0 .. labels-1."""


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy."""

    good: int
    total: int

    @property
    def fraction(self) -> float:
        return self.good / self.total

    @property
    def counts(self) -> dict[str, int]:
        return asdict(self)

    @property
    def text(self) -> str:
        """The line that MLPerf's accuracy-imagenet.py prints."""
        return f"accuracy={100.0 * self.good / self.total:.3f}%, good={self.good}, total={self.total}"


def answer_bytes(_: Classifier) -> int:
    """Return how long an answer is that LoadGen logs."""
    return ANSWER_BYTES


def truth(store: "Store") -> NDArray[np.int64]:
    """Return the label of each sample."""
    return store.labels


def require_fit(card: Classifier, store: "Store") -> None:
    """Hold the labels of a store against those that a card's model gives.

    Raises:
        DataError: the store has a label that the model cannot give.
    """
    highest = int(store.labels.max())
    if highest >= card.output.labels:
        raise DataError(
            f"The store {store.path} has the label {highest}, but model '{card.name}' knows "
            f"0 to {card.output.labels - 1}: use a store of its data set."
        )


def require_comparable(first: Classifier, other: Classifier) -> None:
    """Hold two cards against each other, whose models are to be compared.

    Raises:
        HarnessError: they tell other numbers of labels apart.
    """
    if other.output.labels != first.output.labels:
        raise HarnessError(
            f"Model '{first.name}' tells {first.output.labels} labels apart and '{other.name}' "
            f"{other.output.labels}: compare models of one task."
        )


def right(answers: Any, truth: Any) -> Any:
    """Return which answers are right, of arrays or tensors of labels of one kind."""
    return answers == truth


def score(log_path: Path, labels: NDArray[np.integer], expected_count: int) -> Score:
    """Score mlperf_log_accuracy.json against `labels`, which are in the order of the QSL.

    Raises:
        DataError: there is not one label for each of the `expected_count` samples.
        RunFailed: as `answers`.
    """
    if len(labels) != expected_count:
        raise DataError(
            f"{len(labels)} labels do not fit the {expected_count} samples of the run: "
            f"use the store that the run was made with."
        )
    return Score(int(np.count_nonzero(right(answers(log_path, expected_count), labels))), expected_count)


def answers(log_path: Path, expected_count: int) -> NDArray[np.int64]:
    """Return the label that mlperf_log_accuracy.json gives each sample, in the order of the QSL.

    The response is the class as float32, its first element; of several entries with the same
    index the first counts, as in MLPerf's accuracy-imagenet.py.

    Raises:
        RunFailed: the log is unreadable or empty, lacks samples, or has entries that are not answers.
    """
    return np.array(logged.answers(log_path, expected_count, _class_of), np.int64)


def score_some(log_path: Path, labels: NDArray[np.integer], only: Collection[int]) -> Score | None:
    """Return the score of the samples `only` that an accuracy log answers, or None when it answers none."""
    first = logged.first_entries(log_path)
    known = [index for index in set(only) & first.keys() if 0 <= index < len(labels)]
    good = sum(_value(first[index]) == int(labels[index]) for index in known)
    return Score(good, len(known)) if known else None


def is_same(one: bytes, other: bytes) -> bool:
    """Return whether two logged answers begin with the same label; NaN is that of no other answer."""
    return _value(one) == _value(other)


def rates(answers: Iterable[int], truth: Iterable[int]) -> tuple[float, list[float]]:
    """Return the share of right labels, and 1 for each that is right and 0 for each that is wrong."""
    each = [float(right(label, wanted)) for label, wanted in zip(answers, truth, strict=True)]
    return float(np.mean(each)), each


def compare(
    first: NDArray[np.integer], second: NDArray[np.integer], labels: NDArray[np.integer]
) -> PairedAnswers:
    """Compare two variants' answers to the same images, all in the order of the store."""
    first_good, second_good = right(first, labels), right(second, labels)
    lost = int(np.sum(first_good & ~second_good))
    gained = int(np.sum(~first_good & second_good))
    return PairedAnswers(len(labels), int(np.sum(first != second)), lost, gained, mcnemar(lost, gained))


def score_lines(text: str) -> list[str]:
    """Return the different lines that the checkers take for a score; with --verbose others stand around."""
    return scoring.lines_like(_TAKEN_FOR_SCORE, text)


def read_line(line: str) -> Stated | None:
    """Return what a line of MLPerf's script states; None where it is another line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    stated, percentage = Score(int(found[2]), int(found[3])), float(found[1])
    agrees = stated.total > 0 and abs(100 * stated.fraction - percentage) < _PERCENTAGE_TOLERANCE
    fault = "" if agrees else f"says {found[1]} % where {stated.good} of {stated.total} are right"
    return Stated(stated, percentage, fault)


def verdict(score: Score, reference: float, target_fraction: float) -> Verdict:
    """Hold a score against `target_fraction` of the `reference` accuracy (both fractions), exactly.

    The floats count as the decimal numbers that they were written as, so that 37848 of 50000 passes
    0.99 x 0.7646 and 37847 fails.
    """
    return hold(Fraction(score.good, score.total), reference, target_fraction)


def advice(score: Score, target: float, quantized: bool) -> str:
    """Return by how much a top-1 target is missed, and what to change.

    Args:
        score: of all images.
        target: what is wanted of them, as a fraction.
        quantized: whether the model was quantized here.
    """
    reached, missing = score.fraction, math.ceil(target * score.total - score.good)
    start = (
        f"Top-1 is {100 * reached:.3f} % where {100 * target:.3f} % are wanted: {missing} more of "
        f"{score.total} images would have to be right"
    )
    if is_far_off(reached, target):
        return (
            f"{start}, so far off that the pixels or labels are likely not the model's: check input."
            f"channels, mean, scale, resize and output.label_offset of the card, and the store's labels."
        )
    if quantized:
        return f"{start}: {scoring.QUANTIZE_AGAIN}"
    return (
        f"{start}: check the recipe that the images were prepared with, or correct accuracy.reference and "
        f"target_fraction of the card."
    )


def _value(data: bytes) -> float | None:
    """Return the first element of a response, or None when it is empty."""
    return float(np.frombuffer(data, ANSWER, count=1)[0]) if len(data) >= ANSWER_BYTES else None


def _class_of(_: int, data: bytes) -> int:
    answer = _value(data)
    if answer is None or not answer.is_integer():
        raise logged.NoAnswer("answer that is no float32 class", "answers that are no float32 class")
    return int(answer)
