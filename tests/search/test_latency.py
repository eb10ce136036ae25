"""The latency table finds prices that were planted, proves itself, and is refused where it does not hold."""

import json
import math
import pickle
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from damage import refusals

from harness.commands.search.latency import command
from harness.errors import HarnessError, OutputError
from harness.files import read_json, write_json
from harness.mlperf.scenario import Scenario
from harness.model.architecture import Architecture, Stage, resnet50
from harness.model.blocks import Block
from harness.profiling import int8, stopwatch
from harness.profiling.conditions import MACHINE, Conditions
from harness.profiling.stopwatch import Stopwatch
from harness.search.latency import table as tables
from harness.search.latency.prediction import Design
from harness.search.latency.terms import terms
from harness.search.latency.validation import LEAST_TAU, TAU_OFF, validate
from harness.search.space.ranges import OPEN
from harness.search.space.revisions import Space

SPACE = Space(resnet50(24, 64, 0.2), (64,))
TINY = Space(Architecture(10, 8, "3x3", 16, (Stage(16, (Block(16), Block(16))),)), (8,))
HERE = Conditions.of(Scenario.SINGLE_STREAM)
UNSEEN = {network.key for network in tables.held_out(SPACE)}
DESIGN = Design(networks=150)

Time = Callable[[Architecture], float]


class Planted(Stopwatch):
    """A machine on which a network takes as long as a function says."""

    quiet_ms = 2.0

    def __init__(self, time_ms: Time) -> None:
        self._time_ms = time_ms

    def ratio(self, network: Any) -> float:
        return self._time_ms(network) / self.quiet_ms


def timer(time_ms: Time) -> Callable[[Any, Conditions], AbstractContextManager[Planted]]:
    @contextmanager
    def planted(_: Any, __: Conditions) -> Iterator[Planted]:
        yield Planted(time_ms)

    return planted


def price(term: tuple[str, int, str]) -> float:
    """Return a price for each term that no rule could guess: kinds differ, and so do image sizes."""
    usual = {"count": 2e-3, "macs": 4e-9, "read": 1e-7, "written": 2e-7, "values": 3e-7, "weights": 1e-7}
    return usual[term[2]] * random.Random(repr(term)).uniform(0.5, 2)


def additive(network: Architecture) -> float:
    return 0.03 + sum(price(term) * amount for term, amount in terms(network).items())


def noisy(network: Architecture) -> float:
    return additive(network) * random.Random(network.key).uniform(0.6, 1.4)


def build(out: Path, time_ms: Time = additive, space: Space = SPACE) -> tables.LatencyTable:
    return tables.build(space, HERE, out, DESIGN, timer(time_ms))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("latency") / "table.json"
    build(path)
    return path


def test_planted_prices_are_recovered(good: Path) -> None:
    table = tables.load(good, SPACE, HERE)
    source = random.Random(5)
    for network in [SPACE.baseline, SPACE.uniform(0.5), *(SPACE.sample(source) for _ in range(50))]:
        assert table.predict_ms(network) == pytest.approx(additive(network), rel=0.08)
    assert table.validation.mape < 0.02
    assert table.validation.tau > 0.92
    assert table.validation.networks == tables.HELD_OUT


def test_a_table_that_learns_from_a_front_is_right_about_it_and_about_the_rest(good: Path) -> None:
    def truth(network: Architecture) -> float:
        """Return a time in which squeeze-excite is dearer than in the networks of the table."""
        excited = sum(block.squeeze_excite for stage in network.stages for block in stage.blocks)
        return additive(network) * (1 + 0.03 * excited)

    table, networks = tables.load(good, SPACE, HERE), SPACE.samples(11, 80)
    learned = tables.Refitted(table, tuple((one, truth(one)) for one in networks[:60]))
    before, after = (
        sum(one.predict_ms(network) / truth(network) - 1 for network in networks[60:]) / 20
        for one in (table, learned)
    )
    assert before < -0.03
    assert abs(after) < abs(before) / 2
    assert learned.predict_ms(SPACE.baseline) == pytest.approx(truth(SPACE.baseline), rel=0.05)
    assert pickle.loads(pickle.dumps(learned)).predict_ms(SPACE.baseline) == learned.predict_ms(
        SPACE.baseline
    )


def test_other_prices_make_other_predictions(tmp_path: Path, good: Path) -> None:
    def dear_depthwise(network: Architecture) -> float:
        depthwise = sum(
            amount
            for (kind, _, what), amount in terms(network).items()
            if kind[:2] == "dw" and what == "count"
        )
        return additive(network) + 0.1 * depthwise

    table, other = tables.load(good, SPACE, HERE), build(tmp_path / "table.json", dear_depthwise)
    network = next(
        network
        for network in tables.held_out(SPACE)
        if any(block.kind == "dw3" for stage in network.stages for block in stage.blocks)
    )
    assert other.predict_ms(network) > table.predict_ms(network) + 0.09


