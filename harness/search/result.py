"""What a search ends with: the LoadGen comparison and OUT/result.json, made, written and read."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__, files, typed
from harness.comparison import findings, output
from harness.comparison import session as comparing
from harness.comparison.document import Comparison
from harness.errors import OutputError
from harness.machine import identity, system
from harness.measurement.round import METRICS
from harness.mlperf import log
from harness.model import file as model_file
from harness.model.card import Card
from harness.search.decision import SEARCHED, UNIFORM, Bar, Candidate
from harness.search.document import (
    FILE_NAME,
    Asked,
    Baseline,
    Chosen,
    Control,
    Converged,
    EstimatorFacts,
    ImageFacts,
    Kernels,
    OverSeeds,
    Pair,
    Ratio,
    SearchResult,
    Shortlisted,
    SpaceFacts,
    Speedup,
    Table,
    Test,
    Tested,
    TrainedNetwork,
)
from harness.search.request import Setting
from harness.task import PairedAnswers, task_of

if TYPE_CHECKING:
    from harness.search.selection.contest import Trained

COMPARISONS = "comparisons"
"""Folder of the comparisons, each in one of its own, in that of the search."""
FORMAT = 10
FIRST_FORMAT = 8
"""The oldest that is read."""
_SCOUTS_ALONE = 10
"""From here on all candidates were scouts, whose looks and latencies stand with them; before, fronts of
NSGA-II gave some, which are not read."""
_FIGURES_APART = 9
"""From here on a model's figures have a table of their own, by scenario."""


def compare(setting: Setting, cards: Sequence[Card]) -> tuple[str, Comparison]:
    """Hold the models against each other on the test images, the first as baseline, in alternating rounds.

    None uses what `harness tune` may have found for it, so that all run under one set of settings.

    Returns:
        The folder in that of the search, which belongs to these very models and this duration of the tests,
        and what was found.
    """
    request = setting.request
    models = [*map(model_file.sha256, cards), f"{request.effort.duration_s:g} s"]
    folder = f"{COMPARISONS}/{hashlib.sha256(' '.join(models).encode()).hexdigest()[:8]}"
    out = setting.path(folder)
    found = comparing.compare(
        comparing.Request(
            cards=tuple(cards),
            out=out,
            data=request.data,
            rounds=request.effort.rounds,
            threads=(setting.conditions.threads,),
            duration_s=request.effort.duration_s,
            tuning=False,
        )
    )
    output.write([found], out)
    return folder, found


def asked(setting: Setting) -> Asked:
    """Return what the request was."""
    request, space, images = setting.request, setting.space, setting.images
    return Asked(
        command=request.command,
        baseline=Baseline(request.card.name, model_file.sha256(request.card)),
        space=SpaceFacts(space.key, space.sizes, space.baseline),
        images=ImageFacts(
            train=str(request.train),
            learned=len(images.learned.names),
            held_out=len(images.held_out.names),
            held_out_unseen=request.held_out is not None,
            learned_sha256=images.learned.sha256,
            held_out_sha256=images.held_out.sha256,
            variation=setting.variation,
        ),
        conditions=setting.conditions.facts,
        max_drop=request.max_drop,
        target_ms=request.target_ms,
        target_speedup=request.target_speedup,
        seed=request.seed,
        initial_weights=setting.initial_weights,
        effort=request.effort,
    )


def made(
    *,
    setting: Setting,
    predictor: Mapping[str, Any],
    estimator: Mapping[str, Any],
    baseline_ms: float,
    foretold_ms: Mapping[str, float],
    shortlist: Sequence[Candidate],
    kernels: Mapping[str, Any],
    candidates: Sequence[Candidate],
    bar: Bar,
    trained: "Mapping[str, Trained]",
    picked: Candidate,
    controls: Sequence[Candidate],
    wanted_ms: float,
    converged: Sequence[Mapping[str, Any]],
    comparison: tuple[str, Comparison],
    over_seeds: OverSeeds | None,
) -> SearchResult:
    """Return the whole outcome.

    `predictor`, `estimator`, `kernels` and `converged` are JSON values, as the parts of a search are
    kept; `foretold_ms` are what the latency table had for the shortlist, by key; `shortlist` is before, and
    `candidates` after the brief training; `controls` are what Contest.train_controls returned, and
    `comparison` what `compare` did.
    """
    brief = {one.key: one.brief for one in candidates}
    finished = {key: {**one.int8, "architecture": one.architecture.to_dict()} for key, one in trained.items()}
    return SearchResult(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=__version__,
        machine=system.describe(),
        request=asked(setting),
        table=typed.structure(dict(predictor), Table),
        estimator=typed.structure(dict(estimator), EstimatorFacts),
        baseline_ms=baseline_ms,
        wanted_ms=wanted_ms,
        shortlist=tuple(
            Shortlisted(
                key=one.key,
                architecture=one.architecture,
                latency_ms=foretold_ms[one.key],
                measured_ms=one.latency_ms,
                look=one.brief,
                brief=brief[one.key],
                kernels=typed.structure(kernels[one.key], Kernels),
            )
            for one in shortlist
        ),
        bar=bar,
        trained={key: typed.structure(one, TrainedNetwork) for key, one in finished.items()},
        searched=_chosen(picked, trained),
        uniform=_chosen(controls[0], trained),
        controls=tuple(
            Control(
                one.key,
                tuple(len(stage.blocks) for stage in one.architecture.stages),
                one.latency_ms,
                one.brief,
                trained[one.key].int8["accuracy"] if one.key in trained else None,
            )
            for one in controls
        ),
        converged=tuple(typed.structure(dict(one), Converged) for one in converged),
        comparison=comparison[0],
        test=replace(_test(setting, *comparison), over_seeds=over_seeds),
        seconds=setting.parts.seconds,
    )


