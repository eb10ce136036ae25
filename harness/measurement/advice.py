"""Why a test is INVALID or logged an error: in words, with the line of user.conf that cures it.

LoadGen's checks are those of PerformanceSummary (results.cc: EarlyStopping, MinDurationMet, MinQueriesMet,
PerfConstraintsMet) and its errors those of loadgen.cc and issue_query_controller.cc. A line names benchmark
and scenario, for LoadGen heeds such a line before any with '*'.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.mlperf import conf
from harness.mlperf.early_stopping import least_queries
from harness.mlperf.log import Performance
from harness.mlperf.scenario import Scenario

# A server that misses its bound by a little is asked for a little less.
RETRY_SHARE = 0.9
EXPECTED_SHARE = 0.5
"""Of a latency that was measured, what LoadGen is told to expect.

It prepares queries for twice the duration over that (loadgen.cc:268-275), so four times what is needed.
"""
# A short query says less about the rate of a long one.
_ROOM = 1.1
_SHORT_ROOM = 1.3
_SHORT_S = 60.0
# Completed queries lag behind the schedule by the last latency alone unless the queue grew.
_OVERLOADED_SHARE = 0.97
# The tail of a queue is only about exponential, and neighbours lengthen it.
_QUEUE_ROOM = 3.0
# What waits after a disturbance must be caught up with.
_MOST_LOAD = 0.7
# Where it did not grow, the rate falls with what the latency must, to half of it at most.
_LEAST_SHARE = 0.5
_MORE_LATE = 1.5
_OUT_OF_QUERIES = "Ran out of generated queries"
_OUTSTANDING = re.compile(r"Too many outstanding queries\. issued (\d+) outstanding (\d+)")
_CUT_SHORT = ("Max query count reached", "Max test duration reached")
_CLOCKS = "PerfClock and system_clock differ"


@dataclass(frozen=True)
class Told:
    """What LoadGen was told."""

    estimate: Mapping[str, float]
    """target_latency in ms, or target_qps."""
    benchmark: str | None = None
    """None where the command takes no user.conf."""
    own: frozenset[str] = frozenset()
    """The keys that the user's own user.conf sets for the scenario."""


def of_performance(measured: Performance, told: Told) -> list[str]:
    """Return a sentence for each thing that keeps a performance test from being valid.

    Args:
        measured: what LoadGen logged.
        told: what LoadGen was told.
    """
    return [f"{fault}: {cure}." for fault, cure in _found(measured, told)]


def is_cut_short(measured: Performance) -> bool:
    """Return whether limits of the user's own ended a performance test: they would again."""
    return any(words in error for error in measured.errors for words in _CUT_SHORT)


def is_of_the_estimate(measured: Performance) -> bool:
    """Return whether another estimate may cure a performance test: one that is VALID has held its rate."""
    told = (_OUT_OF_QUERIES in error or _OUTSTANDING.search(error) for error in measured.errors)
    return measured.validity != "VALID" or any(told)


def faults_of_performance(measured: Performance, told: Told) -> list[str]:
    """Return the same without what to do about it, and without a full stop."""
    return [fault for fault, _ in _found(measured, told)]


_Advice = tuple[str, str]
"""A fault, and what to do about it."""


def _found(measured: Performance, told: Told) -> list[_Advice]:
    return list(dict.fromkeys((*_invalid(measured, told), *_errors(measured, told))))


def _invalid(measured: Performance, told: Told) -> Iterator[_Advice]:
    if measured.validity == "VALID" or any(map(_OUTSTANDING.search, measured.errors)):
        return
    if not (measured.min_duration_met and measured.min_queries_met):
        yield _ended_early(measured, told)
    elif measured.scenario is Scenario.SERVER:
        yield _late(measured, told)
    elif measured.early_stopping_met is False:
        yield _too_few(measured, told)


def _ended_early(measured: Performance, told: Told) -> _Advice:
    if not measured.min_duration_met:
        took = "" if measured.duration_ns is None else f"{measured.duration_ns / 1e9:.3g} s of "
        short = f"The test lasted {took}the {measured.min_duration_s:g} s asked for"
    else:
        short = f"The test issued {measured.query_count} of the {measured.min_query_count} queries asked for"
    if measured.scenario is Scenario.OFFLINE:
        rate = measured.samples_per_second or 0.0
        room = _ROOM if measured.min_duration_s >= _SHORT_S else _SHORT_ROOM
        return (
            f"{short}, as its query was made for {told.estimate['target_qps']:.4g} samples/s and {rate:.4g} "
            f"were reached",
            _set(measured, told, "target_qps", rate * room),
        )
    if measured.scenario is Scenario.SERVER:
        return short, "repeat the command"
    ran_out, cure = _out_of_queries(measured, told)
    return f"{short}, as {ran_out}", cure


