"""Lanes that answer with boxes: as many as were found, none included."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy.typing as npt

from harness.backend.detections import COUNTS, ROWS, TOTALS, Writer
from harness.backend.graph import Compiled
from harness.loadgen.sut.lane import Lane, MakeSlot, NotANumber


class BoxLane(Lane):
    """Answers with what a writer makes of the rows that the model has found."""

    def __init__(
        self, writer: Writer, compiled: Compiled, make_slot: MakeSlot, sample_shape: tuple[int, ...]
    ) -> None:
        super().__init__(compiled, sample_shape)
        self._writer = writer
        self._slots = [make_slot(writer.address(place), 0) for place in range(compiled.batch)]
        self._warm_up()

    @property
    def outputs(self) -> list[npt.NDArray[Any]]:
        return [found.copy() for found in self._found()]

    def answers(self, ids: Sequence[int], indices: Sequence[int]) -> list[Any]:
        rows, counts, totals = self._found()
        start = 0
        for place, (identity, index) in enumerate(zip(ids, indices, strict=True)):
            if isnan(totals[place]):
                raise NotANumber(place)
            end = start + int(counts[place])
            slot = self._slots[place]
            slot.id, slot.size = identity, self._writer.write(place, rows[start:end], index).nbytes
            start = end
        return self._slots[: len(ids)]

    def _found(self) -> list[npt.NDArray[Any]]:
        """Return the outputs as they lie in OpenVINO's memory until the next inference."""
        return [self._request.get_output_tensor(place).data for place in (ROWS, COUNTS, TOTALS)]
