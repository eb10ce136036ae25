"""What a performance test would come to, by the probe: what is hopeless or far too dear is refused before."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness import files
from harness.errors import ConfError
from harness.loadgen.job import Estimate
from harness.measurement.advice import plain
from harness.measurement.demands import Demands
from harness.mlperf.conf import UserConf
from harness.mlperf.conf_syntax import Entry
from harness.mlperf.early_stopping import least_queries
from harness.mlperf.scenario import Scenario

# A test that the probe says ends before this share of the duration is sure to be INVALID: the probe takes the
# fastest of its windows, and a test is slower than that by 15 % at most on a machine that is fit for tests.
_SURE_SHARE = 0.85
_SURELY_LATE = 5.0
# What the user says may be wrong by this factor and cost only time; seconds for milliseconds are 1000.
_MOST_TIMES_TOO_LONG = 4.0
_MOST_SECONDS_TOO_LONG = 60.0
# To look at a server under little load is a wish of its own.
_MOST_SERVER_SECONDS_TOO_LONG = 3600.0
_MOST_TIMES_TOO_MANY = 100.0
_MEMORY_SHARE = 0.8
# Of LoadGen 6.0.17, measured as the growth of the resident set with 0.5, 1, 2 and 4 million queries (of 1, 8
# and 16 samples): a vector that doubles, with the old one beside the new one, then what each query and sample
# has. In Offline it is what our answers take, too.
_VECTOR_BYTES = 240
_QUERY_BYTES = 25
_SAMPLE_BYTES = 48
_OFFLINE_SAMPLE_BYTES = 400


@dataclass(frozen=True)
class Outlook:
    """One performance test before it runs."""

    demands: Demands
    estimate: float
    """What LoadGen is told to expect: target_latency in ms, or target_qps."""
    probed: Estimate

    @property
    def scenario(self) -> Scenario:
        return self.demands.settings.scenario

    @property
    def queries(self) -> int:
        """Queries that LoadGen prepares (GenerateQueries, loadgen.cc); in Offline one."""
        if self.scenario is Scenario.OFFLINE:
            return 1
        duration_s = self.demands.min_duration_s
        expected = 2000 * duration_s / self.estimate if self.is_latency else duration_s * self.estimate
        return max(self.demands.min_query_count, math.ceil(expected))

    @property
    def samples(self) -> int:
        if self.scenario is not Scenario.OFFLINE:
            return self.queries * self.demands.samples_per_query
        return self.demands.offline_samples(self.estimate)

    @property
    def is_latency(self) -> bool:
        return self.scenario.facts.is_latency

    @property
    def memory_bytes(self) -> int:
        """About what LoadGen takes to prepare the queries."""
        if self.scenario is Scenario.OFFLINE:
            return _OFFLINE_SAMPLE_BYTES * self.samples
        vector = 1 << (self.queries - 1).bit_length()
        return _VECTOR_BYTES * vector + _QUERY_BYTES * self.queries + _SAMPLE_BYTES * self.samples

    @property
    def longest_s(self) -> float:
        """How long the system has something to do: until all that is prepared is answered."""
        return self.samples / self.probed.samples_per_second

    @property
    def true_estimate(self) -> float:
        """What the probe would tell LoadGen: ms of a query, or samples a second."""
        if self.is_latency:
            assert self.probed.latency_ns is not None
            return self.probed.latency_ns / 1e6
        return self.probed.samples_per_second

    @property
    def too_much_factor(self) -> float:
        """How many times the work that is needed LoadGen prepares for the estimate."""
        if self.is_latency:
            return self.true_estimate / self.estimate
        return self.estimate / self.true_estimate

    @property
    def late_share(self) -> float:
        """The share of Server's queries that is late at least, as more arrive than all streams can do."""
        bound_ns = self.demands.latency_bound_ns
        if bound_ns is None:
            return 0.0
        delay_s = self.longest_s * _SURE_SHARE - self.queries / self.estimate
        return 1 - bound_ns / 1e9 / delay_s if delay_s > bound_ns / 1e9 else 0.0


def refuse_hopeless(outlook: Outlook, given: UserConf | None, free_bytes: int | None) -> None:
    """Raise ConfError where the test is sure to be INVALID, or costs time or memory out of all proportion.

    Args:
        outlook: the test.
        given: the user's own user.conf; what the harness estimates itself is held against the memory only.
        free_bytes: memory that this process may still take; None where nothing tells.

    Raises:
        ConfError: names the line, what it would cost, and what to write instead.
    """
    lines = {} if given is None else given.in_force(outlook.scenario)
    entry = lines.get(outlook.scenario.facts.estimate_key)
    where = "" if given is None else f"{given.path}, "
    if free_bytes is not None and outlook.memory_bytes > _MEMORY_SHARE * free_bytes:
        raise ConfError(_too_much_memory(outlook, where, lines, free_bytes))
    least = None if outlook.demands.latency_percentile is None else _least(outlook)
    if (count := lines.get("min_query_count")) is not None and least is not None and outlook.queries < least:
        raise ConfError(
            f"{where}{count.words} is sure to make the test INVALID: early stopping wants {least} queries "
            f"at least for p{outlook.demands.latency_percentile:g}, and {outlook.queries} would be issued: "
            f"remove the line."
        )
    if entry is not None and (fault := _CHECKS[outlook.scenario](outlook, entry)) is not None:
        raise ConfError(where + fault)