def _late(measured: Performance, told: Told) -> _Advice:
    bound_ns, late, count = measured.latency_bound_ns, measured.late_queries, measured.query_count
    percentile = measured.latency_percentile
    assert bound_ns is not None
    assert late is not None
    assert percentile is not None
    allowed = 1 - percentile / 100
    came = f"{late} of {count} queries came later than {bound_ns / 1e6:g} ms"
    if measured.perf_constraints_met and late <= allowed / 2 * count:
        more = _enough_queries(late, count, percentile)
        return (
            f"{came}, and to be 99 % sure of {_name(percentile)} LoadGen needs "
            f"{least_queries(late, percentile)} queries then",
            _set(measured, told, "min_query_count", more),
        )
    if measured.latency_min_ns > bound_ns:
        cure = "use a quieter machine, more cores, or a smaller or quantized model"
        if _bound_is_too_tight(measured, told):
            cure = f"remove target_latency from the --user-conf, or {cure}"
        return f"{came}, and even the fastest took {measured.latency_min_ns / 1e6:.3g} ms", cure
    why = "so early stopping is not sure of " + _name(percentile)
    if not measured.perf_constraints_met:
        why = f"{100 * allowed:.3g} % may be"
    cure = _set(measured, told, "target_qps", _held_rate(measured, told, allowed))
    if "target_qps" in told.own:
        cure += ", or remove target_qps for the probe to find a rate"
    return f"{came} ({why})", f"{cure}, or use a quieter machine"


def _bound_is_too_tight(measured: Performance, told: Told) -> bool:
    """Return whether the user's own bound is missed where that of the rules can be kept."""
    if "target_latency" not in told.own or told.benchmark is None:
        return False
    ruled_ms = conf.shipped_rules().lookup(told.benchmark, measured.scenario, "target_latency")
    return ruled_ms is not None and measured.latency_min_ns < ruled_ms * 1e6


def _held_rate(measured: Performance, told: Told, allowed: float) -> float:
    """Return a rate that the system should hold, after one that it did not.

    Where the queue grew, the rate of answers is the system's capacity, and from queueing theory follows the
    load at which the tail of the waiting times is short enough: exp(-2 (1 / load - 1) jobs) of them are
    longer than what so many jobs take (Kingman's law, for regular jobs that arrive at random).
    """
    asked = measured.scheduled_samples_per_second or told.estimate["target_qps"]
    answered = measured.samples_per_second or asked
    assert measured.latency_bound_ns is not None
    if answered > _OVERLOADED_SHARE * asked:
        share = min(1.0, measured.latency_bound_ns / measured.latency_p99_ns)
        return min(told.estimate["target_qps"], asked) * RETRY_SHARE * max(_LEAST_SHARE, share)
    jobs = (measured.latency_bound_ns - measured.latency_min_ns) / 1e9 * answered
    load = 2 * jobs / (2 * jobs + _QUEUE_ROOM * math.log(1 / allowed))
    return answered * min(load, _MOST_LOAD) if jobs else answered / 100


def _enough_queries(late: int, count: int, percentile: float) -> int:
    """Return a number of queries that makes LoadGen sure, if a few more are late than were so far."""
    enough = least_queries(max(1, late), percentile)
    while (needed := least_queries(math.ceil(1 + _MORE_LATE * late / count * enough), percentile)) > enough:
        enough = needed
    return enough


def _too_few(measured: Performance, told: Told) -> _Advice:
    percentile = measured.latency_percentile
    assert percentile is not None
    needed = least_queries(1, percentile)
    return (
        f"Only {measured.query_count} queries were finished, and to be 99 % sure of {_name(percentile)} "
        f"LoadGen needs {needed}, which take about {needed * measured.latency_mean_ns / 1e9:.2g} s",
        _set(measured, told, "min_query_count", needed),
    )


def _errors(measured: Performance, told: Told) -> Iterator[_Advice]:
    for error in measured.errors:
        if _OUT_OF_QUERIES in error and measured.scenario.facts.is_latency:
            if measured.min_duration_met and measured.min_queries_met:
                yield _out_of_queries(measured, told)
        elif found := _OUTSTANDING.search(error):
            yield _too_many_outstanding(measured, told, *map(int, found.groups()))
        elif any(words in error for words in _CUT_SHORT):
            yield (
                "The test was cut short, which MLPerf does not accept",
                "remove max_duration and max_query_count from --user-conf",
            )
        elif _CLOCKS in error:
            yield (
                "The machine's clocks drifted apart by more than 1 % during the test",
                "let its time synchronisation settle, then repeat the command",
            )
        else:
            yield f"LoadGen logged an error ({error})", "repeat the command"


def _too_many_outstanding(measured: Performance, told: Told, issued: int, outstanding: int) -> _Advice:
    keys = "max_async_queries"
    if "target_qps" in told.own and not measured.perf_constraints_met:
        keys = "max_async_queries and target_qps"
    return (
        f"LoadGen broke the test off after {issued} queries, as {outstanding} waited for their answer and "
        f"max_async_queries allows fewer",
        f"remove {keys} from the --user-conf",
    )


def _out_of_queries(measured: Performance, told: Told) -> _Advice:
    mean_ms = measured.latency_mean_ns / 1e6
    return (
        f"LoadGen ran out of the queries that it had prepared for a latency of "
        f"{told.estimate['target_latency']:.4g} ms, and {mean_ms:.4g} ms were measured",
        _set(measured, told, "target_latency", mean_ms * EXPECTED_SHARE),
    )


def _set(measured: Performance, told: Told, key: str, value: float) -> str:
    if told.benchmark is None:
        return "repeat the command, on a quieter machine if you can"
    return f"set '{told.benchmark}.{measured.scenario}.{key} = {plain(value)}' in a --user-conf"


def plain(value: float) -> str:
    """Return a number to four digits as user.conf takes it, without an exponent where it is large."""
    return str(value) if isinstance(value, int) else f"{float(f'{value:.4g}'):.15g}"


def _name(percentile: float) -> str:
    return f"p{percentile:g}"
