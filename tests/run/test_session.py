"""Real LoadGen runs of a model whose answers are known."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from command_line import harness
from conftest import BRIEF_S, PATIENCE_S, Oracle, grey_of

from harness import cli
from harness.backend import graph
from harness.dataset import pixels, store
from harness.errors import ConfError, DataError, HarnessError, OutputError, RunFailed
from harness.loadgen.settings import RunSettings
from harness.machine import procfs
from harness.machine.noise import Watch
from harness.measurement import probing
from harness.measurement import test as measurement_test
from harness.measurement.demands import Demands
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.process import child
from harness.run import measuring, result
from harness.run import session as run_session
from harness.run.summary import summary

BOTH = (Mode.PERFORMANCE, Mode.ACCURACY)


def request(
    oracle: Oracle, out: Path, scenario: Scenario, modes: tuple[Mode, ...] = BOTH, **settings: Any
) -> run_session.Request:
    chosen = RunSettings(scenario, **{"duration_s": BRIEF_S, **settings})
    return run_session.Request(oracle.card, oracle.store.path, chosen, modes, out, system="here")


@pytest.mark.parametrize("scenario", list(Scenario))
def test_a_run_gives_the_accuracy_that_the_model_truly_has(
    oracle: Oracle, tmp_path: Path, scenario: Scenario
) -> None:
    user_conf = tmp_path / "user.conf"
    # A busy machine may well keep a thread waiting for 15 ms, or hold up a brief probe.
    user_conf.write_text("resnet50.Server.target_qps = 500\nresnet50.Server.target_latency = 60000\n")
    duration_s = 0.3 if scenario is Scenario.SERVER else BRIEF_S
    asked = request(oracle, tmp_path, scenario, user_conf=user_conf, duration_s=duration_s)
    document, folder = run_session.run(asked)
    assert document.accuracy.text == "accuracy=95.000%, good=57, total=60"
    assert document.accuracy.passed
    assert document.performance.valid
    assert document.precision.requested == "f32"
    assert folder == tmp_path / "here" / "oracle" / scenario
    assert result.read(folder / "result.json") == document


def test_the_files_of_a_run_lie_in_the_layout_of_mlperf(oracle: Oracle, tmp_path: Path) -> None:
    _, folder = run_session.run(request(oracle, tmp_path, Scenario.SINGLE_STREAM))
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == [
        "accuracy/accuracy.txt",
        "accuracy/mlperf_log_accuracy.json",
        "accuracy/mlperf_log_detail.txt",
        "accuracy/mlperf_log_summary.txt",
        "performance/run_1/mlperf_log_accuracy.json",
        "performance/run_1/mlperf_log_detail.txt",
        "performance/run_1/mlperf_log_summary.txt",
        "result.json",
        "user.conf",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["SingleStream"]


def test_the_score_is_the_one_in_the_log(oracle: Oracle, tmp_path: Path) -> None:
    document, folder = run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.PERFORMANCE,)))
    summary = (folder / "performance" / "run_1" / "mlperf_log_summary.txt").read_text()
    score = document.performance.samples_per_second
    line = next(line for line in summary.splitlines() if line.startswith("Samples per second"))
    assert float(line.split(":")[1]) == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 16, 64])
def test_every_batch_size_answers_every_sample_rightly(oracle: Oracle, tmp_path: Path, batch: int) -> None:
    document, _ = run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,), batch=batch))
    assert document.accuracy.good == 57


def test_bf16_is_a_variant_with_a_folder_of_its_own(oracle: Oracle, tmp_path: Path) -> None:
    if not graph.has_bf16():
        pytest.skip("this CPU has no BF16")
    for precision in ("f32", "bf16"):
        document, folder = run_session.run(
            request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,), precision=precision)
        )
        assert document.precision.openvino["INFERENCE_PRECISION_HINT"] == precision
        assert folder.parent.name == {"f32": "oracle", "bf16": "oracle-bf16"}[precision]


def test_a_summary_tells_how_much_of_a_model_computes_in_8_bits(oracle: Oracle, tmp_path: Path) -> None:
    document, folder = run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,)))
    assert "in 8 bits" not in summary(document, folder)
    document = replace(document, precision=replace(document.precision, kernels={"f32": 50, "u8": 2, "i8": 1}))
    assert "  3 of 53 convolutions and matrix products compute in 8 bits" in summary(document, folder)
    document = replace(document, precision=replace(document.precision, kernels={"u8": 52, "i8": 1}))
    assert "in 8 bits" not in summary(document, folder)


def test_a_missed_target_is_exit_code_1(new_oracle: Callable[..., Oracle], tmp_path: Path) -> None:
    oracle = new_oracle(count=30, wrong=6)
    done = harness(
        "run", "--model", oracle.card_path, "--data", oracle.store.path, "--scenario", "Offline",
        "--duration", "0.1", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 1
    assert "accuracy=80.000%, good=24, total=30" in done.stdout
    assert "failed: 80.000 % against the target 90 %" in done.stdout


def test_json_is_all_that_stands_on_stdout(oracle: Oracle, tmp_path: Path) -> None:
    done = harness(
        "run", "--model", oracle.card_path, "--data", oracle.store.path, "--scenario", "single-stream",
        "--duration", "0.1", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    # A busy neighbour can make so short a run INVALID: that is told in the JSON, too.
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["scenario"] == "SingleStream"


def test_a_failed_inference_fails_the_run_and_names_the_sample(
    new_oracle: Callable[..., Oracle], tmp_path: Path
) -> None:
    oracle = new_oracle(count=20, poison=7)
    for scenario in Scenario:
        require_failure(oracle, tmp_path / scenario, scenario, ".*reshape")


def test_a_score_that_is_nan_fails_the_run_and_names_the_sample(
    new_oracle: Callable[..., Oracle], tmp_path: Path
) -> None:
    oracle = new_oracle(count=20, nan_grey=grey_of(7))
    for mode in Mode:
        out = tmp_path / mode
        require_failure(
            oracle, out, Scenario.SINGLE_STREAM, r"the model gives .* \(NaN\): check its weights", mode
        )


def require_failure(
    oracle: Oracle, out: Path, scenario: Scenario, reason: str, mode: Mode = Mode.ACCURACY
) -> None:
    """Require that the inference of a sample of class 7 fails, and that nothing is left of the run."""
    with pytest.raises(
        RunFailed, match=rf"Inference failed on sample \d*7 \(image_000\d7.png\): {reason}"
    ) as caught:
        run_session.run(request(oracle, out, scenario, (mode,)))
    assert "\n" not in str(caught.value)
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_stray_audit_config_has_no_effect(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audit.config").write_text("*.*.mode = 2\n*.*.accuracy_log_sampling_target = 8\n")
    monkeypatch.chdir(tmp_path)
    document, folder = run_session.run(request(oracle, tmp_path / "out", Scenario.OFFLINE, (Mode.ACCURACY,)))
    assert document.accuracy.total == 60
    assert "Found Audit Config file" not in (folder / "accuracy" / "mlperf_log_detail.txt").read_text()


def test_an_official_run_has_the_settings_of_the_rules(oracle: Oracle, tmp_path: Path) -> None:
    document, folder = run_session.run(
        request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,), official=True)
    )
    detail = log.read_detail(folder / "accuracy" / "mlperf_log_detail.txt")
    rules = conf.read_rules().scenario("resnet50", "Offline")
    assert detail["effective_min_duration_ms"] == rules.min_duration_ms == 600_000
    assert detail["effective_qsl_rng_seed"] == rules.qsl_rng_seed
    assert not document.official
    assert any("custom" in reason for reason in document.not_official_because)


def test_an_official_run_holds_every_sample_against_its_hash_before_any_test(
    new_oracle: Callable[..., Oracle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_HASHED_WHOLE_BYTES", 1000)
    oracle = new_oracle(count=70, wrong=0)
    made, recipe = oracle.store, oracle.card.input.recipe
    passed_over = next(k for k in range(made.count) if k not in pixels.spread(made.count, pixels._SAMPLES))
    with (made.path / made.recipes[recipe.key].file).open("r+b") as file:
        file.seek(passed_over * recipe.sample_bytes)
        file.write(b"\xfe")
    asked = request(oracle, tmp_path / "out", Scenario.OFFLINE, official=True)
    with pytest.raises(DataError, match="has other pixels than were prepared: delete the store and prepare"):
        run_session.run(asked)
    assert not (tmp_path / "out").exists()
    assert run_session.open_for(oracle.card, made.path), "a run that is not official looks at some samples"


def test_an_unofficial_run_is_marked_in_every_output(oracle: Oracle, tmp_path: Path) -> None:
    done = harness(
        "run", "--model", oracle.card_path, "--data", oracle.store.path, "--scenario", "SingleStream",
        "--mode", "performance", "--duration", "0.1", "--out", tmp_path / "out",
    )  # fmt: skip
    assert "not official: short run (0.1 s, the rules ask for 600 s)" in done.stdout
    document = json.loads(next((tmp_path / "out").rglob("result.json")).read_text())
    assert document["official"] is False


def test_the_accuracy_of_the_same_model_joins_its_performance(oracle: Oracle, tmp_path: Path) -> None:
    performance, _ = run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.PERFORMANCE,)))
    both, _ = run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,), duration_s=0.7))
    assert both.performance == performance.performance
    assert both.accuracy.good == 57


def test_the_accuracy_of_other_settings_is_kept_apart(oracle: Oracle, tmp_path: Path) -> None:
    run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.PERFORMANCE,)))
    with pytest.raises(OutputError, match="is of another batch"):
        run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,), batch=4))


def test_estimates_of_the_user_take_the_place_of_the_probe(oracle: Oracle, tmp_path: Path) -> None:
    user_conf = tmp_path / "mine.conf"
    user_conf.write_text("resnet50.SingleStream.target_latency = 0.0125\n")
    document, folder = run_session.run(
        request(oracle, tmp_path / "out", Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,), user_conf=user_conf)
    )
    detail = log.read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert detail["effective_target_qps"] == 80_000
    assert document.performance.estimate == {"target_latency": 0.0125}
    assert (folder / "user.conf").read_text() == user_conf.read_text()


def test_a_user_conf_that_comes_through_a_pipe_is_read_once_and_told_to_loadgen(
    oracle: Oracle, tmp_path: Path
) -> None:
    text = "# from a pipe\nresnet50.SingleStream.target_latency = 0.0125\nbert.Offline.target_qps = 1\n"
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    try:
        asked = request(
            oracle, tmp_path, Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,), user_conf=Path(f"/dev/fd/{reader}")
        )
        document, folder = run_session.run(asked)
    finally:
        os.close(reader)
    assert (folder / "user.conf").read_text() == text
    detail = log.read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert detail["effective_target_qps"] == 80_000
    assert document.settings.user_conf_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_probe_that_was_far_too_low_is_corrected_until_the_run_is_valid(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Far from what a busy neighbour does between probe and test; and so more attempts are needed.
    margin = 0.03
    monkeypatch.setattr(probing, "_SHORT_OFFLINE_MARGIN", margin)
    monkeypatch.setattr(measurement_test, "ATTEMPTS", 10)
    document, folder = run_session.run(
        request(oracle, tmp_path, Scenario.OFFLINE, (Mode.PERFORMANCE,), duration_s=0.3)
    )
    assert document.performance.valid
    words = capsys.readouterr().err
    found = re.findall(r"repeated with target_qps (\S+): .* made for (\S+) samples/s and \S+ were", words)
    # Each is of the attempt that was INVALID, not of the next.
    first = margin * document.probe.samples_per_second
    tried = [first, *(float(better) for better, _ in found[:-1])]
    assert found
    assert [float(made_for) for _, made_for in found] == pytest.approx(tried, rel=1e-3)
    assert "--user-conf" not in words
    told = document.performance.estimate["target_qps"]
    assert told >= 2 * margin * document.probe.samples_per_second
    detail = log.read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert detail["effective_target_qps"] == pytest.approx(told, rel=1e-4)
    assert conf.read_user_conf(folder / "user.conf", "resnet50").values(Scenario.OFFLINE)[
        "target_qps"
    ] == pytest.approx(told)


def test_an_estimate_that_is_sure_to_fail_is_refused_and_nothing_is_left_behind(
    oracle: Oracle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_conf = tmp_path / "mine.conf"
    user_conf.write_text("resnet50.Offline.target_qps = 5\n*.Offline.min_duration = 700000\n")
    own: dict[str, Any] = {"user_conf": user_conf, "duration_s": 0.3}
    with pytest.raises(ConfError, match=r"mine\.conf, line 1: .* is sure to make the test INVALID"):
        run_session.run(request(oracle, tmp_path / "out", Scenario.OFFLINE, (Mode.PERFORMANCE,), **own))
    assert "mine.conf, line 2: '*.Offline.min_duration = 700000' has no effect" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Return a user.conf by which a SingleStream test lasts longer than any signal takes to come."""
    path = tmp_path / "endless.conf"
    path.write_text("*.SingleStream.min_query_count = 500000\n")
    return path


