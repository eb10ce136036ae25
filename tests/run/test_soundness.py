"""What of a result counts as finished: its logs are parsed, and a damaged result.json is one sentence."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from damage import mutants, refusal

from harness.dataset.store import open_store
from harness.errors import HarnessError, OutputError
from harness.measurement import series
from harness.mlperf.scenario import Mode, Scenario
from harness.results import frame
from harness.run import result
from harness.run.document import Asked
from harness.run.folder import tests_to_keep as kept_tests
from harness.run.folder import unsound
from harness.run.summary import summary
from harness.submission.submit import Request, submit

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
LABELS = open_store(OLD / "model" / "store").labels
SCENARIOS = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "results", tmp_path / "results"))


def folder_of(results: Path, scenario: Scenario = Scenario.OFFLINE) -> Path:
    return results / "here" / "oracle" / scenario


def asked_of(folder: Path) -> Asked:
    """Return the request that made a result."""
    found = result.read(folder / result.FILE_NAME)
    return Asked(found.created, found.benchmark, found.tuning, found.identity)


def cut(path: Path, share: float = 0.5) -> None:
    text = path.read_text()
    path.write_text(text[: int(len(text) * share)])


def cut_at_a_line_end(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def swap_answers(path: Path) -> None:
    entries = json.loads(path.read_text())
    entries[0]["data"], entries[1]["data"] = entries[5]["data"], entries[6]["data"]
    path.write_text(json.dumps(entries))


DAMAGES: dict[str, tuple[Mode, str, Callable[[Path], Any], str]] = {
    "an accuracy log without entries": (
        Mode.ACCURACY,
        "accuracy/mlperf_log_accuracy.json",
        lambda path: path.write_text("[]"),
        "has no entry",
    ),
    "an empty accuracy log": (
        Mode.ACCURACY,
        "accuracy/mlperf_log_accuracy.json",
        lambda path: path.write_text(""),
        "is empty",
    ),
    "a cut accuracy log": (Mode.ACCURACY, "accuracy/mlperf_log_accuracy.json", cut, "is cut off or damaged"),
    "other answers": (
        Mode.ACCURACY,
        "accuracy/mlperf_log_accuracy.json",
        swap_answers,
        "result.json says accuracy=95.000%, good=19, total=20, and its log ",
    ),
    "no accuracy log": (Mode.ACCURACY, "accuracy/mlperf_log_accuracy.json", Path.unlink, "No log at"),
    "no summary of the accuracy": (
        Mode.ACCURACY,
        "accuracy/mlperf_log_summary.txt",
        Path.unlink,
        "No log at",
    ),
    "a cut summary of the accuracy": (Mode.ACCURACY, "accuracy/mlperf_log_summary.txt", cut, "is cut off"),
    "a cut detail log of the accuracy": (
        Mode.ACCURACY,
        "accuracy/mlperf_log_detail.txt",
        cut_at_a_line_end,
        "is cut off: it holds no 'power_end'",
    ),
    "another accuracy.txt": (
        Mode.ACCURACY,
        "accuracy/accuracy.txt",
        lambda path: path.write_text("accuracy=100.000%, good=20, total=20\n"),
        "accuracy.txt is not of its log",
    ),
    "a cut detail log": (Mode.PERFORMANCE, "performance/run_1/mlperf_log_detail.txt", cut, "is cut off"),
    "a detail log cut at a line end": (
        Mode.PERFORMANCE,
        "performance/run_1/mlperf_log_detail.txt",
        cut_at_a_line_end,
        "is cut off: it holds no 'num_errors'",
    ),
    "a detail log of another test": (
        Mode.PERFORMANCE,
        "performance/run_1/mlperf_log_detail.txt",
        lambda path: path.write_bytes(
            (
                folder_of(OLD / "results", Scenario.SINGLE_STREAM) / "performance/run_1" / path.name
            ).read_bytes()
        ),
        "result.json and its log tell other figures (query_count",
    ),
    "an empty summary": (
        Mode.PERFORMANCE,
        "performance/run_1/mlperf_log_summary.txt",
        lambda path: path.write_text(""),
        "is empty",
    ),
    "another user.conf": (
        Mode.PERFORMANCE,
        "user.conf",
        lambda path: path.write_text("resnet50.Offline.target_qps = 7\n"),
        "user.conf is not the one of its log",
    ),
    "no user.conf": (Mode.PERFORMANCE, "user.conf", Path.unlink, "user.conf"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_test_with_damaged_files_is_not_reused_and_a_note_says_why(
    results: Path,
    damage: tuple[Mode, str, Callable[[Path], Any], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mode, name, change, words = damage
    folder = folder_of(results)
    change(folder / name)
    held, kept = kept_tests(folder, asked_of(folder), tuple(Mode), replace=False, truth=LABELS)
    assert held is not None
    assert list(kept) == [other for other in Mode if other is not mode]
    said = " ".join(capsys.readouterr().err.split())
    assert f"Run again: the Offline {mode} test in" in said
    assert words in said


def test_an_accuracy_far_below_its_target_is_not_reused(results: Path) -> None:
    folder = folder_of(results)
    found = result.read(folder / result.FILE_NAME)
    assert found.accuracy is not None
    for target, words in ((0.99, ""), (1.91, "it is so far off its target that something was wrong")):
        verdicts = (replace(found.accuracy.verdicts[0], passed=False, target=target),)
        missed = replace(found, accuracy=replace(found.accuracy, verdicts=verdicts, passed=False))
        assert unsound(missed, Mode.ACCURACY, folder, LABELS).startswith(words)
        assert bool(unsound(missed, Mode.ACCURACY, folder, LABELS)) is bool(words)


def test_a_score_that_no_float_holds_is_named(results: Path) -> None:
    path = folder_of(results) / result.FILE_NAME
    document = json.loads(path.read_text())
    document["performance"]["score"]["value"] = 10**400
    path.write_text(json.dumps(document))
    with pytest.raises(
        OutputError, match=r"'performance\.score\.value' must be a number, not one of so many"
    ):
        result.read(path)


def test_a_damaged_result_is_repaired_by_what_its_refusal_names(results: Path) -> None:
    folder = folder_of(results)
    asked = asked_of(folder)
    cut(folder / result.FILE_NAME)
    with pytest.raises(OutputError, match=r"damaged .*: repeat its `harness run` with --replace"):
        kept_tests(folder, asked, tuple(Mode), replace=False, truth=LABELS)
    assert kept_tests(folder, asked, tuple(Mode), replace=True, truth=LABELS) == (None, ())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_is_wrong_in_a_result_is_one_sentence(scenario: Scenario, results: Path) -> None:
    folder = folder_of(results, scenario)
    asked, path = asked_of(folder), folder / result.FILE_NAME
    readable = refused = 0
    for mutant in mutants(json.loads(path.read_text())):
        path.write_text(json.dumps(mutant))
        if said := refusal(lambda: result.read(path)):
            assert "\n" not in said
            refused += 1
        else:
            assert summary(result.read(path), folder)
            said = refusal(lambda: kept_tests(folder, asked, tuple(Mode), replace=False, truth=LABELS))
            assert "\n" not in said
            readable += 1
    assert refused > 2 * readable > 0


KEYS = (
    "benchmark",
    "scenario",
    "model",
    "data",
    "settings",
    "precision",
    "machine",
    "performance",
    "accuracy",
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["removed", None, "x", {}])
def test_a_submission_and_a_table_tell_of_a_damaged_result(
    key: str, value: Any, results: Path, tmp_path: Path
) -> None:
    path = folder_of(results) / result.FILE_NAME
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document if value == "removed" else document | {key: value}))
    card = str(OLD / "model" / "oracle.toml")
    with pytest.raises(HarnessError, match="cannot be submitted"):
        submit(Request((results,), "Us", ("open",), "edge", tmp_path / "tree", models=(card,)))
    assert len(frame([results])) >= 2


ROUND_DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a cut round.json": ("round.json", cut, "its round.json is damaged"),
    "a round.json of texts": (
        "round.json",
        lambda path: path.write_text(path.read_text().replace("true", '"true"')),
        "its round.json is damaged",
    ),
    "other figures": (
        "round.json",
        lambda path: path.write_text(path.read_text().replace('"min": ', '"min": 1')),
        "its round.json and its log tell other figures",
    ),
    "a cut log": ("mlperf_log_detail.txt", cut, "is cut off"),
    "a log cut at a line end": ("mlperf_log_detail.txt", cut_at_a_line_end, "is cut off"),
    "no summary": ("mlperf_log_summary.txt", Path.unlink, "No log at"),
}


@pytest.mark.parametrize("damage", ROUND_DAMAGES.values(), ids=ROUND_DAMAGES)
def test_a_round_of_a_comparison_with_damaged_files_is_run_again(
    tmp_path: Path, damage: tuple[str, Callable[[Path], Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, words = damage
    source = OLD / "comparison" / "rounds" / "oracle" / "Offline" / "1-threads"
    folder = Path(shutil.copytree(source, tmp_path / "series"))
    change(folder / "round_2" / name)
    assert series.held(folder, 1) is not None
    assert series.held(folder, 2) is None
    said = " ".join(capsys.readouterr().err.split())
    assert "Run again: round 2 in" in said
    assert words in said
