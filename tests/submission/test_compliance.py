"""TEST01 and TEST04: verdicts as the official scripts give them, and files as they write them."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.mlperf import log
from harness.mlperf.rules import NEWEST, find_round
from harness.run import result
from harness.submission import audit, compliance, results
from harness.task import classification
from harness.task.classification import Score

from .conftest import OFFICIAL, SCENARIOS, Results


def detail(scenario: str = "Offline", kind: str = "performance", **changes: Any) -> log.Detail:
    read = log.read_detail(OFFICIAL / scenario / kind / "mlperf_log_detail.txt")
    return replace(read, entries=read.entries | changes)


def write_answers(path: Path, answers: list[tuple[int, float]]) -> Path:
    entries = [
        {"seq_id": place, "qsl_idx": index, "data": np.float32(answer).tobytes().hex().upper()}
        for place, (index, answer) in enumerate(answers)
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("test", ["TEST01", "TEST04"])
def test_real_logs_of_an_honest_system_pass(scenario: str, test: str) -> None:
    found = compliance.verify_performance(test, detail(scenario), detail(scenario, test))
    assert found.passed
    assert found.text.splitlines()[-1] == "TEST PASS"


@pytest.mark.parametrize(
    ("test", "scenario", "ratio", "passed"),
    [
        ("TEST01", "Offline", 0.91, True),
        ("TEST01", "Offline", 0.89, False),
        ("TEST01", "Offline", 1.09, True),
        ("TEST01", "Offline", 1.11, False),
        ("TEST01", "SingleStream", 1.11, False),
        ("TEST04", "Offline", 0.5, True),
        ("TEST04", "Offline", 1.09, True),
        ("TEST04", "Offline", 1.11, False),
        # A latency that is lower by a sixth is a speed that is higher by a fifth, which the script allows.
        ("TEST04", "SingleStream", 0.84, True),
        ("TEST04", "SingleStream", 0.83, False),
    ],
)
def test_the_ratio_decides(test: str, scenario: str, ratio: float, passed: bool) -> None:
    key = {"Offline": "result_samples_per_second", "SingleStream": "early_stopping_latency_ss"}[scenario]
    reference = detail(scenario)
    tested = detail(scenario, test, **{key: reference[key] * ratio})
    found = compliance.verify_performance(test, reference, tested)
    assert found.passed is passed
    if not passed:
        assert f"where {test} asks for" in found.fault


def test_a_very_short_query_may_differ_by_a_fifth() -> None:
    reference = detail("SingleStream", early_stopping_latency_ss=200_000)
    slower = detail("SingleStream", "TEST01", early_stopping_latency_ss=239_000)
    assert compliance.verify_performance("TEST01", reference, slower).passed


def test_an_invalid_run_fails() -> None:
    found = compliance.verify_performance("TEST04", detail(), detail(result_validity="INVALID"))
    assert found.fault == "the test run is INVALID, not VALID"


def test_runs_of_two_scenarios_fail() -> None:
    found = compliance.verify_performance("TEST04", detail("Offline"), detail("SingleStream"))
    assert found.fault == "the reference run is of Offline and the test run of SingleStream"


def test_differing_answers_are_named(tmp_path: Path) -> None:
    whole = write_answers(tmp_path / "a", [(0, 5), (1, 6), (2, 7)])
    sampled = write_answers(tmp_path / "b", [(0, 5), (2, 8), (2, 8)])
    found = compliance.verify_answers(whole, sampled, classification)
    assert not found.passed
    assert found.fault == (
        "1 samples were answered otherwise than in the accuracy run (samples 2), in 2 of 3 logged answers"
    )
    assert "num_perf_log_data_mismatch = 2\n" in found.text


def test_a_test_that_logged_nothing_fails(tmp_path: Path) -> None:
    found = compliance.verify_answers(
        write_answers(tmp_path / "a", [(0, 5)]), write_answers(tmp_path / "b", []), classification
    )
    assert found.fault == "the performance run logged no answer to a known sample"


def test_answers_that_differ_pass_when_the_accuracy_is_equal(
    closed_results: Results, labels: Any, tmp_path: Path
) -> None:
    scenario = closed_results.scenario("Offline")
    taken = _taken(scenario, tmp_path / "taken", lambda entries: entries[0].update(data="0000C842"))
    audited = audit.verify("TEST01", scenario, taken, classification, labels)
    assert audited.answers is not None
    assert not audited.answers.passed
    assert audited.passed
    folder = audit.keep("TEST01", scenario, taken, audited)
    assert {path.name for path in (folder / "accuracy").iterdir()} == {
        "accuracy.txt",
        "baseline_accuracy.txt",
        "compliance_accuracy.txt",
        "mlperf_log_accuracy.json",
    }
    closed_results.submit(tmp_path / "tree", "closed")


def test_a_test_that_is_verified_again_says_what_was_found_this_time(
    closed_results: Results, labels: Any, tmp_path: Path
) -> None:
    scenario = closed_results.scenario("Offline")
    test = scenario / "TEST01"
    texts = {path: path.read_text() for path in test.rglob("*.txt") if path.parent.name != "run_1"}
    taken = _taken(scenario, tmp_path / "taken", lambda entries: entries[0].update(data="0000C842"))
    audit._write_verdict(test, audit.verify("TEST01", scenario, taken, classification, labels))
    assert "TEST FAIL" in (test / compliance.ACCURACY_FILE).read_text()
    assert (test / "accuracy" / compliance.BASELINE).exists()
    answers = test / "accuracy" / log.ACCURACY_LOG
    run = test / "performance" / "run_1"
    audit._write_verdict(
        test, audit.verify("TEST01", scenario, run, classification, labels, accuracy_log=answers)
    )
    assert {path: path.read_text() for path in test.rglob("*.txt") if path.parent.name != "run_1"} == texts


def test_a_short_run_s_test_is_not_an_official_one_s(closed_results: Results) -> None:
    scenario = closed_results.scenario("Offline")
    document = result.read(scenario / "result.json")
    assert compliance.is_of(scenario / "TEST01", document)
    settings = replace(document.settings, official=not document.settings.official)
    assert not compliance.is_of(scenario / "TEST01", replace(document, settings=settings))


def test_answers_that_differ_much_fail(closed_results: Results, labels: Any, tmp_path: Path) -> None:
    scenario = closed_results.scenario("Offline")

    def spoil(entries: list[dict[str, Any]]) -> None:
        for entry in entries[:200]:
            entry["data"] = "0000C8C2"

    audited = audit.verify(
        "TEST01", scenario, _taken(scenario, tmp_path / "taken", spoil), classification, labels
    )
    assert not audited.passed
    assert "samples were answered otherwise than in the accuracy run" in audited.fault


def _taken(scenario: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    """Return LoadGen's logs of TEST01 with changed answers."""
    shutil.copytree(scenario / "TEST01" / "performance" / "run_1", target)
    entries = json.loads((scenario / "TEST01" / "accuracy" / "mlperf_log_accuracy.json").read_text())
    change(entries)
    (target / "mlperf_log_accuracy.json").write_text(json.dumps(entries))
    return target


