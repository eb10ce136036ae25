"""The document of a narrowing, narrowing.json. Accuracies are top-1 as fractions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.machine.system import Machine
from harness.profiling.conditions import Facts
from harness.search.document import Baseline

FILE_NAME = "narrowing.json"
FORMAT = 1


@dataclass(frozen=True)
class Width:
    """A group of channels that depend on each other."""

    name: str
    """Of the first layer that makes them."""
    before: int
    """Channels in that layer."""
    after: int


@dataclass(frozen=True)
class Narrowed:
    """How many channels stay, and how fast that is beside the network as it was."""

    units: int
    """Units of channels that went."""
    speedup: float
    """Measured while the widths were chosen, in INT8."""
    tried: Mapping[str, float]
    """The speed-ups that were measured, by the number of units that had gone."""
    widths: tuple[Width, ...]


@dataclass(frozen=True)
class HeldOut:
    """Top-1 on the held-out images."""

    images: int
    before: float
    """Of the network as it was, in FP32."""
    cut: float
    """Of the narrowed one before it learned, with new statistics."""
    distilled: float
    """In FP32, after it has learned; where this is less than `cut`, the weights before were kept."""
    int8: float


@dataclass(frozen=True)
class Tested:
    """A model's accuracy through LoadGen."""

    good: int
    total: int
    passed: bool | None
    """Whether it reaches its card's target; None: it states none."""


@dataclass(frozen=True)
class Narrowing:
    """What a narrowing found."""

    created: str
    """When: ISO 8601, UTC."""
    harness: str
    """Version."""
    command: str
    machine: Machine
    baseline: Baseline
    """The network that was narrowed."""
    conditions: Facts
    """Under which conditions the speed was measured."""
    target_speedup: float
    """How many times as fast the narrowed network had to be, in INT8."""
    learned: int
    """Images that were learned from."""
    held_out: HeldOut
    """Top-1 on the images that were not learned from, at each stage."""
    narrowed: Narrowed
    """How many channels stay in each group, and how fast that is."""
    macs: tuple[int, int]
    """Multiply-accumulates of an image, before and after."""
    models: Mapping[str, Tested]
    """By name of the card."""
    speedups: tuple[str, ...]
    """Through LoadGen, in words."""
    accuracies: tuple[str, ...]
    """What became of the network's answers, in words."""
    seconds: Mapping[str, float]
    """What each part took."""


def write(found: Narrowing, folder: Path) -> None:
    """Write the document in `folder`, atomically."""
    files.write_json(folder / FILE_NAME, to_dict(found))


def to_dict(found: Narrowing) -> dict[str, Any]:
    """Return what narrowing.json holds, as JSON values."""
    return {"format": FORMAT, **typed.unstructure(found)}
