"""The order of a comparison's rounds, and what a second call makes of those that lie there."""

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Oracle
from sample_comparison import PROPERTIES, QUIET, RATES, cell, entry, prepared

from harness.comparison import measuring, session
from harness.comparison.document import Cell
from harness.comparison.measuring import Entry, Setting
from harness.comparison.variants import Candidate
from harness.dataset.store import Store
from harness.machine import system
from harness.measurement import series, statistics
from harness.measurement.order import groups
from harness.measurement.round import Round
from harness.measurement.series import Series
from harness.measurement.statistics import Outcome
from harness.mlperf.scenario import Scenario

NAMES = ("a", "b", "c")


class Machine:
    """A made-up machine, which notes the tests it ran: round, variant and scenario."""

    def __init__(self) -> None:
        self.tests: list[str] = []
        self.interrupt_at: int | None = None
        self.invalid: set[int] = set()
        """Tests, counted from 0, that are not valid."""

    def prepare(self, card: Any, store: Store, settings: Any, folder: Path, *rest: Any) -> Series:
        return prepared(PROPERTIES, card, store, settings, folder)

    def measure(
        self, series: Series, number: int, root: Path, staging: Path, show: Any
    ) -> tuple[Series, Round]:
        count = len(self.tests)
        if count == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt
        self.tests.append(f"{number}{series.card.name}")
        place = series.folder / f"round_{number}"
        place.mkdir()
        log = place.relative_to(root).as_posix()
        # The figure tells when it was measured.
        one = entry(number, 1.0, float(count + 1), log, valid=count not in self.invalid)
        (place / "round.json").write_text(json.dumps(asdict(one)))
        return series, one


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine()
    monkeypatch.setattr(series, "prepare", one.prepare)
    monkeypatch.setattr(series, "measure", one.measure)
    monkeypatch.setattr(series, "unsound", lambda *_: "")
    return one


def setting(oracle: Oracle, out: Path, **changes: Any) -> Setting:
    given = {"rounds": 2, "scenarios": (Scenario.OFFLINE,), "threads": (1,)} | changes
    return Setting(
        store=oracle.store,
        out=out,
        threads_given=True,
        duration_s=0.2,
        stall_timeout_s=120.0,
        staging=out,
        machine=system.describe(),
        tuned=False,
        **given,
    )


def entries(oracle: Oracle, *names: str) -> list[Entry]:
    cards = [replace(oracle.card, name=name) for name in names]
    return [Entry(Candidate(name, card, "f32"), card, "") for name, card in zip(names, cards, strict=True)]


def measure(oracle: Oracle, out: Path, **changes: Any) -> tuple[Cell, ...]:
    return measuring.performance(entries(oracle, *NAMES), "a", setting(oracle, out, **changes))


def test_every_second_round_turns_the_variants_and_leaves_their_groups_together() -> None:
    one, other = Scenario.SINGLE_STREAM, Scenario.OFFLINE
    keys = [(1, name, scenario) for scenario in (one, other) for name in NAMES]
    turns = ["".join(key[1] for group in groups(keys, number) for key in group) for number in (1, 2, 3)]
    assert turns == ["abcabc", "cbacba", "abcabc"]
    for number in (1, 2):
        assert [{key[2] for key in group} for group in groups(keys, number)] == [{one}, {other}]


def test_a_steady_drift_does_not_make_twins_differ() -> None:
    keys = [(1, name, Scenario.OFFLINE) for name in ("a", "b")]
    clock = itertools.count()
    rates: dict[str, list[float]] = {"a": [], "b": []}
    for number in range(1, 7):
        for _, name, _ in itertools.chain.from_iterable(groups(keys, number)):
            rates[name].append(100 * 0.98 ** next(clock))
    found = statistics.speedup(rates["b"], rates["a"])
    assert found.center == pytest.approx(1)
    assert found.outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("interrupted_again_at", [None, 6])