def test_the_accuracies_agree_within_one_per_cent() -> None:
    assert compliance.accuracies_agree(0.760, 0.7675)
    assert not compliance.accuracies_agree(0.760, 0.7680)
    assert not compliance.accuracies_agree(0.0, 0.0)


def test_a_fault_names_every_part() -> None:
    bad = compliance.Verification(False, "", "slow")
    answers = compliance.Verification(False, "", "wrong")
    audited = audit.Audited(bad, answers, Score(1, 10), Score(9, 10))
    assert audited.fault == "slow; wrong"


def test_audit_files_set_what_the_rules_say() -> None:
    assert compliance.audit_config("TEST01", 4096) == (
        "*.*.mode = 2\n"
        "*.*.accuracy_log_rng_seed = 720381539243781796\n"
        "*.*.accuracy_log_sampling_target = 4096\n"
    )
    assert "*.*.performance_issue_same = 1\n" in compliance.audit_config("TEST04", 4096)


def test_a_test_that_logged_no_answer_fails_without_an_accuracy(
    closed_results: Results, labels: Any, tmp_path: Path
) -> None:
    scenario = closed_results.scenario("Offline")
    taken = _taken(scenario, tmp_path / "taken", lambda entries: entries.clear())
    audited = audit.verify("TEST01", scenario, taken, classification, labels)
    assert audited.fault == "the performance run logged no answer to a known sample"
    folder = audit.keep("TEST01", scenario, taken, audited)
    assert "TEST FAIL" in (folder / compliance.ACCURACY_FILE).read_text()
    assert [path.name for path in (folder / "accuracy").iterdir()] == ["mlperf_log_accuracy.json"]
    with pytest.raises(HarnessError, match="TEST01 failed: run `harness compliance`, which repeats what"):
        closed_results.submit(tmp_path / "tree", "closed")


