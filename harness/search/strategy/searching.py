"""The search proper: NSGA-II and climbs from several seeds, and as many random trials beside each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import console
from harness.model.architecture import Architecture
from harness.search.strategy.climbing import climb
from harness.search.strategy.evolution import (
    Effort,
    Problem,
    nsga2,
    random_search,
    starting_points,
    uniform_scalings,
    unreached,
)
from harness.search.strategy.front import Point, feasible, hypervolume, layers, spread

SEEDS = 3
"""How often each search is repeated, from as many seeds."""
_CLIMBERS = 3
"""Points of a seed's front from which climbs start."""
_KEPT, _KEPT_BEHIND = 48, 16
"""Points of the front, and of each further one, that are kept to be measured, spread over its latencies."""


def search(
    problem: Problem,
    effort: Effort,
    folder: Path,
    identity: Mapping[str, Any],
    seeds: int = SEEDS,
    fronts: int = 1,
) -> dict[str, Any]:
    """Return, in JSON values, the front of all seeds and how much better than random search each is.

    Climbs by single decisions start from points spread over what NSGA-II found, and from the problem's own
    starts, and go on where breeding stops. Random search draws as many networks as both have tried.

    A uniform scaling, in width, depth or both, that nothing found beats stands on the front, too.

    With more `fronts` than one, points of those behind the first come along: what is a little worse by
    scores that only estimate may be better in truth.

    Hypervolumes are against the baseline's latency and the score of its narrowest uniform scaling: what
    counts is to be faster than the one and better than the other. Journals stay in `folder`.

    Raises:
        HarnessError: no architecture that was tried keeps the wanted latency; the nearest one is named.
        OutputError: `folder` holds studies of something else.
    """
    space = problem.space
    plain = [Point(one, problem.predict_ms(one), problem.score(one)) for one in uniform_scalings(space)]
    narrowest = min(starting_points(space), key=Architecture.count_macs)
    reference = problem.predict_ms(space.baseline), problem.score(narrowest)
    runs: list[dict[str, Any]] = []
    all_points = list(plain)
    total = 2 * seeds * effort.trials
    with console.progress("search", total) as bar:

        def climbed_by(networks: int) -> None:
            """Count what climbs try, and as much for random search."""
            nonlocal total
            total += 2 * networks
            bar.update(total=total)
            bar.advance(networks)

        for number in range(seeds):
            one = replace(effort, seed=effort.seed + number)
            bred = nsga2(problem, one, folder / f"nsga2-{one.seed}.journal", identity, bar.advance)
            bred_best = spread(feasible(bred.points, problem.cap_ms), _CLIMBERS)
            starts = dict.fromkeys((*(point.architecture for point in bred_best), *problem.starts))
            climbed = climb(problem, list(starts), one.seed, climbed_by) if starts else []
            tried = bred.trials + len(climbed)
            control = random_search(problem, replace(one, trials=tried), bar.advance)
            found = [*bred.points, *climbed]
            runs.append(
                {
                    "seed": one.seed,
                    "trials": tried,
                    "bred": bred.trials,
                    "repeats": bred.repeats,
                    "hypervolume": hypervolume(feasible(found, problem.cap_ms), *reference),
                    "random_trials": control.trials,
                    "random_hypervolume": hypervolume(feasible(control.points, problem.cap_ms), *reference),
                }
            )
            all_points += found
    found_fronts = layers(feasible(all_points, problem.cap_ms), fronts)
    if not found_fronts:
        raise unreached(problem, all_points)
    return {
        "cap_ms": problem.cap_ms,
        "reference": {"latency_ms": reference[0], "score": reference[1]},
        "runs": runs,
        "front": [point.to_dict() for point in spread(found_fronts[0], _KEPT)],
        "behind": [[point.to_dict() for point in spread(one, _KEPT_BEHIND)] for one in found_fronts[1:]],
        "uniform": [point.to_dict() for point in plain],
    }
