"""Whether what lies beside a detail log is of the same run: its summary, and the user.conf."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.mlperf import conf
from harness.mlperf.conf_syntax import SCENARIOS
from harness.mlperf.scenario import Scenario
from harness.submission.verdict import RUN_AGAIN, Ledger

SUMMARY_AGREES = "the summary and the detail log agree"

_ITS_OWN = "put the files of one run together, or"
_NO_ERRORS = "No errors encountered during test."
_PAIR = re.compile(r"^ *(\S.*?) *: *(\S.*?) *$")
_PERCENTILE = re.compile(r"(\d+\.\d+)(?:th)? percentile latency \(ns\)")
_PRINTED_DIGITS = 1e-5
"""Relative difference that LoadGen's six significant digits leave."""
# results.cc: what the summary calls the values of the detail log.
# 'Result is' is missing here, for either log must say VALID.
_RESULTS = {
    "SUT name": "sut_name",
    "Scenario": "effective_scenario",
    "Mode": "effective_test_mode",
    "Samples per second": "result_samples_per_second",
    "Completed samples per second": "result_completed_samples_per_sec",
    "Scheduled samples per second": "result_scheduled_samples_per_sec",
    "QPS w/ loadgen overhead": "result_qps_with_loadgen_overhead",
    "QPS w/o loadgen overhead": "result_qps_without_loadgen_overhead",
}
_NEEDED = ("Scenario", "Mode", "Result is")
# Offline's scores have a line of their own; a stream's is its percentile, which the line's name tells.
_SCORED: dict[str, str] = {
    Scenario.OFFLINE: "Samples per second",
    Scenario.SERVER: "Completed samples per second",
}
_MS = 1e6
# LoadGen's key -> the entry that says what was asked for, and the factor from one unit to the other
# (test_settings_internal.cc, FromConfig and LogRequestedTestSettings).
_REQUESTED: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "target_latency": {
        Scenario.SINGLE_STREAM: ("requested_single_stream_expected_latency_ns", _MS),
        Scenario.MULTI_STREAM: ("requested_multi_stream_expected_latency_ns", _MS),
        Scenario.SERVER: ("requested_server_target_latency_ns", _MS),
    },
    "target_latency_percentile": {
        Scenario.SINGLE_STREAM: ("requested_single_stream_target_latency_percentile", 0.01),
        Scenario.MULTI_STREAM: ("requested_multi_stream_target_latency_percentile", 0.01),
        Scenario.SERVER: ("requested_server_target_latency_percentile", 0.01),
    },
    "samples_per_query": {Scenario.MULTI_STREAM: ("requested_multi_stream_samples_per_query", 1)},
    "target_qps": {
        Scenario.SERVER: ("requested_server_target_qps", 1),
        Scenario.OFFLINE: ("requested_offline_expected_qps", 1),
    },
    "max_async_queries": {Scenario.SERVER: ("requested_server_max_async_queries", 1)},
    "coalesce_queries": {Scenario.SERVER: ("requested_server_coalesce_queries", 1)},
    **{
        key: dict.fromkeys(SCENARIOS, (entry, 1))
        for key, entry in (
            ("min_duration", "requested_min_duration_ms"),
            ("min_query_count", "requested_min_query_count"),
            ("performance_sample_count_override", "requested_performance_sample_count_override"),
            ("sample_concatenate_permutation", "requested_sample_concatenate_permutation"),
            ("print_timestamps", "requested_print_timestamps"),
        )
    },
}


def check_summary(
    ledger: Ledger,
    summary: Path,
    path: str,
    detail: Mapping[str, Any] | None,
    again: str,
    *,
    performance: bool,
) -> None:
    """Check a summary log, and hold it against the detail log beside it where that could be read.

    `again` says how the test is repeated.
    """
    try:
        text = summary.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        ledger.hold("the summary log is there", path, False, f"cannot be read ({error})", again)
        return
    if not ledger.hold("the summary log is not empty", path, bool(text.strip()), "is empty", again):
        return
    said = dict(_said(text))
    if performance:
        verdict = said.get("Result is", "nothing")
        ledger.hold(
            "the summary says VALID",
            path,
            verdict == "VALID",
            f"LoadGen's verdict is {verdict}, not VALID",
            again,
        )
        lacking = [label for label in (*_NEEDED, *_score_label(said)) if label not in said]
        ledger.hold(
            "the summary is whole",
            path,
            not lacking,
            f"is cut off or edited: it lacks '{', '.join(lacking)}'",
            again,
        )
    ledger.hold(
        "the summary tells of no error",
        path,
        _NO_ERRORS in text.split("\n"),
        f"is cut off or tells of errors: it lacks '{_NO_ERRORS}'",
        again,
    )
    if detail is None:
        return
    unlike = [
        f"{label}: {value} here, {detail[key]} there"
        for label, value in said.items()
        if (key := _key_of(label, said.get("Scenario", ""))) in detail and not _same(value, detail[key])
    ]
    ledger.hold(
        SUMMARY_AGREES,
        path,
        not unlike,
        f"is of another run than the detail log beside it ({'; '.join(unlike[:3])})",
        f"{_ITS_OWN} {again}",
    )


