"""Which architectures to try: NSGA-II over a space, and random search as its control.

The strategy knows neither machine nor data: what an architecture's latency and score are, it is told.
"""

import multiprocessing
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, RunFailed
from harness.model.architecture import Architecture
from harness.process.workers import ctrl_c_held_back, serve_the_parent
from harness.search.space.revisions import DEPTHS, Space
from harness.search.strategy import study as studies
from harness.search.strategy.front import Point, nearest

_POLL_S = 0.2
_VARIED = 0.05
"""Share of the decisions that are drawn anew in the first generation; on synthetic tables 0.05 did better
than 0.15, 0.3 and a first generation drawn at random."""


@dataclass(frozen=True)
class Problem:
    """What is searched; with several workers all of it must be picklable."""

    space: Space
    predict_ms: Callable[[Architecture], float]
    score: Callable[[Architecture], float]
    cap_ms: float
    """Slower architectures are not allowed."""
    starts: tuple[Architecture, ...] = ()
    """From which a search starts, beside the baseline: points of the space."""


@dataclass(frozen=True)
class Effort:
    """How long to search."""

    trials: int
    """Architectures to try, repeats included; random search gets as many."""
    seed: int = 1
    workers: int = 1
    """Processes. One alone gives the same answer to the same seed."""
    population: int = 50
    """Of NSGA-II."""


@dataclass(frozen=True)
class Found:
    """What a search tried."""

    points: tuple[Point, ...]
    """Each architecture once, in the order of trial."""
    trials: int

    @property
    def repeats(self) -> int:
        """Trials that proposed what had been tried, and were answered from memory."""
        return self.trials - len(self.points)


def nsga2(
    problem: Problem,
    effort: Effort,
    journal: Path,
    identity: Mapping[str, Any],
    advance: Callable[[int], None] = lambda by: None,
) -> Found:
    """Search by NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002).

    It starts from the baseline, its uniform scalings, the problem's own starts and variations of them. Every
    decision of the space is a gene of every trial, though one about a block beyond the chosen depth has no
    effect: Optuna crosses only the genes that all trials share, and would draw all others at random.

    Args:
        problem: what is searched.
        effort: how long.
        journal: file of the study; a study there is gone on with, as far as trials are missing.
        identity: what the callables of `problem` depend on, such as hashes; see study.open_study.
        advance: is told how many more trials are finished.

    Raises:
        OutputError: the journal is of another study, damaged, or cannot be written.
        RunFailed: a worker was killed; what was finished is kept.
    """
    whole = {
        **identity,
        "space": problem.space.key,
        "seed": effort.seed,
        "population": effort.population,
        "cap_ms": problem.cap_ms,
        "starts": [one.key for one in problem.starts],
    }
    study = studies.open_study(journal, whole)
    studies.abandon(study)
    studies.enqueue(study, _first_generation(problem, effort))
    done = len(studies.finished(study))
    advance(done)
    if done < effort.trials:
        if effort.workers == 1:
            _work(problem, effort, journal, whole, 0, advance)
        else:
            _work_together(problem, effort, journal, whole, study, done, advance)
    trials = studies.finished(study)[: effort.trials]
    return Found(_distinct(studies.point_of(trial) for trial in trials), len(trials))


def random_search(
    problem: Problem, effort: Effort, advance: Callable[[int], None] = lambda by: None
) -> Found:
    """Try as many architectures, the same starting points and others drawn at random: the control.

    They are drawn from end to end of the space, as `Space.samples` has it: where every decision is uniform
    they all lie in its middle, and whoever is held against them wins cheaply. None is tried twice.
    """
    start = _starts(problem)[: effort.trials]
    drawn = problem.space.samples(effort.seed, effort.trials - len(start), unlike=start)
    memory: dict[Architecture, Point] = {}
    for architecture in (*start, *drawn):
        look_up(problem, architecture, memory)
        advance(1)
    return Found(tuple(memory.values()), len(start) + len(drawn))


def unreached(problem: Problem, points: Sequence[Point]) -> HarnessError:
    """Return what to raise where none of `points` keeps the wanted latency."""
    best = nearest(points, problem.cap_ms)
    return HarnessError(
        f"None of the {len(points):,} architectures tried reaches {problem.cap_ms:.3g} ms: the nearest, "
        f"{best.architecture.key}, is predicted to take {best.latency_ms:.4g} ms, so ask for less, by "
        "--target-latency or --target-speedup."
    )


def starting_points(space: Space) -> list[Architecture]:
    """Return the baseline and its uniform scalings in width.

    Those in depth as well would crowd a population; any of its members can lose blocks.
    """
    return _scalings(space, (1.0,))


