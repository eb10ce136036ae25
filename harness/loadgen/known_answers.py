"""Known answers: what a system under test must say to a few stored samples, before a test and after it.

OpenVINO now and then compiles a model so that it answers wrongly in some streams (harness.backend.folding).
A model that is compiled for one stream never did: its answers are known to be right. They are asked of the
requests that LoadGen will use, in the threads that will use them, since each thread has a stream of its own.

Only labels are compared, as only labels leave the system; where the best score leads clearly, another label
is no matter of rounding. A task whose answers are scores brings an `Expected` of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.backend.graph import first_line
from harness.errors import RunFailed
from harness.loadgen.qsl import Pixels
from harness.loadgen.sut import Sut

COMPILATIONS = 4
"""The first, and at most three more where it answered wrongly."""

_CANDIDATES = 4
_SAMPLES = 3
_CLEAR = 0.01
"""Lead of the best score, as a share of the scores' spread from lowest to highest, from which a label counts.

Rounding to BF16 changes a value by 2^-8 of it at most. Between one stream and two at the same batch, nothing
differed in 48 images (MobileNet V2 in f32, INT8, and TensorFlow Lite's own quantization).
"""


@dataclass(frozen=True)
class Expected:
    """What one stream answers to the samples."""

    labels: npt.NDArray[np.float32]
    """f32 [samples]."""
    is_clear: npt.NDArray[np.bool_]
    """[samples]: whether the best score leads by so much that no other order of sums can turn it."""


Reference = Callable[[list[int], int], Expected]
"""What one stream answers to samples, by index, computed in batches of a size."""


class KnownAnswers:
    """A few samples and what one stream answers to them."""

    def __init__(
        self, candidates: list[int], copy: Callable[[list[int]], Pixels], reference: Reference
    ) -> None:
        """Of the candidates, choose the samples whose labels are clear and, if possible, differ.

        Args:
            candidates: indices of samples.
            copy: returns samples, u8 [count, height, width, 3].
            reference: computes the known answers; with batches of 1 first, with others where they matter.
        """
        self._reference = reference
        first = reference(candidates, 1)
        order = _clearest(first)
        self._indices = [candidates[place] for place in order]
        self._pixels = copy(self._indices)
        self._expected = {1: Expected(first.labels[order], first.is_clear[order])}

    @property
    def samples(self) -> int:
        return len(self._indices)

    def wrong(self, sut: Sut) -> int:
        """Ask every request of a system under test, and return how many of them answered wrongly.

        A label that differs from that of a batch of 1 is held against one stream with the same batch, whose
        kernels may round otherwise. It is wrong if that one's label is another, and clear.

        Raises:
            RunFailed: an inference failed.
        """
        try:
            answers = sut.answers_to(self._pixels)
        except RuntimeError as error:
            raise RunFailed(
                f"Inference failed on one of the samples {self._indices}: {first_line(error)}"
            ) from error
        return sum(self._is_wrong(labels, batch) for batch, labels in answers)

    def _is_wrong(self, labels: npt.NDArray[np.float32], batch: int) -> bool:
        samples = np.arange(len(labels)) % self.samples
        if np.array_equal(labels, self._expected[1].labels[samples]):
            return False
        if batch not in self._expected:
            self._expected[batch] = self._reference(self._indices, batch)
        expected = self._expected[batch]
        differ = labels != expected.labels[samples]
        return bool(np.any(differ & expected.is_clear[samples]))


def candidates(count: int) -> list[int]:
    """Return the indices of samples to choose from, spread over a store of `count`."""
    places = np.linspace(0, count - 1, min(count, _CANDIDATES))
    return [int(place) for place in places]


def expected_of(scores: npt.NDArray[Any], label_offset: int, *, are_labels: bool) -> Expected:
    """Return the labels of outputs, [samples, classes], or [samples, 1] where they are labels."""
    if are_labels:
        labels = scores[:, 0].astype(np.float32) + np.float32(label_offset)
        return Expected(labels, ~np.isnan(labels))
    labels = (scores.argmax(axis=1) + label_offset).astype(np.float32)
    ordered = np.sort(scores.astype(np.float64), axis=1)
    lead, spread = ordered[:, -1] - ordered[:, max(-2, -ordered.shape[1])], ordered[:, -1] - ordered[:, 0]
    return Expected(labels, (lead > _CLEAR * spread) & (spread > 0))


def _clearest(expected: Expected) -> list[int]:
    """Return the places of the samples to ask: clear ones, and of each label one, before any others."""
    seen: set[float] = set()
    ranks = []
    for place, (label, is_clear) in enumerate(zip(expected.labels.tolist(), expected.is_clear, strict=True)):
        ranks.append((not is_clear, label in seen, place))
        seen.add(label)
    return [place for *_, place in sorted(ranks)[:_SAMPLES]]
