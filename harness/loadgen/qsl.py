"""The query sample library: preprocessed samples, resident in memory before timing starts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

# Width of the widest vector registers; OpenVINO reads our memory in place.
_ALIGNMENT_BYTES = 64


class Qsl:
    """Loads samples of a store into one contiguous block, in LoadGen's load order.

    LoadGen repeats the load order in Offline and takes windows of it in MultiStream, for which it pads the
    order with up to samples_per_query - 1 samples from its start (loadgen.cc, GenerateQueries and
    GenerateLoadableSets). The block holds that order as it comes, duplicates included, so that neighbours in
    a query are neighbours in the block.
    """

    def __init__(self, samples: Pixels) -> None:
        """Serve `samples`, u8 [count, height, width, 3], usually memory-mapped."""
        self._samples = samples
        self._position = np.full(len(samples), -1, np.int64)
        self._order: list[int] = []
        self.block: Pixels = np.empty((0, *samples.shape[1:]), np.uint8)
        """The resident samples, u8 [resident, height, width, 3]."""
        self.loading: int | None = None
        """Samples loaded so far by a `load` that is under way; None while none is."""

    @property
    def count(self) -> int:
        return len(self._samples)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self._samples.shape[1:]

    def copy(self, indices: Sequence[int]) -> Pixels:
        """Return samples, u8 [len(indices), height, width, 3], whether resident or not."""
        return np.array(self._samples[list(indices)])

    def load(self, indices: Sequence[int]) -> None:
        """Make the samples resident, one row of the block for each entry of `indices`."""
        self.unload()
        block = _aligned((len(indices), *self._samples.shape[1:]))
        for row, index in enumerate(indices):
            self.loading = row
            block[row] = self._samples[index]
        self.loading = None
        self.block = block
        self._order = list(indices)
        # Of several rows with the same sample the first counts, where LoadGen's windows start.
        self._position[self._order[::-1]] = np.arange(len(self._order))[::-1]

    def unload(self) -> None:
        """Give the resident block back."""
        self._position.fill(-1)
        self._order = []
        self.block = np.empty((0, *self._samples.shape[1:]), np.uint8)

    def positions(self, indices: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the first row of `block` that holds each sample; -1 for one that is not resident."""
        return self._position[np.asarray(indices, np.int64)]

    def window(self, indices: list[int]) -> int | None:
        """Return the row of `block` from which the samples lie side by side in this order, or None."""
        first = int(self._position[indices[0]])
        return first if first >= 0 and self._order[first : first + len(indices)] == indices else None


def _aligned(shape: tuple[int, ...]) -> Pixels:
    size = int(np.prod(shape))
    raw = np.empty(size + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size].reshape(shape)
