"""The quickstart of detectors, with less of everything."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import BRIEF_S

from harness import cli, quickstart
from harness.comparison import output
from harness.errors import OutputError
from harness.quickstart import Effort
from harness.task import average_precision

SMALL = Effort(60, calibration_count=24, rounds=2, duration_s=BRIEF_S)


@pytest.fixture(scope="module")
def tale(tmp_path_factory: pytest.TempPathFactory) -> quickstart.Tale:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(average_precision, "_RESAMPLES", 100)
        return quickstart.detection(tmp_path_factory.mktemp("quick") / "out", SMALL)


def test_both_precisions_find_the_shapes_and_the_loss_has_an_interval(tale: quickstart.Tale) -> None:
    floating, int8 = tale.task.variants
    assert [floating.name, int8.name] == ["builtin-detector", "builtin-detector-int8"]
    for one in (floating, int8):
        assert one.accuracy is not None
        assert one.accuracy.total == SMALL.test_count
        assert 0.15 < one.accuracy.fraction < 0.6
    (pair,) = tale.task.accuracy_pairs
    assert pair.low is not None
    assert pair.high is not None
    assert pair.low <= pair.high
    assert not tale.task.invalid


def test_calibration_never_sees_the_scenes_that_are_scored(tale: quickstart.Tale) -> None:
    record = json.loads((tale.folder / "models" / "builtin-detector-int8.calibration.json").read_text())
    scored = (tale.folder / "store" / "images.txt").read_text()
    assert len(record["list"]["names"]) == SMALL.calibration_count
    assert not any(name in scored for name in record["list"]["names"])


def test_its_table_has_both_rows_and_the_report_is_there(
    tale: quickstart.Tale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "detection", lambda out: tale)
    words = ["quickstart", "--task", "detection"]
    shown = CliRunner(env={"COLUMNS": "160"}).invoke(cli.cli, words).stdout
    for part in ("FP32", "INT8", "mAP", "points mAP (95 %", "harness prepare --dataset coco --annotations"):
        assert part in shown
    (folder,) = tale.folders
    assert str(folder / output.REPORT) in shown
    assert (folder / output.REPORT).is_file()
    told = json.loads(CliRunner().invoke(cli.cli, [*words, "--json"]).stdout)
    assert told["task"] == "detection"
    assert [one["baseline"] for one in told["comparisons"]] == ["builtin-detector"]


def test_a_second_call_repeats_nothing(tale: quickstart.Tale) -> None:
    kept = {
        path: path.stat().st_mtime_ns
        for pattern in ("round.json", "result.json", "*-int8.xml", "*.u8")
        for path in tale.folder.rglob(pattern)
    }
    again = quickstart.detection(tale.folder, SMALL)
    assert [cell.values() for cell in again.task.cells] == [cell.values() for cell in tale.task.cells]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_folder_of_the_other_task_is_left_alone(tale: quickstart.Tale, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds a quickstart of detection: choose another with --out"):
        quickstart.quickstart(tale.folder, SMALL)
    (tmp_path / "quickstart.json").write_text('{"format": 2}')
    with pytest.raises(OutputError, match="holds a quickstart of classification: choose another"):
        quickstart.detection(tmp_path, SMALL)
    (tmp_path / "quickstart.json").write_text("[]")
    with pytest.raises(OutputError, match=r"quickstart\.json is damaged .*: delete the folder"):
        quickstart.detection(tmp_path, SMALL)
