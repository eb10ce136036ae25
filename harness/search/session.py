"""One search, start to finish; what is finished is kept, and the same call goes on from there."""

import hashlib
import json
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness import files, typed
from harness.console import note
from harness.errors import DataError, HarnessError
from harness.model import file as model_file
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.search import forecast, result, verdict
from harness.search.accuracy.crew import hired
from harness.search.accuracy.estimator import Work
from harness.search.accuracy.material import Material, Supplies
from harness.search.accuracy.team import Team, help_out, leading
from harness.search.accuracy.trainer import BRIEF, Trainer
from harness.search.decision import SEARCHED, UNIFORM, Bar, Candidate
from harness.search.document import OverSeeds, SearchResult
from harness.search.latency.learning import Latencies
from harness.search.request import UNTIL, Request, Setting, open_setting
from harness.search.selection.contest import Contest
from harness.search.selection.trainings import Trainings
from harness.search.strategy.scouting import Band, Scouted, Scouting, thoughts, unreached
from harness.search.tools import TOOLS, Predictor, Tools
from harness.training import precision
from harness.training.ranks import Ranks, joined

_VISITS = 3
"""Measurements of the baseline, of which the middle one counts."""


def run(request: Request, tools: Tools | None = None) -> SearchResult | None:
    """Search, train and compare; return what also goes to OUT/result.json, None if stopped by `until`.

    Of several processes, started by torchrun, the first does everything, and the others train candidates for
    it and return None.

    Raises:
        HarnessError: the request does not fit the baseline, the data or the machine, the folder holds another
            search, the latency table does not hold, or no architecture reaches the wanted latency.
        RunFailed: a training or a test broke; what was finished is kept.
    """
    if request.until is not None and request.until not in UNTIL:
        raise HarnessError(f"--until {request.until} is no part of a search: give one of {', '.join(UNTIL)}.")
    with joined() as ranks:
        if ranks.is_first:
            with leading(ranks) as end_others:
                return _lead(request, tools or TOOLS, ranks, end_others)
        help_out(lambda: _material(open_setting(request), ranks), ranks)
        return None


def _lead(
    request: Request, tools: Tools, ranks: Ranks, end_others: Callable[[], None]
) -> SearchResult | None:
    setting = open_setting(request)
    with files.alone(request.out, "search", lock=setting.parts.folder / files.LOCK):
        if request.crew is None:
            return _search(setting, tools, ranks, end_others, None)
        if ranks.count > 1:
            raise HarnessError("torchrun and --workers ADDR both share out the training: use one of them.")
        with hired(request.crew, Supplies.of(setting)) as crew:
            return _search(setting, tools, ranks, end_others, crew)


class _Stopped(Exception):
    """The search has come to the part after which it was told to stop."""


class _Progress:
    """How far a search is, which is kept and told."""

    def __init__(self, setting: Setting) -> None:
        self._request, self._parts = setting.request, setting.parts
        self.finished = {part for part in UNTIL if self._parts.has(_reached(part, self._request))}
        """What earlier calls have finished."""
        self.outlook: forecast.Forecast | None = None

    def reached(self, part: str) -> None:
        """Keep and tell that a part is finished.

        Raises:
            _Stopped: it is the last one that was asked for.
        """
        self._parts.keep(_reached(part, self._request), value=True)
        if self.outlook is not None:
            note(self.outlook.after(part))
        if self._request.until == part:
            note(f"Stopped after '{part}', as asked; the same command without --until goes on from there.")
            raise _Stopped


@dataclass(frozen=True)
class _Times:
    """What networks take, and may take, in the milliseconds of the latency model."""

    predictor: Predictor
    """The latency model."""
    usual_ms: float
    """Of the baseline, in INT8."""
    cap_ms: float
    """What must be reached."""

    @property
    def band(self) -> Band:
        return Band(self.cap_ms, Band.NEAR if self.cap_ms < self.usual_ms else Band.FAR)


