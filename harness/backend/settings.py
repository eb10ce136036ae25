"""What we ask of OpenVINO when it compiles a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OPENVINO_CORE_TYPES = MappingProxyType(
    {"any": "ANY_CORE", "performance": "PCORE_ONLY", "efficiency": "ECORE_ONLY"}
)


CORE_TYPES = tuple(OPENVINO_CORE_TYPES)


PRECISIONS = ("f32", "bf16")
SERVED = "served"
"""In place of a precision, where a server computes: it decides, and does not say."""


@dataclass(frozen=True)
class CompileSettings:
    """What we ask of OpenVINO; None leaves the choice to it."""

    hint: str
    """PERFORMANCE_HINT: LATENCY or THROUGHPUT."""
    precision: str = "f32"
    """INFERENCE_PRECISION_HINT of the layers that are not quantized; never left to OpenVINO."""
    threads: int | None = None
    streams: int | None = None
    pinning: bool | None = None
    """ENABLE_CPU_PINNING: whether each thread keeps to one CPU."""
    smt: bool | None = None
    """ENABLE_HYPER_THREADING: whether two threads may share a core."""
    core_type: str | None = None
    """SCHEDULING_CORE_TYPE, where there are several: any, performance or efficiency."""

    @property
    def properties(self) -> dict[str, str | int | bool]:
        """OpenVINO's properties; what is left to it has none."""
        named = {
            "PERFORMANCE_HINT": self.hint,
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.streams,
            "ENABLE_CPU_PINNING": self.pinning,
            "ENABLE_HYPER_THREADING": self.smt,
            "SCHEDULING_CORE_TYPE": None if self.core_type is None else OPENVINO_CORE_TYPES[self.core_type],
        }
        return {name: value for name, value in named.items() if value is not None}


def effective(properties: Mapping[str, Any]) -> dict[str, int | bool | str | None]:
    """Return what a compiled model's OpenVINO properties say of what a tuning may set; all but the batch.

    A served model has no properties, which say nothing.
    """
    if not properties:
        return {}
    cores = {name: kind for kind, name in OPENVINO_CORE_TYPES.items()}
    return {
        "threads": properties["INFERENCE_NUM_THREADS"],
        "streams": properties["NUM_STREAMS"],
        "pinning": properties["ENABLE_CPU_PINNING"],
        "smt": properties["ENABLE_HYPER_THREADING"],
        "core_type": cores[properties["SCHEDULING_CORE_TYPE"]],
    }
