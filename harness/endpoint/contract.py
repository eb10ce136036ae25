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

    def size_bytes(self, shape: Sequence[int]) -> int:
        """Return how many bytes a tensor of a fixed shape has; not for BYTES."""
        return int(prod(shape) * np.dtype(DATATYPES[self.datatype]).itemsize)

    def __str__(self) -> str:
        return f"'{self.name}' ({self.datatype} {list(self.shape)})"


def datatype_of(dtype: Any) -> str:
    """Return the protocol's name for a NumPy type of numbers.

    Raises:
        KeyError: it has none.
    """
    return {np.dtype(kind): name for name, kind in DATATYPES.items()}[np.dtype(dtype)]