def _search(
    setting: Setting, tools: Tools, ranks: Ranks, end_others: Callable[[], None], crew: Trainer | None
) -> SearchResult | None:
    _require_a_batch(setting)
    try:
        return _searched(setting, tools, ranks, end_others, crew)
    except _Stopped:
        return None


def _searched(
    setting: Setting, tools: Tools, ranks: Ranks, end_others: Callable[[], None], crew: Trainer | None
) -> SearchResult:
    request, parts, progress = setting.request, setting.parts, _Progress(setting)
    times = _times(setting, tools)
    progress.reached("table")
    ranks.tell("begin")
    with parts.timed("reading images"):
        material = _material(setting, ranks)
        team = Team(material, ranks)
    trainings = Trainings(setting, crew or team)
    latencies = _latencies(setting, times, tools)
    chosen = trainings.brief.precision
    if crew is None:
        note(precision.why(chosen, ranks.device))
    else:
        note(f"Candidates train in {chosen}, as the workers have it.")
    progress.outlook = _outlook(setting, times, crew or team, progress.finished)
    bar = _bar(setting, material, trainings)
    scouting = Scouting(
        setting.space,
        times.band,
        latencies,
        bar,
        Work(setting.space.baseline),
        request.seed,
        trainings.looks,
        parts.kept,
        trainings.spent_to_choose,
    )
    scouted = scouting.scout(request.effort.scouts)
    _warn_of_guesses(scouted, len(setting.images.held_out.names))
    progress.reached("scouts")
    in_time = _in_time(setting, times, tools, scouted, latencies)
    progress.reached("latencies")
    weighed = scouted.weighed
    provenance = {
        "search": {
            **typed.unstructure(result.asked(setting)),
            "table": times.predictor.facts["sha256"],
            "weights": dict(weighed.weights),
            "estimator_name": weighed.name,
        }
    }
    contest = Contest(setting, material, trainings, provenance)
    shortlist = contest.shortlist(in_time, bar)
    candidates = contest.tuned(shortlist)
    picked, trained = contest.train_up(candidates, bar)
    progress.reached("finals")
    rivals = contest.rivals(picked, tools.measure)
    progress.reached("uniform")
    controls = contest.train_controls(rivals, trained)
    cards = [request.card, contest.models.baseline_int8()[0]]
    cards.append(contest.models.publish(UNIFORM, trained[controls[0].key]))
    cards.append(contest.models.publish(SEARCHED, trained[picked.key]))
    twins = contest.twins(picked.architecture, controls[0].architecture)
    converged = contest.converged(weighed)
    progress.reached("models")
    end_others()
    kernels = contest.kernels([one.architecture for one in candidates], tools.kernels)
    with parts.timed("comparison"):
        comparison = result.compare(setting, cards)
    over_seeds = _over_seeds(setting, [(request.seed, cards[-1], cards[-2]), *twins])
    outcome = result.made(
        setting=setting,
        predictor=times.predictor.facts,
        estimator={"name": weighed.name, "scouts": scouted.to_dict(latencies)},
        baseline_ms=times.usual_ms,
        foretold_ms={one.key: latencies.foretold_ms(one.architecture) for one in candidates},
        shortlist=shortlist,
        kernels=kernels,
        candidates=candidates,
        bar=bar,
        trained=trained,
        picked=picked,
        controls=controls,
        wanted_ms=times.cap_ms,
        converged=converged,
        comparison=comparison,
        over_seeds=over_seeds,
    )
    result.write(outcome, request.out)
    return outcome


def _times(setting: Setting, tools: Tools) -> _Times:
    with setting.parts.timed("latency table"):
        predictor = tools.predictor(setting)
    _require_same_table(setting, predictor)
    usual_ms = _usual_ms(setting, predictor, tools)
    return _Times(predictor, usual_ms, _cap_ms(setting, usual_ms, tools))


def _latencies(setting: Setting, times: _Times, tools: Tools) -> Latencies:
    """Return what is known of latencies: of the baseline and the reference, and what an earlier call knew."""
    predictor, space = times.predictor, setting.space
    # Elsewhere what is looked at is chosen by what is known so far, and measured when the folder is back.
    here = setting.conditions.elsewhere is None
    measure = partial(_measured_ms, setting, predictor, tools) if here else None
    found = Latencies(predictor.predict_ms, predictor.refit, measure, setting.parts)
    found.learn([(space.baseline, times.usual_ms), (space.reference, predictor.level_ms(space.reference))])
    return found


