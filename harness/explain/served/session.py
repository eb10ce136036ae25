"""One explanation of an endpoint, start to finish: model and endpoint take turns in rounds."""

import datetime
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__
from harness.console import progress
from harness.dataset.store import open_store
from harness.endpoint.meeting import ServedBy
from harness.explain import ways
from harness.explain.document import Way
from harness.explain.served import ways as served_ways
from harness.explain.served.document import HERE, THERE, CallSplit, ServedExplanation
from harness.explain.session import Request, images_for, in_folder, sampled, settled, told_of
from harness.loadgen import work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.machine import noise, system
from harness.measurement import series
from harness.measurement.probing import show_on
from harness.mlperf.scenario import Mode, Scenario

_MOST_OTHERS = 1.05
"""A server that counted so many times the calls that were made has answered others, too."""


@dataclass(frozen=True)
class _Round:
    """What one round measured."""

    here: Mapping[str, Any]
    there: Mapping[str, Any]
    noise: noise.Noise


def explain(request: Request, served: RunSettings) -> ServedExplanation:
    """Measure where the time goes that a call to an endpoint takes, beside the model in a process here.

    Args:
        request: what to explain; its settings are the model's in process.
        served: how to ask the endpoint; what it leaves open, a probe chooses.

    Raises:
        RunFailed: a measurement crashed, hung, or a call failed.
        HarnessError: the request does not fit the model, the store, the machine or the endpoint.
    """
    card, machine = request.card, system.describe()
    settings = settled(request, machine)
    with tempfile.TemporaryDirectory(prefix="harness-explain-") as name:
        folder = Path(name)
        store = images_for(request, folder)
        here = Job(card, store, settings, folder, Mode.PERFORMANCE, folder / "user.conf")
        there = _asked(request, replace(served, stall_timeout_s=settings.stall_timeout_s), store, folder)
        rounds = _rounds(here, there, request.rounds)
    figures = {
        HERE: tuple(_figure_ns(one.here[ways.LOADGEN], one.here["streams"], settings) for one in rounds),
        THERE: tuple(
            _figure_ns(one.there["split"]["whole_ns"], one.there["concurrency"], settings) for one in rounds
        ),
    }
    first = rounds[0]
    server: ServedBy = first.there["server"]
    return ServedExplanation(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=__version__,
        model=told_of(card),
        scenario=str(settings.scenario),
        settings={
            **{name: first.there[name] for name in ("concurrency", "batch")},
            **{name: first.here[name] for name in ("threads", "streams", "precision")},
            "rounds": request.rounds,
            "seconds": settings.duration_s,
        },
        server=server,
        machine=json.loads(json.dumps(machine.to_dict())),
        ways=tuple(Way(way, figures_ns) for way, figures_ns in figures.items()),
        splits=tuple(CallSplit(**one.there["split"]) for one in rounds),
        remarks=tuple(_remarks(rounds, figures, server)),
    )


def _asked(request: Request, served: RunSettings, store: Path, folder: Path) -> Job:
    """Return the job of the endpoint, after a probe that chose what was left open."""
    staging = folder / "probe"
    staging.mkdir()
    with progress(f"Probing {request.card.name}", None, counts=False) as bar:
        show = show_on(bar, request.card.name)
        found = series.prepare(request.card, open_store(store), served, folder / "endpoint", staging, show)
    return found.plan.job(folder, Mode.PERFORMANCE)


def _rounds(here: Job, there: Job, count: int) -> list[_Round]:
    """Measure model and endpoint in turn, and each first in every second round."""
    seconds = here.settings.duration_s
    measured: dict[str, tuple[Job, Callable[..., dict[str, Any]]]] = {
        HERE: (here, partial(ways.measure, order=(ways.LOADGEN,), seconds=seconds)),
        THERE: (there, partial(served_ways.measure, seconds=seconds)),
    }
    rounds = []
    with progress(f"Explaining {here.card.name}", count) as bar:
        for number in range(count):
            watch, found = noise.Watch(), {}
            for way in (HERE, THERE) if number % 2 == 0 else (THERE, HERE):
                job, measure = measured[way]
                found[way] = work.run(in_folder(job, f"{way}-{number}"), partial(sampled, watch), measure)
            rounds.append(_Round(found[HERE], found[THERE], watch.stop()))
            bar.advance()
    return rounds


def _figure_ns(of_stream_ns: float, streams: int, settings: RunSettings) -> float:
    """Return a query's p50, or the time for a sample with all streams or connections at work."""
    return of_stream_ns if settings.scenario is Scenario.SINGLE_STREAM else of_stream_ns / streams


def _remarks(
    rounds: list[_Round], figures: Mapping[str, tuple[float, ...]], server: ServedBy
) -> Iterator[str]:
    """Yield what keeps the figures from being what they seem."""
    named = server.server or "The server"
    counted = [one.there["counted"] for one in rounds]
    if None in counted:
        yield f"{named} gives no statistics, so what it waits and what it computes cannot be told apart."
    else:
        calls = sum(one.there["calls"] for one in rounds)
        if sum(counted) > _MOST_OTHERS * calls + len(rounds) * _checks(rounds[0]):
            yield (
                f"{named} counted {sum(counted)} calls and {calls} were made here: others use it, too, and "
                f"its times are of all of them."
            )
    if not all(one.there["echo_is_whole"] for one in rounds):
        yield (
            f"{named} takes no bytes where it computes nothing, so the echo is empty and the way of the "
            f"pixels is part of the rest."
        )
    noises = [one.noise for one in rounds]
    yield from noise.remarks(
        {server.endpoint: noise.without_others(noises) if server.is_on_this_host else noises}
    )
    if spread := noise.spread_remark(figures):
        yield spread


def _checks(one: _Round) -> int:
    """Return how many calls a round makes beside those that LoadGen asks for, at most."""
    return 8 * int(one.there["concurrency"])
