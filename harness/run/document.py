"""What a run of one scenario found: the typed form of result.json. Names end in their units."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness.backend.settings import PRECISIONS
from harness.dataset.recipe import Recipe
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.machine.noise import Noise
from harness.machine.system import Machine
from harness.measurement.tuned import Reference
from harness.mlperf.log import Performance
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import InputSpec, Output
from harness.typed import LEFT_OUT

_VERSIONS = ("openvino", "mlcommons_loadgen")
"""The libraries without which nothing runs."""


@dataclass(frozen=True)
class Model:
    """The model that was run."""

    name: str
    """On its card."""
    sha256: str
    """Of its file."""
    note: str
    """'speed only: ...' where the weights are not trained, else empty."""
    quantization: Mapping[str, Any] | None
    """What the card says of it."""
    input: InputSpec
    output: Output


@dataclass(frozen=True)
class Data:
    """The store that it was run on."""

    dataset: str
    count: int
    """Images."""
    recipe: Recipe
    pixels_sha256: str
    """Of the samples, preprocessed."""
    list_sha256: str
    """Of the list of names and labels."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("has a count below 1")


@dataclass(frozen=True)
class Settings(RunSettings):
    """How it was run: what was asked for, and what the probe chose; `user_conf` is a name without folder."""

    user_conf_sha256: str | None = None
    """Of the user.conf that was given; None without one."""
    chosen: tuple[str, ...] = ()
    """Which of the settings were left open, for the probe to choose."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = [self.threads, self.streams, self.batch]
        if any(count is not None and count < 1 for count in counts) or self.duration_s <= 0:
            raise ValueError("has a number of threads, streams, samples or seconds that is not above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"has a precision that is none of {', '.join(PRECISIONS)}")

    @classmethod
    def of(cls, asked: RunSettings, user_conf_sha256: str | None) -> "Settings":
        """Return what a result says of settings, without paths of this machine."""
        values = {item.name: getattr(asked, item.name) for item in fields(RunSettings)}
        name = None if asked.user_conf is None else Path(asked.user_conf.name)
        chosen = tuple(key for key in ("batch", "streams") if values[key] is None)
        if (endpoint := asked.endpoint) is not None and endpoint.ca is not None:
            values["endpoint"] = replace(endpoint, ca=Path(endpoint.ca.name))
        return cls(**values | {"user_conf": name}, user_conf_sha256=user_conf_sha256, chosen=chosen)

    @property
    def asked(self) -> RunSettings:
        """The settings to run with; the user.conf is the one in the result's folder."""
        values = {item.name: getattr(self, item.name) for item in fields(RunSettings)}
        return RunSettings(**values | {"user_conf": None})


@dataclass(frozen=True)
class Precision:
    """What the model computed in."""

    requested: str
    """f32 or bf16."""
    computed: str
    """What most of its layers really ran in, such as int8."""
    kernels: Mapping[str, int]
    """Precision -> number of convolutions and matrix products."""
    openvino: Mapping[str, Any]
    """OpenVINO's properties of the compiled model."""

    @property
    def threads(self) -> int | None:
        """The threads that OpenVINO used; None where it does not say."""
        said = self.openvino.get("INFERENCE_NUM_THREADS")
        return said if type(said) is int and said > 0 else None


@dataclass(frozen=True)
class Score:
    """LoadGen's score."""

    name: str
    unit: str
    """'ns' or 'samples/s'."""
    lower_is_better: bool
    value: float | None
    """None when too few queries left it unknown."""


@dataclass(frozen=True)
class Latencies:
    """Latencies of whole queries, in ns."""

    min: int
    mean: int
    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True)
class Energy:
    """What the processors used during the test; never an official figure."""

    joules: float
    domains: tuple[str, ...]
    """The parts of the processors that were counted."""
    joules_per_sample: float
    official: bool = False


@dataclass(frozen=True)
class PerformanceSection:
    """The performance test."""

    valid: bool
    """VALID by LoadGen, and without a logged error."""
    validity: str
    """LoadGen's own verdict."""
    invalid_reasons: tuple[str, ...]
    errors: tuple[str, ...]
    """What LoadGen logged as errors."""
    advice: tuple[str, ...]
    """What to change, where the test is not valid."""
    score: Score
    query_count: int
    sample_count: int
    duration_ns: int | None
    """What LoadGen holds against the minimum duration; None when a single query leaves it unknown."""
    latency_ns: Latencies | None
    """None in Offline."""
    latency_percentile: float | None
    """In per cent, that LoadGen's verdict and score are of; None in Offline."""
    latency_bound_ns: int | None
    """What Server's percentile is held against; None elsewhere."""
    late_queries: int | None
    """Queries above Server's bound; None elsewhere."""
    early_stopping_latency_ns: int | None
    """The score of SingleStream and MultiStream; None elsewhere."""
    samples_per_second: float | None
    """The score of Offline and Server; None elsewhere."""
    scheduled_samples_per_second: float | None
    """The rate at which Server's queries were due; None elsewhere."""
    estimate: Mapping[str, float]
    """What LoadGen was told in user.conf: target_latency in ms, or target_qps in 1/s."""
    not_official_because: tuple[str, ...]
    energy: Energy | None = field(default=None, metadata=LEFT_OUT)
    """None where no counter can be read."""
    noise: Noise | None = field(default=None, metadata=LEFT_OUT)
    """What disturbed the test; None in older results."""
    known_answers: Mapping[str, Any] | None = field(default=None, metadata=LEFT_OUT)
    """What was checked of the answers before and after; None in older results."""

    def __post_init__(self) -> None:
        if self.query_count < 1 or self.sample_count < 1:
            raise ValueError("has no queries or no samples")

    def require(self, scenario: Scenario) -> None:
        """Raise ValueError unless it has what a test of the scenario has."""
        key, offline = scenario.facts.estimate_key, scenario is Scenario.OFFLINE
        if self.estimate.get(key, 0) <= 0:
            raise ValueError(f"has a performance test without an estimate '{key}' above 0")
        if self.score.lower_is_better != scenario.facts.is_latency:
            raise ValueError(f"has a score that is none of {scenario}")
        if (self.latency_ns is None, self.latency_percentile is None) != (offline, offline):
            raise ValueError(f"has a latency or percentile in Offline, or none in {scenario}")

    def unlike(self, measured: Performance) -> list[str]:
        """Return the figures of which the log of a performance test says something else."""
        names = ("validity", "query_count", "sample_count", "samples_per_second", "early_stopping_latency_ns")
        unlike = [name for name in names if getattr(self, name) != getattr(measured, name)]
        return unlike + ["score"] * (self.score.value != measured.score)