def _least(outlook: Outlook) -> int:
    assert outlook.demands.latency_percentile is not None
    return least_queries(int(outlook.is_latency), outlook.demands.latency_percentile)


def _too_much_memory(outlook: Outlook, where: str, lines: dict[str, Entry], free_bytes: int) -> str:
    key = outlook.scenario.facts.estimate_key
    prepared = outlook.samples if outlook.scenario is Scenario.OFFLINE else outlook.queries
    what = "samples" if outlook.scenario is Scenario.OFFLINE else "queries"
    needed = (
        f"would make LoadGen prepare {prepared:,} {what}, about {files.format_bytes(outlook.memory_bytes)}, "
        f"more than {_MEMORY_SHARE:.0%} of the {files.format_bytes(free_bytes)} of memory that are free"
    )
    if key in lines and outlook.too_much_factor > 2:
        return f"{where}{lines[key].words} {needed}: {_instead(outlook)}."
    if (count := lines.get("min_query_count")) is not None and count.value == prepared:
        return f"{where}{count.words} {needed}: give a smaller one."
    if outlook.demands.settings.official and (duration := lines.get("min_duration")) is not None:
        return f"{where}{duration.words} {needed}: give a smaller one."
    if outlook.demands.settings.official:
        return f"The test {needed}: free some memory, or use a machine with more."
    return f"--duration {outlook.demands.min_duration_s:g} {needed}: give a shorter one."


def _ends_early(outlook: Outlook, entry: Entry) -> str | None:
    duration_s = outlook.demands.min_duration_s
    if outlook.longest_s < _SURE_SHARE * duration_s:
        return (
            f"{entry.words} is sure to make the test INVALID: what LoadGen prepares for it would last "
            f"{_time(outlook.longest_s)} of the {_time(duration_s)} that are asked for, as the probe "
            f"measured {_figure(outlook)}: {_instead(outlook)}."
        )
    return None


def _latency(outlook: Outlook, entry: Entry) -> str | None:
    if outlook.too_much_factor > _MOST_TIMES_TOO_MANY:
        return (
            f"{entry.words} would make LoadGen prepare {outlook.queries:,} queries, about "
            f"{files.format_bytes(outlook.memory_bytes)} of memory and {outlook.too_much_factor:,.0f} times "
            f"as many as the {_figure(outlook)} need that the probe measured; the value is in ms: "
            f"{_instead(outlook)}."
        )
    permuted = outlook.demands.own.get("sample_concatenate_permutation")
    if permuted and outlook.scenario is Scenario.SINGLE_STREAM:
        # LoadGen issues all that it prepared then (test_settings_internal.cc).
        return _too_long(outlook, entry, outlook.longest_s) or _ends_early(outlook, entry)
    return _ends_early(outlook, entry)


def _too_long(outlook: Outlook, entry: Entry, lasts_s: float) -> str | None:
    least_s = outlook.demands.min_query_count / outlook.probed.samples_per_second
    needed_s = max(outlook.demands.min_duration_s, least_s)
    server = outlook.scenario is Scenario.SERVER
    most_s = _MOST_SERVER_SECONDS_TOO_LONG if server else _MOST_SECONDS_TOO_LONG
    if lasts_s > max(_MOST_TIMES_TOO_LONG * needed_s, needed_s + most_s):
        return (
            f"{entry.words} would make the test last {_time(lasts_s)} where {_time(needed_s)} do, as the "
            f"probe measured {_figure(outlook)}: {_instead(outlook)}."
        )
    return None


def _offline(outlook: Outlook, entry: Entry) -> str | None:
    return _too_long(outlook, entry, outlook.longest_s) or _ends_early(outlook, entry)


def _server(outlook: Outlook, entry: Entry) -> str | None:
    percentile = outlook.demands.latency_percentile
    bound_ns = outlook.demands.latency_bound_ns
    assert percentile is not None
    if bound_ns is None or outlook.late_share <= _SURELY_LATE * (1 - percentile / 100):
        return _too_long(outlook, entry, outlook.queries / outlook.estimate)
    return (
        f"{entry.words} is sure to make the test INVALID after {_time(outlook.longest_s)}: the probe "
        f"measured {_figure(outlook)} with all streams busy, so {outlook.late_share:.0%} of the queries "
        f"would come later than {bound_ns / 1e6:g} ms: {_instead(outlook)}."
    )


_CHECKS: dict[Scenario, Callable[[Outlook, Entry], str | None]] = {
    Scenario.SINGLE_STREAM: _latency,
    Scenario.MULTI_STREAM: _latency,
    Scenario.SERVER: _server,
    Scenario.OFFLINE: _offline,
}


def _figure(outlook: Outlook) -> str:
    unit = "ms a query" if outlook.is_latency else "samples/s"
    return f"{plain(outlook.true_estimate)} {unit}"


def _instead(outlook: Outlook) -> str:
    if outlook.scenario is Scenario.SERVER:
        return "remove the line for the probe to find the rate"
    return f"write {plain(outlook.true_estimate)}, or remove the line for the probe's estimate"


def _time(seconds: float) -> str:
    for unit, length in (("s", 1), ("min", 60), ("hours", 3600)):
        if seconds < 100 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:,.0f} days"
