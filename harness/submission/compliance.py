"""Compliance tests TEST01 and TEST04: their settings, their verification, and the files that they leave.

Source: compliance/TEST01 and compliance/TEST04 of mlcommons/inference (audit.config, verify_*.py).
"""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import RunFailed
from harness.mlperf import log
from harness.mlperf.scenario import Scenario
from harness.run import result
from harness.run.document import RunResult
from harness.run.folder import differences
from harness.submission import accuracy_text, logs
from harness.submission.run_settings import Rules
from harness.submission.verdict import AUDIT_AGAIN, Ledger
from harness.task import Task

PERFORMANCE_FILE = "verify_performance.txt"
ACCURACY_FILE = "verify_accuracy.txt"
BASELINE = "baseline_accuracy.txt"
COMPLIANCE = "compliance_accuracy.txt"
TESTED = "tested.json"
"""What of result.json the test is of; it stays out of the submission."""
PASS = "TEST PASS"
FILES = {
    "TEST01": (
        *(PERFORMANCE_FILE, ACCURACY_FILE, f"accuracy/{log.ACCURACY_LOG}", f"accuracy/{log.ACCURACY_TEXT}"),
        *(f"accuracy/{BASELINE}", f"accuracy/{COMPLIANCE}"),
    ),
    "TEST04": (PERFORMANCE_FILE,),
}
"""Files that each test may have beside its performance logs."""

_RNG_SEED = 720381539243781796
_SAME_INDEX = 3
_SHOWN = 5
# In per cent, of the accuracy on the same samples; for targets of 99 % (Config.get_delta_perc).
_ACCURACY_TOLERANCE = 1.0
# verify_performance.py allows more where a query is so short that the operating system disturbs it.
_TOLERANCE = 0.10
_SHORT_TOLERANCE = 0.20
_SHORT_NS: dict[str, int] = {Scenario.SINGLE_STREAM: 200_000, Scenario.MULTI_STREAM: 1_600_000}
_LATENCY_SCENARIOS = (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)


@dataclass(frozen=True)
class Verification:
    """The outcome of one verification."""

    passed: bool
    text: str
    """What the file holds: the official script's figures, and 'TEST PASS' or 'TEST FAIL' on the last line."""
    fault: str = ""
    """Which samples or which ratio made it fail."""


def audit_config(test: str, sampling_target: int) -> str:
    """Return LoadGen's audit file; LoadGen looks its keys up with the model '*'."""
    settings = {
        "TEST01": {
            "mode": 2,
            "accuracy_log_rng_seed": _RNG_SEED,
            "accuracy_log_sampling_target": sampling_target,
        },
        "TEST04": {
            "mode": 2,
            "performance_issue_unique": 0,
            "performance_issue_same": 1,
            "performance_issue_same_index": _SAME_INDEX,
        },
    }
    return "".join(f"*.*.{key} = {value}\n" for key, value in settings[test].items())


def is_of(folder: Path, document: RunResult) -> bool:
    """Return whether the test in a folder is of a result's model, data, settings, versions and machine.

    Each submission run has compliance tests of its own (compliance/README.md): under other settings, library
    versions or on another machine it is another run.
    """
    try:
        found = result.read_identity(folder / TESTED)
    except (OSError, ValueError):
        return False
    return found.settings.official == document.settings.official and not differences(found, document.identity)


def verify_answers(accuracy_log: Path, test_log: Path, task: Task) -> Verification:
    """Hold the answers logged in TEST01's performance run against those of the accuracy run.

    Raises:
        RunFailed: a log cannot be read.
    """
    reference: dict[int, bytes] = {}
    repeated = contradictory = 0
    accuracy_entries, test_entries = log.read_accuracy(accuracy_log), log.read_accuracy(test_log)
    for _, index, data in accuracy_entries:
        if index in reference:
            repeated += 1
            contradictory += reference[index] != data
        reference.setdefault(index, data)
    known = [(index, data) for _, index, data in test_entries if index in reference]
    unlike = sorted({index for index, data in known if not task.is_same(data, reference[index])})
    mismatches = sum(not task.is_same(data, reference[index]) for index, data in known)
    passed = bool(known) and not mismatches
    lines = [
        f"num_acc_log_entries = {len(accuracy_entries)}",
        f"num_acc_log_duplicate_keys = {repeated}",
        f"num_acc_log_data_mismatch = {contradictory}",
        f"num_perf_log_entries = {len(test_entries)}",
        f"num_perf_log_qsl_idx_match = {len(known)}",
        f"num_perf_log_data_mismatch = {mismatches}",
        f"num_missing_qsl_idxs = {len(test_entries) - len(known)}",
    ]
    fault = ""
    if not known:
        fault = "the performance run logged no answer to a known sample"
    elif mismatches:
        shown = ", ".join(map(str, unlike[:_SHOWN])) + (", ..." if len(unlike) > _SHOWN else "")
        fault = (
            f"{len(unlike)} samples were answered otherwise than in the accuracy run (samples {shown}), in "
            f"{mismatches} of {len(known)} logged answers"
        )
    return _concluded(passed, lines, fault)


