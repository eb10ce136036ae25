"""One search, start to finish; what is finished is kept, and the same call goes on from there."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness import files, typed
from harness.console import note
from harness.errors import DataError, HarnessError
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.profiling import operations, stopwatch
from harness.profiling.conditions import Conditions
from harness.search import result
from harness.search.accuracy import distillation
from harness.search.accuracy.crew import hired
from harness.search.accuracy.estimator import Additive, Blockwise
from harness.search.accuracy.finetuning import BRIEF, Material, Supplies, Trainer
from harness.search.decision import SEARCHED, UNIFORM
from harness.search.document import Searching, SearchResult
from harness.search.latency import table as tables
from harness.search.request import UNTIL, Request, Setting, open_setting
from harness.search.selection.contest import Contest, Measure, fast_enough
from harness.search.selection.finetunings import Tunings
from harness.search.space.revisions import DEPTHS
from harness.search.strategy.evolution import Effort, Problem
from harness.search.strategy.front import Point
from harness.search.strategy.scouting import FAR, NEAR, scout
from harness.search.strategy.searching import SEEDS, search
from harness.search.strategy.study import require_optuna
from harness.training.data import Augmentation
from harness.training.loop import normalised
from harness.training.network import ResNet
from harness.training.ranks import Ranks, joined
from harness.training.teacher import quick

_PROBE_IMAGES = 64


@dataclass(frozen=True)
class Predictor:
    """A latency model and what it rests on."""

    predict_ms: Callable[[Architecture], float]
    facts: dict[str, Any]
    """JSON values; "sha256" names the model, "validation" says how good it is."""


@dataclass(frozen=True)
class Tools:
    """What a search measures and estimates with; tests put cheaper ones in place."""

    predictor: Callable[[Setting], Predictor]
    estimator: Callable[[Setting, Material], tuple[Additive, dict[str, Any]]]
    """With JSON values, of which "sha256" names the estimator."""
    measure: Measure
    kernels: Callable[[Architecture, Conditions], dict[str, Any]]
    """Which kernels a network runs in; see profile.Kernels.to_dict."""
    int8_gain: Callable[[Card, Architecture, Conditions], float]
    """How much faster the baseline is in INT8; see timing.int8_gain."""


def run(request: Request, tools: Tools | None = None) -> SearchResult | None:
    """Search, train and compare; return what also goes to OUT/result.json, None if stopped by `until`.

    Of several processes, started by torchrun, the first does everything, and the others help it to train and
    return None.

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
            _supplies(open_setting(request)).material(ranks).help()
        return None


def _lead(request: Request, tools: Tools, ranks: Ranks) -> SearchResult | None:
    setting = open_setting(request)
    with files.alone(request.out, "search", lock=setting.parts.folder / files.LOCK):
        if request.crew is None:
            return _search(setting, tools, ranks, None)
        if ranks.count > 1:
            raise HarnessError("torchrun and --workers ADDR both share out the training: use one of them.")
        with hired(request.crew, _supplies(setting)) as crew:
            return _search(setting, tools, ranks, crew)


def _search(setting: Setting, tools: Tools, ranks: Ranks, crew: Trainer | None) -> SearchResult | None:
    request = setting.request
    _require_a_batch(setting)
    parts = setting.parts

    def reached(part: str) -> bool:
        if request.until == part:
            note(f"Stopped after '{part}', as asked; the same command without --until goes on from there.")
        return request.until == part

    with parts.timed("latency table"):
        predictor = tools.predictor(setting)
    _require_same_table(setting, predictor)
    usual_ms = predictor.predict_ms(setting.space.baseline)
    cap_ms = _cap_ms(setting, usual_ms, tools)
    if reached("table"):
        ranks.tell(False)
        return None
    ranks.tell(True)
    with parts.timed("reading images"):
        material = _supplies(setting).material(ranks)
    with material.helped():
        note(_forecast(setting, material))
        with parts.timed("estimator"):
            estimator, estimated = tools.estimator(setting, material)
        if reached("estimator"):
            return None
        tunings = Tunings(setting, crew or material)
        problem = Problem(setting.space, predictor.predict_ms, estimator.score, cap_ms)
        effort = Effort(request.effort.trials, request.seed, request.workers)
        scouted = None
        if request.effort.scouts:
            scouted = scout(
                problem,
                estimator,
                request.effort.scouts,
                NEAR if cap_ms < usual_ms else FAR,
                request.seed,
                tunings.looks,
                parts.kept,
            )
        if scouted:
            problem = scouted.problem
        weighed = scouted.weighed if scouted else estimator
        if reached("scouts"):
            return None
        identity = {
            "table": predictor.facts["sha256"],
            "estimator": estimated["sha256"],
            "weights": dict(scouted.weighed.weights) if scouted else None,
        }
        kept = parts.kept(
            "search",
            lambda: search(
                problem,
                effort,
                files.make_writable_folder(setting.path("studies", f"scouts-{request.effort.scouts}")),
                identity,
                fronts=request.effort.fronts,
            ),
            **request.effort.on_fronts,
        )
        found = typed.structure(kept, Searching)
        if reached("search"):
            return None
        provenance = {
            "search": {**typed.unstructure(result.asked(setting)), **identity, "estimator_name": weighed.name}
        }
        contest = Contest(setting, material, tunings, provenance)
        fronts = [
            [Point(one.architecture, one.latency_ms, one.score) for one in front]
            for front in (found.front, *found.behind)
        ]
        fronts.append(scouted.points if scouted else [])
        baseline_ms, on_fronts = contest.measured(fronts, tools.measure)
        if reached("front"):
            return None
        bar = contest.bar()
        # A speed-up is one over the baseline as it is now; a latency in ms is one at any time.
        wanted_ms = request.target_ms or cap_ms * (baseline_ms / usual_ms)
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
        cards = [request.card, contest.baseline_int8()[0]]
        cards.append(contest.publish(UNIFORM, trained[controls[0].key]))
        cards.append(contest.publish(SEARCHED, trained[picked.key]))
        converged = contest.converged(weighed)
        if reached("models"):
            return None
    kernels = contest.kernels([point.architecture for point, _ in measured], tools.kernels)
    with parts.timed("comparison"):
        comparison = result.compare(setting, cards)
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
    )
    result.write(outcome, request.out)
    return outcome


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


