"""One LoadGen test of a plan: run, read, judged, and its files in their place."""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import files
from harness.console import note
from harness.dataset.store import Store
from harness.errors import OutputError
from harness.loadgen.job import Job
from harness.measurement import advice
from harness.measurement.plan import ATTEMPTS, Plan
from harness.measurement.series import run_test, take_place
from harness.mlperf import conf, log
from harness.mlperf.benchmark import BENCHMARKS
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card
from harness.run import result
from harness.run.folder import ACCURACY_LOGS, PERFORMANCE_LOGS
from harness.task import Score, task_of


def take_test(plan: Plan, mode: Mode) -> dict[str, Any]:
    """Run one test of the plan, and return its part of the result document.

    Raises:
        RunFailed: the test crashed, hung, an inference failed, or its logs are unusable.
    """
    return _SECTIONS[mode](plan)


def _run(plan: Plan, mode: Mode) -> tuple[Path, dict[str, Any]]:
    request = plan.request
    logs = plan.staging / mode
    job = Job(
        request.card,
        request.store,
        request.settings,
        logs,
        mode,
        plan.user_conf,
        samples_per_query=plan.demands.samples_per_query,
    )
    timed = mode is Mode.PERFORMANCE and request.settings.scenario.facts.timed
    if timed:
        total = plan.seconds(mode)
    else:
        total = plan.store.count if mode is Mode.ACCURACY else plan.offline_samples
    return logs, run_test(job, total, timed)


def _performance(plan: Plan) -> dict[str, Any]:
    for attempt in range(1, ATTEMPTS + 1):
        logs, done = _run(plan, Mode.PERFORMANCE)
        detail = logs / "mlperf_log_detail.txt"
        measured = log.read_performance(detail)
        if measured.valid or attempt == ATTEMPTS or (better := plan.corrected()) is None:
            break
        told = ", ".join(f"{key} {value:.5g}" for key, value in better.estimate.items())
        note(f"INVALID, and so repeated with {told}: {advice.of_performance(measured, plan.told)[0]}")
        shutil.rmtree(logs)
        plan = better
    faults = _rule_faults(log.read_detail(detail), plan)
    section = result.performance_section(
        measured, plan.told, faults, done["energy"], done["noise"], done["known_answers"]
    )
    _take_place(logs, plan, Mode.PERFORMANCE)
    shutil.copyfile(plan.user_conf, plan.folder / "user.conf")
    return section


def _take_place(logs: Path, plan: Plan, mode: Mode) -> None:
    """Move a test's logs to their place; what the document says of those that were there goes first.

    A call that is killed in between leaves no old result beside new logs.
    """
    path = plan.folder / result.FILE_NAME
    if path.exists() and (held := result.read(path))[mode] is not None:
        files.write_json(path, held | {mode: None})
    take_place(logs, plan.folder / (PERFORMANCE_LOGS if mode is Mode.PERFORMANCE else ACCURACY_LOGS))


def _accuracy(plan: Plan) -> dict[str, Any]:
    logs, done = _run(plan, Mode.ACCURACY)
    detail = log.read_detail(logs / "mlperf_log_detail.txt")
    task = task_of(plan.request.card)
    score = task.score(logs / "mlperf_log_accuracy.json", task.truth(plan.store), plan.store.count)
    (logs / "accuracy.txt").write_text(score.text + "\n", encoding="utf-8")
    _take_place(logs, plan, Mode.ACCURACY)
    return {
        "text": score.text,
        **score.counts,
        "accuracy": score.fraction,
        "errors": detail.errors,
        "known_answers": done["known_answers"],
        **judged(plan.request.card, plan.store, score),
    }


_SECTIONS: dict[Mode, Callable[[Plan], dict[str, Any]]] = {
    Mode.PERFORMANCE: _performance,
    Mode.ACCURACY: _accuracy,
}


def judged(card: Card, store: Store, score: Score) -> dict[str, Any]:
    """Return the part of an accuracy section that depends on targets: `verdicts`, and whether it `passed`.

    The verdict on the card's own target comes first, then that on MLPerf's where the data set is its own.
    """
    task = task_of(card)
    benchmark = BENCHMARKS[card.benchmark]
    targets = []
    if card.accuracy is not None:
        targets.append(("the card's target", card.accuracy.reference, card.accuracy.target_fraction))
    official = (benchmark.reference_accuracy, benchmark.target_fraction)
    if store.dataset == benchmark.dataset and official not in [target[1:] for target in targets]:
        targets.append((f"MLPerf {benchmark.name}, Closed division", *official))
    verdicts = []
    for rule, reference, fraction in targets:
        found = task.verdict(score, reference, fraction)
        cure = None
        if not found.passed:
            cure = task.advice(score, found.target, card.quantized_here)
        verdicts.append({"rule": rule, **asdict(found), "advice": cure})
    return {"verdicts": verdicts, "passed": verdicts[0]["passed"] if verdicts else None}


def judged_again(card: Card, store: Store, text: str) -> dict[str, Any]:
    """Return the same of a section that is held, by its `text`.

    Raises:
        OutputError: the text states no score.
    """
    stated = task_of(card).read_line(text)
    if stated is None:
        raise OutputError(f"The result states no accuracy ('{text}'): repeat the run with --replace.")
    return judged(card, store, stated.score)


def _rule_faults(detail: log.Detail, plan: Plan) -> list[str]:
    """Return where LoadGen's effective settings fall short of the rules."""
    rules = plan.demands.rules
    faults = []
    for key in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        if detail[f"effective_{key}"] != getattr(rules, key):
            faults.append(f"{key} is not that of {conf.read_rules().round}")
    if (percentile := rules.target_latency_percentile) is not None:
        found = 100 * detail["effective_target_latency_percentile"]
        if not math.isclose(found, percentile):
            faults.append(f"p{found:g} of the latency, the rules' is p{percentile:g}")
    if rules.scenario == Scenario.MULTI_STREAM:
        samples = detail["effective_samples_per_query"]
        if samples != rules.samples_per_query:
            faults.append(f"{samples} samples in a query, the rules have {rules.samples_per_query}")
    bound_ms = detail["effective_target_latency_ns"] / 1e6
    if rules.scenario == Scenario.SERVER and rules.target_latency_ms and bound_ms > rules.target_latency_ms:
        faults.append(f"latency bound of {bound_ms:g} ms, the rules' is {rules.target_latency_ms:g} ms")
    if detail["effective_min_duration_ms"] < rules.min_duration_ms:
        seconds = detail["effective_min_duration_ms"] / 1000
        faults.append(f"short run ({seconds:g} s, the rules ask for {rules.min_duration_ms / 1000:g} s)")
    elif not plan.request.settings.official:
        faults.append("run without --official")
    return faults
