"""What a search ends with: the LoadGen comparison and OUT/result.json, from which every report is made."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__, files
from harness.comparison import findings, output
from harness.comparison import session as comparing
from harness.comparison.document import Comparison
from harness.errors import OutputError
from harness.machine import system
from harness.measurement.round import METRICS
from harness.mlperf import log
from harness.model import file as model_file
from harness.model.card import Card
from harness.search.decision import SEARCHED, UNIFORM, Bar, Candidate
from harness.search.request import Setting, facts
from harness.search.strategy.front import Point
from harness.task import PairedAnswers, task_of

if TYPE_CHECKING:
    from harness.search.selection.contest import Trained

FILE_NAME = "result.json"
COMPARISONS = "comparisons"
"""Folder of the comparisons, each in one of its own, in that of the search."""
FORMAT = 8

_ACCURACY_LOG = log.ACCURACY_LOG


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


def document(
    *,
    setting: Setting,
    predictor: Mapping[str, Any],
    estimator: Mapping[str, Any],
    found: Mapping[str, Any],
    baseline_ms: float,
    front: Sequence[tuple[Point, float]],
    looks: Sequence[Candidate],
    measured: Sequence[tuple[Point, float]],
    kernels: Mapping[str, Any],
    candidates: Sequence[Candidate],
    bar: Bar,
    trained: "Mapping[str, Trained]",
    picked: Candidate,
    controls: Sequence[Candidate],
    wanted_ms: float,
    converged: Sequence[Mapping[str, Any]],
    comparison: tuple[str, Comparison],
) -> dict[str, Any]:
    """Return the whole outcome in JSON values; latencies in ms, accuracies as fractions.

    `controls` are what Contest.train_controls returned, `converged` what Contest.converged did, and
    `comparison` what `compare` did.
    """
    brief = {one.key: one.brief for one in candidates}
    return {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "harness": __version__,
        "machine": system.describe().to_dict(),
        "request": facts(setting),
        "table": dict(predictor),
        "estimator": dict(estimator),
        "search": dict(found),
        "baseline_ms": baseline_ms,
        "wanted_ms": wanted_ms,
        "front": [{**point.to_dict(), "measured_ms": latency_ms} for point, latency_ms in front],
        "looks": [{"key": one.key, "measured_ms": one.latency_ms, "accuracy": one.brief} for one in looks],
        "shortlist": [
            {
                **point.to_dict(),
                "measured_ms": latency_ms,
                "brief": brief[point.architecture.key],
                "kernels": kernels[point.architecture.key],
            }
            for point, latency_ms in measured
        ],
        "bar": {**asdict(bar), "least": bar.least, "safe": bar.safe},
        "trained": {
            key: {**one.int8, "architecture": one.architecture.to_dict()} for key, one in trained.items()
        },
        SEARCHED: _chosen(picked, trained),
        UNIFORM: _chosen(controls[0], trained),
        "controls": [
            {
                "key": one.key,
                "depths": [len(stage.blocks) for stage in one.architecture.stages],
                "measured_ms": one.latency_ms,
                "brief": one.brief,
                "held_out": trained[one.key].int8["accuracy"] if one.key in trained else None,
            }
            for one in controls
        ],
        "converged": list(converged),
        "comparison": comparison[0],
        "test": _test(setting, *comparison),
        "seconds": setting.parts.seconds,
    }


def write(outcome: Mapping[str, Any], out: Path) -> None:
    """Write OUT/result.json, atomically."""
    files.write_json(out / FILE_NAME, outcome)


def read(out: Path) -> dict[str, Any]:
    """Read what a search ended with.

    Raises:
        OutputError: it is missing, damaged, or of another format.
    """
    path = out / FILE_NAME
    try:
        found: dict[str, Any] = files.read_json(path)
        form = found["format"]
    except FileNotFoundError as error:
        raise OutputError(
            f"{out} holds no {FILE_NAME}: give the --out of a `harness search run` that went through."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"Cannot read {path} ({error!r}): repeat the `harness search run`.") from error
    if form != FORMAT:
        raise OutputError(f"{path} has format {form}, this harness reads {FORMAT}: repeat the search.")
    return found


def _chosen(candidate: Candidate, trained: "Mapping[str, Trained]") -> dict[str, Any]:
    return {
        "key": candidate.key,
        "architecture": candidate.architecture.to_dict(),
        "macs": candidate.architecture.count_macs(),
        "parameters": candidate.architecture.count_parameters(),
        "measured_ms": candidate.latency_ms,
        "brief": candidate.brief,
        "held_out": trained[candidate.key].int8["accuracy"],
    }


def _test(setting: Setting, folder: str, compared: Comparison) -> dict[str, Any]:
    """Return the figures on the test images, and what McNemar says of searched against uniform."""
    rows = {}
    for variant in compared.variants:
        row: dict[str, Any] = {"accuracy": None, "passed": None}
        if variant.accuracy is not None:
            row = {
                "good": variant.accuracy.good,
                "total": variant.accuracy.total,
                "accuracy": variant.accuracy.fraction,
                "passed": variant.accuracy.passed,
            }
        for scenario in compared.scenarios:
            cell = compared.cell(scenario, setting.conditions.threads, variant.name)
            center = cell.interval() if cell else None
            row[str(scenario)] = None if center is None else [center.center, center.low, center.high]
        rows[variant.name] = row
    return {
        "units": {
            str(scenario): f"{METRICS[scenario].name}, {METRICS[scenario].unit}"
            for scenario in compared.scenarios
        },
        "models": rows,
        "speedups": [
            {"variant": one.variant, "against": one.against, "text": one.text}
            for one in findings.speedups(compared)
        ],
        "searched_over_uniform": _speeds(setting, compared),
        "accuracies": [findings.accuracy_text(compared, pair) for pair in compared.accuracy_pairs],
        "searched_against_uniform": _pair(setting, folder, compared),
    }


def _speeds(setting: Setting, compared: Comparison) -> dict[str, Any]:
    """Return by scenario how many times faster searched is than uniform, which need not keep the accuracy."""
    found = {}
    for scenario in compared.scenarios:
        subject, reference = (
            compared.cell(scenario, setting.conditions.threads, name) for name in (SEARCHED, UNIFORM)
        )
        if subject is not None and reference is not None:
            one = findings.speedup(compared, subject, reference)
            within = one.interval
            found[str(scenario)] = {
                "text": one.text,
                "ratio": within and [within.center, within.low, within.high],
            }
    return found


def _pair(setting: Setting, folder: str, compared: Comparison) -> dict[str, Any] | None:
    scores = [compared.variant(name).accuracy for name in (UNIFORM, SEARCHED)]
    logs = [setting.path(folder, score.log, _ACCURACY_LOG) for score in scores if score is not None]
    if len(logs) < 2:
        return None
    task = task_of(setting.request.card)
    first, second = (task.answers(path, setting.store.count) for path in logs)
    found = task.compare(first, second, task.truth(setting.store))
    assert isinstance(found, PairedAnswers)
    return {
        "count": found.count,
        "lost": found.lost,
        "gained": found.gained,
        "points": 100 * (found.gained - found.lost) / found.count,
        "p_value": found.p_value,
    }
