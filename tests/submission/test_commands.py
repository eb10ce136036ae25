"""The three commands: exit codes, and JSON alone on stdout."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, harness
from conftest import Oracle

from harness.loadgen.settings import RunSettings
from harness.mlperf import log
from harness.mlperf.scenario import Mode, Scenario
from harness.run import folder, result
from harness.run import session as run_session
from harness.submission.results import PERFORMANCE

from .conftest import Results


def submit(results: Results, root: Path, *more: str) -> Done:
    assert results.card is not None
    return harness(
        "submit", "--results", results.folder, "--submitter", "Us", "--division", "open", "--system-type",
        "edge", "--out", root, "--system-description", results.description, "--model", results.card, *more,
    )  # fmt: skip


def test_submit_and_check_agree(open_results: Results, tmp_path: Path) -> None:
    done = submit(open_results, tmp_path / "tree", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["round"] == "v6.1"
    assert "open/Us/systems/this-machine.json" in document["files"]
    checked = harness("check", tmp_path / "tree", "--strict", "--json")
    assert checked.returncode == 0, checked.stdout
    verdict = json.loads(checked.stdout)
    assert verdict["passed"]
    assert verdict["faults"] == []


def test_submit_says_what_comes_next(open_results: Results, tmp_path: Path) -> None:
    done = submit(open_results, tmp_path / "tree")
    assert done.returncode == 0, done.stderr
    assert "a submission to v6.1, open division" in done.stdout
    assert (
        "note: measured on 'builtin', which MLPerf does not take: its Open division, too, wants the whole "
        "validation set of a Closed benchmark; the README of each result says so\n" in done.stdout
    )
    assert "it holds the whole accuracy logs" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("  next: harness check")


def test_a_refusal_is_exit_code_2_and_leaves_stdout_empty(open_results: Results, tmp_path: Path) -> None:
    open_results.edit("Offline", lambda document: document["settings"].update(official=False))
    done = submit(open_results, tmp_path / "tree", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "is not an official run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--division", "opne", "Division 'opne' is not known. Did you mean 'open'?"),
        ("--division", "network", "The network division needs a LoadGen on another machine"),
        ("--system-type", "egde", "System type 'egde' is not known. Did you mean 'edge'?"),
        ("--round", "v6.2", "Round 'v6.2' is not known. Did you mean 'v6.1'?"),
    ],
)
def test_a_misspelt_choice_names_the_nearest(
    open_results: Results, tmp_path: Path, option: str, value: str, said: str
) -> None:
    done = submit(open_results, tmp_path / "tree", option, value)
    assert done.returncode == 2
    assert said in done.stderr


def test_check_exits_1_and_names_file_and_cure(open_tree: Path) -> None:
    next(open_tree.rglob("Offline/README.md")).write_text("")
    done = harness("check", open_tree)
    assert done.returncode == 1
    assert "[FAIL] open/Us/results/this-machine/waiting/Offline/README.md: is missing or empty" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 failed: the submission has faults")


def _checkout(folder: Path, code: str) -> Path:
    """Return a stand-in for a checkout of mlcommons/inference, whose checker does what `code` says."""
    checker = folder / "tools" / "submission" / "submission_checker"
    checker.mkdir(parents=True)
    (checker / "main.py").write_text(code)
    return folder


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        (
            "print('SUMMARY: submission looks OK')",
            0,
            "submission_checker (official): the submission looks OK",
        ),
        ("raise SystemExit('SUMMARY: submission has errors')", 1, "the submission has errors"),
        ("pass", 1, "submission_checker (official): the submission has errors"),
        (
            "raise SystemExit(\"caused exception in check_performance_dir: 'yolo-95'\")",
            0,
            "submission_checker (official): says nothing, as it breaks on yolo-95",
        ),
        (
            "raise SystemExit(\"caused exception in check_performance_dir: 'result_validity'\")",
            1,
            "the submission has errors",
        ),
        ("import no_such_library", 2, "submission_checker lacks a library (No module named"),
    ],
)
def test_the_official_verdict_stands_beside_ours(
    open_tree: Path, tmp_path: Path, code: str, exit_code: int, said: str
) -> None:
    done = harness("check", open_tree, "--official", _checkout(tmp_path / "inference", code))
    assert done.returncode == exit_code
    assert said in done.stdout + done.stderr


def test_a_folder_that_is_no_checkout_is_refused(open_tree: Path, tmp_path: Path) -> None:
    done = harness("check", open_tree, "--official", tmp_path)
    assert done.returncode == 2
    assert "give a checkout of mlcommons/inference" in done.stderr


@pytest.fixture(scope="module")
def measured(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measure a real model for half a second."""
    out = tmp_path_factory.mktemp("measured")
    settings = RunSettings(Scenario.OFFLINE, duration_s=0.5)
    modes = (Mode.PERFORMANCE, Mode.ACCURACY)
    asked = run_session.Request(oracle.card, oracle.store.path, settings, modes, out, system="here")
    _, scenario = run_session.run(asked)
    # So short a test may be INVALID, and nothing is held against such a one.
    declare(scenario, "VALID")
    return out


