"""The settings of a performance run, held against those that a round and its division demand."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.mlperf import conf
from harness.mlperf.rules import Round, Task
from harness.mlperf.scenario import Scenario
from harness.submission.verdict import Ledger
from harness.task import Task as AnswerTask
from harness.task import of_benchmark

_PLAIN = {
    "effective_samples_per_query": "the number of samples in a query",
    "effective_target_latency_percentile": "the percentile of latency",
    "effective_target_latency_ns": "the latency bound in ns",
}


@dataclass(frozen=True)
class Rules:
    """What the logs of one benchmark folder are held against."""

    round: Round
    task: Task
    division: str
    system_type: str

    @property
    def answers(self) -> AnswerTask:
        """How the benchmark's answers are scored."""
        return of_benchmark(self.task.benchmark)


def check(
    ledger: Ledger, detail: Mapping[str, Any], path: str, rules: Rules, again: str, *, same_allowed: bool
) -> None:
    """Check the settings of a performance run; `again` says how it is repeated.

    `same_allowed` is for compliance tests, of which TEST04 issues one and the same sample.
    """
    ran = str(detail.get("effective_scenario"))

    def least(key: str, floor: int, what: str) -> None:
        value = detail.get(key)
        ledger.hold(
            f"{key} is at least {floor}",
            path,
            isinstance(value, int) and value >= floor,
            f"{what} is {value} where the rules ask for {floor}",
            again,
        )

    task = rules.task
    least("effective_min_duration_ms", rules.round.min_duration_ms, "the least duration in ms")
    least("effective_performance_sample_count", task.performance_sample_count, "the performance sample count")
    least("effective_min_query_count", _least_queries(rules, ran), "the least number of queries")
    if ran == Scenario.OFFLINE:
        least("effective_samples_per_query", task.offline_sample_count, "the number of samples in the query")
    if ran == Scenario.SERVER and task.server_latency_ns is not None:
        # MLPerf's checker asks for it in Open, too (performance_check.py, latency_check).
        bound = detail.get("effective_target_latency_ns")
        ledger.hold(
            "Server's latency bound is the rules'",
            path,
            isinstance(bound, int) and bound <= task.server_latency_ns,
            f"the latency bound is {bound} ns, and MLPerf's checker refuses more than "
            f"{task.server_latency_ns} ns in every division",
            f"remove target_latency from user.conf, and {again}",
        )
    _check_samples(ledger, detail, path, again, same_allowed=same_allowed)
    if rules.division == "closed" and ran in task.benchmark.scenarios:
        _check_closed(ledger, detail, path, ran, rules, again)


def _check_samples(
    ledger: Ledger, detail: Mapping[str, Any], path: str, again: str, *, same_allowed: bool
) -> None:
    forbidden = ["effective_performance_issue_unique"]
    forbidden += [] if same_allowed else ["effective_performance_issue_same"]
    for key in forbidden:
        value = detail.get(key)
        ledger.hold(
            f"{key} is off",
            path,
            value is not None and value == 0,
            f"'{key}' is {json.dumps(value)}, with which the samples are not drawn at random",
            f"remove {key.removeprefix('effective_')} from user.conf, and {again}",
        )


def _check_closed(
    ledger: Ledger, detail: Mapping[str, Any], path: str, ran: str, rules: Rules, again: str
) -> None:
    """Check what user.conf may change in Open only (mlperf.conf)."""
    ruled = conf.shipped_rules().scenario(rules.task.benchmark.name, ran)
    per_cent = ruled.target_latency_percentile
    wanted: dict[str, tuple[str, float | None]] = {
        "effective_samples_per_query": ("samples_per_query", ruled.samples_per_query),
        "effective_target_latency_percentile": (
            "target_latency_percentile",
            None if per_cent is None else per_cent / 100,
        ),
    }
    if ran == Scenario.SERVER:
        wanted["effective_target_latency_ns"] = ("target_latency", rules.task.server_latency_ns)
    for key, (setting, value) in wanted.items():
        found = detail.get(key)
        ledger.hold(
            f"{key} is the rules'",
            path,
            value is None or (isinstance(found, int | float) and math.isclose(found, value)),
            f"{_PLAIN[key]} is {found} where the rules ask for {value}",
            f"remove {setting} from user.conf, and {again}",
        )


def _least_queries(rules: Rules, ran: str) -> int:
    """Return the least number that the log may state; LoadGen states 1 for Offline's one query."""
    benchmark = rules.task.benchmark
    if rules.division == "open" or ran not in benchmark.scenarios or ran == Scenario.OFFLINE:
        return 1
    return conf.shipped_rules().scenario(benchmark.name, ran).min_query_count