@dataclass(frozen=True)
class Judgement:
    """Whether one target is reached; `target` and `margin` are fractions."""

    rule: str
    """Whose target it is."""
    passed: bool
    target: float
    margin: float
    """Accuracy less target; negative when the target is missed."""
    text: str
    """The verdict in words."""
    advice: str | None
    """What to change where it is missed."""


@dataclass(frozen=True)
class AccuracySection:
    """The accuracy test."""

    text: str
    """The line that MLPerf's accuracy script prints."""
    total: int
    accuracy: float
    """As a fraction."""
    errors: tuple[str, ...]
    """What LoadGen logged as errors."""
    verdicts: tuple[Judgement, ...]
    """On the card's own target first, then on MLPerf's where the data set is its own."""
    passed: bool | None
    """The first of them; None where there is no target."""
    known_answers: Mapping[str, Any] | None = field(default=None, metadata=LEFT_OUT)
    """What was checked of the answers before and after; None in older results."""
    good: int | None = field(default=None, metadata=LEFT_OUT)
    """Classification: right labels."""
    map50: float | None = field(default=None, metadata=LEFT_OUT)
    """Detection: average precision at an overlap of 0.5, a fraction."""

    def __post_init__(self) -> None:
        if self.total < 1 or not 0 <= self.accuracy <= 1:
            raise ValueError(f"has an accuracy of {self.accuracy:g} of {self.total} samples")
        if self.good is not None and self.map50 is not None:
            raise ValueError("has both 'good' and 'map50'")
        if self.good is not None and not 0 <= self.good <= self.total:
            raise ValueError(f"has {self.good} of {self.total} right")


@dataclass(frozen=True)
class Identity:
    """What a test is true of: under anything else it is another test."""

    harness: str
    """Version."""
    model: Model
    data: Data
    settings: Settings
    machine: Machine


@dataclass(frozen=True)
class Asked:
    """What a run is asked for, before its first test."""

    created: str
    """When: ISO 8601, UTC."""
    benchmark: str
    """MLPerf's, such as resnet50."""
    tuning: Reference | None
    """The tuning that the settings come from; None without one."""
    identity: Identity


@dataclass(frozen=True)
class RunResult:
    """One scenario of one model: result.json. A test that was not taken has no section (None)."""

    harness: str
    """Version."""
    created: str
    """When the run began: ISO 8601, UTC."""
    benchmark: str
    """MLPerf's, such as resnet50."""
    scenario: Scenario
    model: Model
    data: Data
    settings: Settings
    tuning: Reference | None
    """The tuning that the settings come from; None without one."""
    precision: Precision
    probe: Estimate
    """What was measured before the tests, for the estimates that LoadGen is told."""
    machine: Machine
    not_official_because: tuple[str, ...]
    performance: PerformanceSection | None
    accuracy: AccuracySection | None

    def __post_init__(self) -> None:
        if self.scenario is not self.settings.scenario:
            raise ValueError(f"is of {self.scenario}, and its settings of {self.settings.scenario}")
        if missing := [name for name in _VERSIONS if not self.machine.versions.get(name)]:
            raise ValueError(f"names no version of {missing[0]}")
        if self.performance is not None:
            self.performance.require(self.scenario)

    @property
    def identity(self) -> Identity:
        return Identity(self.harness, self.model, self.data, self.settings, self.machine)

    @property
    def is_of_this_host(self) -> bool:
        """Whether the machine of LoadGen computed, and no server elsewhere."""
        return self.probe.server is None or self.probe.server.is_on_this_host

    @property
    def official(self) -> bool:
        """Whether nothing keeps the tests from being MLPerf's."""
        return self.settings.official and not self.not_official_because

    @property
    def is_good(self) -> bool:
        """Whether every test is valid and no accuracy target is missed."""
        performance, accuracy = self.performance, self.accuracy
        if performance is not None and not performance.valid:
            return False
        return accuracy is None or (not accuracy.errors and accuracy.passed is not False)

    def section(self, mode: Mode) -> PerformanceSection | AccuracySection | None:
        return self.performance if mode is Mode.PERFORMANCE else self.accuracy

    def having(self, mode: Mode, section: PerformanceSection | AccuracySection | None) -> "RunResult":
        """Return the result with another section on one of its tests."""
        return replace(self, **{str(mode): section})  # type: ignore[arg-type]
