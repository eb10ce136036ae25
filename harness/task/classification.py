"""The accuracy of a run, from its accuracy log alone, and whether it suffices."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.mlperf import log

_RESPONSE = np.dtype("<f4")
_SHOWN = 5


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy."""

    good: int
    total: int

    @property
    def fraction(self) -> float:
        return self.good / self.total

    @property
    def text(self) -> str:
        """The line that MLPerf's accuracy-imagenet.py prints."""
        return f"accuracy={100.0 * self.good / self.total:.3f}%, good={self.good}, total={self.total}"


@dataclass(frozen=True)
class Verdict:
    """Whether a score reaches its target; `target` and `margin` are fractions."""

    passed: bool
    target: float
    margin: float
    """Score less target; negative when the target is missed."""
    text: str


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
    return Score(int(np.count_nonzero(answers(log_path, expected_count) == labels)), expected_count)


def answers(log_path: Path, expected_count: int) -> NDArray[np.int64]:
    """Return the label that mlperf_log_accuracy.json gives each sample, in the order of the QSL.

    The response is the class as float32, its first element; of several entries with the same
    index the first counts, as in MLPerf's accuracy-imagenet.py.

    Raises:
        RunFailed: the log is unreadable or empty, lacks samples, or has entries that are not answers.
    """
    entries = log.read_accuracy(log_path)
    if not entries:
        raise log.LogFault(f"The accuracy log {log_path} has no entry")
    first: dict[int, bytes] = {}
    for _, index, data in entries:
        first.setdefault(index, data)
    unknown = [index for index in first if not 0 <= index < expected_count]
    missing = [index for index in range(expected_count) if index not in first]
    classes = {index: _class_of(data) for index, data in first.items()}
    broken = [index for index, answer in classes.items() if answer is None]
    faults = [
        _count(missing, "sample without an answer", "samples without an answer"),
        _count(unknown, "answer to an unknown sample", "answers to unknown samples"),
        _count(broken, "answer that is no float32 class", "answers that are no float32 class"),
    ]
    if any(faults):
        raise log.LogFault(
            f"The accuracy log {log_path} of {expected_count} samples has {'; '.join(filter(None, faults))}"
        )
    return np.array([classes[index] for index in range(expected_count)], np.int64)


def verdict(score: Score, reference: float, target_fraction: float) -> Verdict:
    """Hold a score against `target_fraction` of the `reference` accuracy (both fractions), exactly.

    The floats count as the decimal numbers that they were written as, so that 37848 of 50000 passes
    0.99 x 0.7646 and 37847 fails.
    """
    wanted, share = Decimal(repr(float(reference))), Decimal(repr(float(target_fraction)))
    target = Fraction(wanted) * Fraction(share)
    reached = Fraction(score.good, score.total)
    margin = reached - target
    passed = margin >= 0
    points = float(100 * margin)
    shown = f"{points:+.3f}" if points == 0 or abs(points) >= 0.0005 else f"{points:+.1g}"
    rule = f"{_per_cent(wanted * share)} % ({_per_cent(share)} % of {_per_cent(wanted)} %)"
    text = (
        f"{'passed' if passed else 'failed'}: {100 * float(reached):.3f} % against the target {rule}, "
        f"margin {shown} points"
    )
    return Verdict(passed, float(target), float(margin), text)


def _class_of(data: bytes) -> int | None:
    if len(data) < _RESPONSE.itemsize:
        return None
    answer = float(np.frombuffer(data, _RESPONSE, count=1)[0])
    return int(answer) if answer.is_integer() else None


def _count(indices: Iterable[int], one: str, many: str) -> str:
    found = sorted(indices)
    if not found:
        return ""
    first = ", ".join(map(str, found[:_SHOWN]))
    more = ", ..." if len(found) > _SHOWN else ""
    return f"{len(found)} {one if len(found) == 1 else many} (index {first}{more})"


def _per_cent(fraction: Decimal) -> str:
    return f"{(100 * fraction).normalize():f}"


def is_far_off(reached: float, target: float) -> bool:
    """Return whether an accuracy is so far below its target that it is no matter of the model's quality."""
    return reached < target / 2


def of_accuracy(good: int, total: int, target: float, quantized: bool) -> str:
    """Return by how much a top-1 target is missed, and what to change.

    Args:
        good: images that were right.
        total: images.
        target: what is wanted of them, as a fraction.
        quantized: whether the model was quantized here.
    """
    reached, missing = good / total, math.ceil(target * total - good)
    start = (
        f"Top-1 is {100 * reached:.3f} % where {100 * target:.3f} % are wanted: {missing} more of {total} "
        f"images would have to be right"
    )
    if is_far_off(reached, target):
        return (
            f"{start}, so far off that the pixels or labels are likely not the model's: check input."
            f"channels, mean, scale, resize and output.label_offset of the card, and the store's labels."
        )
    if quantized:
        return (
            f"{start}: quantize again with more calibration images or with --max-drop below what is "
            f"lost now, or lower accuracy.target_fraction of the card if that loss is acceptable."
        )
    return (
        f"{start}: check the recipe that the images were prepared with, or correct accuracy.reference and "
        f"target_fraction of the card."
    )
