"""Networks are timed as deployed, and only while a reference says that the machine is quiet."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import chain, count, cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest

from harness.backend.calibration import quantize_uncorrected
from harness.errors import HarnessError, RunFailed
from harness.machine import system
from harness.mlperf.scenario import Scenario
from harness.model import resnet
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.model.card import find_card
from harness.profiling import stopwatch
from harness.profiling.conditions import Conditions
from harness.profiling.stopwatch import Watch

SMALL = Architecture(
    10, 16, "3x3", 16, (Stage(64, (Block(32, "group16", True, "hswish"), Block(16), Block(32, "dw5"))),)
)
PLAIN = Architecture(10, 16, "3x3-pool", 16, (Stage(64, (Block(16),)), Stage(128, (Block(32),) * 2)))
LARGE = Architecture(24, 32, "3x3", 64, (Stage(128, (Block(64), Block(64))),))
ONE_CORE = Conditions.of(Scenario.SINGLE_STREAM)


def planted(levels_ms: Iterator[float]) -> Callable[[], float]:
    return lambda: next(levels_ms)


def quiet_then(*later: float) -> Iterator[float]:
    """Yield what the reference takes: quiet while that is learned and looked at first, then as given."""
    yield from [10.0] * 61
    yield from later
    while True:
        yield 10.0


def test_samples_beside_a_disturbed_reference_are_thrown_away_and_taken_again() -> None:
    # Looks lie before and after each sample: 10 A 10 B 10.6 C 10 D 15 E 10 F 10, and so on
    watch = Watch(planted(quiet_then(10.0, 10.6, 10.0, 15.0)))
    samples = iter([7.0] * 60 + [1.0, 100.0, 100.0, 100.0, 100.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert watch.ratio(lambda: next(samples)) == pytest.approx(0.275)
    assert next(samples, None) is None


def test_what_slows_the_reference_a_little_is_taken_off_the_sample() -> None:
    watch = Watch(planted(quiet_then(*[10.4] * 20)))
    samples = iter([7.0] * 61 + [10.4] * 20)
    assert watch.ratio(lambda: next(samples)) == pytest.approx(1.0)


def test_what_slows_some_samples_but_not_the_reference_does_not_count() -> None:
    watch = Watch(planted(quiet_then()))
    samples = iter([7.0] * 60 + [5.0, 9.0, 5.0, 9.0, 9.0, 5.0, 9.0, 9.0])
    assert watch.ratio(lambda: next(samples)) == pytest.approx(0.5)


def restless(*levels_ms: float, quiet: int = 61) -> Iterator[float]:
    """Yield what the reference takes where the machine is never again as quiet as at first."""
    yield from [10.0] * quiet
    yield from cycle(levels_ms)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Let each look at a clock come 15 ms after the last; return these times."""
    times = count(0.0, 0.015)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(monotonic=lambda: next(times)))
    return times


@pytest.mark.usefixtures("seconds")
def test_a_machine_too_busy_to_measure_is_one_sentence() -> None:
    with pytest.raises(HarnessError, match=r"too busy to measure: in (\d+) of \1 tries.*1.20 times its 10"):
        Watch(planted(restless(16.0, 10.0))).ratio(lambda: 1.0)


def test_where_quiet_moments_are_rare_a_little_more_is_allowed_with_each_second(
    seconds: Iterator[float],
) -> None:
    # 14 % more than in quiet moments beside every other sample, which takes 1 ms where the others take 8.
    watch = Watch(planted(restless(11.4, 11.4, 14.0, 14.0)))
    samples = chain([7.0] * 60, [1.0], cycle([1.0, 8.0, 8.0, 8.0]))
    assert watch.ratio(lambda: next(samples)) == pytest.approx(1 / 11.4)
    assert watch.restless == 0
    assert 1.8 < next(seconds) - 60 * 0.015 < 2.4


@pytest.mark.usefixtures("seconds")
def test_where_it_is_not_insisted_on_quiet_the_quietest_samples_count_and_it_is_said() -> None:
    # Disturbed all the time, but less beside every other sample, which takes 2 ms where the others take 6.
    watch = Watch(planted(restless(13.0, 13.0, 16.0, 16.0)), patience_s=5.0, insist=False)
    samples = chain([7.0] * 60, [2.0], cycle([2.0, 6.0, 6.0, 6.0]))
    assert watch.ratio(lambda: next(samples)) == pytest.approx(2 / 13)
    assert watch.restless == 1


