"""Compliance tests from end to end: repeat the performance test with LoadGen's audit file, verify, keep."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.console import note
from harness.dataset.store import open_store
from harness.mlperf import log
from harness.mlperf.rules import NEWEST, Task, find_round
from harness.model.card import Card
from harness.run import result
from harness.run import session as run_session
from harness.run.folder import alone_in
from harness.submission import compliance, logs, results
from harness.submission.results import PERFORMANCE, Result
from harness.submission.verdict import refusal
from harness.task import Score, task_of
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
    answers: compliance.Verification | None
    """TEST01: whether the answers are those of the accuracy run."""
    score: Score | None = None
    """TEST01: the accuracy of the answers logged in the test."""
    baseline: Score | None = None
    """TEST01, where answers differ: the accuracy run's on the same samples."""

    @property
    def passed(self) -> bool:
        return self.performance.passed and (self.answers is None or self.answers.passed or self._as_accurate)

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

    A test that is there already is verified again, and only run again if the request says so, or if it is of
    another model, other data, settings, versions or another machine than the result is by now.

    Raises:
        HarnessError: the results, the model or the data cannot be used, or a test broke.
    """
    found, reasons = results.collect(request.results)
    cards, card_reasons = results.find_cards(found, request.models)
    reasons += card_reasons
    reasons += [
        f"{one.shown}: has no {section} result: run it first."
        for one in found
        for section in ("performance", "accuracy")
        if one.document[section] is None
    ]
    if reasons:
        raise refusal(f"The results in {request.results} cannot be tested", reasons)
    store = open_store(request.store)
    reasons = [
        f"{one.shown}: was measured on other data than those in {store.path}: give its store with --data."
        for one in found
        if store.sha256(cards[one.document["model"]["name"]].input.recipe)
        != one.document["data"]["pixels_sha256"]
    ]
    if reasons:
        raise refusal(f"The results in {request.results} cannot be tested", reasons)
    outcomes = []
    for one in found:
        task = find_round(NEWEST).tasks[one.document["benchmark"]]
        card = cards[one.document["model"]["name"]]
        kind = task_of(card)
        truth = kind.truth(store)
        for test in task.audits:
            folder = one.folder / test
            with alone_in(one.folder):
                # By now it may be another than was looked at above.
                document = result.read(one.folder / result.FILE_NAME)
                if compliance.is_of(folder, document) and not request.replace:
                    note(f"{one.shown} {test}: verifying the test that is there.")
                    run, answers = folder / PERFORMANCE, folder / "accuracy" / logs.ACCURACY
                    audited = verify(test, one.folder, run, kind, truth, accuracy_log=answers)
                    _write_verdict(folder, audited)
                else:
                    note(f"{one.shown} {test}:")
                    audited = _run(one, test, card, request.store, task, truth)
            outcomes.append(TestOutcome(one, test, audited, bool(document["settings"]["official"])))
    return outcomes


def _run(one: Result, test: str, card: Card, store: Path, task: Task, truth: Any) -> Audited:
    with tempfile.TemporaryDirectory() as scratch:
        config, taken = Path(scratch, "audit.config"), Path(scratch, test)
        config.write_text(compliance.audit_config(test, task.audit_sampling_target), encoding="utf-8")
        run_session.repeat_performance(card, store, one.folder, config, taken)
        audited = verify(test, one.folder, taken, task_of(card), truth)
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
    reference = log.read_detail(scenario / PERFORMANCE / logs.DETAIL)
    performance = compliance.verify_performance(test, reference, log.read_detail(taken / logs.DETAIL))
    if test != "TEST01":
        return Audited(performance, None)
    whole, sampled = scenario / "accuracy" / logs.ACCURACY, accuracy_log or taken / logs.ACCURACY
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
        for name in (logs.SUMMARY, logs.DETAIL):
            shutil.copyfile(taken / name, run / name)
        document = result.read(scenario / result.FILE_NAME)
        files.write_json(built / compliance.TESTED, compliance.tested(document))
        if audited.answers is not None:
            (built / "accuracy").mkdir()
            shutil.copyfile(taken / logs.ACCURACY, built / "accuracy" / logs.ACCURACY)
        _write_verdict(built, audited)
        target = scenario / test
        if target.exists():
            target.rename(staging / "old")
        built.rename(target)
        return target


def _write_verdict(built: Path, audited: Audited) -> None:
    """Write what a verification showed into a test's folder, which the official checkers believe."""
    files.write_text(built / compliance.PERFORMANCE_FILE, audited.performance.text)
    if audited.answers is None or audited.score is None:
        return
    folder = built / "accuracy"
    files.write_text(built / compliance.ACCURACY_FILE, audited.answers.text)
    files.write_text(folder / logs.ACCURACY_TEXT, audited.score.text + "\n")
    for name, score in ((compliance.BASELINE, audited.baseline), (compliance.COMPLIANCE, audited.score)):
        if audited.baseline is None or score is None:
            (folder / name).unlink(missing_ok=True)
        else:
            files.write_text(folder / name, score.text + "\n")


def summary(outcomes: Sequence[TestOutcome]) -> str:
    """Return one line per test."""
    return "\n".join(outcome.text for outcome in outcomes)
