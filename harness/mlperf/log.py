"""Reading the logs that LoadGen writes."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import RunFailed
from harness.mlperf.scenario import Scenario

DETAIL_LOG = "mlperf_log_detail.txt"
SUMMARY_LOG = "mlperf_log_summary.txt"
ACCURACY_LOG = "mlperf_log_accuracy.json"
TRACE_LOG = "mlperf_log_trace.json"
ACCURACY_TEXT = "accuracy.txt"
"""What the accuracy script writes beside LoadGen's logs."""

_MARKER = ":::MLLOG "
_SUMMARY_END = re.compile(r"(No errors|\d+ ERRORS?) encountered", re.IGNORECASE)
_ENDS = {"PerformanceOnly": "num_errors", "AccuracyOnly": "power_end"}
"""The last entry of a test's detail log, by its mode."""


class LogFault(RunFailed):
    """A log that cannot be used; `fault` says why, and the message what to do as well."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"{fault}: repeat the command that ran the test, such as `harness run`, which keeps only what is "
            f"sound."
        )
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Detail(Mapping[str, Any]):
    """mlperf_log_detail.txt as key -> value; the first entry of a key counts, as for MLPerf's checkers."""

    path: Path
    entries: dict[str, Any]
    errors: list[str]
    """What LoadGen logged as errors; a run with any of them cannot be submitted."""
    warnings: list[str]
    repeated: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keys with several entries -> all their values, in the log's order."""

    def values_of(self, key: str) -> tuple[Any, ...]:
        """Return the values of all entries of a key."""
        return self.repeated.get(key) or ((self.entries[key],) if key in self.entries else ())

    def __getitem__(self, key: str) -> Any:
        return self.entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True)
class Performance:
    """What LoadGen measured in a performance run (results.cc:630-852)."""

    scenario: Scenario
    validity: str
    """LoadGen's own verdict, VALID or INVALID, which does not look at errors."""
    invalid_reasons: tuple[str, ...]
    errors: tuple[str, ...]
    query_count: int
    sample_count: int
    duration_ns: int | None
    """What LoadGen holds against the minimum duration: Offline's query, or the time from the start to the
    last query's issue (SingleStream) or schedule (Server), to six digits; in MultiStream the time to the last
    answer, to a millisecond. None when a single query leaves it unknown."""
    latency_p50_ns: int
    """Latencies are of whole queries in MultiStream, elsewhere of samples."""
    latency_p90_ns: int
    latency_p99_ns: int
    latency_mean_ns: int
    latency_min_ns: int
    latency_max_ns: int
    score: float | None
    """In the unit of the scenario's facts; None when too few queries left the estimate unknown."""
    early_stopping_met: bool | None
    """None in Offline."""
    latency_percentile: float | None
    """In per cent, that LoadGen's verdict and score are of; None in Offline."""
    latency_bound_ns: int | None
    """What Server's latency percentile is held against; None elsewhere."""
    late_queries: int | None
    """Queries above Server's bound; None elsewhere."""
    scheduled_samples_per_second: float | None
    """The rate at which Server's queries were due; None elsewhere."""
    min_duration_s: float
    """What LoadGen was asked for."""
    min_query_count: int
    """What LoadGen was asked for; Offline: samples."""
    min_duration_met: bool
    min_queries_met: bool
    perf_constraints_met: bool | None
    """Whether Server's latency percentile is within its bound; None elsewhere."""

    @property
    def valid(self) -> bool:
        """True when LoadGen says VALID and logged no error: VALID alone is not a pass."""
        return self.validity == "VALID" and not self.errors

    @property
    def early_stopping_latency_ns(self) -> int | None:
        """The score of SingleStream and MultiStream; None elsewhere."""
        return round(self.score) if self.scenario.facts.is_latency and self.score else None

    @property
    def samples_per_second(self) -> float | None:
        """The score of Offline and Server; None elsewhere."""
        return None if self.scenario.facts.is_latency else self.score


def read_detail(path: Path) -> Detail:
    """Read mlperf_log_detail.txt.

    Raises:
        RunFailed: the log is missing, empty, cut off or not one of LoadGen's.
    """
    text = read_text(path)
    if not text.endswith("\n"):
        raise LogFault(f"The log {path} is cut off in its last line")
    entries: dict[str, list[Any]] = {}
    errors: list[str] = []
    warnings: list[str] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        try:
            if not line.startswith(_MARKER):
                raise ValueError("no marker")
            entry = json.loads(line.removeprefix(_MARKER))
            key, value, metadata = entry["key"], entry["value"], entry["metadata"]
            is_error, is_warning = metadata["is_error"], metadata["is_warning"]
            entries.setdefault(key, []).append(value)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LogFault(f"Line {number} of the log {path} is not an entry of LoadGen's") from error
        if is_error:
            errors.append(str(value))
        if is_warning:
            warnings.append(str(value))
    first = {key: values[0] for key, values in entries.items()}
    repeated = {key: tuple(values) for key, values in entries.items() if len(values) > 1}
    return Detail(path, first, errors, warnings, repeated)


def require_end(detail: Detail) -> None:
    """Hold a detail log against the end that every test reaches.

    Raises:
        RunFailed: it is cut off, if only between two lines.
    """
    if (last := _ENDS.get(str(detail.get("effective_test_mode")), "num_errors")) not in detail:
        raise LogFault(f"The log {detail.path} is cut off: it holds no '{last}'")