def test_answers_to_samples_that_the_data_have_not_count_for_nothing(labels: Any, tmp_path: Path) -> None:
    known = [(3, float(labels[3])), (4, float(labels[4]))]
    whole = write_answers(tmp_path / "a", known)
    sampled = write_answers(tmp_path / "b", [*known, (60_000, 1.0), (-1, 1.0)])
    assert classification.score_some(sampled, labels, {3, 4, 60_000, -1}) == Score(2, 2)
    assert compliance.verify_answers(whole, sampled, classification).passed


def test_what_is_wrong_with_the_run_as_well_is_no_reason_to_repeat_a_test(
    closed_results: Results, labels: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = results.collect(closed_results.folder)
    one = next(one for one in found if one.scenario == "Offline")
    task = find_round(NEWEST).tasks["resnet"]

    def sow(run: Path) -> None:
        path = run / "mlperf_log_detail.txt"
        sown = re.sub(r'(?<="effective_qsl_rng_seed", "value": )\d+', "7", path.read_text())
        assert sown != path.read_text()
        path.write_text(sown)

    def verified() -> audit.Audited | None:
        return audit._verify_kept(one, "TEST04", task, one.document.settings.official, labels)

    sow(one.folder / "TEST04" / "performance" / "run_1")
    assert verified() is None
    assert "TEST04: running it again, for " in capsys.readouterr().err
    sow(one.folder / "performance" / "run_1")
    kept = verified()
    assert kept is not None
    assert kept.passed


@pytest.mark.parametrize(
    ("file", "pattern", "by", "said"),
    [
        ("performance/run_1/mlperf_log_detail.txt", r".{20}\Z", "", "is cut off in its last line"),
        (
            "performance/run_1/mlperf_log_detail.txt",
            r'(?<="result_samples_per_second", "value": )',
            "9",
            "where TEST01 asks for within 10% of it",
        ),
        (
            "performance/run_1/mlperf_log_detail.txt",
            r'(?<="effective_min_duration_ms", "value": )\d+',
            "60000",
            "the least duration in ms is 60000",
        ),
        ("accuracy/mlperf_log_accuracy.json", r"(?s).*", "[ ]", "logged no answer to a known sample"),
        ("accuracy/mlperf_log_accuracy.json", r"(?s).*", "[ {", "is cut off or damaged"),
    ],
)
def test_a_kept_test_that_fails_is_run_again_and_no_other(
    closed_results: Results,
    labels: Any,
    capsys: pytest.CaptureFixture[str],
    file: str,
    pattern: str,
    by: str,
    said: str,
) -> None:
    found, _ = results.collect(closed_results.folder)
    one = next(one for one in found if one.scenario == "Offline")
    task = find_round(NEWEST).tasks["resnet"]
    path = one.folder / "TEST01" / file
    text = path.read_text()
    path.write_text(re.sub(pattern, by, text, count=1, flags=re.DOTALL))
    assert path.read_text() != text
    kept = {
        test: audit._verify_kept(one, test, task, one.document.settings.official, labels)
        for test in task.audits
    }
    assert kept["TEST01"] is None
    assert kept["TEST04"] is not None
    told = capsys.readouterr().err
    assert "Offline TEST01: running it again, for " in told
    assert said in told
    assert "TEST04: running it again" not in told
