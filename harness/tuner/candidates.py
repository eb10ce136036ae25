"""What a tuning tries: settings that keep to the CPUs we may use, for each scenario.

Offline is computed by one thread per stream, each waiting for its own inference. OpenVINO's queue of
asynchronous requests is no candidate: with as many requests as streams, or twice as many, it was not faster
for any batch tried, and slower for a small model. In MultiStream the batch decides: one inference of the
whole query waits in LoadGen's thread, parts run asynchronously over the streams.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from harness.loadgen.settings import MOST_CALLS, RunSettings, doublings
from harness.machine.system import Allowance
from harness.mlperf.scenario import Scenario

BATCHES = (1, 2, 4, 8, 16, 32)
_SERVER_BATCHES = (1, 2, 4, 8)
# A budget that does not reach for all cuts the list, so its order must not prefer a corner of the grid.
_SEED = 1


def candidates(
    settings: RunSettings, default: Mapping[str, Any], allowed: Allowance, samples_per_query: int
) -> list[RunSettings]:
    """Return the settings to try, all different from the default and from each other, in random order.

    Args:
        settings: what the user fixed: scenario, precision, perhaps threads.
        default: what the scenario runs with untuned, of settings.TUNABLE, by name.
        allowed: what this process may keep busy.
        samples_per_query: of MultiStream.
    """
    return _others(_all(settings, allowed, samples_per_query), default)


def call_candidates(
    settings: RunSettings, default: Mapping[str, Any], batches: Collection[int], samples_per_query: int
) -> list[RunSettings]:
    """Return the ways to ask a server that are worth a try: calls at a time, and samples in a call.

    Args:
        settings: of the endpoint.
        default: what the scenario runs with untuned, of settings.TUNABLE, by name.
        batches: what the server takes.
        samples_per_query: of MultiStream.
    """
    shapes = _shapes(settings.scenario, MOST_CALLS, samples_per_query)
    ways = (replace(settings, batch=batch, streams=calls) for batch, calls in shapes if batch in batches)
    return _others(ways, default)


def _others(ways: Iterable[RunSettings], default: Mapping[str, Any]) -> list[RunSettings]:
    seen = [dict(default)]
    found = []
    for one in ways:
        whole = {name: default[name] if value is None else value for name, value in one.tunable.items()}
        if whole not in seen:
            seen.append(whole)
            found.append(one)
    random.Random(_SEED).shuffle(found)
    return found


def _all(settings: RunSettings, allowed: Allowance, samples_per_query: int) -> Iterator[RunSettings]:
    for placed in _placements(settings, allowed):
        threads = placed.threads or allowed.cpus
        for pinning in (False, True):
            # As system.default_pinning says.
            if pinning and not allowed.whole:
                continue
            pinned = replace(placed, pinning=pinning)
            for batch, streams in _shapes(settings.scenario, threads, samples_per_query):
                yield replace(pinned, batch=batch, streams=streams)


def _placements(settings: RunSettings, allowed: Allowance) -> Iterator[RunSettings]:
    """Yield the ways to choose CPUs: all, one thread a core, P cores only; fewer where latency counts."""
    smt = allowed.cores < allowed.cpus
    if settings.threads is not None:
        yield replace(settings, smt=True if smt else None)
        if smt and settings.threads <= allowed.cores:
            yield replace(settings, smt=False)
        return
    yield replace(settings, threads=allowed.cpus, smt=True if smt else None)
    if smt:
        yield replace(settings, threads=allowed.cores, smt=False)
    if allowed.performance_cpus:
        yield replace(settings, threads=allowed.performance_cpus, core_type="performance")
    if settings.scenario.facts.is_latency:
        for threads in doublings(allowed.cores)[:-1]:
            yield replace(settings, threads=threads, smt=False if smt else None)


def _shapes(scenario: Scenario, threads: int, samples_per_query: int) -> Iterator[tuple[int, int]]:
    """Yield (batch, streams)."""
    if scenario is Scenario.SINGLE_STREAM:
        yield 1, 1
    elif scenario is Scenario.MULTI_STREAM:
        for batch in doublings(samples_per_query):
            for streams in doublings(min(threads, -(-samples_per_query // batch))):
                yield batch, streams
    else:
        batches = BATCHES if scenario is Scenario.OFFLINE else _SERVER_BATCHES
        for streams in doublings(threads):
            for batch in batches:
                yield batch, streams
