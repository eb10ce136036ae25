"""Comparing real models through LoadGen: a slow and a fast one, twins, and an INT8 twin made on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click.testing
import cv2
import numpy as np
import openvino as ov
import pytest
from backend.test_calibration import convolutional_oracle, quantized_elsewhere
from command_line import harness
from conftest import BRIEF_S, CLASSES, PATIENCE_S, SIZE, Oracle, make_oracle
from openvino import opset13 as ops
from sample_comparison import comparison, variant

from harness import cli, files
from harness.backend import calibration
from harness.comparison import document, output, session, variants
from harness.comparison.document import Comparison
from harness.comparison.session import Request
from harness.dataset.images import find_images
from harness.dataset.store import prepare
from harness.errors import DataError, HarnessError, OutputError
from harness.machine import system
from harness.measurement import series
from harness.mlperf import log
from harness.mlperf.scenario import Scenario
from harness.model.card import find_card, read_card
from harness.run import result


def test_detectors_are_compared_without_data_on_drawn_scenes_for_speed_only(tmp_path: Path) -> None:
    request = Request(
        (find_card("builtin-detector"),),
        tmp_path / "out",
        scenarios=(Scenario.SINGLE_STREAM,),
        rounds=2,
        precisions=("f32", "int8"),
        duration_s=BRIEF_S,
    )
    found = session.compare(request)
    assert [one.name for one in found.variants] == ["builtin-detector-f32", "builtin-detector-int8"]
    assert all(one.speed_only and one.no_accuracy for one in found.variants)
    assert all(cell.interval() is not None for cell in found.cells)


def test_what_no_images_can_be_drawn_for_is_refused_before_a_folder_is_made(
    oracle: Oracle, tmp_path: Path
) -> None:
    with pytest.raises(HarnessError, match=r"takes images as they are, .* give a store with --data"):
        session.compare(Request((oracle.card,), tmp_path / "out", precisions=("f32", "int8")))
    assert not (tmp_path / "out").exists()


def make_slow(oracle: Oracle, name: str = "slow", convolutions: int = 6) -> Path:
    """Write the oracle with convolutions that cost time and change no answer; return its card."""
    model = ov.Core().read_model(oracle.card.folder / "oracle.xml")
    pixels = model.get_parameters()[0]
    generator = np.random.default_rng(1)
    values = ops.transpose(ops.convert(pixels, np.float32), np.array([0, 3, 1, 2]))
    for channels in [3, *[64] * (convolutions - 1)]:
        weights = generator.normal(0, 0.05, (64, channels, 3, 3)).astype(np.float32)
        values = ops.relu(ops.convolution(values, weights, [1, 1], [1, 1], [1, 1], [1, 1]))
    nothing = ops.multiply(ops.reduce_mean(values, np.array([1, 2, 3]), False), np.float32(1e-9))
    logits = ops.add(model.get_results()[0].input_value(0), ops.reshape(nothing, np.array([1, 1]), False))
    folder = oracle.card_path.parent
    slow = ov.Model([ops.result(logits, name="logits")], [pixels], name)
    ov.save_model(slow, folder / f"{name}.xml", compress_to_fp16=False)
    return copy_card(oracle, name, f'"{name}.xml"')


def copy_card(oracle: Oracle, name: str, path: str = '"oracle.xml"') -> Path:
    """Write a card like the oracle's under another name."""
    text = oracle.card_path.read_text().replace('name = "oracle"', f'name = "{name}"')
    card_path = oracle.card_path.parent / f"{name}.toml"
    card_path.write_text(text.replace('"oracle.xml"', path))
    return card_path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Return an oracle with a slow relative beside it, both right about 57 of 60 images."""
    oracle = make_oracle(tmp_path_factory.mktemp("pair"), count=60, wrong=3)
    make_slow(oracle)
    return oracle


@pytest.fixture(scope="module")
def arguments(pair: Oracle, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    out = tmp_path_factory.mktemp("compared") / "out"
    return ["compare", "--model", pair.card_path.parent / "slow.toml", "--model", pair.card_path,
            "--data", pair.store.path, "--threads", "1", "--rounds", "2", "--duration", "0.3",
            "--out", out]  # fmt: skip


@pytest.fixture(scope="module")
def compared(arguments: list[str | Path]) -> tuple[Comparison, Path]:
    """Compare the slow model and the fast one, once for all tests."""
    done = harness(*arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    out = Path(arguments[-1])
    assert json.loads(done.stdout) == json.loads((out / "compare.json").read_text())
    return document.read(out / "compare.json")[0], out


def test_the_fast_model_is_found_faster_in_both_scenarios(compared: tuple[Comparison, Path]) -> None:
    found, _ = compared
    for scenario in (Scenario.SINGLE_STREAM, Scenario.OFFLINE):
        slow, fast = found.cell(scenario, 1, "slow"), found.cell(scenario, 1, "oracle")
        assert slow is not None
        assert fast is not None
        # A busy neighbour only ever slows a round down, so the fastest count, even of those that are INVALID.
        if scenario is Scenario.SINGLE_STREAM:
            ahead, behind = (min(one.latencies_ns["90.00"] for one in cell.rounds) for cell in (fast, slow))
        else:
            behind, ahead = (
                max(one.samples_per_second or 0.0 for one in cell.rounds) for cell in (fast, slow)
            )
        assert behind > 3 * ahead


def test_both_accuracies_are_the_true_ones_and_no_answer_changed(compared: tuple[Comparison, Path]) -> None:
    found, _ = compared
    assert [(entry.accuracy.good, entry.accuracy.passed) for entry in found.variants if entry.accuracy] == [
        (57, True),
        (57, True),
    ]
    (both,) = found.accuracy_pairs
    assert (both.count, both.changed, both.lost, both.gained, both.p_value) == (60, 0, 0, 0, 1.0)


def test_every_figure_is_the_one_in_its_log(compared: tuple[Comparison, Path]) -> None:
    found, out = compared
    assert len(found.cells) == 4
    for cell in found.cells:
        assert [entry.number for entry in cell.rounds] == [1, 2]
        assert (out / cell.user_conf).is_file()
        for entry in cell.rounds:
            again = series.read_round(out / entry.log, {}, entry.noise)
            assert (again.latencies_ns, again.samples_per_second) == (
                entry.latencies_ns,
                entry.samples_per_second,
            )
            assert (out / entry.log / "mlperf_log_summary.txt").is_file()
    for one in found.variants:
        assert one.accuracy is not None
        assert (out / one.accuracy.log / "mlperf_log_accuracy.json").is_file()


def test_the_variants_take_turns(compared: tuple[Comparison, Path]) -> None:
    found, out = compared
    started = sorted(
        (os.stat(out / entry.log / "mlperf_log_detail.txt").st_mtime_ns, cell.scenario, cell.variant)
        for cell in found.cells
        for entry in cell.rounds
    )
    forth, back = ([(scenario, name) for scenario in found.scenarios for name in names]
                   for names in (("slow", "oracle"), ("oracle", "slow")))  # fmt: skip
    assert [entry[1:] for entry in started] == [*forth, *back]


def test_the_folder_holds_the_report_and_nothing_half_written(compared: tuple[Comparison, Path]) -> None:
    _, out = compared
    assert sorted(path.name for path in out.iterdir()) == [
        "accuracy", "compare.json", "report.html", "request.json", "rounds", "table.csv", "table.md",
    ]  # fmt: skip
    for link in set(part.split('"')[0] for part in (out / "report.html").read_text().split('href="')[1:]):
        assert (out / link).is_file(), link


def test_a_second_call_repeats_no_test_but_an_accuracy_whose_files_are_damaged(
    compared: tuple[Comparison, Path], arguments: list[str | Path]
) -> None:
    found, out = compared
    groups = [
        [cell.rounds[number] for cell in found.cells if cell.scenario is scenario]
        for scenario in found.scenarios
        for number in range(2)
    ]
    # A busy neighbour can make so short a test INVALID; its whole group is then measured again.
    whole = [group for group in groups if all(entry.valid for entry in group)]
    valid = [out / entry.log / "round.json" for group in whole for entry in group]
    assert valid
    before = [path.stat().st_mtime_ns for path in valid]
    emptied, cut = (out / variant.accuracy.log / "mlperf_log_accuracy.json" for variant in found.variants)
    emptied.write_text("[]")
    result_file = cut.parents[1] / "result.json"
    result_file.write_text(result_file.read_text()[:400])
    done = harness(*arguments, "--stall-timeout", 240)
    assert done.returncode in (0, 1), done.stderr
    assert "performance tests." in done.stderr
    assert " ".join(done.stderr.split()).count("Run again: the") == 2
    assert document.read(out / "compare.json")[0].accuracy_pairs == found.accuracy_pairs
    assert "Single-Stream, p90 latency in ms" in done.stdout
    assert [path.stat().st_mtime_ns for path in valid] == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration_s": 9.0}, "are of another duration: give another --out"),
        ({"precisions": ("f32", "bf16")}, "are of another set of models: give another --out"),
    ],
)
def test_a_folder_keeps_to_one_comparison(
    compared: tuple[Comparison, Path], pair: Oracle, changes: dict[str, object], message: str
) -> None:
    _, out = compared
    cards = (read_card(pair.card_path.parent / "slow.toml"), pair.card)
    values: dict[str, object] = {"duration_s": 0.3} | changes
    with pytest.raises(OutputError, match=message):
        session.compare(Request(cards, out, pair.store.path, threads=(1,), **values))  # type: ignore[arg-type]


def test_a_model_that_came_quantized_stands_for_itself_whatever_its_card_says(
    pair: Oracle, tmp_path: Path
) -> None:
    whole = convolutional_oracle(tmp_path, pair)
    came = replace(quantized_elsewhere(whole, tmp_path, "qdq"), name="came")
    found = variants.candidates((whole, came), ("f32", "int8"))
    assert [(one.name, one.quantize) for one in found] == [
        ("net-f32", False), ("net-int8", True), ("came", False),
    ]  # fmt: skip


def claim(out: Path, pair: Oracle) -> None:
    candidates = variants.candidates((pair.card, read_card(pair.card_path.parent / "slow.toml")), ())
    session._claim(Request((), out), candidates, pair.store, system.describe())


def test_a_folder_keeps_to_one_generation_of_cpus_and_quota_and_an_older_one_does_not_tell_them(
    pair: Oracle, tmp_path: Path
) -> None:
    claim(tmp_path, pair)
    path = tmp_path / "request.json"
    held = json.loads(path.read_text())
    *older, signature, is_under_quota, quota_cores = held["machine"]
    for known in (older, [*older, signature], [*older, signature, is_under_quota]):
        path.write_text(json.dumps(held | {"machine": known}))
        claim(tmp_path, pair)
        assert json.loads(path.read_text()) == held
    path.write_text(json.dumps(held | {"machine": [*older, "6-143-8"]}))
    with pytest.raises(OutputError, match=r"are of another machine, CPU quota or set of library versions"):
        claim(tmp_path, pair)
    for others in ([not is_under_quota], [is_under_quota, 0.7 if quota_cores is None else None]):
        path.write_text(json.dumps(held | {"machine": [*older, signature, *others]}))
        with pytest.raises(OutputError, match=r"are of another machine, CPU quota or set of library"):
            claim(tmp_path, pair)


def test_a_folder_remembers_after_how_many_rounds_it_was_looked_at(pair: Oracle, tmp_path: Path) -> None:
    claim(tmp_path, pair)
    for rounds, looks in ((5, (5,)), (5, (5,)), (12, (5, 12)), (5, (5, 12))):
        assert session._looked(Request((), tmp_path, rounds=rounds)) == looks
        claim(tmp_path, pair)
    path = tmp_path / "request.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"looks": ["often"]}))
    with pytest.raises(OutputError, match=r"Cannot read .*request\.json"):
        claim(tmp_path, pair)


def test_ctrl_c_keeps_what_is_finished_and_nothing_else(
    compared: tuple[Comparison, Path], arguments: list[str | Path]
) -> None:
    _, out = compared
    before = (out / "compare.json").read_bytes()
    more = [str(word) if word != "2" else "50" for word in arguments]
    command = [sys.executable, "-m", "harness", *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(out.glob("rounds/oracle/SingleStream/1-threads/round_3/round.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert not list(out.glob(".*"))
    for folder in out.glob("rounds/*/*/*/round_*"):
        assert (folder / "round.json").is_file()
        log.require_summary(folder / log.SUMMARY_LOG)
    assert (out / "compare.json").read_bytes() == before


def test_twins_without_images_are_compared_for_speed_only(pair: Oracle, tmp_path: Path) -> None:
    names = ("one", "other")
    for name in names:
        path = copy_card(pair, name)
        path.write_text(path.read_text().replace('resize = "none"', 'resize = "area"'))
    cards = tuple(read_card(pair.card_path.parent / f"{name}.toml") for name in names)
    request = Request(cards, tmp_path / "out", scenarios=(Scenario.OFFLINE,), threads=(1,), rounds=2,
                      duration_s=BRIEF_S)  # fmt: skip
    found = session.compare(request)
    output.write([found], tmp_path / "out")
    assert all(one.no_accuracy.startswith("speed only: no images") for one in found.variants)
    (speedup,) = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"][0]["speedups"]
    assert speedup["text"].endswith("(speed only)")


@pytest.fixture(scope="module")
def with_a_twin(pair: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compare a model with its INT8 twin in MultiStream; return the folder."""
    tmp_path = tmp_path_factory.mktemp("twin")
    noise = np.random.default_rng(2).integers(0, 255, (20, SIZE, SIZE, 3), np.uint8)
    (tmp_path / "images").mkdir()
    for number, pixels in enumerate(noise):
        cv2.imwrite(str(tmp_path / "images" / f"image_{number:05d}.png"), pixels)
    lines = "".join(f"image_{number:05d}.png 0\n" for number in range(len(noise)))
    (tmp_path / "images" / "val_map.txt").write_text(lines)
    images = find_images(tmp_path / "images", CLASSES)
    other = prepare(images, pair.card.input.recipe, tmp_path / "calibration-store", "custom")
    small = make_slow(pair, "small", convolutions=2)
    common = ["compare", "--model", small, "--precision", "f32,int8", "--data", pair.store.path,
              "--scenario", "multi-stream", "--threads", "1", "--rounds", "2", "--duration", "0.1",
              "--out", tmp_path / "out"]  # fmt: skip
    done = harness(*common, "--calibration-data", other.path)
    assert done.returncode in (0, 1), done.stderr
    return tmp_path / "out"


