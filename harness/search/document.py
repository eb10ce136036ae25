"""What a search found: the typed form of its result.json. Latencies are in ms, accuracies fractions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.machine.system import Machine
from harness.model.architecture import Architecture
from harness.profiling.conditions import Facts
from harness.search.decision import Bar
from harness.search.latency.validation import Validation
from harness.search.request import INHERITED, Effort
from harness.typed import LEFT_OUT

FILE_NAME = "result.json"


@dataclass(frozen=True)
class Baseline:
    """The network that a search begins with."""

    name: str
    """On its card."""
    sha256: str
    """Of its file."""


@dataclass(frozen=True)
class SpaceFacts:
    """What is searched."""

    key: str
    sizes: tuple[int, ...]
    """Of the input, in pixels."""
    baseline: Architecture


@dataclass(frozen=True)
class ImageFacts:
    """The training images."""

    train: str
    learned: int
    held_out: int
    held_out_unseen: bool
    """Whether the baseline has not learned from those held out."""
    learned_sha256: str
    held_out_sha256: str
    variation: Mapping[str, Any]
    """How they are varied."""


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    command: str
    baseline: Baseline
    space: SpaceFacts
    images: ImageFacts
    conditions: Facts
    max_drop: float
    """Share of the baseline's accuracy that may be lost."""
    target_ms: float | None
    target_speedup: float | None
    seed: int
    effort: Effort
    initial_weights: str = field(default=INHERITED, metadata=LEFT_OUT)
    """What candidates began with, one of request.INITIAL_WEIGHTS."""


@dataclass(frozen=True)
class TimedNetwork:
    """A network whose latency was both predicted and measured."""

    key: str
    measured_ms: float
    predicted_ms: float


@dataclass(frozen=True)
class Table:
    """The latency table; what a stand-in for one does not have is left out."""

    sha256: str
    file: str = field(default="", metadata=LEFT_OUT)
    key: Mapping[str, Any] | None = field(default=None, metadata=LEFT_OUT)
    """What it is valid for."""
    baseline: Architecture | None = field(default=None, metadata=LEFT_OUT)
    sizes: tuple[int, ...] = field(default=(), metadata=LEFT_OUT)
    design: Mapping[str, Any] | None = field(default=None, metadata=LEFT_OUT)
    networks: int | None = field(default=None, metadata=LEFT_OUT)
    reference_ms: float | None = field(default=None, metadata=LEFT_OUT)
    minutes: float | None = field(default=None, metadata=LEFT_OUT)
    validation: Validation | None = field(default=None, metadata=LEFT_OUT)
    """On networks that it has not seen."""
    faults: tuple[str, ...] = field(default=(), metadata=LEFT_OUT)
    held_out: tuple[TimedNetwork, ...] = field(default=(), metadata=LEFT_OUT)
    """Networks that it has not seen."""


@dataclass(frozen=True)
class Scout:
    """A network that was looked at."""

    key: str
    architecture: Architecture
    accuracy: float
    """After the look, on the held-out images."""
    predicted: float
    """Expected by what was seen of the others alone."""
    latency_ms: float
    """Predicted before any was measured."""
    costs: Mapping[str, float]
    measured_ms: float | None = field(default=None, metadata=LEFT_OUT)
    """None in results that do not say."""
    expected_ms: float | None = field(default=None, metadata=LEFT_OUT)
    """Predicted by what had learned from all that was measured before its turn; None: not measured in it."""


@dataclass(frozen=True)
class Scouts:
    """The networks that were looked at, and what the estimator learned from them."""

    level: float
    weights: Mapping[str, float]
    taus: Mapping[str, float]
    """Kendall's tau of each ranking with what was seen."""
    seen: tuple[Scout, ...]
    thoughts: int = field(default=0, metadata=LEFT_OUT)
    """How many of these, from the first on, somebody would think of: uniform scalings in each form."""


@dataclass(frozen=True)
class EstimatorFacts:
    """How accuracy was estimated."""

    name: str
    scouts: Scouts | None
    sha256: str | None = field(default=None, metadata=LEFT_OUT)
    """Of `file`."""
    file: str | None = field(default=None, metadata=LEFT_OUT)
    """A table of what single decisions cost, in older results."""


@dataclass(frozen=True)
class Layer:
    """A layer as OpenVINO runs it (see harness.backend.kernels.Layer)."""

    name: str
    type: str | None = field(default=None, metadata=LEFT_OUT)
    exec_type: str | None = field(default=None, metadata=LEFT_OUT)
    precision: str | None = field(default=None, metadata=LEFT_OUT)
    time_us: float | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class Kernels:
    """Which kernels a network runs in (see harness.profiling.operations.Kernels)."""

    int8_share: float | None
    wide: tuple[Layer, ...]
    fallbacks: tuple[Layer, ...]
    total_us: float


