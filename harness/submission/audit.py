"""Compliance tests from end to end: repeat the performance test with LoadGen's audit file, verify, keep."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import files
from harness.console import note
from harness.dataset.store import open_store
from harness.errors import HarnessError, RunFailed
from harness.mlperf import log
from harness.mlperf.rules import NEWEST, Task, find_round, round_of
from harness.mlperf.scenario import Mode
from harness.model.card import Card
from harness.run import result
from harness.run import session as run_session
from harness.run.folder import alone_in, unsound
from harness.submission import compliance, logs, results
from harness.submission.results import PERFORMANCE, Result
from harness.submission.run_settings import Rules
from harness.submission.verdict import Ledger, faults, refusal
from harness.task import Score, of_benchmark, task_of
from harness.task import Task as AnswerTask


@dataclass(frozen=True)
class Request:
    """Which results to test."""

    results: Path
    store: Path
    """The data that the results were measured on."""
    models: Sequence[str] = ()
    """Cards of models that are not shipped."""
    replace: bool = False
    """Whether tests that are there already are run again."""


@dataclass(frozen=True)
class Audited:
    """What a compliance test showed."""

    performance: compliance.Verification
    """Whether the test is as fast as the performance run."""
    answers: compliance.Verification | None
    """TEST01: whether the answers are those of the accuracy run."""
    score: Score | None = None
    """TEST01: the accuracy of the answers logged in the test; None when it logged none."""
    baseline: Score | None = None
    """TEST01, where answers differ: the accuracy run's on the same samples."""
    breach: str = ""
    """What the rules have against the test, and not against the performance run as well."""

    @property
    def passed(self) -> bool:
        return not self.fault

    @property
    def _as_accurate(self) -> bool:
        if self.score is None or self.baseline is None:
            return False
        return compliance.accuracies_agree(self.baseline.fraction, self.score.fraction)

    @property
    def fault(self) -> str:
        """What made it fail, or an empty text."""
        parts = [] if self.performance.passed else [self.performance.fault]
        if self.answers is not None and not self.answers.passed and not self._as_accurate:
            parts.append(self.answers.fault)
        parts += [self.breach] if self.breach else []
        return "; ".join(parts)


@dataclass(frozen=True)
class TestOutcome:
    """A compliance test of one scenario."""

    __test__ = False

    result: Result
    test: str
    audited: Audited
    official: bool
    """Whether the runs were official, so that the test can be submitted."""

    @property
    def text(self) -> str:
        verdict = "passed" if self.audited.passed else f"failed: {self.audited.fault}"
        mark = "" if self.official else " [not official: a short run]"
        return f"{self.result.shown} {self.test} {verdict}{mark}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "system": self.result.system,
            "model": self.result.model,
            "scenario": self.result.scenario,
            "test": self.test,
            "passed": self.audited.passed,
            "fault": self.audited.fault or None,
            "official": self.official,
        }


def run_all(request: Request) -> list[TestOutcome]:
    """Run and verify every compliance test of every result; keep each as soon as it is finished.

    A test that is there already is verified again. It is only run again if it fails or cannot be read, if
    it is of another model, other data, settings, versions or another machine than the result is by now, or
    if the request says so.

    Raises:
        HarnessError: the results, the model or the data cannot be used, or a test broke.
    """
    found, reasons = results.collect(request.results)
    cards, card_reasons = results.find_cards(found, request.models)
    reasons += card_reasons
    made_for = find_round(NEWEST)
    reasons += [
        f"{one.shown}: '{one.document.benchmark}' is no benchmark of {NEWEST}: leave it out."
        for one in found
        if results.entry_of(one, made_for) is None
    ]
    reasons += [
        f"{one.shown}: has no {section} result: run it first."
        for one in found
        for section in Mode
        if one.document.section(section) is None
    ]
    if reasons:
        raise refusal(f"The results in {request.results} cannot be tested", reasons)
    store = open_store(request.store)

    def truth_of(one: Result) -> Any:
        return of_benchmark(results.sure_entry_of(one, made_for).benchmark).truth(store)

    reasons = [
        f"{one.shown}: was measured on other data than those in {store.path}: give its store with --data."
        for one in found
        if store.sha256(cards[one.document.model.name].input.recipe) != one.document.data.pixels_sha256
    ]
    if not reasons:
        reasons = [fault for one in found for fault in _unusable(one, truth_of(one))]
    if reasons:
        raise refusal(f"The results in {request.results} cannot be tested", reasons)
    outcomes = []
    for one in found:
        task, truth = results.sure_entry_of(one, made_for), truth_of(one)
        for test in task.audits:
            folder = one.folder / test
            with alone_in(one.folder):
                # By now it may be another than was looked at above.
                document = result.read(one.folder / result.FILE_NAME)
                there = compliance.is_of(folder, document) and not request.replace
                official = document.settings.official
                audited = _verify_kept(one, test, task, official, truth) if there else None
                if audited is None:
                    note(f"{one.shown} {test}:")
                    card = cards[one.document.model.name]
                    audited = _run(one, test, card, request.store, task, truth)
                    audited = _held_against_the_rules(audited, one, test, task, official)
            outcomes.append(TestOutcome(one, test, audited, official))
    return outcomes


def _unusable(one: Result, truth: Any) -> Iterator[str]:
    """Yield why no test can be held against the runs of a result, before any test takes its time."""
    if fault := unsound(one.document, Mode.PERFORMANCE, one.folder):
        yield (
            f"{one.shown}: nothing can be held against its performance test, as {fault}: repeat its `harness "
            f"run`, which runs that test again."
        )
    try:
        task_of(one.document).score(one.folder / "accuracy" / log.ACCURACY_LOG, truth, len(truth))
    except HarnessError as error:
        yield f"{one.shown}: {error}"


