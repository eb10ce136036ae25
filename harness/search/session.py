"""One search, start to finish; what is finished is kept, and the same call goes on from there."""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness import files, typed
from harness.console import note
from harness.errors import DataError, HarnessError
from harness.model import file as model_file
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.search import forecast, result, verdict
from harness.search.accuracy.crew import hired
from harness.search.accuracy.material import Material, Supplies
from harness.search.accuracy.team import Team, help_out
from harness.search.accuracy.trainer import BRIEF, Trainer
from harness.search.decision import SEARCHED, UNIFORM
from harness.search.document import OverSeeds, Searching, SearchResult
from harness.search.request import UNTIL, Request, Setting, open_setting
from harness.search.selection.contest import Contest, Measured, fast_enough
from harness.search.selection.trainings import Trainings
from harness.search.strategy.evolution import Effort, Problem
from harness.search.strategy.front import Point
from harness.search.strategy.scouting import FAR, NEAR, Scouted, scout, thoughts
from harness.search.strategy.searching import search
from harness.search.strategy.study import require_optuna
from harness.search.tools import TOOLS, Predictor, Tools
from harness.training import precision
from harness.training.ranks import Ranks, joined

LARGEST_FRONT_BIAS = 0.01
"""Mean error of predictions on the front from which on the table learns from it."""


def run(request: Request, tools: Tools | None = None) -> SearchResult | None:
    """Search, train and compare; return what also goes to OUT/result.json, None if stopped by `until`.

    Of several processes, started by torchrun, the first does everything, and the others train candidates for
    it and return None.

    Raises:
        HarnessError: the request does not fit the baseline, the data or the machine, the folder holds another
            search, the latency table does not hold, or no architecture reaches the wanted latency.
        RunFailed: a training or a test broke; what was finished is kept.
    """
    require_optuna()
    if request.until is not None and request.until not in UNTIL:
        raise HarnessError(f"--until {request.until} is no part of a search: give one of {', '.join(UNTIL)}.")
    with joined() as ranks:
        if ranks.is_first:
            return _lead(request, tools or TOOLS, ranks)
        if ranks.hear():
            help_out(_material(open_setting(request), ranks), ranks)
        return None


def _lead(request: Request, tools: Tools, ranks: Ranks) -> SearchResult | None:
    setting = open_setting(request)
    with files.alone(request.out, "search", lock=setting.parts.folder / files.LOCK):
        if request.crew is None:
            return _search(setting, tools, ranks, None)
        if ranks.count > 1:
            raise HarnessError("torchrun and --workers ADDR both share out the training: use one of them.")
        with hired(request.crew, Supplies.of(setting)) as crew:
            return _search(setting, tools, ranks, crew)


