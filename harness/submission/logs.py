"""LoadGen's logs, held against the rules of a round: more than the official modular checker looks at."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RunFailed
from harness.mlperf import log
from harness.mlperf.rules import Round, Task, round_of, rounds_of_loadgen
from harness.submission.verdict import Ledger
from harness.task import TASKS, Score
from harness.task import Task as AnswerTask

DETAIL = "mlperf_log_detail.txt"
SUMMARY = "mlperf_log_summary.txt"
ACCURACY = "mlperf_log_accuracy.json"
ACCURACY_TEXT = "accuracy.txt"

_AGAIN = "run the test again"
_LIBRARY = "the sample library is the whole data set"
_COVERED = "the accuracy run covers the whole data set"
_SCORED = "the score is of the whole data set"
EVERY_ANSWER = "the accuracy log answers every sample"
WHOLE_DATA_SET = (_LIBRARY, _COVERED, _SCORED, EVERY_ANSWER)
"""Names of the checks that fail together when a run was made on a part of the data set."""
OFFICIAL = "run it again with `harness run --official`"
AUDIT_AGAIN = "run it again with `harness compliance --replace`"
_AUDIT_FOUND = "Found Audit Config file"
# Edge systems may stand in these for those (inference_rules.adoc; performance_check.py, inferred_check).
_INFERRED = {("SingleStream", "MultiStream"), ("SingleStream", "Offline"), ("MultiStream", "Offline")}
# results.cc: what a scenario is scored by; RESULT_FIELD_NEW in the checker's constants.
SCORES = {
    "SingleStream": "early_stopping_latency_ss",
    "MultiStream": "early_stopping_latency_ms",
    "Server": "result_completed_samples_per_sec",
    "Offline": "result_samples_per_second",
}
_HASH_LINE = re.compile(r"^hash=([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Rules:
    """What the logs of one benchmark folder are held against."""

    round: Round
    task: Task
    division: str
    system_type: str

    @property
    def answers(self) -> AnswerTask:
        """How the benchmark's answers are scored."""
        return TASKS[self.task.benchmark.task]


def check_performance(
    ledger: Ledger, folder: Path, shown: str, scenario: str, rules: Rules, *, audit: bool = False
) -> log.Detail | None:
    """Check a run_1 folder; `audit` for one of a compliance test. Return its detail log if it can be read."""
    _check_summary(ledger, folder / SUMMARY, f"{shown}/{SUMMARY}", valid=True)
    path = f"{shown}/{DETAIL}"
    detail = _read(ledger, folder / DETAIL, path)
    if detail is None:
        return None
    _check_common(ledger, detail, path, rules, "PerformanceOnly")
    ran = str(detail.get("effective_scenario"))
    inferred = (ran, scenario) in _INFERRED and "edge" in rules.system_type
    ledger.hold(
        "the log is of the folder's scenario",
        path,
        ran == scenario or inferred,
        f"is of a run of {ran}, in the folder of {scenario}",
        "put each log into its own scenario",
    )
    found = any(_AUDIT_FOUND in text for text in detail.warnings)
    ledger.hold(
        "only compliance tests have an audit file",
        path,
        found == audit,
        "LoadGen read no audit file, so this is no compliance test"
        if audit
        else "LoadGen read an audit file, so this is a compliance test",
        "run `harness compliance`" if audit else OFFICIAL,
    )
    again = AUDIT_AGAIN if audit else OFFICIAL
    _check_settings(ledger, detail, path, ran, rules, again)
    _check_result(ledger, detail, path, ran, scenario, again)
    return detail