def test_small_spaces_take_fewer_networks_than_large_ones() -> None:
    found = [Design.of(space).networks for space in (TINY, SPACE, Space(SPACE.baseline, (64,), OPEN))]
    assert found == sorted(found)
    assert found == [60, 130, 150]


def test_the_table_never_learns_from_the_networks_that_validate_it() -> None:
    unseen = tables.held_out(SPACE)
    learned = {network.key for network in DESIGN.all_networks(SPACE, unseen)}
    assert not learned & {network.key for network in unseen}
    crowded = DESIGN.wholes(SPACE, Design(networks=5).wholes(SPACE, unseen))
    assert not {network.key for network in crowded} & {
        network.key for network in Design(networks=5).wholes(SPACE, unseen)
    }


def test_what_layers_cost_more_in_whole_networks_is_learned(tmp_path: Path) -> None:
    def cold(network: Architecture) -> float:
        layers = sum(1 for _ in network.layers().convolutions())
        return additive(network) + (1e-3 * layers if len(network.stages) == 4 else 0.0)

    table = build(tmp_path / "table.json", cold)
    assert abs(table.validation.bias) < 0.01
    assert table.validation.mape < 0.02


def test_a_network_outside_the_space_is_refused(good: Path) -> None:
    with pytest.raises(HarnessError, match="does not know this architecture: it has 10 classes"):
        tables.load(good, SPACE, HERE).predict_ms(resnet50(10, 64, 0.2))


@pytest.mark.parametrize(
    "name", ["cpu", "cpu_signature", "isa", "openvino", "nncf", "scenario", "hint", "threads", "space"]
)
def test_a_stale_table_is_refused_with_the_reason(name: str, good: Path, tmp_path: Path) -> None:
    document = json.loads(good.read_text())
    document["key"][name] = "another"
    (tmp_path / "table.json").write_text(json.dumps(document))
    with pytest.raises(HarnessError, match=rf"another case \({name} another, here .*\): build it anew with"):
        tables.load(tmp_path / "table.json", SPACE, HERE)


def test_a_table_that_does_not_tell_the_cpus_generation_holds(good: Path, tmp_path: Path) -> None:
    document = json.loads(good.read_text())
    del document["key"]["cpu_signature"]
    (tmp_path / "table.json").write_text(json.dumps(document))
    assert tables.load(tmp_path / "table.json", SPACE, HERE).visits == document["visits"]


def test_times_of_elsewhere_are_told_as_they_were_there() -> None:
    there = {"cpu": "another CPU", "isa": ["avx512_fp16"]}
    told = Conditions(HERE.scenario, HERE.threads, there).to_dict()
    assert {name: told[name] for name in MACHINE if name in told} == there
    assert {*HERE.to_dict()} - {*told} == {"cpu_signature"}


def test_a_table_of_other_conditions_is_refused(good: Path) -> None:
    with pytest.raises(HarnessError, match="scenario SingleStream, here Offline"):
        tables.load(good, SPACE, Conditions.of(Scenario.OFFLINE, 1))


def test_a_search_keeps_a_table_of_its_own_which_holds_elsewhere_only_for_the_machine_it_is_of(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search.tools import build_table

    cached, own = tmp_path / "cached.json", tmp_path / "table.json"
    shutil.copy(good, cached)
    monkeypatch.setattr(tables, "usual_path", lambda *_: cached)
    request = SimpleNamespace(table=None)
    setting = SimpleNamespace(space=SPACE, conditions=HERE, request=request, path=tmp_path.joinpath)
    assert build_table(setting).facts["file"] == str(own)
    cached.unlink()
    found = build_table(setting)
    assert found.predict_ms(SPACE.baseline) == pytest.approx(additive(SPACE.baseline), rel=0.05)
    document = json.loads(own.read_text(encoding="utf-8"))
    there = {"cpu": "another CPU", "isa": ["avx512_fp16"]}
    own.write_text(json.dumps({**document, "key": {**document["key"], **there}}), encoding="utf-8")
    with pytest.raises(HarnessError, match=r"made for another case \(cpu another CPU"):
        build_table(setting)
    setting.conditions = Conditions(HERE.scenario, HERE.threads, there)
    assert build_table(setting).predict_ms(SPACE.baseline) == found.predict_ms(SPACE.baseline)
    own.unlink()
    with pytest.raises(HarnessError, match="Times of another CPU are wanted"):
        build_table(setting)


def test_a_table_that_is_not_good_enough_does_not_become_a_searchs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search.tools import build_table

    cached, own = tmp_path / "cached.json", tmp_path / "table.json"
    monkeypatch.setattr(tables, "usual_path", lambda *_: cached)
    monkeypatch.setattr(tables, "obtain", lambda _, __, path: build(path, noisy))
    request = SimpleNamespace(table=None)
    setting = SimpleNamespace(space=SPACE, conditions=HERE, request=request, path=tmp_path.joinpath)
    with pytest.raises(HarnessError, match=r"cached\.json is not good enough to search with"):
        build_table(setting)
    assert cached.exists()
    assert not own.exists()


def test_a_table_that_predicts_badly_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "table.json", noisy)
    with pytest.raises(HarnessError, match=r"not good enough to search with, .*mean error is"):
        tables.load(tmp_path / "table.json", SPACE, HERE)


