"""What a comparison measured (compare.json), from which every table and chart is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.backend.settings import SERVED
from harness.errors import OutputError
from harness.machine import identity
from harness.machine.system import Machine
from harness.measurement import statistics, tuned
from harness.measurement.round import METRICS, Round
from harness.measurement.statistics import Interval
from harness.measurement.tuned import Reference
from harness.mlperf.scenario import Scenario
from harness.typed import LEFT_OUT

FILE_NAME = "compare.json"
FORMAT = 1
_PUBLISHED_SIZE = 224


@dataclass(frozen=True)
class Accuracy:
    """One variant's accuracy test."""

    total: int
    passed: bool | None
    """Whether the card's target, else MLPerf's, is reached; None when there is none."""
    target: float | None
    """As a fraction."""
    verdict: str
    valid: bool
    """False when LoadGen logged an error."""
    log: str
    """Folder of LoadGen's logs, relative to compare.json."""
    good: int | None = field(default=None, metadata=LEFT_OUT)
    """Classification: right labels."""
    map: float | None = field(default=None, metadata=LEFT_OUT)
    """Detection: mean average precision, a fraction."""

    def __post_init__(self) -> None:
        if (self.good is None) is (self.map is None):
            raise ValueError("has neither 'good' nor 'map', or both")

    @property
    def fraction(self) -> float:
        return (self.map or 0.0) if self.good is None else self.good / self.total

    @property
    def metric(self) -> str:
        """What the fraction is of, in words."""
        return "mAP" if self.good is None else "top-1"


@dataclass(frozen=True)
class Variant:
    """One model in one precision."""

    name: str
    model: str
    """Name on the card."""
    precision: str
    """Asked for: f32, bf16 or int8."""
    sha256: str | None
    """Of the model; None when it could not be run."""
    origin: str
    """Hash of what the user named: the model's own, or the one that was quantized here."""
    computed: str | None = None
    """What most of the layers really ran in."""
    kernels: Mapping[str, int] | None = None
    calibration: str = ""
    """How the model was quantized here, in words."""
    accuracy: Accuracy | None = None
    no_accuracy: str = ""
    """Why there is a speed and no accuracy."""
    not_run: str = ""
    """Why this machine cannot run it."""

    @property
    def misses_target(self) -> bool:
        return self.accuracy is not None and (self.accuracy.passed is False or not self.accuracy.valid)

    @property
    def counts(self) -> bool:
        """Whether the boost may be about it."""
        return not self.not_run and not self.misses_target

    @property
    def speed_only(self) -> bool:
        return self.accuracy is None

    @property
    def is_served(self) -> bool:
        """Whether a server computed, which may be elsewhere: with cores, and at a price, of its own."""
        return self.computed == SERVED


@dataclass(frozen=True)
class Data:
    """The store that all was measured on."""

    dataset: str
    count: int
    """Images."""
    list_sha256: str
    pixels_sha256: Mapping[str, str]
    """By recipe."""


@dataclass(frozen=True)
class Settings:
    """How all was measured."""

    rounds: int
    duration_s: float
    """LoadGen's minimum duration of a round."""
    mlperf: str
    """The round whose rules were in force."""
    confidence: float
    """Of the intervals; of those of ratios, of all looks together."""
    looks: tuple[int, ...] = field(default=(), metadata=LEFT_OUT)
    """After how many rounds these tests were looked at by then, in order; empty: nobody counted."""

    @property
    def look(self) -> int:
        """Which look at these tests this is, counted from 1; 0: nobody counted."""
        return self.looks.index(self.rounds) + 1 if self.rounds in self.looks else 0


@dataclass(frozen=True)
class Cell:
    """All rounds of one variant in one scenario on one number of threads."""

    scenario: Scenario
    threads: int
    variant: str
    rounds: tuple[Round, ...]
    user_conf: str = ""
    """The estimates that LoadGen was told, relative to compare.json."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it ran with, of settings.TUNABLE."""
    tuning: Reference | None = None
    """The tuning that they come from; None: without one."""

    def values(self) -> dict[int, float]:
        """Return round number -> figure, in the metric's unit, of the valid rounds."""
        return {entry.number: self._value(entry) for entry in self.rounds if entry.valid}

    def interval(self) -> Interval | None:
        """Return the mean figure with its interval; None with fewer than two valid rounds."""
        values = list(self.values().values())
        return statistics.interval(values) if len(values) > 1 else None

    def _value(self, entry: Round) -> float:
        percentile = METRICS[self.scenario].percentile
        if percentile is not None:
            return entry.latencies_ns[percentile] / 1e6
        if entry.samples_per_second is None:
            raise ValueError(f"round {entry.number} of {self.variant} has no samples_per_second")
        return entry.samples_per_second


@dataclass(frozen=True)
class AccuracyPair:
    """What became of the baseline's answers in another variant; fractions are of mAP."""

    variant: str
    against: str
    count: int
    changed: int
    lost: int | None = field(default=None, metadata=LEFT_OUT)
    gained: int | None = field(default=None, metadata=LEFT_OUT)
    p_value: float | None = field(default=None, metadata=LEFT_OUT)
    agreement: float | None = field(default=None, metadata=LEFT_OUT)
    """Detection: share of an image's boxes with a partner in the other answer, on average."""
    difference: float | None = field(default=None, metadata=LEFT_OUT)
    """Detection: mAP of the variant less that of the other."""
    low: float | None = field(default=None, metadata=LEFT_OUT)
    """95 % interval of the difference, a bootstrap over the images."""
    high: float | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        labels, boxes = (self.lost, self.gained, self.p_value), (self.difference, self.low, self.high)
        if (None in labels) is (None in (*boxes, self.agreement)):
            raise ValueError("compares neither labels nor boxes, or both")


