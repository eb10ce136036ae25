"""The result this project repeats: Deci and Intel in MLPerf Inference v0.7, Open division, September 2020.

Source: the table that Deci published with the submission; the systems' logs lie in MLCommons'
inference_results_v0.7, open/Deci. Latencies are means or medians there, where MLPerf's metric is p90.
"""

import csv
from dataclasses import dataclass

from harness import resources
from harness.mlperf.scenario import Scenario

SOURCE = "Deci and Intel, MLPerf Inference v0.7, Open division, 2020"


@dataclass(frozen=True)
class PublishedRow:
    """ResNet-50 v1.5 on one machine: OpenVINO in 32 bits, in 8 bits, and the searched model."""

    hardware: str
    cores: int
    latency_ms: tuple[float, float, float]
    """Single-Stream."""
    images_per_second: tuple[float, float, float]
    """Offline."""
    latency_boost: str
    """As published: the searched model against 8 and 32 bits."""
    rate_boost: str


ROWS = (
    PublishedRow(
        "MacBook Pro 2019, 1.4 GHz 8th-gen Intel quad-core i5", 4, (83, 83, 7), (30, 30, 207), "11.8x", "6.9x"
    ),
    PublishedRow("1 Intel Cascade Lake core", 1, (76, 21, 6.45), (14, 50, 154), "3.3 - 11.8x", "3.1 - 11x"),
    PublishedRow(
        "8 Intel Cascade Lake cores", 8, (11, 5.5, 2.13), (110, 410, 1092), "2.6 - 5.16x", "2.7 - 9.9x"
    ),
)


@dataclass(frozen=True)
class CpuResult:
    """A ResNet-50 Offline result of MLPerf Inference that ran on CPUs alone."""

    round: str
    submitter: str
    division: str
    """'closed': MLPerf's ResNet-50 v1.5; 'open': the submitter's own model."""
    processor: str
    cores: int
    """As submitted."""
    framework: str
    """With the precision, where the submitter states it."""
    per_core: float
    """Images per second and core."""
    note: str
    """Where cores or result need a word."""
    top1_percent: float | None = None
    """None where it is not known; in the Closed division it is 75.7 or more."""


def cpu_results() -> list[CpuResult]:
    """Return the published results on CPUs, the newest round first; see published/README.md.

    Of a round those of the Closed division come first, and of a division the fastest core.
    """
    rows = [{**row, "round": "v0.7"} for row in _rows("v07_offline_cpu.csv")]
    for row in _rows("later_cpu.csv"):
        if row["scenario"] == Scenario.OFFLINE and row["on_cpu"] == "1":
            per_core = float(row["samples_per_second"]) / int(row["cores"])
            how = ", ".join(filter(None, (row["note"], row["software"])))
            more = {"framework": how, "per_core": str(per_core), "top1_percent": "", "note": ""}
            rows.append({**row, **more})
    results = [
        CpuResult(
            row["round"],
            row["submitter"],
            row["division"],
            row["processor"],
            int(row["cores"]),
            row["framework"],
            float(row["per_core"]),
            row["note"],
            float(row["top1_percent"]) if row["top1_percent"] else None,
        )
        for row in rows
    ]
    results.sort(key=lambda result: (result.division, -result.per_core))
    return sorted(results, key=lambda result: result.round, reverse=True)


def _rows(name: str) -> list[dict[str, str]]:
    with (resources.PUBLISHED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
