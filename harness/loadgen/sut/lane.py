"""What all systems under test are made of: the contract, and lanes that compute one batch at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import isnan
from queue import SimpleQueue
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from harness.backend.graph import Compiled
from harness.backend.ports import NOT_A_NUMBER
from harness.loadgen.qsl import Pixels, Qsl

MakeSlot = Callable[[int, int], Any]
"""Make a response whose bytes lie at an address and are so many; its `id` is set for each answer."""
Complete = Callable[[list[Any]], None]
"""Answer LoadGen; the bytes are copied before this returns."""
Fail = Callable[[int, Exception], None]
"""Report that the inference of a sample failed; does not return to the query."""

Outputs = tuple[int, list[list[npt.NDArray[Any]]]]
"""The batch of a lane, and all outputs of its inferences one after another, in which samples begin anew after
the last."""

Issue = Callable[[list[int], list[int]], None]
"""Take a query: response ids and sample indices."""

_WARM_UPS = 1
"""The known answers, which follow before a test, warm the lanes further."""


class NotANumber(Exception):
    """A sample has a score that is NaN."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the model gives {NOT_A_NUMBER}")
        self.row = row
        """The sample's place in its batch."""


class Tap:
    """What may listen between LoadGen and a SUT, by wrapping the two calls; this one does not."""

    def issue(self, issue: Issue) -> Issue:
        return issue

    def complete(self, complete: Complete) -> Complete:
        return complete


class Sut(ABC):
    """Answers queries; `completed` counts the samples answered since the start."""

    def __init__(
        self,
        compiled: Sequence[Compiled],
        qsl: Qsl,
        make_slot: MakeSlot,
        complete: Complete,
        fail: Fail,
        samples_per_query: int = 1,
        make_lane: "MakeLane | None" = None,
    ) -> None:
        self._compiled = compiled[-1]
        self._ladder = compiled
        self._qsl = qsl
        self._make_slot = make_slot
        self._complete = complete
        self._fail = fail
        self._samples_per_query = samples_per_query
        self._make_lane = make_lane or LabelLane
        self.lanes: list[Lane] = []
        """All requests that compute."""

    @property
    @abstractmethod
    def completed(self) -> int: ...

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, which is no hang where LoadGen's clock paces the queries."""
        return False

    @abstractmethod
    def samples_loaded(self) -> None:
        """Called when the library's block has changed, before any query on it."""

    @abstractmethod
    def issue(self, ids: list[int], indices: list[int]) -> None:
        """Take a query: response ids and sample indices, in LoadGen's order."""

    def answers_to(self, pixels: Pixels) -> list[Outputs]:
        """Let every lane compute all samples, in the thread of its queries, and return what each computes.

        Args:
            pixels: u8 [samples, height, width, 3].

        Raises:
            RuntimeError: OpenVINO's, when an inference fails.
        """
        return [lane.answers_to(pixels) for lane in self.lanes]

    def close(self) -> None:  # noqa: B027 (only a SUT with threads has something to stop)
        """Stop what runs in the background."""

    def _failed(self, indices: Sequence[int], error: Exception) -> None:
        """Report that the inference of these samples failed: the one that it failed for, or the first."""
        self._fail(indices[error.row if isinstance(error, NotANumber) else 0], error)

    def _lane(self, compiled: Compiled | None = None) -> "Lane":
        lane = self._make_lane(compiled or self._compiled, self._make_slot, self._qsl.sample_shape)
        self.lanes.append(lane)
        return lane


