"""What an explanation found (explain.json), from which every page is made."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.backend import kernels
from harness.backend.kernels import Layer
from harness.explain.clocks import Split
from harness.mlperf.scenario import Scenario
from harness.profiling.peak import Peak

FILE_NAME = "explain.json"
FORMAT = 1

PARTS = ("compute", "answers", "dispatch", "copying", "queueing")


@dataclass(frozen=True)
class Way:
    """One way to run the model."""

    name: str
    figures_ns: tuple[float, ...]
    """Of each round: the median latency of a query (SingleStream), or the time that a stream spends on a
    sample (Offline). Empty when it was not measured."""
    missing: str = ""
    """Why it was not."""

    @property
    def median_ns(self) -> float | None:
        return statistics.median(self.figures_ns) if self.figures_ns else None

    def over_ns(self, other: "Way") -> tuple[float, float, float] | None:
        """Return lowest, median and highest of the differences to another way within a round."""
        if not (self.figures_ns and other.figures_ns):
            return None
        extra = [one - two for one, two in zip(self.figures_ns, other.figures_ns, strict=True)]
        return min(extra), statistics.median(extra), max(extra)


@dataclass(frozen=True)
class Explanation:
    """Everything that was found out about one model in one scenario."""

    created: str
    harness: str
    model: Mapping[str, Any]
    """name, sha256, note."""
    scenario: str
    """SingleStream or Offline."""
    settings: Mapping[str, Any]
    """threads, streams, batch and precision in force, rounds, seconds."""
    computed: str
    """int8, bf16 or f32: what most convolutions and matrix products run in."""
    machine: Mapping[str, Any]
    ways: tuple[Way, ...]
    """Bare loop, pool, benchmark_app, LoadGen."""
    splits: tuple[Split, ...]
    """Of LoadGen's figure, one a round."""
    copy_ns: float
    """What copying a sample that is in the cache into OpenVINO's memory takes; median of the rounds."""
    layers: tuple[Layer, ...]
    profiled_inferences: int
    macs_per_sample: float
    peaks: tuple[Peak, ...]
    remarks: tuple[str, ...]

    @property
    def is_latency(self) -> bool:
        return self.scenario == Scenario.SINGLE_STREAM

    @property
    def streams(self) -> int:
        return 1 if self.is_latency else int(self.settings["streams"])

    def way(self, name: str) -> Way:
        return next(way for way in self.ways if way.name == name)

    def part_ns(self, part: str) -> float:
        """Return the median over the rounds of one of PARTS; answers have their share of the layers' time."""
        if part in ("compute", "answers"):
            share = kernels.answers_share(self.layers) or 0.0
            of_model = statistics.median(split.compute_ns for split in self.splits)
            return float(of_model * (share if part == "answers" else 1 - share))
        return float(statistics.median(getattr(split, f"{part}_ns") for split in self.splits))

    @property
    def gmacs_per_second(self) -> float | None:
        """What the model achieves in a bare loop, all streams together; None when that was not measured."""
        figure_ns = self.way("bare").median_ns
        return None if figure_ns is None else self.macs_per_sample * self.streams / figure_ns

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, with what is derived from it."""
        whole_us = kernels.total_us(self.layers)
        achieved = self.gmacs_per_second
        return {
            "format": FORMAT,
            **asdict(self),
            "split_ns": {part: self.part_ns(part) for part in PARTS},
            "profile_us": whole_us,
            "answers_share": kernels.answers_share(self.layers),
            "int8_share": kernels.int8_share(self.layers),
            "left_wide": [layer.name for layer in kernels.left_wide(self.layers)],
            "fallbacks": [layer.name for layer in kernels.fallbacks(self.layers)],
            "gmacs_per_second": achieved,
            "share_of_peak": {
                peak.kind: None if achieved is None else achieved / peak.gmacs_per_second
                for peak in self.peaks
            },
        }