@dataclass(frozen=True)
class Comparison:
    """One machine's results."""

    created: str
    harness: str
    baseline: str
    settings: Settings
    data: Data
    machine: Machine
    variants: tuple[Variant, ...]
    cells: tuple[Cell, ...]
    accuracy_pairs: tuple[AccuracyPair, ...]
    remarks: tuple[str, ...]
    """What disturbed the measurement, in words."""
    not_official_because: tuple[str, ...]
    source: str = ""
    """Where it came from, when merged: the folder, relative to the merged compare.json."""

    @property
    def scenarios(self) -> list[Scenario]:
        return [scenario for scenario in METRICS if any(cell.scenario is scenario for cell in self.cells)]

    @property
    def threads(self) -> list[int]:
        return sorted({cell.threads for cell in self.cells})

    @property
    def faults(self) -> list[str]:
        """Why the comparison as a whole is not good: missed targets and invalid rounds."""
        missed = [
            f"{variant.name}: {variant.accuracy.verdict}"
            for variant in self.variants
            if variant.accuracy is not None and variant.misses_target
        ]
        return missed + self.invalid

    @property
    def invalid(self) -> list[str]:
        """Which rounds do not count, and why."""
        invalid = []
        for cell in self.cells:
            bad = [entry for entry in cell.rounds if not entry.valid]
            if bad:
                numbers = ", ".join(str(entry.number) for entry in bad)
                invalid.append(
                    f"{cell.variant}, {METRICS[cell.scenario].title}, {count_threads(cell.threads)}: "
                    f"round {numbers} of {len(cell.rounds)} is not valid and left out: "
                    f"{' '.join(bad[0].reasons)}"
                )
        return invalid

    def variant(self, name: str) -> Variant:
        return next(variant for variant in self.variants if variant.name == name)

    def cell(self, scenario: Scenario, threads: int, variant: str) -> Cell | None:
        for cell in self.cells:
            if (cell.scenario, cell.threads, cell.variant) == (scenario, threads, variant):
                return cell
        return None

    @property
    def is_like_the_published(self) -> bool:
        """Whether its images are ImageNet's, or as large as those of the published results: 224 px."""
        recipes = self.data.pixels_sha256
        return self.data.dataset == "imagenet" or all(f"-{_PUBLISHED_SIZE}-" in one for one in recipes)

    @property
    def machine_name(self) -> str:
        machine = self.machine
        return machine.cpu_model or machine.cpu_vendor or machine.architecture

    def label(self, threads: int) -> str:
        """Return the name of a row: the machine and how much of it was used."""
        return f"{self.machine_name}, {count_threads(threads)}"


def count_threads(count: int) -> str:
    """Return '1 thread' or '2 threads'."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def to_dict(comparisons: list[Comparison], derived: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document as JSON values."""
    parts = [
        typed.unstructure(one) | {"machine": one.machine.to_dict()} | more
        for one, more in zip(comparisons, derived, strict=True)
    ]
    return {"format": FORMAT, "comparisons": parts}


def read(path: Path) -> list[Comparison]:
    """Read a compare.json.

    Raises:
        OutputError: it is missing, damaged, or of another format version.
    """
    try:
        document = files.read_json(path)
    except FileNotFoundError as error:
        raise OutputError(
            f"{path.parent} holds no {FILE_NAME}: give a folder that `harness compare` has filled."
        ) from error
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Cannot read {path} ({error}): repeat the `harness compare` that wrote it, its rounds are kept."
        ) from error
    form = document.get("format") if isinstance(document, dict) else None
    if isinstance(form, int) and form > FORMAT:
        raise OutputError(f"{path} has format {form}, newer than this harness knows: update the harness.")
    try:
        if form != FORMAT:
            raise ValueError(f"format {form!r}")
        if not document["comparisons"]:
            raise ValueError("it holds none")
        return [_comparison(part) for part in document["comparisons"]]
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"{path} is no comparison of format {FORMAT} ({error!r}): repeat the `harness compare` that "
            f"wrote it, its rounds are kept."
        ) from error


def _comparison(part: Any) -> Comparison:
    found = typed.structure(_upgraded(part), Comparison)
    names = {variant.name for variant in found.variants}
    told = {found.baseline, *(cell.variant for cell in found.cells)}
    told |= {name for pair in found.accuracy_pairs for name in (pair.variant, pair.against)}
    if not told <= names:
        raise ValueError(f"unknown variants {sorted(told - names)}")
    datetime.fromisoformat(found.created)
    for cell in found.cells:
        cell.interval()
    return found


def _upgraded(part: Any) -> Any:
    """Return a comparison with the keys that older ones lack, as they mean them."""
    if not isinstance(part, dict):
        return part
    defaults: dict[str, dict[str, Any]] = {
        "variants": {"calibration": "", "no_accuracy": "", "not_run": ""}
        | dict.fromkeys(("computed", "kernels", "accuracy")),
        "cells": {"user_conf": "", "settings": {}, "tuning": None},
    }
    older = {
        name: [values | entry if isinstance(entry, dict) else entry for entry in part[name]]
        for name, values in defaults.items()
        if isinstance(part.get(name), list)
    }
    for cell in older.get("cells", ()):
        if isinstance(cell, dict) and isinstance(cell["tuning"], dict):
            key = typed.defaults(tuned.Key) | cell["tuning"].get("key", {})
            cell["tuning"] = cell["tuning"] | {"key": key}
    tables: dict[str, dict[str, Any]] = {
        "machine": dict(identity.LATER),
        "settings": {"confidence": statistics.CONFIDENCE},
    }
    newer = {name: values | part[name] for name, values in tables.items() if isinstance(part.get(name), dict)}
    return part | older | newer