def _search(setting: Setting, tools: Tools, ranks: Ranks, crew: Trainer | None) -> SearchResult | None:
    request = setting.request
    _require_a_batch(setting)
    parts = setting.parts

    outlook: forecast.Forecast | None = None

    def reached(part: str) -> bool:
        if outlook is not None:
            note(outlook.after(part))
        if request.until == part:
            note(f"Stopped after '{part}', as asked; the same command without --until goes on from there.")
        return request.until == part

    with parts.timed("latency table"):
        predictor = tools.predictor(setting)
    _require_same_table(setting, predictor)
    usual_ms = _usual_ms(setting, predictor, tools)
    cap_ms = _cap_ms(setting, usual_ms, tools)
    if reached("table"):
        ranks.tell(False)
        return None
    ranks.tell(True)
    with parts.timed("reading images"):
        material = _material(setting, ranks)
        team = Team(material, ranks)
    with team.helped():
        trainings = Trainings(setting, crew or team)
        fastest = NEAR if cap_ms < usual_ms else FAR
        first: list[Architecture] = []
        if request.effort.scouts:
            first = thoughts(setting.space, predictor.predict_ms, cap_ms, fastest)
            note(f"{len(first)} networks that somebody would think of are looked at before the search.")
        chosen = trainings.brief.precision
        if crew is None:
            note(precision.why(chosen, ranks.device))
            outlook = forecast.forecast(
                setting,
                forecast.rates(material, ranks.count),
                cap_ms / usual_ms,
                len(first),
                predictor.measuring_s,
                parts.seconds,
            )
            note(outlook.text)
        else:
            note(
                f"Candidates train in {chosen}, as the workers have it; how long that takes is not foreseen."
            )
        with parts.timed("estimator"):
            estimator, estimated = tools.estimator(setting, material)
        if reached("estimator"):
            return None
        problem = Problem(setting.space, predictor.predict_ms, estimator.score, cap_ms)
        scouted = None
        if request.effort.scouts:
            scouted = scout(
                problem,
                estimator,
                first,
                request.effort.scouts,
                fastest,
                request.seed,
                trainings.looks,
                parts.kept,
            )
        if scouted:
            problem = scouted.problem
            if scouted.at_chance(len(setting.images.held_out.names)):
                note(
                    f"None of the {len(scouted.seen)} scouts does better than guessing, and the estimator "
                    "has learned nothing from them: give them more to learn from, by --look-images, or "
                    "ask for less speed."
                )
        weighed = scouted.weighed if scouted else estimator
        if reached("scouts"):
            return None
        identity = {
            "table": predictor.facts["sha256"],
            "estimator": estimated["sha256"],
            "weights": dict(scouted.weighed.weights) if scouted else None,
        }
        found = _searched(setting, problem, identity)
        if reached("search"):
            return None
        provenance = {
            "search": {**typed.unstructure(result.asked(setting)), **identity, "estimator_name": weighed.name}
        }
        contest = Contest(setting, material, trainings, provenance)
        baseline_ms, on_fronts = contest.measured(_fronts(found, scouted), tools.measure)
        refitted = _refitted(predictor, on_fronts)
        # A speed-up is one over the baseline as it is now; a latency in ms is one at any time.
        wanted_ms = request.target_ms or cap_ms * (baseline_ms / usual_ms)
        if refitted is not None:
            problem = replace(problem, predict_ms=refitted, cap_ms=wanted_ms)
            scouted = scouted and replace(scouted, problem=problem)
            known_ms = {point.architecture.key: found_ms for front in on_fronts for point, found_ms in front}
            found = _searched(setting, problem, {**identity, "table": _digest(known_ms)}, "-again")
            baseline_ms, on_fronts = contest.measured(_fronts(found, scouted), tools.measure, known_ms)
        if reached("front"):
            return None
        bar = contest.bar()
        in_time = fast_enough(on_fronts, wanted_ms)
        *searched, scouts = in_time
        looks = contest.looked_at(searched, scouts, bar)
        measured = contest.shortlist(in_time, looks, bar)
        candidates = contest.tuned(measured)
        picked, trained = contest.train_up(candidates, bar)
        if reached("finals"):
            return None
        rivals = contest.rivals(picked, tools.measure)
        if reached("uniform"):
            return None
        controls = contest.train_controls(rivals, trained)
        cards = [request.card, contest.models.baseline_int8()[0]]
        cards.append(contest.models.publish(UNIFORM, trained[controls[0].key]))
        cards.append(contest.models.publish(SEARCHED, trained[picked.key]))
        twins = contest.twins(picked.architecture, controls[0].architecture)
        converged = contest.converged(weighed)
        if reached("models"):
            return None
    kernels = contest.kernels([point.architecture for point, _ in measured], tools.kernels)
    with parts.timed("comparison"):
        comparison = result.compare(setting, cards)
    over_seeds = _over_seeds(setting, [(request.seed, cards[-1], cards[-2]), *twins])
    outcome = result.made(
        setting=setting,
        predictor=predictor.facts,
        estimator={
            "name": weighed.name,
            **estimated,
            "scouts": scouted.to_dict() if scouted else None,
        },
        found=found,
        baseline_ms=baseline_ms,
        front=on_fronts[0],
        looks=looks,
        measured=measured,
        kernels=kernels,
        candidates=candidates,
        bar=bar,
        trained=trained,
        picked=picked,
        controls=controls,
        wanted_ms=wanted_ms,
        converged=converged,
        comparison=comparison,
        over_seeds=over_seeds,
    )
    result.write(outcome, request.out)
    return outcome


def _searched(setting: Setting, problem: Problem, identity: Mapping[str, Any], again: str = "") -> Searching:
    """Search, or return what an earlier call found; `again` tells a second search from the first."""
    request = setting.request
    effort = Effort(request.effort.trials, request.seed, request.workers)
    folder = setting.path("studies", f"scouts-{request.effort.scouts}{again}")
    kept = setting.parts.kept(
        f"search{again}",
        lambda: search(
            problem,
            effort,
            files.make_writable_folder(folder),
            identity,
            fronts=request.effort.fronts,
        ),
        **request.effort.on_fronts,
    )
    return typed.structure(kept, Searching)