class Lane(ABC):
    """One infer request; a kind of lane says what LoadGen gets of its outputs."""

    def __init__(self, compiled: Compiled, sample_shape: tuple[int, ...]) -> None:
        self.batch = compiled.batch
        self._request = compiled.model.create_infer_request()
        self._gathered = np.zeros((compiled.batch, *sample_shape), np.uint8)
        self._gathered_tensor = ov.Tensor(self._gathered, shared_memory=True)

    @property
    @abstractmethod
    def outputs(self) -> list[npt.NDArray[Any]]:
        """A copy of what was computed last."""

    @abstractmethod
    def answers(self, ids: Sequence[int], indices: Sequence[int]) -> list[Any]:
        """Return the responses to the first samples of the batch, whose indices these are.

        Raises:
            NotANumber: a score of one is NaN.
        """

    def infer(self, tensor: Any) -> None:
        """Compute a batch in this thread."""
        self._request.set_input_tensor(tensor)
        self._request.infer(share_outputs=True)

    def start(self, tensor: Any) -> None:
        """Let OpenVINO's next free stream compute a batch; `wait` before anything else."""
        self._request.set_input_tensor(tensor)
        self._request.start_async()

    def wait(self) -> None:
        self._request.wait()

    def gather(self, block: Pixels, rows: npt.NDArray[np.int64]) -> Any:
        """Copy rows that are no neighbours, a batch of them or fewer, and return their tensor."""
        np.take(block, rows, axis=0, out=self._gathered[: len(rows)], mode="clip")
        return self._gathered_tensor

    def answers_to(self, pixels: Pixels) -> Outputs:
        """Compute all samples in this thread, and return the outputs of every batch."""
        found = []
        for part in range(self.parts(pixels)):
            self.infer(self.part(pixels, part))
            found.append(self.outputs)
        return self.batch, found

    def parts(self, pixels: Pixels) -> int:
        """Return how many batches it takes to compute all samples."""
        return -(-len(pixels) // self.batch)

    def part(self, pixels: Pixels, number: int) -> Any:
        """Copy a batch of the samples, which begin anew after the last, and return its tensor."""
        return self.gather(pixels, (np.arange(self.batch) + number * self.batch) % len(pixels))

    def _warm_up(self) -> None:
        for _ in range(_WARM_UPS):
            self.infer(self._gathered_tensor)


MakeLane = Callable[[Compiled, MakeSlot, tuple[int, ...]], Lane]
"""Make a lane for samples of a shape."""


class LabelLane(Lane):
    """Answers with the first number of each row of the only output (harness.backend.labels)."""

    def __init__(self, compiled: Compiled, make_slot: MakeSlot, sample_shape: tuple[int, ...]) -> None:
        super().__init__(compiled, sample_shape)
        output = compiled.model.output(0)
        self._rows = np.zeros(tuple(output.shape), output.element_type.to_dtype())
        self._request.set_output_tensor(ov.Tensor(self._rows, shared_memory=True))
        self._row_values = self._rows[0].size
        self._numbers = self._rows.reshape(-1).data
        address, row_bytes, item_bytes = self._rows.ctypes.data, self._rows[0].nbytes, self._rows.itemsize
        self._slots = [make_slot(address + row_bytes * row, item_bytes) for row in range(compiled.batch)]
        self._warm_up()

    @property
    def outputs(self) -> list[npt.NDArray[Any]]:
        return [self._rows.copy()]

    def answers(self, ids: Sequence[int], indices: Sequence[int]) -> list[Any]:
        slots, numbers = self._slots, self._numbers
        if len(ids) != self.batch:
            slots, numbers = slots[: len(ids)], numbers[: len(ids) * self._row_values]
        # A sum is NaN if a term is, and costs less than asking each.
        if isnan(sum(numbers)):
            place = next((place for place, number in enumerate(numbers) if isnan(number)), 0)
            raise NotANumber(place // self._row_values)
        for slot, identity in zip(slots, ids, strict=True):
            slot.id = identity
        return slots


class Question:
    """Samples that every thread of a system under test answers once, all at the same time."""

    def __init__(self, pixels: Pixels, threads: int) -> None:
        self._pixels = pixels
        self._threads = threads
        self._together = Barrier(threads)
        self._found: SimpleQueue[list[Outputs] | Exception] = SimpleQueue()

    def answer(self, lanes: Sequence[Lane]) -> None:
        """Compute in this thread, once all threads have come: so none takes the question of another."""
        self._together.wait()
        try:
            self._found.put([lane.answers_to(self._pixels) for lane in lanes])
        except Exception as error:
            self._found.put(error)

    def answers(self) -> list[Outputs]:
        """Wait for all threads, and return what their lanes computed.

        Raises:
            RuntimeError: OpenVINO's, when an inference failed.
        """
        found: list[Outputs] = []
        for each in [self._found.get() for _ in range(self._threads)]:
            if isinstance(each, Exception):
                raise each
            found += each
        return found


def windows(block: Pixels, batch: int) -> list[Any]:
    """Return a tensor over each `batch` neighbouring rows of the block, by first row, without copying."""
    return [
        ov.Tensor(block[first : first + batch], shared_memory=True) for first in range(len(block) - batch + 1)
    ]
