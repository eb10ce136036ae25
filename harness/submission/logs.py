"""LoadGen's logs, held against the rules of a round: more than the official modular checker looks at."""

import json
import re
from pathlib import Path

from harness.errors import RunFailed
from harness.mlperf import log
from harness.mlperf.log import ACCURACY_LOG, ACCURACY_TEXT, DETAIL_LOG, SUMMARY_LOG
from harness.mlperf.rules import round_of, rounds_of_loadgen
from harness.mlperf.scenario import Scenario
from harness.submission import accuracy_text, agreement, run_settings
from harness.submission.run_settings import Rules
from harness.submission.verdict import AUDIT_AGAIN, RUN_AGAIN, Ledger
from harness.task import Score

_LIBRARY = "the sample library is the whole data set"
_COVERED = "the accuracy run covers the whole data set"
_SCORED = "the score is of the whole data set"
EVERY_ANSWER = "the accuracy log answers every sample"
WHOLE_DATA_SET = (_LIBRARY, _COVERED, _SCORED, EVERY_ANSWER)
"""Names of the checks that fail together when a run was made on a part of the data set."""
OFFICIAL = "run it again with `harness run --official --replace`"
_AUDIT_FOUND = "Found Audit Config file"
# What LoadGen writes several times: messages, and in accuracy mode what it does for each set of samples.
_MAY_REPEAT = re.compile(
    r"generic_message|warning_.*|error_.*|logger_.*|generated_.*|loaded_qsl_set|power_begin|power_end"
)


def check_performance(
    ledger: Ledger, folder: Path, shown: str, scenario: str, rules: Rules, *, audit: bool = False
) -> log.Detail | None:
    """Check a run_1 folder; `audit` for one of a compliance test. Return its detail log if it can be read."""
    path = f"{shown}/{DETAIL_LOG}"
    again = AUDIT_AGAIN if audit else RUN_AGAIN
    detail = _read(ledger, folder / DETAIL_LOG, path, again)
    if detail is not None:
        _check_run(ledger, detail, path, scenario, rules, audit=audit)
    summary = f"{shown}/{SUMMARY_LOG}"
    agreement.check_summary(ledger, folder / SUMMARY_LOG, summary, detail, again, performance=True)
    return detail


def check_accuracy(
    ledger: Ledger, folder: Path, shown: str, scenario: str, rules: Rules, *, truncated: bool
) -> Score | None:
    """Check an accuracy folder, before or after its log was truncated; return the score it states."""
    path = f"{shown}/{DETAIL_LOG}"
    detail = _read(ledger, folder / DETAIL_LOG, path, RUN_AGAIN)
    summary = f"{shown}/{SUMMARY_LOG}"
    agreement.check_summary(ledger, folder / SUMMARY_LOG, summary, detail, RUN_AGAIN, performance=False)
    count = rules.task.benchmark.sample_count
    if detail is not None:
        _check_common(ledger, detail, path, rules, "AccuracyOnly", RUN_AGAIN)
        _check_scenario(ledger, detail, path, scenario, rules)
        scored = detail.get("effective_accuracy_sample_count", detail.get("qsl_reported_total_count"))
        ledger.hold(
            "the log is whole",
            path,
            _issued(detail) >= (scored if isinstance(scored, int) else count),
            f"is cut off: it tells of {_issued(detail)} of {scored} samples",
            RUN_AGAIN,
        )
        ledger.hold(
            _COVERED,
            path,
            scored == count,
            f"the accuracy run has {scored} samples where the data set has {count}",
            "run it on the whole data set",
        )
    score = accuracy_text.check(ledger, folder, shown, rules.answers, RUN_AGAIN, hashed=truncated)
    if score is not None:
        ledger.hold(
            _SCORED,
            f"{shown}/{ACCURACY_TEXT}",
            score.total in (None, count),
            f"the score is of {score.total} samples, where the data set has {count}",
            "run it on the whole data set",
        )
        if rules.division == "closed":
            reached = rules.answers.verdict(
                score, rules.task.benchmark.reference_accuracy, rules.task.target_fraction
            )
            ledger.hold(
                "Closed results reach the target accuracy",
                f"{shown}/{ACCURACY_TEXT}",
                reached.passed,
                f"the accuracy {reached.text}",
                "submit it in the open division",
            )
    if truncated:
        answers = f"{shown}/{ACCURACY_LOG}"
        accuracy_text.check_truncated(ledger, folder / ACCURACY_LOG, answers, rules.round, RUN_AGAIN)
    return score


