"""What all systems under test are made of: the contract, and lanes that compute one batch at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from harness.backend.graph import Compiled
from harness.loadgen.qsl import Pixels, Qsl

LABEL_BYTES = 4

MakeSlot = Callable[[int], Any]
"""Make a response whose `LABEL_BYTES` bytes lie at an address; its `id` is set for each answer."""
Complete = Callable[[list[Any]], None]
"""Answer LoadGen; the bytes are copied before this returns."""
Fail = Callable[[int, Exception], None]
"""Report that the inference of a sample failed; does not return to the query."""

Issue = Callable[[list[int], list[int]], None]
"""Take a query: response ids and sample indices."""

_WARM_UPS = 3


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
    ) -> None:
        self._compiled = compiled[-1]
        self._ladder = compiled
        self._qsl = qsl
        self._make_slot = make_slot
        self._complete = complete
        self._fail = fail
        self._samples_per_query = samples_per_query

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

    def close(self) -> None:  # noqa: B027 (only a SUT with threads has something to stop)
        """Stop what runs in the background."""

    def _lane(self, compiled: Compiled | None = None) -> "Lane":
        return Lane(compiled or self._compiled, self._make_slot, self._qsl.sample_shape)


class Lane:
    """One infer request with its own label buffer and response slots."""

    def __init__(self, compiled: Compiled, make_slot: MakeSlot, sample_shape: tuple[int, ...]) -> None:
        self.batch = compiled.batch
        self._request = compiled.model.create_infer_request()
        self._labels = np.zeros(compiled.batch, np.float32)
        self._request.set_output_tensor(ov.Tensor(self._labels, shared_memory=True))
        address = self._labels.ctypes.data
        self._slots = [make_slot(address + LABEL_BYTES * row) for row in range(compiled.batch)]
        self._gathered = np.zeros((compiled.batch, *sample_shape), np.uint8)
        self._gathered_tensor = ov.Tensor(self._gathered, shared_memory=True)
        for _ in range(_WARM_UPS):
            self.infer(self._gathered_tensor)

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

    def answers(self, ids: Sequence[int]) -> list[Any]:
        """Return the responses to the first samples of the batch."""
        slots = self._slots if len(ids) == self.batch else self._slots[: len(ids)]
        for slot, identity in zip(slots, ids, strict=True):
            slot.id = identity
        return slots


def windows(block: Pixels, batch: int) -> list[Any]:
    """Return a tensor over each `batch` neighbouring rows of the block, by first row, without copying."""
    return [
        ov.Tensor(block[first : first + batch], shared_memory=True) for first in range(len(block) - batch + 1)
    ]
