"""One LoadGen test of a plan: run, read, judged, and its files in their place."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from harness import files
from harness.console import note
from harness.dataset.store import Store
from harness.errors import OutputError
from harness.measurement import advice
from harness.measurement.demands import Demands
from harness.measurement.plan import Plan
from harness.measurement.test import Taken, take_place, take_with_bar, until_valid
from harness.mlperf import conf, log
from harness.mlperf.benchmark import BENCHMARKS
from harness.mlperf.rules import SEEDS
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card
from harness.run import result
from harness.run.document import AccuracySection, Energy, Judgement, Latencies, PerformanceSection, Score
from harness.run.folder import ACCURACY_LOGS, PERFORMANCE_LOGS
from harness.task import task_of


def take_test(plan: Plan, mode: Mode, folder: Path, staging: Path) -> PerformanceSection | AccuracySection:
    """Run one test of the plan, and return its section of the result.

    Args:
        plan: what it runs with.
        mode: which test.
        folder: the scenario's folder, which takes its files.
        staging: takes the logs of the test under way; on the same file system.

    Raises:
        RunFailed: the test crashed, hung, an inference failed, or its logs are unusable.
    """
    return _SECTIONS[mode](plan, folder, staging / mode)


def _performance(plan: Plan, folder: Path, logs: Path) -> PerformanceSection:
    timed = plan.settings.scenario.facts.timed

    def test(plan: Plan) -> Taken:
        total = plan.seconds(Mode.PERFORMANCE) if timed else plan.offline_samples
        return take_with_bar(plan.job(logs, Mode.PERFORMANCE), total, timed)

    def retry(better: Plan, tried: Plan, measured: log.Performance) -> None:
        told = ", ".join(f"{key} {value:.5g}" for key, value in better.estimate.items())
        why = "; ".join(advice.faults_of_performance(measured, tried.told))
        note(f"Not valid, and so repeated with {told}: {why}.")

    plan, measured, taken = until_valid(plan, logs, test, retry)
    faults = _rule_faults(log.read_detail(logs / log.DETAIL_LOG), plan.demands)
    section = performance_section(measured, plan.told, faults, taken)
    _take_place(logs, folder, Mode.PERFORMANCE)
    shutil.copyfile(plan.user_conf, folder / "user.conf")
    return section


def performance_section(
    measured: log.Performance,
    told: advice.Told,
    faults: Sequence[str],
    taken: Taken | None = None,
) -> PerformanceSection:
    """Return a result's section on a performance test.

    Args:
        measured: what LoadGen logged; latencies are of whole queries.
        told: what LoadGen was told in user.conf.
        faults: why the test is not official.
        taken: what went on around it; None where only its logs are known.
    """
    energy = None if taken is None else taken.energy
    facts = measured.scenario.facts
    percentile = "" if measured.latency_percentile is None else f"p{measured.latency_percentile:g}"
    return PerformanceSection(
        valid=measured.valid,
        validity=measured.validity,
        invalid_reasons=measured.invalid_reasons,
        errors=measured.errors,
        advice=tuple(advice.of_performance(measured, told)),
        score=Score(
            facts.score_name.format(percentile=percentile), facts.score_unit, facts.is_latency, measured.score
        ),
        query_count=measured.query_count,
        sample_count=measured.sample_count,
        duration_ns=measured.duration_ns,
        latency_ns=None
        if measured.scenario is Scenario.OFFLINE
        else Latencies(
            **{item.name: getattr(measured, f"latency_{item.name}_ns") for item in fields(Latencies)}
        ),
        latency_percentile=measured.latency_percentile,
        latency_bound_ns=measured.latency_bound_ns,
        late_queries=measured.late_queries,
        early_stopping_latency_ns=measured.early_stopping_latency_ns,
        samples_per_second=measured.samples_per_second,
        scheduled_samples_per_second=measured.scheduled_samples_per_second,
        estimate=dict(told.estimate),
        not_official_because=tuple(faults),
        energy=None
        if energy is None
        else Energy(energy["joules"], tuple(energy["domains"]), energy["joules"] / measured.sample_count),
        noise=None if taken is None else taken.noise,
        known_answers=None if taken is None else taken.known_answers,
    )


def _take_place(logs: Path, folder: Path, mode: Mode) -> None:
    """Move a test's logs to their place; what the result says of those that were there goes first.

    A call that is killed in between leaves no old result beside new logs.
    """
    path = folder / result.FILE_NAME
    if path.exists():
        try:
            held = result.read(path)
        except result.Damaged:
            path.unlink()
        else:
            if held.section(mode) is not None:
                result.write(path, held.having(mode, None))
    take_place(logs, folder / (PERFORMANCE_LOGS if mode is Mode.PERFORMANCE else ACCURACY_LOGS))


def _accuracy(plan: Plan, folder: Path, logs: Path) -> AccuracySection:
    taken = take_with_bar(plan.job(logs, Mode.ACCURACY), plan.store.count, timed=False)
    detail = log.read_detail(logs / log.DETAIL_LOG)
    task = task_of(plan.card)
    score = task.score(logs / log.ACCURACY_LOG, task.truth(plan.store), plan.store.count)
    files.write_text(logs / log.ACCURACY_TEXT, score.text + "\n")
    _take_place(logs, folder, Mode.ACCURACY)
    section = AccuracySection(
        text=score.text,
        **score.counts,
        accuracy=score.fraction,
        errors=tuple(detail.errors),
        verdicts=(),
        passed=None,
        known_answers=taken.known_answers,
    )
    return judged(section, plan.card, plan.store)


_SECTIONS: dict[Mode, Callable[[Plan, Path, Path], PerformanceSection | AccuracySection]] = {
    Mode.PERFORMANCE: _performance,
    Mode.ACCURACY: _accuracy,
}


def judged(section: AccuracySection, card: Card, store: Store) -> AccuracySection:
    """Return the section with its verdicts on the targets that there are by now.

    The verdict on the card's own target comes first, then that on MLPerf's where the data set is its own.

    Raises:
        OutputError: the section's text states no score.
    """
    task = task_of(card)
    stated = task.read_line(section.text)
    if stated is None:
        raise OutputError(f"The result states no accuracy ('{section.text}'): repeat the run with --replace.")
    score = stated.score
    benchmark = BENCHMARKS[card.benchmark]
    targets = []
    if card.accuracy is not None:
        targets.append(("the card's target", card.accuracy.reference, card.accuracy.target_fraction))
    for name, share in benchmark.targets.items():
        official = (benchmark.reference_accuracy, share)
        if store.dataset == benchmark.dataset and official not in [target[1:] for target in targets]:
            targets.append((f"MLPerf {name}, Closed division", *official))
    verdicts = []
    for rule, reference, fraction in targets:
        found = task.verdict(score, reference, fraction)
        cure = None
        if not found.passed:
            cure = task.advice(score, found.target, card.quantized_here)
        verdicts.append(Judgement(rule, **asdict(found), advice=cure))
    return replace(section, verdicts=tuple(verdicts), passed=verdicts[0].passed if verdicts else None)


def _rule_faults(detail: log.Detail, demands: Demands) -> list[str]:
    """Return where LoadGen's effective settings fall short of the rules."""
    rules = demands.rules
    faults = []
    for key in SEEDS:
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
    elif not demands.settings.official:
        faults.append("run without --official")
    return faults