def test_a_round_that_was_interrupted_is_measured_whole_again_and_the_others_stay(
    oracle: Oracle, tmp_path: Path, machine: Machine, interrupted_again_at: int | None
) -> None:
    machine.interrupt_at = 5
    with pytest.raises(KeyboardInterrupt):
        measure(oracle, tmp_path)
    assert machine.tests == ["1a", "1b", "1c", "2c", "2b"]
    if interrupted_again_at is not None:
        # By now c is of the second call, b of the first.
        machine.interrupt_at = interrupted_again_at
        with pytest.raises(KeyboardInterrupt):
            measure(oracle, tmp_path)
        assert machine.tests[5:] == ["2c"]
    before = len(machine.tests)
    cells = measure(oracle, tmp_path)
    assert machine.tests[before:] == ["2c", "2b", "2a"]
    assert [cell.values() for cell in cells] == [
        {1: 1.0, 2: before + 3.0},
        {1: 2.0, 2: before + 2.0},
        {1: 3.0, 2: before + 1.0},
    ]


def test_a_round_with_an_invalid_test_is_measured_whole_again(
    oracle: Oracle, tmp_path: Path, machine: Machine
) -> None:
    machine.invalid = {1}
    cells = measure(oracle, tmp_path)
    assert [len(cell.values()) for cell in cells] == [2, 1, 2]
    cells = measure(oracle, tmp_path)
    assert machine.tests[6:] == ["1a", "1b", "1c"]
    assert [len(cell.values()) for cell in cells] == [2, 2, 2]
    measure(oracle, tmp_path)
    assert len(machine.tests) == 9


def test_a_scenario_that_is_added_repeats_nothing(oracle: Oracle, tmp_path: Path, machine: Machine) -> None:
    measure(oracle, tmp_path)
    measure(oracle, tmp_path, scenarios=(Scenario.SINGLE_STREAM, Scenario.OFFLINE))
    assert machine.tests[6:] == ["1a", "1b", "1c", "2c", "2b", "2a"]


def test_threads_and_scenarios_that_are_added_repeat_no_accuracy_test(
    oracle: Oracle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for changes in (
        {"scenarios": (Scenario.SINGLE_STREAM,)},
        {"scenarios": (Scenario.SINGLE_STREAM,), "threads": (1, 2)},
        {"scenarios": (Scenario.SINGLE_STREAM, Scenario.OFFLINE)},
    ):
        (one,) = entries(oracle, "a")
        measuring.accuracies([one], setting(oracle, tmp_path, **changes))
        found.append(one.accuracy)
    assert found[0] is not None
    assert found[0].total == oracle.store.count
    assert found == [found[0]] * 3
    assert capsys.readouterr().err.count("Reused: the finished SingleStream accuracy test in") == 2


def test_threads_that_are_added_beside_a_served_variant_repeat_no_accuracy_test(
    oracle: Oracle, tmp_path: Path
) -> None:
    (one,) = entries(oracle, "z")
    measuring.accuracies([one], setting(oracle, tmp_path))
    (own,) = (tmp_path / "accuracy" / "z").rglob("result.json")
    served = tmp_path / "accuracy" / "a" / own.relative_to(tmp_path / "accuracy" / "z")
    served.parent.mkdir(parents=True)
    document = json.loads(own.read_text())
    document["settings"]["threads"] = None
    served.write_text(json.dumps(document))
    first = one.accuracy
    measuring.accuracies([one], setting(oracle, tmp_path, threads=(2,)))
    assert one.accuracy == first


def test_each_variants_frequency_is_held_against_its_own_only() -> None:
    cells = []
    for name, frequency_hz in (("fp32", 3.0e9), ("int8", 2.0e9)):
        one = cell(Scenario.OFFLINE, 1, name, RATES[name])
        heard = tuple(replace(done, noise=replace(QUIET, frequency_hz=frequency_hz)) for done in one.rounds)
        cells.append(replace(one, rounds=heard))
    assert list(session._remarks(tuple(cells))) == []
    sunk = (*heard[:2], replace(heard[2], noise=replace(QUIET, frequency_hz=1.8e9)))
    (remark,) = session._remarks((cells[0], replace(cells[1], rounds=sunk)))
    assert "went from 1.80 to 2.00 GHz between rounds of int8, Offline, 1 thread:" in remark