def check_user_conf(
    ledger: Ledger,
    user_conf: Path,
    path: str,
    benchmark: str,
    division: str,
    detail: Mapping[str, Any] | None,
) -> None:
    """Check a user.conf, and hold it against the performance run's log where that could be read."""
    if not user_conf.is_file():
        return
    try:
        given = conf.read_user_conf(user_conf, benchmark, conf.shipped_rules())
    except HarnessError as error:
        said = re.sub(r"\s+", " ", str(error).replace(f"{user_conf}, ", "").replace(f"{user_conf} ", ""))
        said = said.rstrip(".")
        ledger.hold("user.conf is sound", path, False, said, f"use the one of the run, or {RUN_AGAIN}")
        return
    for fault in given.open_only:
        ledger.hold(
            "user.conf fits the division",
            path,
            division == "open",
            fault.rstrip("."),
            "use the open division",
        )
    if detail is None or detail.get("effective_scenario") not in SCENARIOS:
        return
    scenario = str(detail["effective_scenario"])
    unlike = list(_unlike_settings(given, benchmark, scenario, detail))
    ledger.hold(
        "user.conf is the run's",
        path,
        not unlike,
        f"is not the one that the run was made with ({'; '.join(unlike)})",
        f"use the one of the run, or {RUN_AGAIN}",
    )


def _unlike_settings(
    given: conf.UserConf, benchmark: str, scenario: str, detail: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the settings with which the run was made otherwise than user.conf and mlperf.conf say."""
    wanted = given.values(scenario)
    rules = conf.shipped_rules()
    for key, entries in _REQUESTED.items():
        if scenario not in entries:
            continue
        entry, factor = entries[scenario]
        value = wanted.get(key, rules.lookup(benchmark, scenario, key))
        if value is None or entry not in detail:
            continue
        ran = detail[entry]
        if not isinstance(ran, int | float) or not math.isclose(
            value * factor, ran, rel_tol=_PRINTED_DIGITS, abs_tol=_PRINTED_DIGITS
        ):
            shown = ran / factor if isinstance(ran, int | float) else ran
            yield f"{key}: {value} here, {shown} in the log"


def _said(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        found = _PAIR.match(line)
        if found:
            yield found[1], found[2]


def _score_label(said: Mapping[str, str]) -> tuple[str, ...]:
    label = _SCORED.get(said.get("Scenario", ""))
    return () if label is None else (label,)


def _key_of(label: str, scenario: str) -> str:
    """Return the key of the detail log that the summary has under `label`."""
    per = "per_query_" if scenario == Scenario.MULTI_STREAM else ""
    percentile = _PERCENTILE.fullmatch(label)
    if percentile:
        return f"result_{float(percentile[1]):.2f}_percentile_{per}latency_ns"
    extreme = re.fullmatch(r"(Min|Max|Mean) latency \(ns\)", label)
    if extreme:
        return f"result_{extreme[1].lower()}_{'query_' if per else ''}latency_ns"
    return _RESULTS.get(label) or "effective_" + re.sub(r" \((\w+)\)$", r"_\1", label)


def _same(text: str, value: Any) -> bool:
    """Return whether a value that the summary prints is that of the detail log, as far as it was printed."""
    if isinstance(value, str):
        return text == value
    if not isinstance(value, int | float):
        return False
    try:
        if isinstance(value, int) and re.fullmatch(r"\d+", text):
            return int(text) == value
        decimals = len(text.partition(".")[2]) if "e" not in text else 0
        slack = 0.51 * 10.0**-decimals if "." in text else 0.0
        return math.isclose(float(text), value, rel_tol=_PRINTED_DIGITS, abs_tol=slack)
    except ValueError:
        return False