def test_a_killed_test_process_is_reported_with_its_signal(
    oracle: Oracle, tmp_path: Path, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _signal_when_running(monkeypatch, signal.SIGKILL)
    with pytest.raises(RunFailed, match="was killed by SIGKILL while running"):
        run_session.run(
            request(oracle, tmp_path, Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,), user_conf=endless)
        )
    assert not list(tmp_path.rglob("mlperf_log*"))


def test_a_hung_test_is_stopped_and_reported(
    oracle: Oracle, tmp_path: Path, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _signal_when_running(monkeypatch, signal.SIGSTOP)
    own: dict[str, Any] = {"user_conf": endless, "stall_timeout_s": 3}
    with pytest.raises(RunFailed, match="hung and was stopped: nothing was finished for 3 s"):
        run_session.run(request(oracle, tmp_path, Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,), **own))


def _signal_when_running(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Send a signal to the child as soon as its LoadGen test has completed something."""
    original = measurement_test._show
    sent: list[int] = []

    def show(now: child.Progress, *rest: Any) -> None:
        original(now, *rest)
        if now.phase == "running" and now.completed and not sent:
            process = child.multiprocessing.active_children()[0]
            assert process.pid is not None
            os.kill(process.pid, number)
            sent.append(process.pid)

    monkeypatch.setattr(measurement_test, "_show", show)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        # Ctrl-C comes to the whole group, `kill` and a supervisor send to the command alone.
        (signal.SIGINT, "harness: interrupted;"),
        (signal.SIGTERM, "harness: stopped by SIGTERM;"),
    ],
)
def test_ctrl_c_or_kill_stops_everything_and_leaves_nothing_half_written(
    oracle: Oracle, tmp_path: Path, endless: Path, number: signal.Signals, words: str
) -> None:
    command = [
        sys.executable, "-m", "harness", "run", "--model", str(oracle.card_path), "--data",
        str(oracle.store.path), "--scenario", "SingleStream", "--mode", "performance", "--duration",
        "0.1", "--user-conf", str(endless), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(tmp_path.rglob("mlperf_log_detail.txt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert errors.rstrip().splitlines()[-1].startswith(words)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_call_that_is_killed_while_results_are_replaced_leaves_no_old_verdict_beside_new_logs(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(oracle, tmp_path, Scenario.OFFLINE)
    _, folder = run_session.run(asked)
    place = measurement_test.take_place

    def placed_and_killed(source: Path, target: Path) -> None:
        place(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "take_place", placed_and_killed)
        with pytest.raises(KeyboardInterrupt):
            run_session.run(replace(asked, replace=True))
    held = result.read(folder / "result.json")
    assert held.performance is None
    assert held.accuracy.good == 57
    document, _ = run_session.run(asked)
    log_path = folder / "performance" / "run_1" / "mlperf_log_detail.txt"
    assert document.performance.duration_ns == log.read_performance(log_path).duration_ns


def test_what_a_killed_run_left_under_way_goes_with_the_next(oracle: Oracle, tmp_path: Path) -> None:
    asked = request(oracle, tmp_path, Scenario.OFFLINE, (Mode.ACCURACY,))
    beside = tmp_path / "here" / "oracle"
    (beside / ".Offline.a1b2c3d4" / "accuracy").mkdir(parents=True)
    (beside / ".SingleStream.a1b2c3d4").mkdir()
    run_session.run(asked)
    assert {path.name for path in beside.iterdir()} == {"Offline", ".SingleStream.a1b2c3d4"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 2}, "A SingleStream query holds one sample"),
        ({"streams": 2}, "SingleStream runs one query at a time"),
        ({"threads": 10_000}, "--threads 10000: this process may use"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(
    oracle: Oracle, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HarnessError, match=message):
        run_session.run(request(oracle, tmp_path, Scenario.SINGLE_STREAM, **changes))


def test_more_streams_than_cpus_allowed_are_named_by_the_option_that_was_given(
    oracle: Oracle, tmp_path: Path
) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with pytest.raises(HarnessError, match="--streams 2: this process may use 1 CPU") as caught:
            run_session.run(request(oracle, tmp_path, Scenario.OFFLINE, streams=2))
    finally:
        os.sched_setaffinity(0, allowed)
    assert "--threads" not in str(caught.value)


def test_a_model_without_trained_weights_has_a_speed_and_no_accuracy(oracle: Oracle, tmp_path: Path) -> None:
    card_path = tmp_path / "untrained.toml"
    text = (
        oracle.card_path.read_text()
        .split("[accuracy]")[0]
        .replace('benchmark = "resnet50"', 'benchmark = "resnet50"\nspeed_only = true')
    )
    shutil.copy(oracle.card.folder / "oracle.xml", tmp_path)
    shutil.copy(oracle.card.folder / "oracle.bin", tmp_path)
    card_path.write_text(text)
    user_conf = tmp_path / "mine.conf"
    # With so many queries prepared it is VALID at any speed.
    user_conf.write_text("resnet50.SingleStream.target_latency = 0.0125\n")
    common = ["run", "--model", card_path, "--data", oracle.store.path, "--scenario", "SingleStream",
              "--user-conf", user_conf, "--duration", "0.1", "--out", tmp_path / "out"]  # fmt: skip
    refused = harness(*common, "--mode", "accuracy")
    assert refused.returncode == 2
    assert "has no trained weights, so no accuracy" in refused.stderr
    done = harness(*common)
    assert done.returncode == 0, done.stderr
    assert "speed only: no trained weights" in done.stdout
    assert "accuracy=" not in done.stdout


def test_labels_that_the_model_cannot_give_are_refused_before_any_work(
    oracle: Oracle, tmp_path: Path
) -> None:
    card_path = tmp_path / "narrow.toml"
    card_path.write_text(
        oracle.card_path.read_text()
        .replace("classes = 10", "classes = 5")
        .replace('"oracle.xml"', f'"{oracle.card.path}"')
    )
    bad = Oracle(card_path, oracle.store)
    with pytest.raises(DataError, match="has the label 9, but model 'oracle' knows 0 to 4"):
        run_session.run(request(bad, tmp_path / "out", Scenario.OFFLINE))


def test_an_output_folder_that_cannot_be_written_is_one_sentence(oracle: Oracle, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="Cannot write to the folder"):
        run_session.run(request(oracle, blocked, Scenario.OFFLINE))


def test_a_misspelt_scenario_names_the_nearest() -> None:
    outcome = click.testing.CliRunner().invoke(
        cli.cli, ["run", "--model", "resnet50-seeded", "--data", "x", "--scenario", "Ofline", "--out", "y"]
    )
    assert str(outcome.exception) == "Scenario 'Ofline' is not known. Did you mean 'Offline'?"


def test_real_images_in_numbered_class_folders_give_the_accuracy_of_the_real_model(
    shared_data: Path, tmp_path: Path
) -> None:
    from model.test_card import MOBILENET

    from harness.dataset.images import find_images
    from harness.dataset.store import prepare
    from harness.model.card import read_card

    for name in ("mobilenet_v2_1.0_224_quant.tflite",):
        shutil.copy(shared_data / "models" / name, tmp_path)
    (tmp_path / "card.toml").write_text(MOBILENET)
    card = read_card(tmp_path / "card.toml")
    sample = find_images(shared_data / "imagenet-sample", card.output.labels)
    for name, label in list(zip(sample.names, sample.labels, strict=True))[::4]:
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(sample.root / name)
    images = find_images(tmp_path / "images", card.output.labels)
    store = prepare(images, card.input.recipe, tmp_path / "store", "imagenet")
    settings = RunSettings(Scenario.OFFLINE, duration_s=BRIEF_S)
    document, folder = run_session.run(
        run_session.Request(card, store.path, settings, (Mode.ACCURACY,), tmp_path / "out", system="here")
    )
    assert 0.87 <= document.accuracy.accuracy <= 0.92
    answers = log.read_accuracy(folder / "accuracy" / "mlperf_log_accuracy.json")
    good = {index for _, index, data in answers if np.frombuffer(data, "<f4")[0] == store.labels[index]}
    assert len(good) == document.accuracy.good
    rules = [verdict.rule for verdict in document.accuracy.verdicts]
    assert rules == ["the card's target", "MLPerf resnet50, Closed division"]


def test_a_run_of_official_length_is_not_official_without_the_word() -> None:
    official = Path(__file__).parents[1] / "fixtures" / "official"
    detail = log.read_detail(official / "Offline" / "performance" / "mlperf_log_detail.txt")
    rules = conf.read_rules().scenario("resnet50", Scenario.OFFLINE)
    for official, faults in ((True, []), (False, ["run without --official"])):
        settings = RunSettings(Scenario.OFFLINE, official=official)
        assert measuring._rule_faults(detail, Demands(rules, {}, settings)) == faults


def test_a_score_of_another_percentile_has_its_name_and_is_not_official(
    oracle: Oracle, tmp_path: Path
) -> None:
    user_conf = tmp_path / "mine.conf"
    user_conf.write_text("resnet50.SingleStream.target_latency_percentile = 50\n")
    asked = request(oracle, tmp_path, Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,), user_conf=user_conf)
    document, folder = run_session.run(asked)
    performance = document.performance
    assert performance.score.name == "early-stopping estimate of p50 latency"
    assert performance.score.value < performance.latency_ns.p90
    assert "MLPerf's score, the early-stopping estimate of p50 latency" in summary(document, folder)
    assert "p50 of the latency, the rules' is p90" in document.not_official_because


def test_a_query_of_fewer_samples_is_not_official(oracle: Oracle, tmp_path: Path) -> None:
    user_conf = tmp_path / "mine.conf"
    user_conf.write_text("resnet50.MultiStream.samples_per_query = 4\n")
    asked = request(oracle, tmp_path, Scenario.MULTI_STREAM, (Mode.PERFORMANCE,), user_conf=user_conf)
    document, _ = run_session.run(asked)
    assert document.performance.score.name == "early-stopping estimate of p99 query latency"
    assert "4 samples in a query, the rules have 8" in document.not_official_because


@pytest.mark.parametrize(
    ("bound_ms", "faults"), [(15, []), (100, ["latency bound of 100 ms, the rules' is 15 ms"])]
)
def test_server_with_a_larger_latency_bound_is_not_official(bound_ms: int, faults: list[str]) -> None:
    rules = conf.read_rules().scenario("resnet50", Scenario.SERVER)
    seeds = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
    detail = {f"effective_{seed}": getattr(rules, seed) for seed in seeds}
    detail |= {"effective_min_duration_ms": 600_000, "effective_target_latency_ns": bound_ms * 1_000_000}
    detail["effective_target_latency_percentile"] = 0.99
    settings = RunSettings(Scenario.SERVER, official=True)
    assert measuring._rule_faults(detail, Demands(rules, {}, settings)) == faults  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", ".", "..", "", "a b", ".hidden", "a\nb"])
def test_the_system_s_name_is_no_path(oracle: Oracle, tmp_path: Path, name: str) -> None:
    asked = replace(request(oracle, tmp_path / "results", Scenario.OFFLINE), system=name)
    with pytest.raises(HarnessError, match="is no plain name of a folder: give a word of letters, digits"):
        run_session.run(asked)
    assert list(tmp_path.iterdir()) == []


def test_a_run_samples_the_frequency_while_it_measures(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Containers hide the frequency, so the machine's files are made up.
    cpu = tmp_path / procfs.CPUS / "cpu0" / "cpufreq"
    cpu.mkdir(parents=True)
    (cpu / "scaling_cur_freq").write_text("2500000\n")
    monkeypatch.setattr(measurement_test, "Watch", partial(Watch, tmp_path))
    document, _ = run_session.run(request(oracle, tmp_path, Scenario.SINGLE_STREAM, (Mode.PERFORMANCE,)))
    assert document.performance.noise.frequency_hz == 2.5e9