def _fronts(found: Searching, scouted: Scouted | None) -> list[list[Point]]:
    """Return the points of the fronts, and last the scouts."""
    fronts = [
        [Point(one.architecture, one.latency_ms, one.score) for one in front]
        for front in (found.front, *found.behind)
    ]
    return [*fronts, scouted.points if scouted else []]


def _refitted(
    predictor: Predictor, on_fronts: Sequence[Sequence[Measured]]
) -> Callable[[Architecture], float] | None:
    """Return a latency model that has learned from the front, where the one that led to it was off there.

    A search finds what its model flatters: on unseen networks a table was 2 % off, on the front 4 to 7 %.
    """
    measured = [(point.architecture, found_ms) for front in on_fronts for point, found_ms in front]
    bias = statistics.fmean(point.latency_ms / found_ms - 1 for point, found_ms in on_fronts[0])
    if predictor.refit is None or abs(bias) <= LARGEST_FRONT_BIAS:
        return None
    note(
        f"On the front predictions are {bias:+.1%} off on average: the table learns from the "
        f"{len(measured)} networks measured there, and the search is done once more."
    )
    return predictor.refit(measured)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _over_seeds(setting: Setting, twins: Sequence[tuple[int, Card, Card]]) -> OverSeeds:
    """Return what pick and control of each seed differ by on the test images."""
    digests = [model_file.sha256(card) for _, *pair in twins for card in pair]

    def make() -> Any:
        pairs = [
            verdict.Pairing(seed, *(verdict.right(card, setting.store) for card in pair))
            for seed, *pair in twins
        ]
        return typed.unstructure(verdict.over_seeds(pairs))

    return typed.structure(setting.parts.kept("verdict", make, models=_digest(digests)[:8]), OverSeeds)


def _require_a_batch(setting: Setting) -> None:
    learned = setting.images.learned
    if len(learned.names) < BRIEF.batch_size:
        raise DataError(
            f"There are {len(learned.names)} images to learn from in {learned.root}, fewer than one batch of "
            f"{BRIEF.batch_size}: give more."
        )


def _require_same_table(setting: Setting, predictor: Predictor) -> None:
    """Raise HarnessError if the search was begun with another latency table."""
    here = predictor.facts["sha256"]
    if setting.parts.kept("table", lambda: here) != here:
        raise HarnessError(
            f"The search in {setting.request.out} was begun with another latency table: repeat the "
            "--latency-table that began it, or choose another --out."
        )


def _usual_ms(setting: Setting, predictor: Predictor, tools: Tools) -> float:
    """Return what the baseline takes in INT8, measured, in the milliseconds of the latency model.

    A baseline is larger than all that is searched, and a model that is good there may be off here: on
    CIFAR-10 it was 10 % too low, and what was wanted too fast by as much.
    """
    space = setting.space
    pair = [space.baseline, space.reference]
    usual_ms, reference_ms = setting.parts.kept(
        "usual", lambda: tools.measure(pair, setting.conditions, space.reference)
    )
    ratio: float = usual_ms / reference_ms
    return ratio * predictor.predict_ms(space.reference)


def _cap_ms(setting: Setting, usual_ms: float, tools: Tools) -> float:
    """Return the latency that must be reached, `usual_ms` at most; both as the latency model has them."""
    request = setting.request
    cap_ms = request.target_ms or usual_ms
    if request.target_speedup is not None:
        gain: float = setting.parts.kept(
            "int8-gain",
            lambda: tools.int8_gain(request.card, setting.space.baseline, setting.conditions),
        )
        cap_ms = usual_ms * gain / request.target_speedup
        note(
            f"{request.target_speedup:g} times the speed of {request.card.name}, which takes {gain:.2f} "
            f"times as long in f32 as in INT8, are {cap_ms:.3g} ms."
        )
    if cap_ms > usual_ms:
        note(
            f"{request.card.name} in INT8 takes {usual_ms:.3g} ms and reaches that already: the search is "
            "for what is fastest among all that keep the accuracy."
        )
    return min(cap_ms, usual_ms)


def _material(setting: Setting, ranks: Ranks) -> Material:
    """Return what a process trains from by itself, and what the first one measures accuracies with."""
    return Supplies.of(setting).material(ranks.alone, ranks.here)