def write(found: SearchResult, out: Path) -> None:
    """Write OUT/result.json, atomically."""
    files.write_json(out / FILE_NAME, to_dict(found))


def to_dict(found: SearchResult) -> dict[str, Any]:
    """Return what result.json holds, as JSON values."""
    values = typed.unstructure(found)
    bar = values["bar"] | {"least": found.bar.least, "safe": found.bar.safe}
    machine = values["machine"] | {"usable_cpus": found.machine.usable_cpus}
    return {"format": FORMAT, **values, "bar": bar, "machine": machine}


def read(out: Path) -> SearchResult:
    """Read what a search ended with, of any version up to this one.

    Raises:
        OutputError: it is missing, damaged, or of another format.
    """
    path = out / FILE_NAME
    try:
        document = files.read_json(path)
        form = document.get("format") if isinstance(document, dict) else None
        if type(form) is not int:
            raise ValueError("it has no format")
        if not FIRST_FORMAT <= form <= FORMAT:
            raise OutputError(
                f"{path} has format {form}, this harness reads {FIRST_FORMAT} to {FORMAT}: repeat the search."
            )
        return typed.structure(_upgraded(document, form), SearchResult)
    except FileNotFoundError as error:
        raise OutputError(
            f"{out} holds no {FILE_NAME}: give the --out of a `harness search run` that went through."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(f"Cannot read {path} ({error}): repeat the `harness search run`.") from error


def _upgraded(document: dict[str, Any], form: int) -> dict[str, Any]:
    """Return a document as this format has it."""
    document = {"wanted_ms": None, **document, "machine": {**identity.LATER, **document["machine"]}}
    asked = document["request"]
    document["request"] = {**asked, "effort": {"seeds": 1, **asked["effort"]}}
    if form < _FIGURES_APART:
        test = document["test"]
        rows = {
            name: {**row, "figures": {scenario: row[scenario] for scenario in test["units"]}}
            for name, row in test["models"].items()
        }
        document["test"] = {**test, "models": rows}
    if form < _SCOUTS_ALONE:
        looks = {one["key"]: one for one in document["looks"]}
        document["shortlist"] = [
            {**one, "look": looks[one["key"]]["accuracy"] if one["key"] in looks else None}
            for one in document["shortlist"]
        ]
        if scouts := document["estimator"]["scouts"]:
            seen = [
                {**one, "measured_ms": looks[one["key"]]["measured_ms"]} if one["key"] in looks else one
                for one in scouts["seen"]
            ]
            document["estimator"] = {**document["estimator"], "scouts": {**scouts, "seen": seen}}
    return document


def _chosen(candidate: Candidate, trained: "Mapping[str, Trained]") -> Chosen:
    return Chosen(
        key=candidate.key,
        architecture=candidate.architecture,
        macs=candidate.architecture.count_macs(),
        parameters=candidate.architecture.count_parameters(),
        measured_ms=candidate.latency_ms,
        brief=candidate.brief,
        held_out=trained[candidate.key].int8["accuracy"],
    )


def _test(setting: Setting, folder: str, compared: Comparison) -> Test:
    """Return the figures on the test images, and what McNemar says of searched against uniform."""
    models = {}
    for variant in compared.variants:
        figures: dict[str, tuple[float, float, float] | None] = {}
        for scenario in compared.scenarios:
            cell = compared.cell(scenario, setting.conditions.threads, variant.name)
            center = cell.interval() if cell else None
            figures[str(scenario)] = None if center is None else (center.center, center.low, center.high)
        if (score := variant.accuracy) is None:
            models[variant.name] = Tested(None, None, figures)
        else:
            models[variant.name] = Tested(score.fraction, score.passed, figures, score.good, score.total)
    return Test(
        units={
            str(scenario): f"{METRICS[scenario].name}, {METRICS[scenario].unit}"
            for scenario in compared.scenarios
        },
        models=models,
        speedups=tuple(Speedup(one.variant, one.against, one.text) for one in findings.speedups(compared)),
        searched_over_uniform=_speeds(setting, compared),
        accuracies=tuple(findings.accuracy_text(compared, pair) for pair in compared.accuracy_pairs),
        searched_against_uniform=_pair(setting, folder, compared),
    )


def _speeds(setting: Setting, compared: Comparison) -> dict[str, Ratio]:
    """Return by scenario how many times faster searched is than uniform, which need not keep the accuracy."""
    found = {}
    for scenario in compared.scenarios:
        subject, reference = (
            compared.cell(scenario, setting.conditions.threads, name) for name in (SEARCHED, UNIFORM)
        )
        if subject is not None and reference is not None:
            one = findings.speedup(compared, subject, reference)
            within = one.interval
            ratio = None if within is None else (within.center, within.low, within.high)
            found[str(scenario)] = Ratio(one.text, ratio)
    return found


def _pair(setting: Setting, folder: str, compared: Comparison) -> Pair | None:
    scores = [compared.variant(name).accuracy for name in (UNIFORM, SEARCHED)]
    logs = [setting.path(folder, score.log, log.ACCURACY_LOG) for score in scores if score is not None]
    if len(logs) < 2:
        return None
    task = task_of(setting.request.card)
    first, second = (task.answers(path, setting.store.count) for path in logs)
    found = task.compare(first, second, task.truth(setting.store))
    assert isinstance(found, PairedAnswers)
    points = 100 * (found.gained - found.lost) / found.count
    return Pair(found.count, found.lost, found.gained, points, found.p_value)