@dataclass(frozen=True)
class Shortlisted:
    """A network that was trained briefly on all images."""

    key: str
    architecture: Architecture
    latency_ms: float
    """Predicted, by results of this version before any was measured."""
    measured_ms: float
    look: float | None
    """Its accuracy after the look; None: it was not looked at."""
    brief: float
    """Its accuracy after the brief training."""
    kernels: Kernels


@dataclass(frozen=True)
class TrainedNetwork:
    """A network trained to the end, in INT8."""

    accuracies: Mapping[str, float]
    """By bias correction."""
    chosen: str
    accuracy: float
    fp32_accuracy: float
    architecture: Architecture


@dataclass(frozen=True)
class Chosen:
    """One of the two networks that come out."""

    key: str
    architecture: Architecture
    macs: int
    parameters: int
    measured_ms: float
    brief: float
    held_out: float
    """Accuracy in INT8 on held-out training images."""


@dataclass(frozen=True)
class Control:
    """A uniform scaling of the baseline."""

    key: str
    depths: tuple[int, ...]
    measured_ms: float
    brief: float
    held_out: float | None
    """None: not trained to the end."""


@dataclass(frozen=True)
class Converged:
    """A random network trained to the end."""

    key: str
    architecture: Architecture
    scores: Mapping[str, float]
    accuracies: tuple[float, ...]
    """One a seed."""


@dataclass(frozen=True)
class Tested:
    """A model on the test images, through LoadGen."""

    accuracy: float | None
    passed: bool | None
    figures: Mapping[str, tuple[float, float, float] | None]
    """By scenario: mean, low and high, in its unit."""
    good: int | None = field(default=None, metadata=LEFT_OUT)
    total: int | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class Speedup:
    """How much faster one model is than another."""

    variant: str
    against: str
    text: str


@dataclass(frozen=True)
class Ratio:
    """How many times faster the pick is than the control."""

    text: str
    ratio: tuple[float, float, float] | None
    """Mean, low and high."""


@dataclass(frozen=True)
class Pair:
    """The pick against the control on the test images."""

    count: int
    lost: int
    gained: int
    points: float
    """Percentage points."""
    p_value: float


@dataclass(frozen=True)
class OverSeeds:
    """The pick less the control on the test images, in percentage points, over several trainings of each."""

    seeds: tuple[int, ...]
    points: tuple[float, ...]
    """By seed."""
    mean: float
    half_width: float
    """Of the 95 % interval around the mean."""


@dataclass(frozen=True)
class Test:
    """What LoadGen's tests say."""

    units: Mapping[str, str]
    """By scenario."""
    models: Mapping[str, Tested]
    speedups: tuple[Speedup, ...]
    searched_over_uniform: Mapping[str, Ratio]
    accuracies: tuple[str, ...]
    searched_against_uniform: Pair | None
    over_seeds: OverSeeds | None = field(default=None, metadata=LEFT_OUT)
    """What further trainings of both say."""


@dataclass(frozen=True)
class SearchResult:
    """The whole outcome of a search."""

    created: str
    """When: ISO 8601, UTC."""
    harness: str
    """Version."""
    machine: Machine
    """The machine that measured, as in a run's result."""
    request: Asked
    """What was asked for, and with which versions."""
    table: Table
    """The latency table: its key, how it was built, and its error on networks that it has not seen."""
    estimator: EstimatorFacts
    """How accuracy was estimated, the networks that were looked at, and how well that orders them."""
    baseline_ms: float
    """The baseline's measured latency in INT8."""
    wanted_ms: float | None
    """The latency that was wanted; None in results that do not say."""
    shortlist: tuple[Shortlisted, ...]
    """Networks that were trained briefly on all images."""
    bar: Bar
    """The accuracy that had to be reached on held-out images."""
    trained: Mapping[str, TrainedNetwork]
    """Networks that were trained to the end, with their INT8 accuracy, by key."""
    searched: Chosen
    """The pick."""
    uniform: Chosen
    """The control."""
    controls: tuple[Control, ...]
    """All controls."""
    converged: tuple[Converged, ...]
    """What `--converged` trained, for Kendall's tau."""
    comparison: str
    """The folder of LoadGen's comparison."""
    test: Test
    """Figures and accuracies on the test images, and McNemar's test of pick and control."""
    seconds: Mapping[str, float]
    """How long each part took."""
