"""Known answers: what a system under test must say to a few stored samples, before a test and after it.

OpenVINO now and then compiles a model so that it answers wrongly in some streams (harness.backend.folding).
A model that is compiled for one stream never did: its answers are known to be right. They are asked of the
requests that LoadGen will use, in the threads that will use them, since each thread has a stream of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.backend.answers import End
from harness.backend.graph import last_line
from harness.errors import RunFailed
from harness.loadgen.qsl import Pixels
from harness.loadgen.sut import Sut

COMPILATIONS = 4
"""The first, and at most three more where it answered wrongly."""

_SAMPLES = 2
"""Two, as all their scores count; each costs an inference in every request, before the test and after it."""

Reference = Callable[[list[int], int], list[Any]]
"""What one stream answers to samples, by index, computed in batches of a size."""


class KnownAnswers:
    """A few samples and what one stream answers to them."""

    def __init__(
        self, end: End, indices: list[int], copy: Callable[[list[int]], Pixels], reference: Reference
    ) -> None:
        """Compute the known answers.

        Args:
            end: says when two answers agree.
            indices: of the samples.
            copy: returns samples, u8 [count, height, width, 3].
            reference: computes what is known; with batches of 1 first, with others where they matter.
        """
        self._end = end
        self._reference = reference
        self._indices = indices
        self._pixels = copy(indices)
        self._known = {1: reference(indices, 1)}

    @property
    def samples(self) -> int:
        return len(self._indices)

    def wrong(self, sut: Sut) -> int:
        """Ask every request of a system under test, and return how many of them answered wrongly.

        Answers that do not agree with those of a batch of 1 are held against one stream with the same batch,
        whose kernels may round otherwise.

        Raises:
            RunFailed: an inference failed.
        """
        try:
            given = sut.answers_to(self._pixels)
        except RuntimeError as error:
            raise RunFailed(
                f"Inference failed on one of the samples {self._indices}: {last_line(error)}"
            ) from error
        split = self._end.split
        return sum(
            not self._are_right([answer for outputs in found for answer in split(outputs)], batch)
            for batch, found in given
        )

    def _are_right(self, answers: Sequence[Any], batch: int) -> bool:
        if self._agree(answers, 1):
            return True
        if batch not in self._known:
            self._known[batch] = self._reference(self._indices, batch)
        return self._agree(answers, batch)

    def _agree(self, answers: Sequence[Any], batch: int) -> bool:
        known = self._known[batch]
        return all(self._end.agree(known[place % len(known)], answer) for place, answer in enumerate(answers))


def spread(count: int) -> list[int]:
    """Return the indices of a few samples from all over a store of `count`."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, _SAMPLES))]