def check_accuracy(
    ledger: Ledger, folder: Path, shown: str, rules: Rules, *, truncated: bool
) -> Score | None:
    """Check an accuracy folder, before or after its log was truncated; return the score it states."""
    _check_summary(ledger, folder / SUMMARY, f"{shown}/{SUMMARY}", valid=False)
    path = f"{shown}/{DETAIL}"
    detail = _read(ledger, folder / DETAIL, path)
    count = rules.task.benchmark.sample_count
    if detail is not None:
        _check_common(ledger, detail, path, rules, "AccuracyOnly")
        scored = detail.get("effective_accuracy_sample_count", detail.get("qsl_reported_total_count"))
        ledger.hold(
            _COVERED,
            path,
            scored == count,
            f"the accuracy run has {scored} samples where the data set has {count}",
            "run it on the whole data set",
        )
    score = check_accuracy_text(ledger, folder, shown, rules.answers, hashed=truncated)
    if score is not None:
        ledger.hold(
            _SCORED,
            f"{shown}/{ACCURACY_TEXT}",
            score.total == count,
            f"the score is of {score.total} samples, where the data set has {count}",
            "run it on the whole data set",
        )
        if rules.division == "closed":
            reached = rules.answers.verdict(
                score, rules.task.benchmark.reference_accuracy, rules.task.benchmark.target_fraction
            )
            ledger.hold(
                "Closed results reach the target accuracy",
                f"{shown}/{ACCURACY_TEXT}",
                reached.passed,
                f"the accuracy {reached.text}",
                "submit it in the open division",
            )
    if truncated:
        check_truncated(ledger, folder / ACCURACY, f"{shown}/{ACCURACY}", rules.round)
    return score