def test_a_table_no_better_than_counting_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "table.json", lambda network: 0.1 + network.count_macs() * 1e-8)
    with pytest.raises(HarnessError, match="calibrated multiply-accumulates do as well"):
        tables.load(tmp_path / "table.json", SPACE, HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted_ms": [1.2 * time for time in range(1, 41)]}, "mean error is 20.0%.*bias is [+]20.0%"),
        ({"measured_ms": [[one] for one in (*range(9, 41), *range(1, 9))]}, "tau is"),
        ({}, "multiply-accumulates"),
        ({"predicted_ms": [1, 2, 3], "measured_ms": [[1], [2], [3]], "macs": [1, 2, 3]}, "3 networks"),
    ],
)
def test_every_fault_of_a_validation_is_named(change: dict[str, Any], message: str) -> None:
    times = list(range(1, 41))
    usual: dict[str, Any] = {"predicted_ms": times, "measured_ms": [[one] for one in times], "macs": times}
    assert re.search(message, "; ".join(validate(**usual | change).faults))


def test_a_table_need_not_order_networks_better_than_measurements_do() -> None:
    source = random.Random(1)
    times = [100 + 0.25 * number for number in range(40)]
    macs = source.sample(range(1, 41), 40)
    restless = [[source.gauss(time, 1.5) for _ in range(3)] for time in times]
    found = validate(times, restless, macs)
    assert found.repeated_tau < found.tau < LEAST_TAU
    assert not found.faults
    worse = validate([source.gauss(time, 4) for time in times], restless, macs)
    assert worse.tau < worse.repeated_tau - TAU_OFF
    assert f"(of measurements with each other {worse.repeated_tau:.3f})" in "; ".join(worse.faults)
    steady = validate([source.gauss(time, 2) for time in times], [[time] * 3 for time in times], macs)
    assert steady.repeated_tau == 1
    assert "tau is" in "; ".join(steady.faults)


def test_a_damaged_table_and_another_file_are_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    for text, message in (
        ("{", r"is damaged .*: delete it"),
        ("[]", "is no latency table: delete it"),
        ("{}", "is no latency table"),
    ):
        path.write_text(text)
        with pytest.raises(HarnessError, match=message):
            tables.obtain(SPACE, HERE, path)
    document = json.loads(good.read_text())
    del document["visits"][next(iter(document["visits"]))]
    path.write_text(json.dumps(document))
    with pytest.raises(HarnessError, match="is damaged"):
        tables.load(path, SPACE, HERE)


def test_whatever_is_damaged_in_a_table_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    tables.build(TINY, HERE, path, Design(networks=20), timer(additive))
    refused, _ = refusals(path, lambda: tables.load(path, TINY, HERE), 9)
    assert refused > 20


def test_an_interrupted_build_goes_on_and_measures_nothing_twice(tmp_path: Path, good: Path) -> None:
    measured: list[str] = []

    def interrupted(network: Architecture) -> float:
        if len(measured) == 50:
            raise KeyboardInterrupt
        measured.append(network.key)
        return additive(network)

    def go_on(network: Architecture) -> float:
        measured.append(network.key)
        return additive(network)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "table.json", interrupted)
    assert not (tmp_path / "table.json").exists()
    table = build(tmp_path / "table.json", go_on)
    visits = {key: tables.VISITS if key in UNSEEN else 1 for key in table.visits}
    assert Counter(measured) == visits
    assert table.ratios == tables.load(good, SPACE, HERE).ratios
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_how_long_a_table_takes_is_said_before_and_by_its_own_pace_where_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, design = tmp_path / "table.json", Design(networks=20)
    count = sum(map(len, tables.build(TINY, HERE, path, design, timer(additive)).visits.values()))
    minutes = math.ceil(count * tables.MEASURING_S / 60)
    assert f"needs {count} measurements, about {minutes} min" in capsys.readouterr().err
    write_json(path, read_json(path) | {"seconds": 600.0 * count})
    tables.build(TINY, HERE, path, design, timer(additive))
    assert f"needs {count} measurements, about {10 * count} min" in capsys.readouterr().err


