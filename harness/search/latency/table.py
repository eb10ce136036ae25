"""The latency table: built by measuring, proven on unseen networks, and refused where it does not hold."""

import math
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files
from harness.console import note, progress
from harness.errors import HarnessError
from harness.model.architecture import Architecture
from harness.profiling import stopwatch
from harness.profiling.conditions import Conditions
from harness.profiling.stopwatch import Timer
from harness.resources import cache_folder
from harness.search.latency.prediction import Design, Prediction
from harness.search.latency.validation import Validation, validate
from harness.search.space.revisions import Space

HELD_OUT = 32
"""Random networks that it learns nothing from, measured to validate the table; 30 are the least."""
VISITS = 3
"""So often, minutes apart, those are measured: what judges must be surer than what is judged."""
MEASURING_S = 1.3
"""To quantize, compile and time one network on a quiet machine; two Zen 4 cores."""
_HELD_OUT_SEED = 20_261_121
_FORMAT = 8
_CURE = "build it anew with `harness search latency`"
_CURE_DAMAGE = f"delete it and {_CURE}"


@dataclass(frozen=True)
class LatencyTable:
    """Predicts the time of any network of a space, under the conditions that it was measured under."""

    space: Space
    conditions: Conditions
    design: Design
    visits: dict[str, list[float]]
    """Time of each measured network over the reference's, by its key, each time that it was measured."""
    reference_ms: float
    """What the space's reference takes in INT8 while the machine is quiet."""
    seconds: float
    """How long the measuring took."""

    @cached_property
    def ratios(self) -> dict[str, float]:
        """Time of each measured network over the reference's, by its key."""
        return {key: statistics.median(found) for key, found in self.visits.items()}

    @cached_property
    def _prediction(self) -> Prediction:
        return Prediction(self.space, self.design, self.ratios, held_out(self.space))

    def predict_ms(self, architecture: Architecture) -> float:
        """Return the milliseconds of one image: the latency in SingleStream, 1 / throughput in Offline.

        Raises:
            HarnessError: the architecture is no point of the space.
        """
        return self.reference_ms * self._prediction.time(architecture)

    @property
    def held_out(self) -> list[tuple[Architecture, float]]:
        """The networks that validate the table, none of which it learned from, and their measured times."""
        return [(network, self.reference_ms * self.ratios[network.key]) for network in held_out(self.space)]

    @cached_property
    def validation(self) -> Validation:
        """How far the predictions are from the measured times of the held-out networks."""
        networks = held_out(self.space)
        return validate(
            [self.predict_ms(network) for network in networks],
            [[self.reference_ms * ratio for ratio in self.visits[network.key]] for network in networks],
            [network.count_macs() for network in networks],
        )

    def summary(self) -> dict[str, Any]:
        """Return what the table is, what it is valid for and how good it is, as JSON values."""
        return {
            "key": _key(self.space, self.conditions),
            "baseline": self.space.baseline.to_dict(),
            "sizes": list(self.space.sizes),
            "design": asdict(self.design),
            "networks": len(self.visits),
            "reference_ms": self.reference_ms,
            "minutes": self.seconds / 60,
            "validation": self.validation.to_dict(),
            "faults": self.validation.faults,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON values; what it is only valid for stands under "key"."""
        return {"format": _FORMAT, **self.summary(), "seconds": self.seconds, "visits": self.visits}


@dataclass(frozen=True)
class Refitted:
    """A table that has learned from further networks: those that a search has measured."""

    table: LatencyTable
    measured: tuple[tuple[Architecture, float], ...]
    """Networks of the space and their milliseconds."""

    @cached_property
    def _prediction(self) -> Prediction:
        table = self.table
        more = [(one, found_ms / table.reference_ms) for one, found_ms in self.measured]
        return Prediction(table.space, table.design, table.ratios, held_out(table.space), more)

    def predict_ms(self, architecture: Architecture) -> float:
        """Return what LatencyTable.predict_ms does."""
        return self.table.reference_ms * self._prediction.time(architecture)


def held_out(space: Space) -> list[Architecture]:
    """Return the random networks of the space that validate its tables, all different."""
    return space.samples(_HELD_OUT_SEED, HELD_OUT)


def usual_path(space: Space, conditions: Conditions) -> Path:
    """Return where a table lies unless the user says otherwise."""
    name = f"{space.key}-{conditions.scenario}-{conditions.threads}.json"
    return cache_folder() / "latency" / name


def obtain(space: Space, conditions: Conditions, path: Path) -> LatencyTable:
    """Return the table at `path` if it holds here and is good enough, else build it there, or add to it.

    Raises:
        HarnessError: what lies there is no table, the machine is too busy to measure, or nothing can be
            written there.
    """
    if path.exists():
        try:
            return load(path, space, conditions)
        except UnfitTable as error:
            note(str(error))
    return build(space, conditions, path)


def build(
    space: Space,
    conditions: Conditions,
    out: Path,
    design: Design | None = None,
    timer: Timer | None = None,
) -> LatencyTable:
    """Measure a table and its validation, and write it to `out`.

    Each measured network is kept in a journal beside `out`; a second call goes on from there. A table of the
    same case that lies there, whole but not good enough, is not thrown away: all its networks are measured
    once more, and the medians of old and new measurements count.

    Args:
        space: whose networks the table shall predict.
        conditions: under which to measure.
        out: the table's file; a table of another case that is there already is replaced.
        design: what to measure; default: `Design.of` the space.
        timer: how to measure, given the reference network and the conditions; default:
            `timing.timer`.

    Raises:
        HarnessError: the machine is too busy to measure, `out` cannot be written, or another process is
            measuring it.
    """
    files.make_writable_folder(out.parent)
    with files.alone(out, cure="", lock=out.with_name(f".{out.name}.lock")):
        return _measured(space, conditions, out, design or Design.of(space), timer or stopwatch.timer)


def _measured(space: Space, conditions: Conditions, out: Path, design: Design, timer: Timer) -> LatencyTable:
    identity = _key(space, conditions) | asdict(design)
    journal = _Journal(out.with_name(f"{out.name}.journal"), identity, _earlier(out, identity))
    unseen = held_out(space)
    often = {network.key: VISITS for network in unseen}
    networks = {network.key: network for network in [*unseen, *design.all_networks(space, unseen)]}
    rounds = 1 + min(len(journal.visits.get(key, ())) // often.get(key, 1) for key in networks)
    wanted = [(key, visit) for key in networks for visit in range(rounds * often.get(key, 1))]
    # At random: a machine that slows down must not slow one kind of entry, or one visit, only.
    random.Random(design.seed).shuffle(wanted)
    missing = [key for key, visit in wanted if visit >= len(journal.visits.get(key, ()))]
    if missing:
        count, minutes = len(missing), math.ceil(len(missing) * journal.measuring_s / 60)
        note(f"The latency table needs {count} measurements, about {minutes} min: let nothing else run here.")
    with progress("Measuring", len(wanted)) as bar:
        bar.update(len(wanted) - len(missing))
        if missing:
            with timer(space.reference, conditions) as stopwatch:
                ratios = stopwatch.ratios([networks[key] for key in missing])
                for key, ratio in zip(missing, ratios, strict=True):
                    journal.add(key, ratio, stopwatch.quiet_ms)
                    bar.advance()
    visits = {key: journal.visits[key] for key in sorted(networks)}
    table = LatencyTable(space, conditions, design, visits, journal.reference_ms, journal.seconds)
    files.write_json(out, table.to_dict())
    journal.path.unlink(missing_ok=True)
    return table


class UnfitTable(HarnessError):
    """A latency table that is whole, but not valid here or not good enough."""


def load(path: Path, space: Space, conditions: Conditions) -> LatencyTable:
    """Return a table that holds here, as far as it says where it was made, and is good enough.

    Raises:
        HarnessError: the file is missing or damaged, was measured on another machine, with other versions or
            settings or for another space, or its validation fails.
    """
    document = _read(path)
    here, there = _key(space, conditions), document["key"]
    stale = [
        f"{name} {_plain(there.get(name))}, here {_plain(value)}"
        for name, value in here.items()
        if there.get(name, value) != value
    ]
    if stale:
        raise UnfitTable(f"The latency table {path} was made for another case ({'; '.join(stale)}): {_CURE}.")
    try:
        design = Design(**document["design"])
        visits = {str(key): [float(one) for one in found] for key, found in document["visits"].items()}
        level, seconds = float(document["reference_ms"]), float(document["seconds"])
        table = LatencyTable(space, conditions, design, visits, level, seconds)
        faults = table.validation.faults
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HarnessError(f"The latency table {path} is damaged ({error!r}): {_CURE_DAMAGE}.") from error
    if faults:
        raise UnfitTable(
            f"The latency table {path} is not good enough to search with, {'; '.join(faults)}: on a quiet "
            "machine `harness search latency` measures all once more and adds it."
        )
    return table


def _key(space: Space, conditions: Conditions) -> dict[str, Any]:
    return {**conditions.to_dict(), "space": space.key}


def _read(path: Path) -> dict[str, Any]:
    try:
        document = files.read_json(path)
    except OSError as error:
        raise HarnessError(
            f"Cannot read the latency table {path} ({error.strerror}): make it with `harness search latency`."
        ) from error
    except ValueError as error:
        raise HarnessError(f"The latency table {path} is damaged ({error}): {_CURE_DAMAGE}.") from error
    if not isinstance(document, dict) or "format" not in document or not _has_tables(document):
        raise HarnessError(f"The file {path} is no latency table: {_CURE_DAMAGE}.")
    if document["format"] != _FORMAT:
        raise UnfitTable(f"The latency table {path} is of another version of the harness: {_CURE}.")
    return document


def _has_tables(document: dict[str, Any]) -> bool:
    return isinstance(document.get("key"), dict) and isinstance(document.get("design", {}), dict)


def _earlier(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table at `path`, as JSON values, if it is one of the same case and design."""
    if not path.exists():
        return None
    try:
        document = _read(path)
    except UnfitTable:
        return None
    return document if identity | document["key"] | document.get("design", {}) == identity else None


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


class _Journal:
    """What was measured so far; what is of another case is dropped."""

    def __init__(self, path: Path, key: dict[str, Any], earlier: Mapping[str, Any] | None) -> None:
        """Take over what the journal at `path` holds, or else an `earlier` table."""
        self.path = path
        self._key = key
        self._start = time.monotonic()
        self.visits: dict[str, list[float]] = {}
        self.reference_ms = math.inf
        self._earlier_s = 0.0
        try:
            found = earlier
            if path.exists():
                journal = files.read_json(path)
                found = journal if key | journal["key"] == key else earlier
            if found:
                self.visits, self._earlier_s = dict(found["visits"]), float(found["seconds"])
                self.reference_ms = float(found["reference_ms"])
        except (ValueError, LookupError, TypeError) as error:
            raise HarnessError(f"The journal {path} is damaged ({error!r}): delete it.") from error

    @property
    def seconds(self) -> float:
        """Time spent, earlier calls included."""
        return self._earlier_s + time.monotonic() - self._start

    @property
    def measuring_s(self) -> float:
        """How long a measurement takes, as far as some were made."""
        made = sum(map(len, self.visits.values()))
        return self._earlier_s / made if made else MEASURING_S

    def add(self, key: str, ratio: float, quiet_ms: float) -> None:
        """Keep a network's time over the reference's, and what that took at its quietest."""
        self.visits.setdefault(key, []).append(ratio)
        self.reference_ms = min(self.reference_ms, quiet_ms)
        document = {"key": self._key, "seconds": self.seconds, "reference_ms": self.reference_ms}
        files.write_json(self.path, {**document, "visits": self.visits})
