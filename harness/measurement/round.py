"""One LoadGen test of a series, as it is kept and compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from harness.machine.noise import Noise
from harness.mlperf.scenario import Scenario
from harness.typed import LEFT_OUT


@dataclass(frozen=True)
class Metric:
    """The figure of a scenario that variants are compared by."""

    title: str
    name: str
    unit: str
    percentile: str | None = None
    """Which percentile of the latencies it is; None when it is not one."""

    @property
    def lower_is_better(self) -> bool:
        return self.percentile is not None


METRICS: Mapping[Scenario, Metric] = MappingProxyType(
    {
        Scenario.SINGLE_STREAM: Metric("Single-Stream", "p90 latency", "ms", "90.00"),
        Scenario.MULTI_STREAM: Metric("Multi-Stream", "p99 query latency", "ms", "99.00"),
        Scenario.OFFLINE: Metric(str(Scenario.OFFLINE), "throughput", "images/s"),
    }
)


@dataclass(frozen=True)
class Round:
    """One LoadGen performance test."""

    number: int
    started: str
    log: str
    """Folder of LoadGen's logs, relative to compare.json."""
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""
    latencies_ns: Mapping[str, int]
    """'min', 'mean', 'max', and percentiles such as '90.00', of whole queries."""
    samples_per_second: float | None
    """Offline only."""
    noise: Noise
    """What disturbed the test."""
    known_answers: Mapping[str, Any] = field(default_factory=dict, metadata=LEFT_OUT)
    """What was checked of the answers (harness.loadgen.known_answers); empty in rounds that are older."""

    def __post_init__(self) -> None:
        if any(value <= 0 for value in self.latencies_ns.values()):
            raise ValueError("has a latency that is not above 0")