def test_an_int8_twin_is_made_from_images_that_are_not_scored(with_a_twin: Path) -> None:
    (found,) = document.read(with_a_twin / "compare.json")
    assert [(one.name, one.precision) for one in found.variants] == [
        ("small-f32", "f32"),
        ("small-int8", "int8"),
    ]
    assert (with_a_twin / "models" / "small-int8.xml").is_file()
    int8 = found.variant("small-int8")
    assert int8.computed == "int8"
    assert int8.sha256 != int8.origin
    assert int8.calibration == (
        "INT8 by NNCF, calibrated on 20 images of calibration-store, none of them scored"
    )


def test_an_int8_twin_is_kept_only_for_the_same_calibration_images_and_libraries(
    pair: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = read_card(pair.card_path.parent / "slow.toml")
    candidate = variants.candidates((card,), ("f32", "int8"))[1]
    made, _ = variants.quantized(candidate, pair.store, pair.store, tmp_path)
    before = made.folder / "slow-int8.xml"
    stamp = before.stat().st_mtime_ns
    variants.quantized(candidate, pair.store, pair.store, tmp_path)
    assert before.stat().st_mtime_ns == stamp
    other = make_oracle(tmp_path / "other", count=20).store
    variants.quantized(candidate, other, pair.store, tmp_path)
    assert before.stat().st_mtime_ns != stamp
    stamp = before.stat().st_mtime_ns
    monkeypatch.setattr(calibration, "versions", lambda: {"nncf": "99.0", "openvino": "2099.0"})
    variants.quantized(candidate, other, pair.store, tmp_path)
    assert before.stat().st_mtime_ns != stamp


def test_calibration_images_that_are_scored_too_are_counted(pair: Oracle) -> None:
    words = variants._calibration_words(pair.card, pair.store, pair.store, range(40))
    assert words.endswith(
        "calibrated on 40 images of store, of which 40 are scored too, which may flatter its accuracy"
    )


def refused(cards: tuple[Path, ...], store: Path, out: Path, **changes: object) -> str:
    with pytest.raises(HarnessError) as raised:
        session.compare(Request(tuple(map(read_card, cards)), out, store, **changes))  # type: ignore[arg-type]
    assert raised.value.exit_code == 2
    assert not out.exists()
    return str(raised.value)


def test_requests_that_make_no_comparison_are_refused_before_any_work(pair: Oracle, tmp_path: Path) -> None:
    fast, slow = pair.card_path, pair.card_path.parent / "slow.toml"
    store, out = pair.store.path, tmp_path / "out"
    usable = system.usable_cpus()
    for cards, changes, message in (
        ((), {}, "A comparison needs at least two variants: give --model twice"),
        ((fast,), {}, "A comparison needs at least two variants: give --model twice"),
        ((fast, fast), {}, "Two variants are called 'oracle': give each model and precision once"),
        ((fast,), {"precisions": ("f32", "f32")}, "Two variants are called 'oracle-f32'"),
        ((fast, slow), {"baseline": "lsow"}, "--baseline 'lsow' is none of the variants. Did you mean 'slow"),
        ((fast, slow), {"rounds": 0}, "--rounds 0 gives no interval: give at least 2, better 5 or more."),
        ((fast, slow), {"rounds": 1}, "--rounds 1 gives no interval: give at least 2, better 5 or more."),
        ((fast, slow), {"threads": (usable + 1,)}, f"--threads {usable + 1}: this process may use {usable}"),
        ((fast, slow), {"threads": (0,)}, "--threads 0: this process may use"),
        ((fast,), {"precisions": ("f32", "in8")}, "Precision 'in8' is not known. Did you mean 'int8'?"),
        ((fast, slow), {"scenarios": (Scenario("Server"),)}, "Scenario 'Server' cannot be compared"),
        ((fast, slow), {"calibration_data": store}, f"--calibration-data {store} is for variants that are"),
    ):  # fmt: skip
        assert refused(cards, store, out, **changes).startswith(message), message


def test_models_of_different_tasks_are_refused(pair: Oracle, tmp_path: Path) -> None:
    path = copy_card(pair, "wide")
    path.write_text(path.read_text().replace("classes = 10", "classes = 12"))
    message = refused((pair.card_path, path), pair.store.path, tmp_path / "out")
    assert message == ("Model 'oracle' tells 10 labels apart and 'wide' 12: compare models of one task.")


def test_a_store_without_the_recipe_or_with_foreign_labels_is_refused(
    pair: Oracle, new_oracle: Callable[..., Oracle], tmp_path: Path
) -> None:
    path = copy_card(pair, "larger")
    path.write_text(path.read_text().replace("size = 16", "size = 32"))
    message = refused((pair.card_path, path), pair.store.path, tmp_path / "out")
    assert "has no samples for recipe none-32-1" in message
    narrow = [copy_card(pair, name) for name in ("narrow", "narrower")]
    for path in narrow:
        path.write_text(path.read_text().replace("classes = 10", "classes = 5"))
    with pytest.raises(DataError, match="has the label 9, but model 'narrow' knows 0 to 4"):
        session.compare(Request(tuple(map(read_card, narrow)), tmp_path / "out", pair.store.path))


def test_a_folder_of_something_else_is_refused(pair: Oracle, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear")
    cards = (pair.card, read_card(pair.card_path.parent / "slow.toml"))
    with pytest.raises(OutputError, match="holds something else: choose a new or empty one"):
        session.compare(Request(cards, tmp_path, pair.store.path))
    with pytest.raises(OutputError, match=r"letter.txt is a file: choose a folder"):
        session.compare(Request(cards, tmp_path / "letter.txt", pair.store.path))


def test_two_comparisons_in_one_folder_do_not_mix(pair: Oracle, tmp_path: Path) -> None:
    cards = (pair.card, read_card(pair.card_path.parent / "slow.toml"))
    with (
        files.locked(tmp_path / ".lock", OutputError("not expected")),
        pytest.raises(OutputError, match=r"^Another process is at work on .*: wait for it, or .* --out\.$"),
    ):
        session.compare(Request(cards, tmp_path, pair.store.path))
    assert not list(tmp_path.iterdir())


def test_tests_of_a_newer_format_are_refused_and_left_as_they_are(pair: Oracle, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"format": 2}')
    cards = (pair.card, read_card(pair.card_path.parent / "slow.toml"))
    with pytest.raises(OutputError, match="has format 2, and this harness knows 1: choose another --out"):
        session.compare(Request(cards, tmp_path, pair.store.path))
    assert (tmp_path / "request.json").read_text() == '{"format": 2}'
    (tmp_path / "result.json").write_text('{"format": 2}')
    with pytest.raises(OutputError, match="has format 2, newer than this harness knows: update the harness"):
        result.read(tmp_path / "result.json")


def test_multistream_is_compared_by_the_p99_of_its_queries(with_a_twin: Path) -> None:
    (found,) = document.read(with_a_twin / "compare.json")
    for cell in found.cells:
        for entry in cell.rounds:
            assert cell.values()[entry.number] == entry.latencies_ns["99.00"] / 1e6
    assert "Multi-Stream, p99 query latency in ms" in (with_a_twin / "table.md").read_text()


def invoke(*words: str | Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.cli, ["compare", *map(str, words)])


def test_merge_makes_one_table_and_a_missed_target_is_exit_code_1(tmp_path: Path) -> None:
    output.write([comparison()], tmp_path / "a")
    output.write([comparison()], tmp_path / "b")
    done = invoke("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "all")
    assert done.exit_code == 0, done.output
    assert "Imaginary CPU 9000, 1 thread (../a)" in done.stdout
    assert (tmp_path / "all" / "report.html").is_file()
    missed = (variant("fp32"), variant("int8", 600, False), variant("searched"))
    for name in ("c", "d"):
        output.write([comparison(variants=missed)], tmp_path / name)
    done = invoke("merge", tmp_path / "c", tmp_path / "d", "--out", tmp_path / "all", "--json")
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)["comparisons"]) == 2


def test_the_command_line_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    done = invoke("--model", "resnet50-seeded")
    assert done.exit_code == 2
    assert "Missing option '--out'" in done.output
    done = invoke("--model", "resnet50-seeded", "--threads", "1,two", "--out", tmp_path)
    assert str(done.exception) == "--threads '1,two' is no list of whole numbers: write it as 1,2."