def uniform_scalings(space: Space) -> list[Architecture]:
    """Return the baseline and its uniform scalings in width and depth: what anybody would try first."""
    return _scalings(space, DEPTHS)


def _scalings(space: Space, depths: Sequence[float]) -> list[Architecture]:
    """Return the baseline and its scalings, as far as they are points of the space, each once."""
    scaled = (space.uniform(width, depth) for depth in depths for width in sorted(space.ranges.shares))
    found = {one.key: one for one in (space.baseline.canonical, *scaled)}
    return [one for one in found.values() if space.fault(one) is None]


def _starts(problem: Problem) -> list[Architecture]:
    """Return whence a search starts, each once."""
    return list(dict.fromkeys((*starting_points(problem.space), *problem.starts)))


def _first_generation(problem: Problem, effort: Effort) -> list[dict[str, Any]]:
    """Return the decisions of the starting points, and of variations that fill up a population."""
    source, space = random.Random(effort.seed), problem.space
    start = [space.complete(space.decisions(one)) for one in _starts(problem)]
    options = space.all_decisions()
    varied = []
    for place in range(effort.population - len(start)):
        taken = start[place % len(start)]
        varied.append(
            {
                name: source.choice(options[name]) if source.random() < _VARIED else option
                for name, option in taken.items()
            }
        )
    return [*start, *varied]


@dataclass
class _Memory:
    """What any worker has found."""

    study: Any
    points: dict[Architecture, Point] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)

    def refresh(self) -> int:
        """Take in what other workers have finished; return the number of finished trials."""
        trials = studies.finished(self.study)
        for trial in trials:
            if trial.number not in self.numbers:
                self.numbers.add(trial.number)
                point = studies.point_of(trial)
                self.points.setdefault(point.architecture, point)
        return len(trials)


def _work(
    problem: Problem,
    effort: Effort,
    journal: Path,
    identity: Mapping[str, Any],
    worker: int,
    advance: Callable[[int], None] = lambda by: None,
) -> None:
    """Do trials until the study has enough."""
    optuna = studies.require_optuna()
    study = studies.open_study(journal, identity)
    memory = _Memory(study)
    done = memory.refresh()
    # Each worker, and each resumption, must draw other numbers, or it repeats what is known.
    seed = int(np.random.SeedSequence([effort.seed, worker, done]).generate_state(1)[0])
    study.sampler = optuna.samplers.NSGAIISampler(population_size=effort.population, seed=seed)
    decisions = problem.space.all_decisions()
    while done < effort.trials:
        trial = study.ask()
        taken = {name: trial.suggest_categorical(name, options) for name, options in decisions.items()}
        architecture = problem.space.decided(taken)
        point = look_up(problem, architecture, memory.points)
        studies.finish(study, trial, point, point.latency_ms / problem.cap_ms - 1)
        done = memory.refresh()
        advance(1)


def _work_together(
    problem: Problem,
    effort: Effort,
    journal: Path,
    identity: Mapping[str, Any],
    study: Any,
    seen: int,
    advance: Callable[[int], None],
) -> None:
    # Spawned, because forking a process that has threads (progress bar, OpenVINO, PyTorch) may hang.
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work_beside, args=(problem, effort, journal, identity, number), daemon=True)
        for number in range(effort.workers)
    ]
    with ctrl_c_held_back():
        for worker in workers:
            worker.start()
    working = True
    try:
        while working:
            time.sleep(_POLL_S)
            # Asked before the count, so that what is finished between that and the last worker's end counts.
            working = any(worker.is_alive() for worker in workers)
            now = min(len(studies.finished(study)), effort.trials)
            advance(now - seen)
            seen = now
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    broken = [worker for worker in workers if worker.exitcode != 0]
    if broken:
        raise RunFailed(
            f"{len(broken)} of {len(workers)} workers of the search {journal} ended with code "
            f"{broken[0].exitcode}: repeat the command to go on, with fewer --workers if memory was short."
        )


def _work_beside(*arguments: Any) -> None:
    """Do what `_work` does in a process of its own."""
    serve_the_parent()
    _work(*arguments)


def look_up(problem: Problem, architecture: Architecture, memory: dict[Architecture, Point]) -> Point:
    """Return what `memory` knows of a canonical architecture, or else what is found and remembered now."""
    if architecture not in memory:
        latency_ms, score = problem.predict_ms(architecture), problem.score(architecture)
        memory[architecture] = Point(architecture, latency_ms, score)
    return memory[architecture]


def _distinct(points: Any) -> tuple[Point, ...]:
    found: dict[str, Point] = {}
    for point in points:
        found.setdefault(point.architecture.key, point)
    return tuple(found.values())
