"""Offline: all samples in one query, shared out in batches to one thread per stream."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.loadgen.qsl import Pixels
from harness.loadgen.sut.lane import Lane, Outputs, Question, Sut, windows


@dataclass(frozen=True)
class _Query:
    """One Offline query, cut into batches that the threads take in turn."""

    ids: list[int]
    indices: list[int]
    rows: npt.NDArray[np.int64]
    """Row of the resident block that holds each sample."""
    windows: list[Any]
    """Tensors over `batch` neighbouring rows of the block, by first row."""
    batches: Iterator[tuple[int, int, bool]]
    """First sample, end, and whether the rows between are neighbours in order."""


class OfflineSut(Sut):
    """Keeps every stream busy until the query is done, and answers as results arrive."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._work: SimpleQueue[_Query | Question | None] = SimpleQueue()
        # A batch starts anywhere in the load order when its size does not divide the order's length.
        self._windows: list[Any] = []
        lanes = [self._lane() for _ in range(self._compiled.streams)]
        self._counts = [0] * len(lanes)
        self._threads = [
            threading.Thread(target=self._serve, args=(number, lane), daemon=True)
            for number, lane in enumerate(lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def completed(self) -> int:
        return sum(self._counts)

    def samples_loaded(self) -> None:
        self._windows = windows(self._qsl.block, self._compiled.batch)

    def issue(self, ids: list[int], indices: list[int]) -> None:
        rows = self._qsl.positions(indices)
        if rows.min() < 0:
            self._fail(indices[int(rows.argmin())], LookupError("LoadGen has not loaded it"))
            return
        batches = iter(cut(rows, self._compiled.batch))
        query = _Query(ids, indices, rows, self._windows, batches)
        for _ in self._threads:
            self._work.put(query)

    def answers_to(self, pixels: Pixels) -> list[Outputs]:
        question = Question(pixels, len(self._threads))
        for _ in self._threads:
            self._work.put(question)
        return question.answers()

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int, lane: Lane) -> None:
        while (query := self._work.get()) is not None:
            if isinstance(query, Question):
                query.answer([lane])
                continue
            for start, end, neighbours in query.batches:
                try:
                    lane.infer(
                        query.windows[int(query.rows[start])]
                        if neighbours
                        else lane.gather(self._qsl.block, query.rows[start:end])
                    )
                    answers = lane.answers(query.ids[start:end], query.indices[start:end])
                except Exception as error:
                    self._failed(query.indices[start:end], error)
                    return
                self._complete(answers)
                self._counts[number] += end - start


def cut(rows: npt.NDArray[np.int64], batch: int) -> list[tuple[int, int, bool]]:
    """Cut a query into (start, end, whether a full batch of neighbouring rows in order)."""
    starts = np.arange(0, len(rows), batch)
    ends = np.minimum(starts + batch, len(rows))
    in_order = np.concatenate(([0], np.cumsum(np.diff(rows) == 1)))
    neighbours = in_order[ends - 1] - in_order[starts] == batch - 1
    return list(zip(starts.tolist(), ends.tolist(), neighbours.tolist(), strict=True))