def verify_performance(test: str, reference: log.Detail, tested: log.Detail) -> Verification:
    """Hold the score of a compliance test against that of the performance run.

    TEST01 fails when the test is more than 10 % faster or slower; TEST04 when it is more than 10 % faster,
    for that would mean that answers were cached. The official scripts allow 20 % for very short queries,
    and TEST04's, which compares 1e9/latency with that limit, for every SingleStream and MultiStream.

    Raises:
        RunFailed: a log has no score.
    """
    ran, again = str(reference.get("effective_scenario")), str(tested.get("effective_scenario"))
    for what, detail in (("reference", reference), ("test", tested)):
        if detail.get("result_validity") != "VALID":
            return _concluded(False, [], f"the {what} run is {detail.get('result_validity')}, not VALID")
    if ran != again:
        return _concluded(False, [], f"the reference run is of {ran} and the test run of {again}")
    bounds = [detail.get("effective_target_latency_ns") for detail in (reference, tested)]
    if ran == Scenario.SERVER and bounds[0] != bounds[1]:
        return _concluded(False, [], f"the latency bounds differ ({bounds[0]} and {bounds[1]} ns)")
    score, test_score = _score(reference, ran), _score(tested, ran)
    if test == "TEST01":
        short = score <= _SHORT_NS.get(ran, -1)
        tolerance = _SHORT_TOLERANCE if short else _TOLERANCE
        lines = [f"Reference score = {score}", f"Test score = {test_score}"]
        passed = score * (1 - tolerance) <= test_score <= score * (1 + tolerance)
        wanted = f"within {tolerance:.0%} of it"
    else:
        if ran in _LATENCY_SCENARIOS:
            score, test_score = 1e9 / score, 1e9 / test_score
        tolerance = _SHORT_TOLERANCE if score <= _SHORT_NS.get(ran, -1) else _TOLERANCE
        lines = [f"reference score = {score}", f"test score = {test_score}"]
        passed = test_score < score * (1 + tolerance)
        wanted = f"less than {tolerance:.0%} above it"
    what = "latency" if test == "TEST01" and ran in _LATENCY_SCENARIOS else "speed"
    fault = f"the {what} is {test_score / score:.3f} of the performance run's, where {test} asks for {wanted}"
    return _concluded(passed, lines, "" if passed else fault)


def check(
    ledger: Ledger,
    folder: Path,
    shown: str,
    test: str,
    rules: Rules,
    scenario: str,
    reference: log.Detail | None,
    *,
    verdicts: bool = True,
) -> None:
    """Check a compliance test's folder: its logs against the performance run's, and what its verdicts say."""
    run = "performance/run_1"
    detail = logs.check_performance(ledger, folder / run, f"{shown}/{run}", scenario, rules, audit=True)
    if detail is not None:
        _check_audit_settings(ledger, detail, f"{shown}/{run}/{log.DETAIL_LOG}", test)
        if reference is not None:
            _check_ratio(ledger, test, reference, detail, f"{shown}/{run}/{log.DETAIL_LOG}")
    if not verdicts:
        return
    _hold_pass(ledger, folder / PERFORMANCE_FILE, f"{shown}/{PERFORMANCE_FILE}")
    if test == "TEST01":
        _check_answers(ledger, folder, shown, rules)


def has_passed(folder: Path, test: str, task: Task) -> bool:
    """Return whether a test's folder says that the test passed."""
    if not _passes(folder / PERFORMANCE_FILE):
        return False
    return test != "TEST01" or _passes(folder / ACCURACY_FILE) or _equally_accurate(folder / "accuracy", task)