def test_two_processes_do_not_measure_one_table(tmp_path: Path) -> None:
    small, path = Design(networks=2), tmp_path / "table.json"

    def again(network: Architecture) -> float:
        return tables.build(TINY, HERE, path, small, timer(additive)).predict_ms(network)

    with pytest.raises(OutputError, match=r"Another process is at work on .*: wait for it"):
        tables.build(TINY, HERE, path, small, timer(again))


def test_a_journal_of_another_design_is_not_mixed_in(tmp_path: Path) -> None:
    def interrupted(network: Architecture) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.build(SPACE, HERE, tmp_path / "table.json", Design(networks=3), timer(interrupted))
    measured: list[str] = []
    build(tmp_path / "table.json", lambda network: measured.append(network.key) or additive(network))
    unseen = tables.held_out(SPACE)
    assert set(measured) == {network.key for network in [*unseen, *DESIGN.all_networks(SPACE, unseen)]}
    assert len(measured) == len(set(measured)) + (tables.VISITS - 1) * len(unseen)


def test_networks_that_validate_are_measured_several_times_and_count_by_their_median(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    def disturbed(network: Architecture) -> float:
        seen[network.key] += 1
        return additive(network) * (1.1 if seen[network.key] == 2 else 1.0)

    table = build(tmp_path / "table.json", disturbed)
    for network in tables.held_out(SPACE):
        one = additive(network) / Planted.quiet_ms
        assert sorted(table.visits[network.key]) == pytest.approx([one, one, 1.1 * one])
        assert table.ratios[network.key] == pytest.approx(one)
    assert table.validation.repeatability == pytest.approx(2 / 3 * 0.2 / 2.1)


def test_a_table_that_is_not_good_enough_is_measured_once_more_and_both_times_count(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measured = 0

    def restless(sign: int, limit: int = 10_000) -> Time:
        def time_ms(network: Architecture) -> float:
            nonlocal measured
            measured += 1
            if measured > limit:
                raise KeyboardInterrupt
            return additive(network) * (1 + sign * random.Random(network.key).uniform(-0.3, 0.3))

        return time_ms

    first = build(path, restless(1))
    visits = {key: len(found) for key, found in first.visits.items()}
    with pytest.raises(HarnessError, match="`harness search latency` measures all once more and adds it"):
        tables.load(path, SPACE, HERE)
    with pytest.raises(KeyboardInterrupt):
        build(path, restless(-1, limit=measured + 5))
    second = build(path, restless(-1))
    assert {key: len(found) for key, found in second.visits.items()} == {
        key: 2 * count for key, count in visits.items()
    }
    assert measured == 2 * sum(visits.values()) + 1, "the one that broke off counts twice"
    assert second.seconds > first.seconds
    loaded = tables.load(path, SPACE, HERE)
    for network, measured_ms in loaded.held_out:
        assert measured_ms == pytest.approx(additive(network))
    assert [one.name for one in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.usefixtures("_however_busy")
def test_a_real_table_is_measured_and_refused_for_want_of_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HELD_OUT", 3)
    monkeypatch.setattr(tables, "VISITS", 1)
    # That other processes quantize is another test's.
    monkeypatch.setattr(int8, "_FEW", 100)
    table = tables.build(TINY, HERE, tmp_path / "table.json", Design(networks=1))
    assert 0.001 < table.predict_ms(TINY.baseline) < 10
    with pytest.raises(HarnessError, match=r"held against \d+ networks, 30 are the least"):
        tables.load(tmp_path / "table.json", TINY, HERE)


def test_the_command_prints_json_alone_and_measures_a_good_table_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    @contextmanager
    def counted(reference: Architecture, _: Conditions) -> Iterator[Planted]:
        calls.append(reference)
        yield Planted(additive)

    monkeypatch.setattr(stopwatch, "timer", counted)
    arguments = ["--baseline", "builtin-resnet50", "--out", str(tmp_path / "table.json")]
    for _ in range(2):
        done = CliRunner().invoke(command, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        document = json.loads(done.stdout)
        assert document["validation"]["networks"] == tables.HELD_OUT
        assert document["key"]["scenario"] == "SingleStream"
        assert document["faults"] == []
    assert len(calls) == 1
    assert "Kendall's tau" in CliRunner().invoke(command, arguments).stdout


def test_the_command_ends_with_1_when_the_table_is_not_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "timer", timer(noisy))
    done = CliRunner().invoke(
        command, ["--baseline", "builtin-resnet50", "--out", str(tmp_path / "table.json")]
    )
    assert done.exit_code == 1
    assert "The search will refuse this table" in done.stderr


def test_a_table_of_an_earlier_version_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"format": 2, "key": {}}))
    with pytest.raises(HarnessError, match="another version of the harness: build it anew"):
        tables.load(path, TINY, HERE)
    monkeypatch.setattr(stopwatch, "timer", timer(additive))
    assert tables.obtain(TINY, HERE, path).validation.faults == []