def _verify_kept(one: Result, test: str, task: Task, official: bool, truth: Any) -> Audited | None:
    """Verify the test that is there, and write its verdict; return None when it has to be run again."""
    name, folder = f"{one.shown} {test}", one.folder / test
    note(f"{name}: verifying the test that is there.")
    try:
        answers = folder / "accuracy" / log.ACCURACY_LOG
        kind, run = of_benchmark(task.benchmark), folder / PERFORMANCE
        audited = verify(test, one.folder, run, kind, truth, accuracy_log=answers)
        audited = _held_against_the_rules(audited, one, test, task, official)
        fault = audited.fault
    except RunFailed as error:
        fault = str(error).rstrip(".")
    if fault:
        note(f"{name}: running it again, for {fault}.")
        return None
    _write_verdict(folder, audited)
    return audited


def _held_against_the_rules(audited: Audited, one: Result, test: str, task: Task, official: bool) -> Audited:
    """Add what `harness check` would say against the logs of an official test, and not against the run's.

    What is wrong with the run itself, such as a part of the data set, no repetition of the test cures.
    """
    if audited.fault or not official:
        return audited
    reference = log.read_detail(one.folder / PERFORMANCE / log.DETAIL_LOG)
    rules = Rules(round_of(reference) or find_round(NEWEST), task, "closed", "edge")
    ours, theirs = Ledger(), Ledger()
    compliance.check(ours, one.folder / test, test, test, rules, one.scenario, reference, verdicts=False)
    logs.check_performance(theirs, one.folder / PERFORMANCE, one.shown, one.scenario, rules)
    of_the_run = {check.name for check in faults(theirs.checks)}
    wrong = (check for check in faults(ours.checks) if check.name not in of_the_run)
    return replace(audited, breach=next((f"{check.path} {check.detail}" for check in wrong), ""))


def _run(one: Result, test: str, card: Card, store: Path, task: Task, truth: Any) -> Audited:
    with tempfile.TemporaryDirectory() as scratch:
        config, taken = Path(scratch, "audit.config"), Path(scratch, test)
        config.write_text(compliance.audit_config(test, task.audit_sampling_target), encoding="utf-8")
        run_session.repeat_performance(card, store, one.folder, config, taken)
        audited = verify(test, one.folder, taken, of_benchmark(task.benchmark), truth)
        keep(test, one.folder, taken, audited)
    return audited


def verify(
    test: str,
    scenario: Path,
    taken: Path,
    task: AnswerTask,
    truth: Any,
    *,
    accuracy_log: Path | None = None,
) -> Audited:
    """Verify the logs in `taken` against the performance and accuracy runs in the folder `scenario`.

    `truth` is what the task says is right for each sample of the store.

    Raises:
        RunFailed: a log cannot be read.
    """
    reference = log.read_detail(scenario / PERFORMANCE / log.DETAIL_LOG)
    performance = compliance.verify_performance(test, reference, log.read_detail(taken / log.DETAIL_LOG))
    if test != "TEST01":
        return Audited(performance, None)
    whole, sampled = scenario / "accuracy" / log.ACCURACY_LOG, accuracy_log or taken / log.ACCURACY_LOG
    answers = compliance.verify_answers(whole, sampled, task)
    indices = {index for _, index, _ in log.read_accuracy(sampled)}
    score = task.score_some(sampled, truth, indices)
    baseline = None if answers.passed else task.score_some(whole, truth, indices)
    return Audited(performance, answers, score, baseline)


def keep(test: str, scenario: Path, taken: Path, audited: Audited) -> Path:
    """Write a test's folder as the official scripts do, in the stead of what was there; return it."""
    with files.staging(scenario, test) as staging:
        built = staging / test
        run = built / PERFORMANCE
        run.mkdir(parents=True)
        for name in (log.SUMMARY_LOG, log.DETAIL_LOG):
            shutil.copyfile(taken / name, run / name)
        document = result.read(scenario / result.FILE_NAME)
        result.write_identity(built / compliance.TESTED, document.identity)
        if audited.answers is not None:
            (built / "accuracy").mkdir()
            shutil.copyfile(taken / log.ACCURACY_LOG, built / "accuracy" / log.ACCURACY_LOG)
        _write_verdict(built, audited)
        target = scenario / test
        if target.exists():
            target.rename(staging / "old")
        built.rename(target)
        return target


def _write_verdict(built: Path, audited: Audited) -> None:
    """Write what a verification showed into a test's folder, which the official checkers believe."""
    files.write_text(built / compliance.PERFORMANCE_FILE, audited.performance.text)
    if audited.answers is None:
        return
    files.write_text(built / compliance.ACCURACY_FILE, audited.answers.text)
    unlike = audited.baseline is not None
    for name, score in (
        (log.ACCURACY_TEXT, audited.score),
        (compliance.BASELINE, audited.baseline),
        (compliance.COMPLIANCE, audited.score if unlike else None),
    ):
        path = built / "accuracy" / name
        if score is None:
            path.unlink(missing_ok=True)
        else:
            files.write_text(path, score.text + "\n")


def summary(outcomes: Sequence[TestOutcome]) -> str:
    """Return one line per test, and what to do where one failed."""
    lines = [outcome.text for outcome in outcomes]
    if not all(outcome.audited.passed for outcome in outcomes):
        lines.append("Give the same command again: it repeats the tests that failed, and only those.")
    return "\n".join(lines)
