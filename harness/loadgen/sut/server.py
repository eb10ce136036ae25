"""Server: samples arrive one by one at random, wait in a queue, and leave it in batches of changing size."""

import threading
from queue import Empty, SimpleQueue
from typing import Any

from harness.loadgen.qsl import Pixels
from harness.loadgen.sut.lane import Lane, Outputs, Question, Sut, windows


class ServerSut(Sut):
    """One thread per stream; a free one takes its share of what waits, and never waits for more.

    A share is what waits divided by the free threads, at most the largest batch. There is one compiled model
    per batch size, so that a sample that comes alone is not computed with padding; waiting for a batch to
    fill would cost a deadline of milliseconds more than a CPU gains by the batch.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._waiting: SimpleQueue[tuple[int, int] | Question | None] = SimpleQueue()
        self._windows: list[Any] = []
        self._issued = 0
        streams = self._compiled.streams
        self._free = [False] * streams
        self._counts = [0] * streams
        ladders = [[self._lane(compiled) for compiled in self._ladder] for _ in range(streams)]
        self._threads = [
            threading.Thread(target=self._serve, args=(number, ladder), daemon=True)
            for number, ladder in enumerate(ladders)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def completed(self) -> int:
        return sum(self._counts)

    @property
    def idle(self) -> bool:
        return self.completed == self._issued

    def samples_loaded(self) -> None:
        self._windows = windows(self._qsl.block, 1)

    def issue(self, ids: list[int], indices: list[int]) -> None:
        self._issued += len(ids)
        for waiting in zip(ids, indices, strict=True):
            self._waiting.put(waiting)

    def answers_to(self, pixels: Pixels) -> list[Outputs]:
        """Let every lane compute all samples; no query may be under way."""
        question = Question(pixels, len(self._threads))
        for _ in self._threads:
            self._waiting.put(question)
        return question.answers()

    def close(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int, ladder: list[Lane]) -> None:
        while True:
            self._free[number] = True
            first = self._waiting.get()
            self._free[number] = False
            if first is None:
                return
            if isinstance(first, Question):
                first.answer(ladder)
                continue
            lane, taken = self._take(first, ladder)
            indices = [index for _, index in taken]
            rows = self._qsl.positions(indices)
            if rows.min() < 0:
                self._fail(indices[int(rows.argmin())], LookupError("LoadGen has not loaded it"))
                return
            try:
                lane.infer(
                    self._windows[int(rows[0])] if lane.batch == 1 else lane.gather(self._qsl.block, rows)
                )
                answers = lane.answers([identity for identity, _ in taken], indices)
            except Exception as error:
                self._failed(indices, error)
                return
            self._complete(answers)
            self._counts[number] += len(taken)

    def _take(self, first: tuple[int, int], ladder: list[Lane]) -> tuple[Lane, list[tuple[int, int]]]:
        """Return the largest lane that this thread's share of the queue fills, and the samples for it."""
        waiting = 1 + self._waiting.qsize()
        share = -(-waiting // (1 + sum(self._free)))
        lane = next((lane for lane in reversed(ladder) if lane.batch <= share), ladder[0])
        taken = [first]
        while len(taken) < lane.batch:
            try:
                more = self._waiting.get_nowait()
            except Empty:
                # Another thread was faster.
                break
            if more is None or isinstance(more, Question):
                self._waiting.put(more)
                break
            taken.append(more)
        return next(lane for lane in ladder if lane.batch >= len(taken)), taken