def declare(scenario: Path, validity: str) -> None:
    """Make an Offline result one that LoadGen calls VALID or INVALID."""
    detail = scenario / PERFORMANCE / log.DETAIL_LOG
    verdict = r'(?<="result_validity", "value": ")(IN)?VALID'
    detail.write_text(re.sub(verdict, validity, detail.read_text()))
    path = scenario / result.FILE_NAME
    document = json.loads(path.read_text())
    document["performance"] |= {"valid": validity == "VALID", "validity": validity}
    path.write_text(json.dumps(document))


@pytest.fixture
def short_results(measured: Path, tmp_path: Path) -> Path:
    """Return a short Offline result of a real model."""
    return shutil.copytree(measured, tmp_path / "results")


def make_as_fast(test: Path, times: int = 1) -> None:
    """Give a test the performance log of its result, with so many times the speed."""
    text = (test.parent / PERFORMANCE / log.DETAIL_LOG).read_text()
    text, count = re.subn(
        r'(?<="result_samples_per_second", "value": )[0-9.e+]+', lambda of: str(times * float(of[0])), text
    )
    assert count == 1
    (test / PERFORMANCE / log.DETAIL_LOG).write_text(text)


def test_compliance_runs_both_tests_on_a_real_model(oracle: Oracle, short_results: Path) -> None:
    words = ["compliance", "--results", short_results, "--data", oracle.store.path]
    words += ["--model", oracle.card_path]
    done = harness(*words, "--json")
    document = json.loads(done.stdout)
    assert [test["test"] for test in document["tests"]] == ["TEST01", "TEST04"]
    assert not any(test["official"] for test in document["tests"])
    # On a busy machine half a second may be faster or slower by more than the rules allow, or INVALID.
    assert done.returncode == (0 if document["passed"] else 1)
    folder = short_results / "here" / "oracle" / "Offline"
    verdict = folder / "TEST01" / "verify_accuracy.txt"
    assert verdict.read_text().endswith("TEST PASS\n")
    assert (folder / "TEST01" / "accuracy" / "accuracy.txt").read_text().startswith("accuracy=")
    assert not list(folder.glob(".TEST*"))
    verdict.write_text("TEST FAIL\n")
    make_as_fast(folder / "TEST01")
    make_as_fast(folder / "TEST04")
    again = harness(*words)
    assert again.returncode == 0
    assert again.stderr.count("verifying the test that is there") == 2
    assert "running it again" not in again.stderr
    assert "[not official: a short run]" in again.stdout
    assert verdict.read_text().endswith("TEST PASS\n")
    make_as_fast(folder / "TEST04", 9)
    planted = (folder / "TEST04" / PERFORMANCE / log.DETAIL_LOG).read_text()
    told = harness(*words).stderr
    assert "TEST01: running it again" not in told
    assert "TEST04: running it again, for the speed is 9.000 of the performance run's" in told
    assert (folder / "TEST04" / PERFORMANCE / log.DETAIL_LOG).read_text() != planted


def test_compliance_does_not_disturb_a_run_in_the_same_folder(oracle: Oracle, short_results: Path) -> None:
    with folder.alone_in(short_results / "here" / "oracle" / "Offline"):
        done = harness(
            "compliance", "--results", short_results, "--data", oracle.store.path, "--model", oracle.card_path
        )
    assert done.returncode == 2
    assert "Another process is at work on" in done.stderr


def test_compliance_refuses_data_that_the_result_is_not_of(
    short_results: Path, oracle: Oracle, new_oracle: Callable[..., Oracle]
) -> None:
    other = new_oracle(count=40).store.path
    done = harness("compliance", "--results", short_results, "--data", other, "--model", oracle.card_path)
    assert done.returncode == 2
    assert "was measured on other data than those in" in done.stderr


@pytest.mark.parametrize("more", [(), ("--replace",)])
def test_compliance_starts_nothing_against_a_test_that_is_not_valid(
    oracle: Oracle, short_results: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    declare(short_results / "here" / "oracle" / "Offline", "INVALID")
    monkeypatch.setattr(run_session, "repeat_performance", pytest.fail)
    done = harness(
        *("compliance", "--results", short_results, "--data", oracle.store.path),
        *("--model", oracle.card_path, *more),
    )
    assert done.returncode == 2
    assert (
        "here/oracle/Offline: nothing can be held against its performance test, as it is not valid: repeat "
        "its `harness run`, which runs that test again." in done.stderr
    )


def test_compliance_needs_both_modes(
    oracle: Oracle, short_results: Path, new_oracle: Callable[..., Oracle]
) -> None:
    path = short_results / "here" / "oracle" / "Offline" / result.FILE_NAME
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"accuracy": None}))
    done = harness(
        "compliance", "--results", short_results, "--data", oracle.store.path, "--model", oracle.card_path
    )
    assert done.returncode == 2
    assert "has no accuracy result: run it first" in done.stderr
