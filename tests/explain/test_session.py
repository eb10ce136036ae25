"""Where the time goes: parts that add up, on real models and a real LoadGen."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import openvino as ov
import pytest
from backend.test_calibration import convolutional_oracle, quantized_elsewhere
from conftest import Oracle
from model.test_card import MOBILENET

from harness import cli
from harness.backend import calibration, graph
from harness.backend.calibration import CalibrationSettings
from harness.backend.settings import CompileSettings
from harness.errors import HarnessError, OutputError, RunFailed
from harness.explain import benchmark_app, output, page, session
from harness.explain.clocks import Clocks, Service, split_latency, split_throughput
from harness.explain.document import PARTS, Explanation
from harness.explain.session import Request
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.mlperf.scenario import Scenario
from harness.model.card import find_card, read_card
from harness.profiling import loops, peak


@pytest.fixture(scope="module")
def explained(oracle: Oracle) -> Explanation:
    settings = RunSettings(Scenario.SINGLE_STREAM, threads=1, duration_s=0.1)
    return session.explain(Request(oracle.card, settings, oracle.store.path, rounds=2))


def test_the_parts_add_up_to_what_loadgen_logged(explained: Explanation) -> None:
    loadgen = explained.way("loadgen")
    for split, figure_ns in zip(explained.splits, loadgen.figures_ns, strict=True):
        assert split.whole_ns == pytest.approx(figure_ns)
        assert min(split.dispatch_ns, split.copying_ns) > 0
    assert [way.name for way in explained.ways] == ["bare", "pool", "benchmark_app", "loadgen"]
    assert all(len(way.figures_ns) == 2 for way in explained.ways if not way.missing)


def test_the_page_shows_every_way_and_part(explained: Explanation) -> None:
    text = page.text(explained)
    for words in ("bare infer() loop", "benchmark_app", "LoadGen through the harness", *PARTS):
        assert words in text
    assert "% of the measured int8 peak" in text
    assert "% of the measured f32 peak" in text


def test_the_files_hold_what_was_found_and_are_never_replaced(explained: Explanation, tmp_path: Path) -> None:
    output.write(explained.to_dict(), page.page(explained), tmp_path)
    held = json.loads((tmp_path / "explain.json").read_text())
    assert held["format"] == 1
    assert set(held["split_ns"]) == set(PARTS)
    assert held["layers"]
    text = (tmp_path / "explain.html").read_text()
    assert "http" not in text
    assert "bare infer() loop" in text
    with pytest.raises(OutputError, match="holds an explanation already"):
        output.require_new(tmp_path)


def test_offline_accounts_for_all_of_its_streams_time_and_needs_no_benchmark_app(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_app, "find", lambda: None)
    settings = RunSettings(Scenario.OFFLINE, threads=1, duration_s=0.1, batch=2)
    found = session.explain(Request(oracle.card, settings, oracle.store.path, rounds=2))
    loadgen = found.way("loadgen")
    idle = []
    for split, figure_ns in zip(found.splits, loadgen.figures_ns, strict=True):
        assert split.whole_ns == pytest.approx(figure_ns)
        idle.append(split.queueing_ns / figure_ns)
    # An idle stream is the exception, but for a machine that stands still.
    assert -0.05 < min(idle) < 0.5
    assert "samples/s" in page.text(found)
    assert found.way("benchmark_app").median_ns is None
    assert "benchmark_app is not installed" in page.text(found)


def test_a_long_round_is_not_taken_for_one_that_hangs() -> None:
    machine = system.describe()
    for duration_s, given_s, stall_timeout_s in (
        (10.0, 120.0, 120.0),
        (100.0, 120.0, 300.0),
        (10.0, 400.0, 400.0),
    ):
        settings = RunSettings(
            Scenario.SINGLE_STREAM, threads=1, duration_s=duration_s, stall_timeout_s=given_s
        )
        assert session._settled(settings, machine).stall_timeout_s == stall_timeout_s


def test_a_latency_is_split_at_its_clocks() -> None:
    services = [Service(0, 3, 103, 107, 150, 1), Service(1000, 1003, 1103, 1107, 1150, 1)]
    split = split_latency(services, 120.0, 10.0)
    assert (split.copying_ns, split.dispatch_ns, split.compute_ns) == (3, 14, 90)
    assert split.queueing_ns == 13
    assert split.whole_ns == 120


def test_a_throughput_is_split_over_streams_and_samples() -> None:
    # Two streams, 1,000 ns long: one computes two batches of two, the other one.
    services = [
        Service(0, 10, 310, 320, 330, 2), Service(330, 340, 640, 650, 660, 2),
        Service(0, 10, 310, 320, 330, 2),
    ]  # fmt: skip
    split = split_throughput(services, 1000, 2, 60)
    assert split.whole_ns == pytest.approx(2000 / 6)
    assert split.copying_ns == pytest.approx(30 / 6)
    # LoadGen's clock stops when it is given the last answer, 10 ns before the giving ends.
    assert split.dispatch_ns == pytest.approx((3 * 60 + 3 * 20 - 10) / 6)
    assert split.compute_ns == pytest.approx(3 * 240 / 6)
    assert split.queueing_ns == pytest.approx((2000 - 980) / 6)


def test_clocks_change_no_answer(oracle: Oracle) -> None:
    from harness.loadgen.qsl import Qsl
    from harness.loadgen.sut import make_sut
    from harness.model import file as model_file

    compiled = graph.compile_model(
        graph.deployed(model_file.read(oracle.card), oracle.card), CompileSettings("LATENCY", threads=1)
    )
    qsl = Qsl(oracle.store.samples(oracle.card.input.recipe))
    qsl.load(range(qsl.count))
    clocks, answers = Clocks(), []

    class Slot:
        id = 0

    def fail(index: int, error: Exception) -> None:
        raise error

    complete = clocks.complete(lambda slots: answers.extend(slot.id for slot in slots))
    sut = make_sut(Scenario.SINGLE_STREAM, [clocks.model(compiled)], qsl, lambda *_: Slot(), complete, fail)
    sut.samples_loaded()
    issue = clocks.issue(sut.issue)
    for index in range(5):
        issue([index], [index])
    assert answers == [0, 1, 2, 3, 4]
    assert len(clocks.services) == 5
    for one in clocks.services:
        assert one.start_ns <= one.set_ns <= one.inferred_ns <= one.done_ns <= one.answered_ns


def test_an_empty_model_costs_less_than_any_other() -> None:
    settings = CompileSettings("LATENCY", threads=1)
    shape = (1, 32, 32, 3)
    empty = graph.compile_model(loops.empty_model(shape), settings)
    answer = empty.model([np.full(shape, 7, np.uint8)])[0]
    assert answer.tolist() == [7.0]
    card = find_card("builtin-resnet50")
    from harness.model import file as model_file

    whole = graph.compile_model(graph.deployed(model_file.read(card), card), settings)
    size = card.input.size
    pixels = ov.Tensor(np.zeros((1, size, size, 3), np.uint8))
    small = ov.Tensor(np.zeros(shape, np.uint8))
    assert loops.bare(empty, [small], 0.1).median_ns < loops.bare(whole, [pixels], 0.1).median_ns


def test_the_int8_peak_runs_in_int8_kernels_and_the_f32_one_in_f32() -> None:
    settings = CompileSettings("LATENCY", threads=1)
    for kind, precision in (("int8", "u8"), ("f32", "f32")):
        model = peak._convolutions((64, 14, 3), kind == "int8")
        compiled = graph.compile_model(model, settings)
        assert compiled.kernels == {precision: peak._DEPTH}, kind


def test_a_model_left_in_f32_is_told_apart_from_an_int8_one(explained: Explanation) -> None:
    from harness.backend.kernels import Layer

    mixed = replace(
        explained,
        computed="int8",
        layers=(
            Layer("stem", "Convolution", "brgconv_avx512_f32", "f32", 30.0),
            Layer("body", "Convolution", "brgconv_avx512_I8", "u8", 10.0),
            Layer("shuffle", "Transpose", "ref_any", "u8", 5.0),
        ),
    )
    machine = replace(system.describe(), isa=("avx2",), architecture="x86_64")
    told = " ".join(session._remarks(mixed, machine, "advice"))
    assert "1 of 2 convolutions and matrix products do not compute in 8 bits and take 75.0 % of their" in told
    assert "stem (brgconv_avx512_f32) the most: advice." in told
    assert "the most: quantize it with `harness quantize`." in " ".join(
        session._remarks(mixed, machine, None)
    )
    assert "1 layer(s) run in reference or plain gemm kernels, 11.1 % of the layers' time" in told
    assert "no 8-bit dot products (VNNI or AMX)" in told
    assert "no AVX-512" in told
    assert "no AMX (amx_int8)" in told
    wide = replace(mixed, computed="f32", layers=mixed.layers[:1])
    told = " ".join(session._remarks(wide, machine, "advice"))
    assert (
        "1 of 1 convolutions and matrix products do not compute in 8 bits and take 100.0 % of their" in told
    )
    assert "no 8-bit dot products (VNNI or AMX)" in told
    assert "8 bits" not in " ".join(session._remarks(wide, machine, None))


def test_what_is_advised_for_layers_left_in_f32_goes_by_the_graph_and_works(
    oracle: Oracle, tmp_path: Path
) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    settings = CalibrationSettings()
    assert session._cure(card) is None
    assert session._cure(replace(card, quantization={"method": "one's own facts"})) is None
    made, _ = calibration.quantize(card, oracle.store, range(4), settings, tmp_path / "int8.xml")
    without_facts = replace(made, quantization={})
    for one in (made, without_facts, quantized_elsewhere(card, tmp_path, "nncf")):
        assert session._cure(one) == "NNCF has left them in floating point"
    elsewhere = session._cure(quantized_elsewhere(card, tmp_path, "qdq"))
    assert elsewhere == "make the INT8 model from its floating-point original with `harness quantize`"


def test_a_model_whose_weights_openvino_cannot_use_is_to_be_quantized_anew(
    shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "card.toml").write_text(MOBILENET)
    shutil.copy(shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite", tmp_path)
    card = read_card(tmp_path / "card.toml")
    assert session._cure(card) == "quantize it anew with `harness quantize`"
    assert not calibration.stands_for_itself(card)


def test_benchmark_apps_failure_is_one_sentence_with_its_last_words(tmp_path: Path) -> None:
    program = benchmark_app.find()
    if program is None:
        pytest.skip("benchmark_app is not installed")
    with pytest.raises(RunFailed, match="benchmark_app measured nothing"):
        benchmark_app.run(program, tmp_path / "none.xml", "f32", 1, [])


def test_benchmark_app_pins_no_thread_under_a_quota_as_all_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_under_quota in (True, False):
        monkeypatch.setattr(system, "is_under_quota", lambda root, told=is_under_quota: told)
        for arguments in (benchmark_app.latency_arguments(1), benchmark_app.throughput_arguments(2, 2)):
            assert ("-pin NO" in " ".join(arguments)) is is_under_quota


def invoke(*words: str | Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.cli, ["explain", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scenario", "Server"), "Scenario 'Server' cannot be explained: use SingleStream or Offline."),
        (("--rounds", "1"), "--rounds 1 shows no spread: give at least 2, better 5 or more."),
        (("--threads", "4096"), "--threads 4096: this process may use"),
        (("--data", "nowhere"), "nowhere"),
        (("--batch", "2"), "A SingleStream query holds one sample: leave out --batch"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    oracle: Oracle, words: tuple[str, ...], message: str
) -> None:
    done = invoke("--model", oracle.card_path, "--data", oracle.store.path, *words)
    assert isinstance(done.exception, HarnessError)
    assert done.exception.exit_code == 2
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_precision_that_the_cpu_lacks_is_refused(new_oracle: Callable[..., Oracle], tmp_path: Path) -> None:
    if graph.has_bf16():
        pytest.skip("this CPU computes in BF16")
    oracle = new_oracle()
    done = invoke("--model", oracle.card_path, "--data", oracle.store.path, "--precision", "bf16")
    assert "no BF16" in str(done.exception)