def require_summary(path: Path) -> None:
    """Hold mlperf_log_summary.txt against the end that every test reaches.

    Raises:
        RunFailed: it is missing, empty or cut off.
    """
    text = read_text(path)
    if not text.endswith("\n") or not _SUMMARY_END.match(text.rstrip().rpartition("\n")[2]):
        raise LogFault(f"The log {path} is cut off")


def read_performance(path: Path) -> Performance:
    """Read the result of a performance run from its mlperf_log_detail.txt.

    Raises:
        RunFailed: as `read_detail`, or the log holds no result, or is cut off.
    """
    detail = read_detail(path)
    try:
        found = _performance(detail)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise LogFault(f"The log {path} holds a figure that is not LoadGen's ({error})") from error
    require_end(detail)
    return found


def _performance(detail: Detail) -> Performance:
    def entry(key: str) -> Any:
        if key not in detail:
            errors = f" (LoadGen's first error: {detail.errors[0]})" if detail.errors else ""
            raise LogFault(f"The log {detail.path} holds no '{key}', so the test broke off{errors}")
        return detail[key]

    name = entry("effective_scenario")
    if name not in list(Scenario):
        raise LogFault(f"The log {detail.path} is of a '{name}' run, which is no scenario of LoadGen's")
    scenario = Scenario(name)
    server, offline = scenario is Scenario.SERVER, scenario is Scenario.OFFLINE
    validity = entry("result_validity")
    query_count = entry("result_query_count")
    reasons = [detail.get("result_invalid_reason", "")]
    if not entry("early_stopping_met"):
        reasons.append(entry("early_stopping_result"))
    of = per = "latency"
    if scenario is Scenario.MULTI_STREAM:
        of, per = "query_latency", "per_query_latency"
    return Performance(
        scenario=scenario,
        validity=validity,
        invalid_reasons=tuple(filter(None, map(_plain, reasons))),
        errors=tuple(detail.errors),
        query_count=query_count,
        sample_count=query_count * entry("generated_samples_per_query"),
        duration_ns=_duration_ns(scenario, entry),
        latency_p50_ns=entry(f"result_50.00_percentile_{per}_ns"),
        latency_p90_ns=entry(f"result_90.00_percentile_{per}_ns"),
        latency_p99_ns=entry(f"result_99.00_percentile_{per}_ns"),
        latency_mean_ns=entry(f"result_mean_{of}_ns"),
        latency_min_ns=entry(f"result_min_{of}_ns"),
        latency_max_ns=entry(f"result_max_{of}_ns"),
        score=entry(scenario.facts.score_key) or None,
        early_stopping_met=None if offline else entry("early_stopping_met"),
        latency_percentile=None if offline else 100 * entry("effective_target_latency_percentile"),
        latency_bound_ns=entry("effective_target_latency_ns") if server else None,
        late_queries=entry("result_overlatency_query_count") if server else None,
        scheduled_samples_per_second=entry("result_scheduled_samples_per_sec") if server else None,
        min_duration_s=entry("effective_min_duration_ms") / 1e3,
        min_query_count=entry("effective_min_query_count"),
        min_duration_met=entry("result_min_duration_met"),
        min_queries_met=entry("result_min_queries_met"),
        perf_constraints_met=entry("result_perf_constraints_met") if server else None,
    )


def _duration_ns(scenario: Scenario, entry: Callable[[str], Any]) -> int | None:
    queries = entry("result_query_count")
    match scenario:
        case Scenario.OFFLINE:
            return int(entry("result_max_latency_ns"))
        case Scenario.MULTI_STREAM:
            begin, end = (
                datetime.strptime(entry(key), "%m-%d-%Y %H:%M:%S.%f") for key in ("power_begin", "power_end")
            )
            return round((end - begin).total_seconds() * 1e9)
        case Scenario.SINGLE_STREAM:
            rate = entry("result_qps_with_loadgen_overhead")
        case Scenario.SERVER:
            rate = entry("result_scheduled_samples_per_sec")
    return round((queries - 1) / rate * 1e9) if queries > 1 and rate else None


def read_accuracy(path: Path) -> list[tuple[int, int, bytes]]:
    """Return (seq_id, qsl_idx, response) of each entry of mlperf_log_accuracy.json, duplicates included.

    Raises:
        RunFailed: the log is missing, cut off or not one of LoadGen's.
    """
    text = read_text(path)
    try:
        entries = json.loads(text)
        if not isinstance(entries, list):
            raise ValueError("it is not a list")
    except ValueError as error:
        raise LogFault(f"The accuracy log {path} is cut off or damaged ({error})") from error
    try:
        return [
            (int(entry["seq_id"]), int(entry["qsl_idx"]), bytes.fromhex(entry["data"])) for entry in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise LogFault(f"The accuracy log {path} has an entry that is not LoadGen's ({error!r})") from error


def _plain(text: str) -> str:
    """Turn LoadGen's ' * '-separated remarks into one line of sentences."""
    return re.sub(r"\s+", " ", text.replace(" * ", " ")).strip()


def read_text(path: Path) -> str:
    """Return the text of a log.

    Raises:
        RunFailed: it is missing, empty or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LogFault(f"No log at {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LogFault(f"Cannot read the log {path} ({error})") from error
    if not text.strip():
        raise LogFault(f"The log {path} is empty")
    return text