def _supplies(setting: Setting) -> Supplies:
    return Supplies(
        setting.space.baseline,
        setting.state,
        setting.images,
        setting.recipe,
        Augmentation(**setting.variation),
        setting.request.seed,
    )


def build_table(setting: Setting) -> Predictor:
    """Return the latency table that was given, or else the search's own.

    That is a copy of the one for this case in the cache, which is built if need be.

    Raises:
        HarnessError: the table is of another machine, space or version, is not good enough, or the machine is
            too busy, or not the one, to measure one.
        OutputError: the search's folder cannot be written.
    """
    space, conditions, own = setting.space, setting.conditions, setting.path("table.json")
    path = setting.request.table or own
    if setting.request.table is None and not own.exists():
        path = tables.usual_path(space, conditions)
        # What is not good enough stays in the cache alone, where the next call adds to it.
        if not tables.obtain(space, conditions, path).validation.faults:
            with files.replacing(own) as temporary:
                shutil.copyfile(path, temporary)
            path = own
    table = tables.load(path, space, conditions)
    return Predictor(
        table.predict_ms,
        {
            **table.summary(),
            "file": str(path),
            "sha256": files.sha256_file(path),
            "held_out": [
                {"key": network.key, "measured_ms": measured_ms, "predicted_ms": table.predict_ms(network)}
                for network, measured_ms in table.held_out
            ],
        },
    )


def build_estimator(setting: Setting, material: Material) -> tuple[Additive, dict[str, Any]]:
    """Return the block-wise distilled estimator, distilled now as far as that is not done."""
    path = setting.path("costs.json")
    table = distillation.build(setting.space, material, path)
    return Blockwise(table), {"file": str(path), "sha256": files.sha256_file(path)}


def find_kernels(architecture: Architecture, conditions: Conditions) -> dict[str, Any]:
    """Return which kernels OpenVINO chooses for a network in INT8."""
    return operations.kernels_of(architecture, conditions).to_dict()


TOOLS = Tools(build_table, build_estimator, stopwatch.measure_ms, find_kernels, stopwatch.int8_gain)


def _forecast(setting: Setting, material: Material) -> str:
    """Return how long the rest can take, from the speed at which the baseline trains here."""
    effort = setting.request.effort
    seconds = _seconds_per_image(material)
    images = len(setting.images.learned.names)
    converged = setting.request.converged
    with_looks = effort.fronts > 1 or effort.scouts
    looked_at = converged + effort.scouts + (effort.shortlist * effort.fronts if with_looks else 0)
    looks = looked_at * min(1.0, effort.look_images / images)
    rivals = len(DEPTHS) * len(setting.space.sizes)
    briefly = 3 * converged + effort.shortlist + rivals
    to_the_end = 2 * converged + effort.finals + min(effort.finals, rivals)
    epochs = round(looks + briefly * effort.finetune_epochs + to_the_end * effort.epochs)
    training = epochs * images * seconds / 60
    loadgen = 2 * 4 * effort.rounds * effort.duration_s / 60
    return (
        f"Forecast: {SEEDS * effort.trials:,} trials of NSGA-II; at most {training:.0f} min of training "
        f"({epochs} epochs of {images:,} images, if all were as slow as the baseline with {1 / seconds:.0f} "
        f"images/s); at least {loadgen:.0f} min of LoadGen tests."
    )


def _seconds_per_image(material: Material) -> float:
    """Time one step of distilled training of the baseline, after a warm-up."""
    pixels = material.pool(material.baseline.size)[:_PROBE_IMAGES]
    return step_s(material.teacher, pixels, material.ranks.device) / len(pixels)


def step_s(teacher: ResNet, pixels: Tensor, device: torch.device) -> float:
    """Return the seconds of one step of distilled training of a network like its teacher, after a warm-up.

    Args:
        teacher: in eval mode, on `device`.
        pixels: u8 [batch, size, size, 3] RGB.
        device: to train on.
    """
    answer = quick(teacher, "bf16")
    network = ResNet(teacher.architecture).to(device).train()
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            x = normalised(pixels, device)
            nn.functional.mse_loss(network(x), answer(x)).backward()
        seconds = time.perf_counter() - started
    return seconds
