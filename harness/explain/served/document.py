"""What an explanation of an endpoint found (explain.json), from which every page is made."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness import typed
from harness.endpoint.meeting import ServedBy
from harness.explain.document import FORMAT, Way
from harness.mlperf.scenario import Scenario

HERE, THERE = "in process", "served"
PARTS = ("client", "wire", "queue", "compute", "rest")


@dataclass(frozen=True)
class CallSplit:
    """What a sample costs through the endpoint, in ns: a query's p50, or a connection's time (Offline)."""

    whole_ns: float
    """LoadGen's figure."""
    call_ns: float
    """Of it, from sending the call to reading its answer."""
    echo_ns: float
    """What a call of the same bytes takes that computes nothing, alone on its connection."""
    queue_ns: float | None
    """What a call waited in the server, by the server's own count; None where it counts nothing."""
    compute_ns: float | None
    """What the server took to compute it, tensors in and out included."""

    def part_ns(self, part: str) -> float | None:
        """Return one of PARTS, which add up to the whole; None where the server does not tell."""
        if part == "client":
            return self.whole_ns - self.call_ns
        if part == "wire":
            return self.echo_ns
        if part == "rest":
            return self.call_ns - self.echo_ns - (self.queue_ns or 0.0) - (self.compute_ns or 0.0)
        return self.queue_ns if part == "queue" else self.compute_ns


@dataclass(frozen=True)
class ServedExplanation:
    """Everything that was found out about one endpoint in one scenario."""

    created: str
    harness: str
    model: Mapping[str, Any]
    """name, sha256, note."""
    scenario: str
    """SingleStream or Offline."""
    settings: Mapping[str, Any]
    """Of the endpoint: concurrency and batch; of the model in process: threads, streams and precision; rounds
    and seconds."""
    server: ServedBy
    machine: Mapping[str, Any]
    """Where LoadGen ran."""
    ways: tuple[Way, ...]
    """HERE and THERE: of each round the p50 of a query (SingleStream), or the time for a sample (Offline)."""
    splits: tuple[CallSplit, ...]
    """One a round."""
    remarks: tuple[str, ...]

    @property
    def is_latency(self) -> bool:
        return self.scenario == Scenario.SINGLE_STREAM

    def way(self, name: str) -> Way:
        return next(way for way in self.ways if way.name == name)

    @property
    def added_ns(self) -> tuple[float, float, float]:
        """Lowest, median and highest of what serving adds to the figure within a round."""
        added = self.way(THERE).over_ns(self.way(HERE))
        assert added is not None
        return added

    def part_ns(self, part: str) -> float | None:
        """Return the median over the rounds of one of PARTS; None where the server does not tell."""
        values = [value for split in self.splits if (value := split.part_ns(part)) is not None]
        return float(statistics.median(values)) if len(values) == len(self.splits) else None

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, with what is derived from it."""
        return {
            "format": FORMAT,
            **asdict(self),
            "server": typed.unstructure(self.server),
            "added_ns": self.added_ns,
            "split_ns": {part: self.part_ns(part) for part in PARTS},
        }