def accuracies_agree(baseline: float, compliance: float) -> bool:
    """Return whether TEST01 passes by accuracy, where single answers differ from run to run."""
    if baseline == 0 or compliance == 0:
        return False
    return abs(1 - baseline / compliance) * 100 <= _ACCURACY_TOLERANCE


def _check_answers(ledger: Ledger, folder: Path, shown: str, rules: Rules) -> None:
    path = folder / "accuracy"
    accuracy_text.check(ledger, path, f"{shown}/accuracy", rules.answers, AUDIT_AGAIN, hashed=True)
    accuracy_text.check_truncated(
        ledger, path / log.ACCURACY_LOG, f"{shown}/accuracy/{log.ACCURACY_LOG}", rules.round, AUDIT_AGAIN
    )
    verdict = f"{shown}/{ACCURACY_FILE}"
    said = _lines(folder / ACCURACY_FILE)
    passed = PASS in said
    ledger.hold(
        f"{PASS} is a line of its own",
        verdict,
        passed or not any(PASS in line for line in said),
        f"says {PASS} within a line, where the checkers differ",
        AUDIT_AGAIN,
    )
    besides = [name for name in (BASELINE, COMPLIANCE) if (path / name).exists()]
    if passed:
        ledger.hold(
            "equal answers need no second accuracy",
            f"{shown}/accuracy",
            not besides,
            f"has {' and '.join(besides)} beside a verdict of {PASS}",
            "remove what the verdict does not need",
        )
        return
    ledger.hold(
        "the answers are those of the accuracy run",
        verdict,
        _equally_accurate(path, rules.answers),
        f"does not say {PASS}, and {BASELINE} and {COMPLIANCE} do not show an equal accuracy",
        AUDIT_AGAIN,
    )


def _check_audit_settings(ledger: Ledger, detail: log.Detail, path: str, test: str) -> None:
    same = bool(detail.get("effective_performance_issue_same"))
    sampled = detail.get("effective_accuracy_log_sampling_target", 0)
    good = same if test == "TEST04" else not same and isinstance(sampled, int) and sampled > 0
    if test == "TEST01":
        good = good and detail.get("effective_accuracy_log_rng_seed") == _RNG_SEED
    ledger.hold(
        "the test ran with its audit file",
        path,
        good,
        f"did not run with the settings of {test}",
        AUDIT_AGAIN,
    )


def _check_ratio(ledger: Ledger, test: str, reference: log.Detail, detail: log.Detail, path: str) -> None:
    try:
        found = verify_performance(test, reference, detail)
    except RunFailed as error:
        found = Verification(False, "", str(error).rstrip("."))
    ledger.hold(
        "the test is as fast as the performance run",
        path,
        found.passed,
        found.fault,
        AUDIT_AGAIN,
    )


def _hold_pass(ledger: Ledger, path: Path, shown: str) -> None:
    ledger.hold(
        "the verification passed",
        shown,
        _passes(path),
        f"does not say {PASS}",
        AUDIT_AGAIN,
    )


def _equally_accurate(folder: Path, task: Task) -> bool:
    """Return whether TEST01's accuracy folder shows an equal accuracy where single answers differ."""
    figures = [accuracy_text.percentage_in(folder / name, task) for name in (BASELINE, COMPLIANCE)]
    return None not in figures and accuracies_agree(*(figure or 0.0 for figure in figures))


def _passes(path: Path) -> bool:
    return PASS in _lines(path)


def _lines(path: Path) -> list[str]:
    """Return the lines of a verdict, as the checkers divide it; none where it cannot be read: no pass."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
    except (OSError, UnicodeDecodeError):
        return []


def _score(detail: log.Detail, scenario: str) -> float:
    value = detail.get(logs.score_key(scenario) or "")
    if not isinstance(value, int | float) or value <= 0:
        raise RunFailed(
            f"The log {detail.path} has no score: repeat the command that ran the test with --replace."
        )
    return float(value)


def _concluded(passed: bool, lines: list[str], fault: str) -> Verification:
    last = PASS if passed else f"TEST FAIL: {fault}"
    return Verification(passed, "\n".join([*lines, last]) + "\n", fault)
