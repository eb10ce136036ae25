"""Every fault of a submission tree is found, named with its file, and alone."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.mlperf import log
from harness.mlperf.rules import find_round
from harness.submission.check import check_tree
from harness.submission.verdict import faults, report

from .broken_tree import ABSENT, DETAIL, OFFLINE, SUMMARY, Tree

V6_1 = find_round("v6.1")

Break = Callable[[Tree], Any]

# What is wrong, how to break a good tree so, the file that must be named, what must be said of it.
ANY_DIVISION: dict[str, tuple[Break, str, str]] = {
    "the result is INVALID": (
        lambda tree: tree.log("result_validity", "INVALID"),
        f"{OFFLINE}/{DETAIL}",
        "verdict is INVALID",
    ),
    "the summary says INVALID": (
        lambda tree: tree.replace(
            tree.scenario() / "performance/run_1/mlperf_log_summary.txt", "VALID", "INVALID"
        ),
        f"{OFFLINE}/performance/run_1/mlperf_log_summary.txt",
        "verdict is INVALID",
    ),
    "LoadGen logged an error in the performance run": (
        lambda tree: tree.error(DETAIL),
        f"{OFFLINE}/{DETAIL}",
        "logged 1 errors, first: it broke",
    ),
    "LoadGen logged an error in the accuracy run": (
        lambda tree: tree.error("accuracy/mlperf_log_detail.txt"),
        f"{OFFLINE}/accuracy/mlperf_log_detail.txt",
        "logged 1 errors, first: it broke",
    ),
    "a seed is another": (
        lambda tree: tree.log("effective_qsl_rng_seed", 1),
        f"{OFFLINE}/{DETAIL}",
        "seeds are not those of v6.1",
    ),
    "the run was short": (
        lambda tree: tree.log("effective_min_duration_ms", 60_000),
        f"{OFFLINE}/{DETAIL}",
        "least duration in ms is 60000",
    ),
    "too few samples were held in memory": (
        lambda tree: tree.log("effective_performance_sample_count", 64),
        f"{OFFLINE}/{DETAIL}",
        "performance sample count is 64",
    ),
    "Offline's query was small": (
        lambda tree: tree.log("effective_samples_per_query", 24_575),
        f"{OFFLINE}/{DETAIL}",
        "number of samples in the query is 24575",
    ),
    "Server's bound was larger": (
        lambda tree: (
            tree.log("effective_scenario", "Server", scenario="SingleStream"),
            tree.log("effective_target_latency_ns", 16_000_000, scenario="SingleStream"),
        ),
        f"SingleStream/{DETAIL}",
        "the latency bound is 16000000 ns, and MLPerf's checker refuses more than 15000000 ns in every "
        "division: remove target_latency from user.conf",
    ),
    "early stopping was not met": (
        lambda tree: tree.log("early_stopping_met", False, scenario="SingleStream"),
        f"SingleStream/{DETAIL}",
        "early-stopping condition was not met",
    ),
    "the score is missing": (
        lambda tree: tree.log("result_samples_per_second", 0),
        f"{OFFLINE}/{DETAIL}",
        "has no score",
    ),
    "the accuracy run lies in place of the performance run": (
        lambda tree: tree.log("effective_test_mode", "AccuracyOnly"),
        f"{OFFLINE}/{DETAIL}",
        "is of mode AccuracyOnly, not PerformanceOnly",
    ),
    "a compliance run lies in place of the performance run": (
        lambda tree: (
            tree.replace(
                tree.scenario() / DETAIL,
                r'"is_warning": false(?=[^\n]*\n)',
                '"is_warning": true',
            )
            or tree.replace(
                tree.scenario() / DETAIL, r'"value": "[^"]*"', '"value": "Found Audit Config file"'
            )
        ),
        f"{OFFLINE}/{DETAIL}",
        "read an audit file, so this is a compliance test",
    ),
    "a log of another scenario": (
        lambda tree: tree.log("effective_scenario", "Server", scenario="SingleStream"),
        f"SingleStream/{DETAIL}",
        "is of a run of Server, in the folder of SingleStream",
    ),
    "the detail log is cut off": (
        lambda tree: (tree.scenario() / DETAIL).write_bytes((tree.scenario() / DETAIL).read_bytes()[:-20]),
        f"{OFFLINE}/{DETAIL}",
        "is cut off in its last line",
    ),
    "the detail log is missing": (
        lambda tree: (tree.scenario() / DETAIL).unlink(),
        f"{OFFLINE}/{DETAIL}",
        "No log at",
    ),
    "the summary is missing": (
        lambda tree: (tree.scenario() / "accuracy/mlperf_log_summary.txt").unlink(),
        f"{OFFLINE}/accuracy/mlperf_log_summary.txt",
        "cannot be read",
    ),
    "the summary is empty": (
        lambda tree: (tree.scenario() / "accuracy/mlperf_log_summary.txt").write_text(""),
        f"{OFFLINE}/accuracy/mlperf_log_summary.txt",
        "is empty",
    ),
    "the accuracy run covers a part of the data set": (
        lambda tree: tree.log("effective_accuracy_sample_count", 500, "accuracy/mlperf_log_detail.txt"),
        f"{OFFLINE}/accuracy/mlperf_log_detail.txt",
        "has 500 samples where the data set has 50000",
    ),
    "the sample library is a part of the data set": (
        lambda tree: tree.log("qsl_reported_total_count", 1024),
        f"{OFFLINE}/{DETAIL}",
        "holds 1024 samples where the data set has 50000",
    ),
    "accuracy.txt is missing": (
        lambda tree: (tree.scenario() / "accuracy/accuracy.txt").unlink(),
        f"{OFFLINE}/accuracy/accuracy.txt",
        "cannot be read",
    ),
    "accuracy.txt contradicts itself": (
        lambda tree: tree.replace(tree.scenario() / "accuracy/accuracy.txt", "76.000%", "77.000%"),
        f"{OFFLINE}/accuracy/accuracy.txt",
        "says 77.000 % where 38000 of 50000 are right",
    ),
    "accuracy.txt has no hash": (
        lambda tree: tree.replace(tree.scenario() / "accuracy/accuracy.txt", "hash=.*\n", ""),
        f"{OFFLINE}/accuracy/accuracy.txt",
        "has 0 lines 'hash=...'",
    ),
    "the accuracy log is not truncated": (
        lambda tree: (tree.scenario() / "accuracy/mlperf_log_accuracy.json").write_text(
            '[ "qsl_idx"' + " " * 10_240 + "]"
        ),
        f"{OFFLINE}/accuracy/mlperf_log_accuracy.json",
        "where 10,240 are allowed",
    ),
    "the accuracy log is something else": (
        lambda tree: (tree.scenario() / "accuracy/mlperf_log_accuracy.json").write_text("{}"),
        f"{OFFLINE}/accuracy/mlperf_log_accuracy.json",
        "is not the beginning and end of an accuracy log",
    ),
    "measurements.json is missing": (
        lambda tree: (tree.scenario() / "measurements.json").unlink(),
        f"{OFFLINE}/measurements.json",
        "is missing or empty",
    ),
    "measurements.json is cut off": (
        lambda tree: (tree.scenario() / "measurements.json").write_text('{"retraining": "N'),
        f"{OFFLINE}/measurements.json",
        "is cut off or no JSON",
    ),
    "retraining is false and not a text": (
        lambda tree: tree.set(tree.scenario() / "measurements.json", retraining=False),
        f"{OFFLINE}/measurements.json",
        "'retraining' is False, not a text",
    ),
    "README.md is empty": (
        lambda tree: (tree.scenario() / "README.md").write_text(""),
        f"{OFFLINE}/README.md",
        "is missing or empty",
    ),
    "user.conf is missing": (
        lambda tree: (tree.scenario() / "user.conf").unlink(),
        f"{OFFLINE}/user.conf",
        "is missing or empty",
    ),
    "user.conf loosens the rules": (
        lambda tree: (tree.scenario() / "user.conf").write_text("resnet50.Offline.min_duration = 60000\n"),
        f"{OFFLINE}/user.conf",
        "nothing may loosen mlperf.conf",
    ),
    "the system's description is missing": (
        lambda tree: tree.system.unlink(),
        "systems/this-machine.json",
        "is missing",
    ),
    "a field of the description is missing": (
        lambda tree: tree.set(tree.system, hw_notes=ABSENT),
        "systems/this-machine.json",
        "lacks 'hw_notes'",
    ),
    "a field of the description is empty": (
        lambda tree: tree.set(tree.system, cooling=""),
        "systems/this-machine.json",
        "'cooling' is empty",
    ),
    "the number of accelerators is the number 0": (
        lambda tree: tree.set(tree.system, accelerators_per_node=0),
        "systems/this-machine.json",
        "'accelerators_per_node' is empty (0)",
    ),
    "the number of accelerators is no number": (
        lambda tree: tree.set(tree.system, accelerators_per_node="N/A"),
        "systems/this-machine.json",
        "on which the checker's export breaks",
    ),
    "the number of accelerators is a superscript": (
        lambda tree: tree.set(tree.system, accelerators_per_node="²"),
        "systems/this-machine.json",
        "'accelerators_per_node' is '²', on which the checker's export breaks",
    ),
    "the number of nodes is no number": (
        lambda tree: tree.set(tree.system, number_of_nodes="1 server"),
        "systems/this-machine.json",
        "'number_of_nodes' is '1 server', on which the checker's export breaks",
    ),
    "the description says that the system is no network one": (
        lambda tree: tree.set(tree.system, is_network="false"),
        "systems/this-machine.json",
        "any text demands the network division's fields",
    ),
    "the description denies a network with no text": (
        lambda tree: tree.set(tree.system, is_network=False),
        "systems/this-machine.json",
        "'is_network' is false, no text, on which the checkers break: remove the key, or make it the text",
    ),
    "the status is unknown": (
        lambda tree: tree.set(tree.system, status="soon"),
        "systems/this-machine.json",
        "the status 'soon' is not known",
    ),
    "the submitter is another": (
        lambda tree: tree.set(tree.system, submitter="Them"),
        "systems/this-machine.json",
        "'submitter' is 'Them' in the folder of Us",
    ),
    "the division is another": (
        lambda tree: tree.set(tree.system, division="Open"),
        "systems/this-machine.json",
        "'division' is 'Open'",
    ),
    "a description without results": (
        lambda tree: shutil.copy(tree.system, tree.system.with_name("other.json")),
        "systems/other.json",
        "describes a system without results",
    ),
    "a stray folder beside the scenarios": (
        lambda tree: shutil.copytree(tree.scenario(), tree.model / "backup"),
        "backup",
        "is no scenario",
    ),
    "a stray file in a run": (
        lambda tree: (tree.scenario() / "performance/run_1/notes.txt").write_text("x"),
        f"{OFFLINE}/performance/run_1/notes.txt",
        "is unknown",
    ),
    "a stray file among the results": (
        lambda tree: (tree.home / "results/summary.csv").write_text("x"),
        "results/summary.csv",
        "is unknown: only systems' folders",
    ),
    "a stray file in the division": (
        lambda tree: (tree.home.parent / "README.txt").write_text("x"),
        "README.txt",
        "is unknown: only submitters' folders",
    ),
    "a stray file in the root": (
        lambda tree: (tree.root / "out.csv").write_text("x"),
        "out.csv",
        "is unknown",
    ),
    "the system is of the data centre": (
        lambda tree: tree.set(tree.system, system_type="datacenter"),
        "systems/this-machine.json",
        "neither resnet50 nor yolo is a datacenter benchmark",
    ),
    "an unknown division": (
        lambda tree: (tree.root / "opened").mkdir(),
        "opened",
        "is unknown: known here: open, closed",
    ),
    "a blank in a name": (
        lambda tree: (tree.home / "documentation/how to.md").write_text("x"),
        "documentation/how to.md",
        "has a blank",
    ),
    "a hidden file": (
        lambda tree: (tree.home / "src/.keep").write_text("x"),
        "src/.keep",
        "has a blank, or a dot",
    ),
    "an empty folder": (
        lambda tree: (tree.home / "src/empty").mkdir(),
        "src/empty",
        "is an empty folder",
    ),
    "Python's cache": (
        lambda tree: (
            (tree.home / "src/__pycache__").mkdir(),
            (tree.home / "src/__pycache__/x.pyc").write_text("x"),
        ),
        "src/__pycache__",
        "is Python's cache",
    ),
    "a broken link": (
        lambda tree: (tree.home / "src/weights.bin").symlink_to("/nowhere"),
        "src/weights.bin",
        "is a broken link",
    ),
    "a link": (
        lambda tree: (tree.home / "src/weights.bin").symlink_to(tree.home / "src/README.md"),
        "src/weights.bin",
        "is a link, and a submission holds files",
    ),
    "a pipe in place of a log": (
        lambda tree: ((tree.scenario() / DETAIL).unlink(), os.mkfifo(tree.scenario() / DETAIL)),
        f"{OFFLINE}/{DETAIL}",
        "is neither file nor folder",
    ),
    "a file beyond 50 MB": (
        lambda tree: _grow(tree.home / "src/weights.bin", 52_428_801),
        "src/weights.bin",
        "has 52,428,801 bytes where 52,428,800 are allowed",
    ),
    "no source": (lambda tree: shutil.rmtree(tree.home / "src"), "src", "is missing"),
}
OPEN_ONLY: dict[str, tuple[Break, str, str]] = {
    "a model that nothing maps": (
        lambda tree: (tree.home / "model_mapping.json").unlink(),
        "waiting",
        "is no benchmark of v6.1",
    ),
    "a model mapped to LoadGen's name instead of the checker's": (
        lambda tree: tree.set(tree.home / "model_mapping.json", other="resnet50"),
        "model_mapping.json",
        "'other' is mapped to 'resnet50'",
    ),
}
CLOSED_ONLY: dict[str, tuple[Break, str, str]] = {
    "the accuracy is below the target": (
        lambda tree: (tree.scenario() / "accuracy/accuracy.txt").write_text(
            f"accuracy=75.694%, good=37847, total=50000\n\nhash={'0' * 64}\n"
        ),
        f"{OFFLINE}/accuracy/accuracy.txt",
        "75.694 % against the target 75.6954 %",
    ),
    "a scenario is missing": (
        lambda tree: shutil.rmtree(tree.scenario("MultiStream")),
        "resnet50",
        "lacks MultiStream",
    ),
    "the model has its own name": (
        lambda tree: tree.model.rename(tree.model.with_name("resnet50-int8")),
        "resnet50-int8",
        "is no name of a benchmark",
    ),
    "the system is of the data centre": (
        lambda tree: tree.set(tree.system, system_type="datacenter"),
        "resnet50",
        "is no Closed benchmark of datacenter systems",
    ),
    "the calibration is not documented": (
        lambda tree: (tree.home / "documentation/calibration.md").write_text(""),
        "documentation/calibration.md",
        "is missing or empty",
    ),
    "a compliance test is missing": (
        lambda tree: shutil.rmtree(tree.scenario() / "TEST04"),
        f"{OFFLINE}/TEST04",
        "is missing",
    ),
    "a compliance test failed": (
        lambda tree: tree.replace(
            tree.scenario() / "TEST01/verify_performance.txt", "TEST PASS", "TEST FAIL"
        ),
        f"{OFFLINE}/TEST01/verify_performance.txt",
        "does not say TEST PASS",
    ),
    "TEST01's answers differ": (
        lambda tree: tree.replace(tree.scenario() / "TEST01/verify_accuracy.txt", "TEST PASS", "TEST FAIL"),
        f"{OFFLINE}/TEST01/verify_accuracy.txt",
        "do not show an equal accuracy",
    ),
    "TEST01's verdict is a line to Unicode only": (
        lambda tree: tree.write(tree.scenario() / "TEST01/verify_accuracy.txt", "none\u2028TEST PASS\n"),
        f"{OFFLINE}/TEST01/verify_accuracy.txt",
        "says TEST PASS within a line",
    ),
    "TEST01's summary is empty": (
        lambda tree: tree.write(tree.scenario() / "TEST01" / SUMMARY, ""),
        f"{OFFLINE}/TEST01/{SUMMARY}",
        "is empty: run `harness compliance`, which repeats a test that failed",
    ),
    "TEST01's accuracy.txt has no score": (
        lambda tree: tree.write(tree.scenario() / "TEST01/accuracy/accuracy.txt", f"hash={'0' * 64}\n"),
        f"{OFFLINE}/TEST01/accuracy/accuracy.txt",
        "run `harness compliance`, which repeats a test that failed",
    ),
    "a compliance test is INVALID": (
        lambda tree: tree.log("result_validity", "INVALID", f"TEST04/{DETAIL}"),
        f"{OFFLINE}/TEST04/{DETAIL}",
        "verdict is INVALID",
    ),
    "a compliance test was faster than the log of its verification admits": (
        lambda tree: tree.log("result_samples_per_second", 1000.0, f"TEST04/{DETAIL}"),
        f"{OFFLINE}/TEST04/{DETAIL}",
        "where TEST04 asks for less than 10% above it",
    ),
    "a compliance test ran without its audit file": (
        lambda tree: shutil.copy(tree.scenario() / DETAIL, tree.scenario() / "TEST04" / DETAIL),
        f"{OFFLINE}/TEST04/{DETAIL}",
        "read no audit file",
    ),
    "MultiStream's queries were small": (
        lambda tree: tree.log("effective_samples_per_query", 4, scenario="MultiStream"),
        f"MultiStream/{DETAIL}",
        "samples in a query is 4 where the rules ask for 8: remove samples_per_query from user.conf",
    ),
    "user.conf makes the result Open": (
        lambda tree: (tree.scenario("MultiStream") / "user.conf").write_text(
            "resnet50.MultiStream.target_latency_percentile = 90\n"
        ),
        "MultiStream/user.conf",
        "eligible for the Open division only",
    ),
}


def _grow(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _broken(tree: Path, fault: tuple[Break, str, str]) -> None:
    break_it, file, said = fault
    break_it(Tree(tree))
    wrong = faults(check_tree(tree, V6_1))
    assert any(one.path.endswith(file) and said in one.sentence for one in wrong), report(wrong)
    assert all(one.cure for one in wrong)


@pytest.mark.parametrize("division", ["open", "closed"])
def test_a_good_tree_has_no_fault(division: str, request: pytest.FixtureRequest) -> None:
    checks = check_tree(request.getfixturevalue(f"{division}_tree"), V6_1)
    assert len(checks) > 100
    assert [check.sentence for check in checks if not check.passed] == []


@pytest.mark.parametrize("fault", [pytest.param(value, id=key) for key, value in ANY_DIVISION.items()])
def test_a_fault_of_any_division_is_found(open_tree: Path, fault: tuple[Break, str, str]) -> None:
    _broken(open_tree, fault)


@pytest.mark.parametrize("fault", [pytest.param(value, id=key) for key, value in OPEN_ONLY.items()])
def test_a_fault_of_an_open_submission_is_found(open_tree: Path, fault: tuple[Break, str, str]) -> None:
    _broken(open_tree, fault)


@pytest.mark.parametrize("fault", [pytest.param(value, id=key) for key, value in CLOSED_ONLY.items()])
def test_a_fault_of_a_closed_submission_is_found(closed_tree: Path, fault: tuple[Break, str, str]) -> None:
    _broken(closed_tree, fault)


def test_an_open_submission_may_have_settings_that_closed_refuses(open_tree: Path) -> None:
    tree = Tree(open_tree)
    for key in ("requested_multi_stream_samples_per_query", "effective_samples_per_query"):
        tree.log(key, 4, scenario="MultiStream")
    tree.replace(tree.scenario("MultiStream") / SUMMARY, "samples_per_query : 8", "samples_per_query : 4")
    user_conf = tree.scenario("MultiStream") / "user.conf"
    tree.write(user_conf, user_conf.read_text() + "resnet50.MultiStream.samples_per_query = 4\n")
    assert faults(check_tree(open_tree, V6_1)) == []


def test_all_faults_appear_in_one_pass(open_tree: Path) -> None:
    tree = Tree(open_tree)
    for break_it, _, _ in (
        ANY_DIVISION["the result is INVALID"],
        ANY_DIVISION["README.md is empty"],
        ANY_DIVISION["the status is unknown"],
    ):
        break_it(tree)
    assert len(faults(check_tree(open_tree, V6_1))) == 3


def test_an_empty_tree_is_a_fault(tmp_path: Path) -> None:
    (only,) = faults(check_tree(tmp_path, V6_1))
    assert "holds no result" in only.sentence


def test_no_folder_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"No folder .*none: give the folder"):
        check_tree(tmp_path / "none", V6_1)


def test_a_tree_of_another_round_is_named(open_tree: Path) -> None:
    wrong = faults(check_tree(open_tree, find_round("v6.0")))
    assert any("LoadGen 6.0.17, whose runs belong to v6.1" in one.sentence for one in wrong)


def test_singlestream_may_stand_in_for_multistream_on_the_edge(open_tree: Path) -> None:
    tree = Tree(open_tree)
    shutil.rmtree(tree.scenario("MultiStream"))
    shutil.copytree(tree.scenario("SingleStream"), tree.model / "MultiStream")
    assert faults(check_tree(open_tree, V6_1)) == []


@pytest.mark.parametrize("name", ["MultiStream", "multistream"])
def test_singlestream_stands_in_with_its_compliance_tests(closed_tree: Path, name: str) -> None:
    tree = Tree(closed_tree)
    shutil.rmtree(tree.scenario("MultiStream"))
    shutil.copytree(tree.scenario("SingleStream"), tree.model / name)
    assert faults(check_tree(closed_tree, V6_1)) == []


def test_what_stands_in_for_multistream_has_its_score(open_tree: Path) -> None:
    tree = Tree(open_tree)
    shutil.rmtree(tree.scenario("MultiStream"))
    shutil.copytree(tree.scenario("SingleStream"), tree.model / "MultiStream")
    path = tree.model / "MultiStream" / "performance" / "run_1" / log.DETAIL_LOG
    text = path.read_text()
    lacking = re.sub(r'("key": "early_stopping_latency_ms", "value": )\d+', r"\g<1>0", text)
    assert lacking != text
    path.write_text(lacking)
    (fault,) = faults(check_tree(open_tree, V6_1))
    assert "has no score ('early_stopping_latency_ms' is 0)" in fault.sentence


def test_a_warning_counts_only_in_strict_mode(open_tree: Path) -> None:
    tree = Tree(open_tree)
    tree.write(tree.scenario() / "accuracy" / "results.json", "{}")
    checks = check_tree(open_tree, V6_1)
    assert faults(checks) == []
    (only,) = faults(checks, strict=True)
    assert only.path.endswith("Offline/accuracy/results.json")
    assert "it has no place in a scenario's folder" in only.sentence
    assert "1 warned" in report(checks)
