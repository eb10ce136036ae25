"""SingleStream and MultiStream: one query at a time, served from LoadGen's own thread."""

from typing import Any

from harness.loadgen.qsl import Pixels
from harness.loadgen.sut.lane import Outputs, Sut, windows

_NOT_LOADED = "LoadGen has not loaded it"


class SingleStreamSut(Sut):
    """One sample at a time, computed in LoadGen's thread: a hand-over costs more than a small model."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lane_of_thread = self._lane()
        self._tensor_of: dict[int, Any] = {}
        self._completed = 0

    @property
    def completed(self) -> int:
        return self._completed

    def samples_loaded(self) -> None:
        tensors = windows(self._qsl.block, 1)
        self._tensor_of = {
            index: tensors[row]
            for index, row in enumerate(self._qsl.positions(range(self._qsl.count)))
            if row >= 0
        }

    def issue(self, ids: list[int], indices: list[int]) -> None:
        lane = self._lane_of_thread
        try:
            lane.infer(self._tensor_of[indices[0]])
            answers = lane.answers(ids, indices)
        except Exception as error:
            self._failed(indices, error)
            return
        self._complete(answers)
        self._completed += 1


class MultiStreamSut(Sut):
    """A few samples at a time: one inference of them all in LoadGen's thread, or parts over the streams.

    The batch decides. One batch of the whole query makes every core work on every layer; parts need no
    such lockstep, which wins wherever a core may be held up (benchmarks: the probe measures both).
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lane()
        self._grow(self._samples_per_query)
        self._windows: list[Any] = []
        self._completed = 0

    @property
    def completed(self) -> int:
        return self._completed

    def samples_loaded(self) -> None:
        self._windows = windows(self._qsl.block, self._compiled.batch)

    def answers_to(self, pixels: Pixels) -> list[Outputs]:
        if len(self.lanes) == 1:
            return super().answers_to(pixels)
        found: list[list[Any]] = [[] for _ in self.lanes]
        for part in range(self.lanes[0].parts(pixels)):
            for lane in self.lanes:
                lane.start(lane.part(pixels, part))
            for lane, outputs in zip(self.lanes, found, strict=True):
                lane.wait()
                outputs.append(lane.outputs)
        return [(self._compiled.batch, outputs) for outputs in found]

    def issue(self, ids: list[int], indices: list[int]) -> None:
        count, batch = len(ids), self._compiled.batch
        if count > batch * len(self.lanes):
            self._grow(count)
        first = self._qsl.window(indices)
        rows = None if first is not None and count % batch == 0 else self._qsl.positions(indices)
        if rows is not None and rows.min() < 0:
            self._fail(indices[int(rows.argmin())], LookupError(_NOT_LOADED))
            return
        parts = [
            (lane, start, min(start + batch, count))
            for lane, start in zip(self.lanes, range(0, count, batch), strict=False)
        ]
        start = 0
        try:
            for lane, start, end in parts:
                if first is not None and end - start == batch:
                    tensor = self._windows[first + start]
                else:
                    assert rows is not None
                    tensor = lane.gather(self._qsl.block, rows[start:end])
                if len(parts) == 1:
                    lane.infer(tensor)
                else:
                    lane.start(tensor)
            for lane, start, end in parts:
                if len(parts) > 1:
                    lane.wait()
                answers = lane.answers(ids[start:end], indices[start:end])
                # Counted first: the last answer lets LoadGen go on.
                self._completed += end - start
                self._complete(answers)
        except Exception as error:
            self._failed(indices[start:], error)

    def _grow(self, samples: int) -> None:
        while self._compiled.batch * len(self.lanes) < samples:
            self._lane()