@pytest.mark.usefixtures("seconds")
def test_a_reference_that_stays_slower_is_not_taken_for_quiet() -> None:
    watch = Watch(planted(restless(12.5, quiet=4_000)), patience_s=5.0)

    def many() -> None:
        for _ in range(500):
            watch.ratio(lambda: 1.0)

    with pytest.raises(HarnessError, match="too busy"):
        many()


@pytest.mark.parametrize("architecture", [SMALL, PLAIN], ids=["revised", "plain"])
def test_what_is_timed_is_quantized_like_the_real_thing(architecture: Architecture) -> None:
    import nncf

    def structure(model: object) -> list[tuple[str, tuple[int, ...], tuple[str, ...]]]:
        return sorted(
            (
                op.get_type_name(),
                tuple(op.output(0).shape),
                tuple(value.get_node().get_type_name() for value in op.input_values()),
            )
            for op in model.get_ordered_ops()  # type: ignore[attr-defined]
            if op.get_type_name() != "Result"
        )

    plain = resnet.assemble(architecture, resnet.seeded_state(1, architecture))
    noise = np.random.default_rng(0).standard_normal((4, *plain.input(0).shape)).astype(np.float32)
    with redirect_stdout(io.StringIO()):
        real = nncf.quantize(plain.clone(), nncf.Dataset(list(noise)), preset=nncf.QuantizationPreset.MIXED)
    quick = quantize_uncorrected(plain.clone(), noise)
    assert structure(quick) == structure(real)
    assert sum(name == "FakeQuantize" for name, *_ in structure(quick)) > 10


@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.OFFLINE])
def test_networks_are_compiled_as_the_scenario_runs_them(scenario: Scenario) -> None:
    conditions = Conditions.of(scenario)
    compiled = stopwatch.compiled(SMALL, conditions)
    assert compiled.precision == "int8"
    assert compiled.properties["PERFORMANCE_HINT"] == scenario.facts.hint
    assert compiled.properties["INFERENCE_NUM_THREADS"] == conditions.threads
    assert compiled.model.input(0).shape == [1, 16, 16, 3]
    assert compiled.model.input(0).element_type.get_type_name() == "u8"
    assert (compiled.streams == 1) == (scenario is Scenario.SINGLE_STREAM or conditions.threads == 1)


@pytest.mark.usefixtures("_however_busy")
@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.OFFLINE])
def test_a_network_of_twenty_times_the_work_takes_longer(scenario: Scenario) -> None:
    assert LARGE.count_macs() > 20 * SMALL.count_macs()
    large_ms, small_ms = stopwatch.measure_ms([LARGE, SMALL], Conditions.of(scenario), SMALL)
    assert large_ms > 1.5 * small_ms > 0


@pytest.mark.usefixtures("_however_busy")
def test_a_model_in_f32_takes_more_time_over_a_smaller_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "_GAIN_VISITS", 3)
    card = find_card("builtin-resnet50")
    large = replace(LARGE, size=card.input.size)
    ov.save_model(resnet.assemble(large, resnet.seeded_state(1, large)), tmp_path / "model.xml")
    file = replace(card.file, path="model.xml", sha256=None)
    card = replace(card, file=file, folder=tmp_path)
    gain = stopwatch.int8_gain(card, large, ONE_CORE)
    assert stopwatch.int8_gain(card, SMALL, ONE_CORE) > 1.5 * gain > 0


def test_an_inference_that_fails_in_one_of_several_streams_is_one_sentence() -> None:
    class Fails:
        def infer(self, share_outputs: bool) -> None:
            raise RuntimeError("out of memory")

    works = SimpleNamespace(infer=lambda share_outputs: None)
    with pytest.raises(RunFailed, match=r"^Inference failed while a network was timed: out of memory$"):
        stopwatch._burst_ms([works, Fails()], 0.01, 5)


def test_one_core_is_the_default_in_single_stream_and_all_in_offline() -> None:
    assert Conditions.of(Scenario.SINGLE_STREAM).threads == 1
    assert Conditions.of(Scenario.OFFLINE).threads == system.usable_cpus()


def test_conditions_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(HarnessError, match="no times for Server: use SingleStream or Offline"):
        Conditions.of(Scenario.SERVER)
    with pytest.raises(HarnessError, match="--threads 100000 cannot be had: this process may use"):
        Conditions.of(Scenario.OFFLINE, 100_000)
