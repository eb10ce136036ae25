"""The tensors that a served model takes and gives, as the Open Inference Protocol names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

DATATYPES: Mapping[str, Any] = MappingProxyType(
    {
        "BOOL": np.bool_,
        "UINT8": np.uint8,
        "UINT16": np.uint16,
        "UINT32": np.uint32,
        "UINT64": np.uint64,
        "INT8": np.int8,
        "INT16": np.int16,
        "INT32": np.int32,
        "INT64": np.int64,
        "FP16": np.float16,
        "FP32": np.float32,
        "FP64": np.float64,
    }
)
"""The protocol's numbers, and NumPy's types for them; BYTES has none."""

ANSWER_NAME = "answer"
"""The output of an exported classifier that gives its task's answers."""

_LENGTH_BYTES = 4

BYTES = "BYTES"
"""Each element is a text of any length; here, one image's pixels."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a served model."""

    name: str
    datatype: str
    """A key of DATATYPES, or BYTES."""
    shape: tuple[int, ...]
    """-1 stands for a length that the request decides."""

    def takes(self, shape: Sequence[int]) -> bool:
        """Return whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            mine in (-1, given) for mine, given in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"'{self.name}' ({self.datatype} {list(self.shape)})"


@dataclass(frozen=True)
class Framing:
    """How a tensor's bytes are sent: as they are, or BYTES element by element behind their lengths."""

    each_bytes: int
    """Of an element of BYTES; of the whole tensor else."""
    count: int
    header: bytes
    """Before each element: its length, as 4 bytes little-endian; empty for numbers."""

    @classmethod
    def of(cls, tensor: Tensor, shape: Sequence[int]) -> "Framing":
        """Return the framing of u8 [count, height, width, channels], as numbers or as BYTES [count]."""
        size = prod(shape)
        if tensor.datatype != BYTES:
            return cls(size, 1, b"")
        each = size // shape[0]
        return cls(each, shape[0], each.to_bytes(_LENGTH_BYTES, "little"))

    @property
    def size_bytes(self) -> int:
        return self.count * (len(self.header) + self.each_bytes)

    def parts(self, content: memoryview) -> Sequence[bytes | memoryview]:
        """Return what is sent one after another; the content is not copied."""
        if not self.header:
            return (content,)
        starts = range(0, len(content), self.each_bytes)
        return [part for start in starts for part in (self.header, content[start : start + self.each_bytes])]


def datatype_of(dtype: Any) -> str:
    """Return the protocol's name for a NumPy type of numbers.

    Raises:
        KeyError: it has none.
    """
    return {np.dtype(kind): name for name, kind in DATATYPES.items()}[np.dtype(dtype)]
