"""Why a test is INVALID, logged an error, or missed its accuracy target: in words, with the value to change.

LoadGen's checks are those of PerformanceSummary (results.cc: EarlyStopping, MinDurationMet, MinQueriesMet,
PerfConstraintsMet) and its errors those of loadgen.cc and issue_query_controller.cc.
"""

import math
import re
from collections.abc import Iterator, Mapping

from harness.mlperf.log import Performance
from harness.mlperf.scenario import Scenario

# A server that misses its bound by a little is asked for a little less.
RETRY_SHARE = 0.9
# LoadGen prepares queries for twice the duration over the expected latency (loadgen.cc:268-275): half of what
# was measured makes that four times what is needed.
_EXPECTED_SHARE = 0.5
_ROOM = 1.1
_NEEDED = re.compile(r"(?:at least|process) (\d+) (more )?queries")
_OUT_OF_QUERIES = "Ran out of generated queries"
_CUT_SHORT = ("Max query count reached", "Max test duration reached")
_CLOCKS = "PerfClock and system_clock differ"


def of_performance(measured: Performance, estimate: Mapping[str, float]) -> list[str]:
    """Return a sentence for each thing that keeps a performance test from being valid.

    Args:
        measured: what LoadGen logged.
        estimate: what LoadGen was told in user.conf: target_latency in ms, or target_qps.
    """
    return list(dict.fromkeys((*_invalid(measured, estimate), *_errors(measured, estimate))))


def _invalid(measured: Performance, estimate: Mapping[str, float]) -> Iterator[str]:
    if measured.validity == "VALID":
        return
    if not (measured.min_duration_met and measured.min_queries_met):
        yield _ended_early(measured, estimate)
    if measured.scenario is Scenario.SERVER:
        if not (measured.perf_constraints_met and measured.early_stopping_met):
            yield _late(measured, estimate)
    elif measured.early_stopping_met is False:
        yield _too_few(measured)


def _ended_early(measured: Performance, estimate: Mapping[str, float]) -> str:
    if not measured.min_duration_met:
        took = "" if measured.duration_ns is None else f"{measured.duration_ns / 1e9:.3g} s of "
        short = f"The test lasted {took}the {measured.min_duration_s:g} s asked for"
    else:
        short = f"The test issued {measured.query_count} of the {measured.min_query_count} queries asked for"
    if measured.scenario is Scenario.OFFLINE:
        rate = measured.samples_per_second or 0.0
        return (
            f"{short}, as its query was made for {estimate['target_qps']:.4g} samples/s and {rate:.4g} were "
            f"reached: set {_entry(measured, 'target_qps', rate * _ROOM)}."
        )
    if measured.scenario is Scenario.SERVER:
        return (
            f"{short}, as the schedule of random arrivals at {estimate['target_qps']:.4g} queries/s ended "
            f"before: give a longer --duration."
        )
    return (
        f"{short}, as LoadGen ran out of the queries it had prepared: {_lower_latency(measured, estimate)}."
    )


def _late(measured: Performance, estimate: Mapping[str, float]) -> str:
    bound_ns = measured.latency_bound_ns
    assert bound_ns is not None
    allowed = "so early stopping is not sure of p99" if measured.latency_p99_ns <= bound_ns else "1 % may be"
    told = estimate["target_qps"]
    rate = min(told, measured.samples_per_second or told) * RETRY_SHARE
    return (
        f"{measured.late_queries} of {measured.query_count} queries came later than {bound_ns / 1e6:g} ms "
        f"({allowed}): set {_entry(measured, 'target_qps', rate)}, or use a quieter machine."
    )


def _too_few(measured: Performance) -> str:
    percentile = "p99" if measured.scenario is Scenario.MULTI_STREAM else "p90"
    found = next(filter(None, map(_NEEDED.search, measured.invalid_reasons)), None)
    if found is None:
        return f"Early stopping could not estimate {percentile}: give a longer --duration."
    needed = int(found[1]) + (measured.query_count if found[2] else 0)
    seconds = math.ceil(needed * measured.latency_mean_ns / 1e9 * _ROOM)
    return (
        f"Only {measured.query_count} queries were finished, and to be 99 % sure of {percentile} LoadGen "
        f"needs {needed}: give --duration {seconds} or longer."
    )


def _errors(measured: Performance, estimate: Mapping[str, float]) -> Iterator[str]:
    for error in measured.errors:
        if _OUT_OF_QUERIES in error and measured.scenario.facts.is_latency:
            if measured.min_duration_met and measured.min_queries_met:
                yield f"LoadGen ran out of prepared queries: {_lower_latency(measured, estimate)}."
        elif any(words in error for words in _CUT_SHORT):
            yield (
                "The test was cut short, which MLPerf does not accept: remove max_duration and "
                "max_query_count from --user-conf."
            )
        elif _CLOCKS in error:
            yield (
                "The machine's clocks drifted apart by more than 1 % during the test: let its time "
                "synchronisation settle, then run again with --replace."
            )
        else:
            yield f"LoadGen logged an error ({error}): run again with --replace."


def _lower_latency(measured: Performance, estimate: Mapping[str, float]) -> str:
    mean_ms = measured.latency_mean_ns / 1e6
    return (
        f"they were for a latency of {estimate['target_latency']:.4g} ms and {mean_ms:.4g} ms were measured, "
        f"so set {_entry(measured, 'target_latency', mean_ms * _EXPECTED_SHARE)}"
    )


def _entry(measured: Performance, key: str, value: float) -> str:
    return f"'*.{measured.scenario}.{key} = {value:.4g}' in a --user-conf"