def check_accuracy_text(
    ledger: Ledger, folder: Path, shown: str, task: AnswerTask, *, hashed: bool
) -> Score | None:
    """Check accuracy.txt; return the score that it states."""
    path = f"{shown}/{ACCURACY_TEXT}"
    try:
        text = (folder / ACCURACY_TEXT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        ledger.hold("accuracy.txt is there", path, False, f"cannot be read ({error})", _AGAIN)
        return None
    found = task.read_line(text)
    ledger.hold(
        "accuracy.txt states the score in its first line",
        path,
        found is not None,
        f"does not begin with '{task.LINE}'",
        _AGAIN,
    )
    hashes = _HASH_LINE.findall(text)
    ledger.hold(
        "accuracy.txt has the hash of the full accuracy log",
        path,
        len(hashes) == hashed,
        f"has {len(hashes)} lines 'hash=...' where {int(hashed)} belongs",
        "make the tree again with `harness submit`"
        if hashed
        else "give the results as `harness run` wrote them",
    )
    if found is None:
        return None
    ledger.hold(
        "accuracy.txt agrees with itself",
        path,
        not found.fault,
        found.fault,
        _AGAIN,
    )
    return None if found.fault else found.score


def check_truncated(ledger: Ledger, log_path: Path, path: str, made_for: Round) -> None:
    """Check that an accuracy log was truncated as MLPerf's truncate_accuracy_log.py does it."""
    try:
        data = log_path.read_bytes()
    except OSError as error:
        ledger.hold("the accuracy log is there", path, False, f"cannot be read ({error.strerror})", _AGAIN)
        return
    ledger.hold(
        "the accuracy log is truncated",
        path,
        len(data) <= made_for.max_accuracy_log_bytes,
        f"has {len(data):,} bytes where {made_for.max_accuracy_log_bytes:,} are allowed",
        "make the tree again with `harness submit`, which truncates it",
    )
    ledger.hold(
        "the accuracy log is LoadGen's",
        path,
        data.startswith(b"[") and data.rstrip().endswith(b"]") and b'"qsl_idx"' in data,
        "is not the beginning and end of an accuracy log",
        "make the tree again with `harness submit`",
    )


def _read(ledger: Ledger, log_path: Path, path: str) -> log.Detail | None:
    try:
        detail = log.read_detail(log_path)
    except RunFailed as error:
        ledger.hold("the detail log can be read", path, False, _fault_of(error), _AGAIN)
        return None
    ledger.hold("the detail log can be read", path, True, "", "")
    return detail


def _fault_of(error: RunFailed) -> str:
    """Return the error without its cure."""
    return f"cannot be used ({str(error).rstrip('.').rpartition(':')[0] or error})"


def _check_summary(ledger: Ledger, log_path: Path, path: str, *, valid: bool) -> None:
    try:
        text = log_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        ledger.hold("the summary log is there", path, False, f"cannot be read ({error})", _AGAIN)
        return
    if not ledger.hold("the summary log is not empty", path, bool(text.strip()), "is empty", _AGAIN):
        return
    if valid:
        found = re.search(r"^Result is : (\w+)", text, re.MULTILINE)
        said = found[1] if found else "nothing"
        ledger.hold(
            "the summary says VALID", path, said == "VALID", f"LoadGen's verdict is {said}, not VALID", _AGAIN
        )


def _check_common(ledger: Ledger, detail: log.Detail, path: str, rules: Rules, mode: str) -> None:
    ran = detail.get("effective_test_mode")
    ledger.hold("the log is of the right mode", path, ran == mode, f"is of mode {ran}, not {mode}", _AGAIN)
    first = detail.errors[0] if detail.errors else ""
    ledger.hold(
        "LoadGen logged no error",
        path,
        not detail.errors,
        f"LoadGen logged {len(detail.errors)} errors, first: {first}",
        _AGAIN,
    )
    count = rules.task.benchmark.sample_count
    held = detail.get("qsl_reported_total_count")
    ledger.hold(
        _LIBRARY,
        path,
        held == count,
        f"the sample library holds {held} samples where the data set has {count}",
        "run it on the whole data set",
    )
    version = str(detail.get("loadgen_version"))
    made = round_of(detail)
    wanted = rules.round
    possible = " or ".join(rounds_of_loadgen(version)) or "no round that the harness knows"
    ledger.hold(
        "the seeds are the round's",
        path,
        made is wanted,
        f"the seeds are not those of {wanted.name}; the run was made with LoadGen {version.split(' ')[0]}, "
        f"whose runs belong to {possible}",
        f"run it again with mlcommons-loadgen {' or '.join(wanted.loadgen_versions)}"
        if made is None
        else f"submit to {made.name} with --round",
    )


def _check_settings(
    ledger: Ledger, detail: log.Detail, path: str, ran: str, rules: Rules, again: str
) -> None:
    def least(key: str, floor: int, what: str, cure: str = again) -> None:
        value = detail.get(key)
        ledger.hold(
            f"{key} is at least {floor}",
            path,
            isinstance(value, int) and value >= floor,
            f"{what} is {value} where the rules ask for {floor}",
            cure,
        )

    task = rules.task
    least("effective_min_duration_ms", rules.round.min_duration_ms, "the least duration in ms")
    least("effective_performance_sample_count", task.performance_sample_count, "the performance sample count")
    least("effective_min_query_count", 1, "the least number of queries")
    if ran == "Offline":
        least("effective_samples_per_query", task.offline_sample_count, "the number of samples in the query")
    if ran == "MultiStream" and rules.division == "closed":
        cure = f"remove samples_per_query from user.conf, and {again}"
        least("effective_samples_per_query", 8, "the number of samples in a query", cure)
    if ran == "Server":
        # MLPerf's checker asks for it in Open, too (performance_check.py, latency_check).
        bound = detail.get("effective_target_latency_ns")
        ledger.hold(
            "Server's latency bound is the rules'",
            path,
            isinstance(bound, int) and bound <= task.server_latency_ns,
            f"the latency bound is {bound} ns, and MLPerf's checker refuses more than "
            f"{task.server_latency_ns} ns in every division",
            f"remove target_latency from user.conf, and {again}",
        )


def _check_result(ledger: Ledger, detail: log.Detail, path: str, ran: str, scenario: str, again: str) -> None:
    """Check verdict and score of a run of `ran`, which stands in the folder of `scenario`."""
    validity = detail.get("result_validity")
    reason = str(detail.get("result_invalid_reason", "")).strip()
    ledger.hold(
        "the result is VALID",
        path,
        validity == "VALID",
        f"LoadGen's verdict is {validity}{f' ({reason})' if reason else ''}",
        again,
    )
    if ran != "Offline":
        met = detail.get("early_stopping_met")
        said = re.sub(r"\s+", " ", str(detail.get("early_stopping_result", ""))).strip(" *")
        ledger.hold(
            "early stopping is met",
            path,
            met is True,
            f"the early-stopping condition was not met ({said})",
            again,
        )
    # What stands in for MultiStream needs that score, too (performance_check.py, get_inferred_result).
    wanted = [ran] if (ran, scenario) != ("SingleStream", "MultiStream") else [ran, scenario]
    for key in (SCORES.get(one) for one in wanted):
        value = detail.get(key) if key else None
        ledger.hold(
            "the log has a score",
            path,
            isinstance(value, int | float) and value > 0,
            f"has no score ('{key}' is {value})",
            _AGAIN,
        )