def _outlook(
    setting: Setting, times: _Times, trainer: Trainer, finished: Collection[str]
) -> forecast.Forecast | None:
    """Foresee how long all of it takes, and say so; None where nobody who trains answers."""
    predictor = times.predictor
    first = thoughts(setting.space, predictor.predict_ms, times.band)
    effort, images = setting.request.effort, len(setting.images.learned.names)
    probe = partial(
        forecast.rates,
        candidates=first or [setting.space.reference],
        precision=trainer.precision,
        count=min(effort.look_images, effort.learned(images)),
    )
    if not (places := trainer.asked(probe)):
        return None
    rates, spent = forecast.together(places), setting.parts.seconds
    found = forecast.forecast(setting, rates, len(first), predictor.measuring_s, spent, finished)
    note(found.text)
    return found


def _warn_of_guesses(scouted: Scouted, images: int) -> None:
    if scouted.at_chance(images):
        note(
            f"None of the {len(scouted.seen)} scouts does better than guessing, and the estimator "
            "has learned nothing from them: give them more to learn from, by --look-images, or "
            "ask for less speed."
        )


def _in_time(
    setting: Setting, times: _Times, tools: Tools, scouted: Scouted, latencies: Latencies
) -> list[Candidate]:
    """Return what was looked at and keeps the wanted latency, all of it measured.

    Raises:
        HarnessError: nothing keeps it.
    """
    if missing := [one for one, _ in scouted.seen if not latencies.knows(one)]:
        with setting.parts.timed("latencies"):
            found_ms = _measured_ms(setting, times.predictor, tools, missing)
            latencies.keep(zip(missing, found_ms, strict=True))
    looks = [Candidate(one, latencies.ms(one), accuracy) for one, accuracy in scouted.seen]
    found = [one for one in looks if one.latency_ms <= times.cap_ms]
    if not found:
        raise unreached(times.cap_ms, [(one.architecture, one.latency_ms) for one in looks])
    return found


def _measured_ms(
    setting: Setting, predictor: Predictor, tools: Tools, networks: Sequence[Architecture]
) -> list[float]:
    """Return what networks take, measured beside the space's reference, in the milliseconds of the model."""
    reference = setting.space.reference
    *found_ms, reference_ms = tools.measure([*networks, reference], setting.conditions, reference)
    level_ms = predictor.level_ms(reference)
    return [level_ms * (one_ms / reference_ms) for one_ms in found_ms]


def _reached(part: str, request: Request) -> str:
    """Return the name of what says that a part is finished, with as much effort as is asked for."""
    return f"reached-{part}-{_digest([typed.unstructure(request.effort), request.converged])[:8]}"


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
    CIFAR-10 it was 10 % too low, and what was wanted too fast by as much. One measurement was once 14 % off,
    so the middle one of a few counts, each beside a reference that is compiled anew.
    """
    baseline = [setting.space.baseline]

    def measured() -> list[float]:
        return [_measured_ms(setting, predictor, tools, baseline)[0] for _ in range(_VISITS)]

    return float(statistics.median(setting.parts.kept("usual-ms", measured)))


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


def _bar(setting: Setting, material: Material, trainings: Trainings) -> Bar:
    """Return what must be kept: the baseline's FP32 accuracy on the held-out images less the drop."""
    found = setting.parts.kept("bar", lambda: material.held_out_accuracy(setting.request.card))
    images, regime = len(setting.images.held_out.names), trainings.regime
    return Bar(found, setting.request.max_drop, images, regime.guess, regime.hope, trainings.look_share)


def _material(setting: Setting, ranks: Ranks) -> Material:
    """Return what a process trains from by itself, and what the first one measures accuracies with."""
    return Supplies.of(setting).material(ranks.alone, ranks.here)