def _check_run(
    ledger: Ledger, detail: log.Detail, path: str, scenario: str, rules: Rules, *, audit: bool
) -> None:
    again = AUDIT_AGAIN if audit else OFFICIAL
    _check_common(ledger, detail, path, rules, "PerformanceOnly", AUDIT_AGAIN if audit else RUN_AGAIN)
    ran = _check_scenario(ledger, detail, path, scenario, rules)
    ledger.hold(
        "the log is whole",
        path,
        "num_errors" in detail,
        "is cut off: it lacks 'num_errors', which LoadGen writes last",
        again,
    )
    found = any(_AUDIT_FOUND in text for text in detail.warnings)
    ledger.hold(
        "only compliance tests have an audit file",
        path,
        found == audit,
        "LoadGen read no audit file, so this is no compliance test"
        if audit
        else "LoadGen read an audit file, so this is a compliance test",
        again,
    )
    run_settings.check(ledger, detail, path, rules, again, same_allowed=audit)
    _check_result(ledger, detail, path, ran, scenario, again)


def _read(ledger: Ledger, log_path: Path, path: str, again: str) -> log.Detail | None:
    try:
        detail = log.read_detail(log_path)
    except RunFailed as error:
        ledger.hold("the detail log can be read", path, False, _fault_of(error), again)
        return None
    ledger.hold("the detail log can be read", path, True, "", "")
    return detail


def _fault_of(error: RunFailed) -> str:
    """Return the error without its cure."""
    return f"cannot be used ({str(error).rstrip('.').rpartition(':')[0] or error})"


def _check_common(ledger: Ledger, detail: log.Detail, path: str, rules: Rules, mode: str, again: str) -> None:
    ran = detail.get("effective_test_mode")
    ledger.hold("the log is of the right mode", path, ran == mode, f"is of mode {ran}, not {mode}", again)
    first = detail.errors[0] if detail.errors else ""
    ledger.hold(
        "LoadGen logged no error",
        path,
        not detail.errors,
        f"LoadGen logged {len(detail.errors)} errors, first: {first}",
        again,
    )
    counted = detail.get("num_errors", 0)
    ledger.hold(
        "LoadGen counted no error",
        path,
        counted == 0 or bool(detail.errors),
        f"LoadGen counted {json.dumps(counted)} errors ('num_errors'), and none is logged",
        again,
    )
    twice = sorted(key for key in detail.repeated if not _MAY_REPEAT.fullmatch(key))
    ledger.hold(
        "the log says everything once",
        path,
        not twice,
        f"has several entries of {', '.join(twice[:3])}, which LoadGen writes once",
        "use the log as LoadGen wrote it",
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


def _check_scenario(ledger: Ledger, detail: log.Detail, path: str, scenario: str, rules: Rules) -> str:
    """Check that a log lies in the folder of its scenario; return the scenario that ran."""
    ran = str(detail.get("effective_scenario"))
    inferred = (ran, scenario) in rules.round.inferences and "edge" in rules.system_type
    ledger.hold(
        "the log is of the folder's scenario",
        path,
        ran == scenario or inferred,
        f"is of a run of {ran}, in the folder of {scenario}",
        "put each log into its own scenario",
    )
    return ran


def _issued(detail: log.Detail) -> int:
    """Return how many samples an accuracy run issued, set by set; a set counts when it was ended."""
    counts, sizes = (detail.values_of(f"generated_{key}") for key in ("query_count", "samples_per_query"))
    ended = detail.values_of("power_end")
    return sum(
        count * size
        for count, size, _ in zip(counts, sizes, ended, strict=False)
        if isinstance(count, int) and isinstance(size, int)
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
    if ran != Scenario.OFFLINE:
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
    wanted = [ran] if (ran, scenario) != (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM) else [ran, scenario]
    for key in (score_key(one) for one in wanted):
        value = detail.get(key) if key else None
        ledger.hold(
            "the log has a score",
            path,
            isinstance(value, int | float) and value > 0,
            f"has no score ('{key}' is {value})",
            again,
        )


def score_key(scenario: str) -> str | None:
    """Return the key of the score in the detail log; None for no scenario of LoadGen's."""
    return Scenario(scenario).facts.score_key if scenario in list(Scenario) else None
