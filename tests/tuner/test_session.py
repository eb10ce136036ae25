"""Tuning real models through LoadGen, and what `run` makes of a tuning."""

import hashlib
import json
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sample_comparison
from conftest import BRIEF_S, Oracle
from sample_comparison import QUIET, entry, prepared
from sample_detectors import make_spotter

from harness import files
from harness.dataset.store import Store
from harness.errors import DataError, HarnessError, ModelError, OutputError, RunFailed
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.measurement import test as measurement_test
from harness.measurement import tuned
from harness.measurement.round import Round
from harness.measurement.series import Series
from harness.measurement.tuned import Key, Tuning, write
from harness.mlperf.scenario import Mode, Scenario
from harness.run import session as run_session
from harness.tuner import budget, session
from harness.tuner.budget import LEAST_ROUNDS, MOST_ROUNDS, share_out
from harness.tuner.candidates import candidates
from harness.tuner.session import Request


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of the test's own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


PROPERTIES = sample_comparison.PROPERTIES | {"INFERENCE_NUM_THREADS": system.usable_cpus()}


class Machine:
    """A made-up machine: what each batch is worth, how long a test takes, and which tests were run."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.rates = {1: 100.0, 2: 110.0, 4: 120.0, 8: 90.0, 16: 80.0, 32: 70.0}
        self.overhead_s = 2.0
        self.tests: list[Path] = []
        self.interrupt_at: int | None = None
        self.broken_batch: int | None = None
        self._noise = random.Random(2)

    def clock(self) -> float:
        return self.now_s

    def prepare(self, card: Any, store: Store, settings: RunSettings, folder: Path, *rest: Any) -> Series:
        return prepared(PROPERTIES, card, store, settings, folder)

    def measure(
        self, series: Series, number: int, root: Path, staging: Path, show: Any
    ) -> tuple[Series, Round]:
        if len(self.tests) == self.interrupt_at:
            raise KeyboardInterrupt
        # As measure does, and leaves behind if the test breaks.
        (staging / "round").mkdir()
        if series.settings.batch == self.broken_batch:
            raise RunFailed("The test process was killed by SIGSEGV.")
        self.now_s += self.overhead_s + series.settings.duration_s
        rate = self.rates[series.settings.batch or 1] * self._noise.gauss(1, 0.01)
        place = series.folder / f"round_{number}"
        place.mkdir()
        # As with wider vectors, other settings run at another frequency.
        seen = replace(QUIET, frequency_hz=3.0e9 - 0.1e9 * (series.settings.batch or 1))
        one = replace(entry(number, 1.0, rate, place.relative_to(root).as_posix()), noise=seen)
        (place / "round.json").write_text(json.dumps(asdict(one)))
        self.tests.append(place)
        return series, one


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine()
    monkeypatch.setattr(session.series, "prepare", one.prepare)
    monkeypatch.setattr(session.series, "measure", one.measure)
    monkeypatch.setattr(session.series, "unsound", lambda *_: "")
    return one


def planted(oracle: Oracle, **changes: Any) -> Request:
    return Request(oracle.card, oracle.store.path, Scenario.OFFLINE, **{"budget_min": 5.0, **changes})


def key(card: Any, **changes: Any) -> Key:
    settings = RunSettings(**{"scenario": Scenario.OFFLINE, **changes})
    return tuned.key_of(card, settings, system.describe())


def made(oracle: Oracle, settings: dict[str, Any], **changes: Any) -> Tuning:
    """Write a tuning of the oracle."""
    one = Tuning(key(oracle.card, **changes), "oracle", "2026-11-21T09:00:00+00:00", "0.1.0", settings, "x")
    tuned.write(one)
    return one


def asked(oracle: Oracle, out: Path, **changes: Any) -> run_session.Request:
    request = {"modes": (Mode.ACCURACY,), "system": "here"}
    known = run_session.Request.__dataclass_fields__
    request |= {name: value for name, value in changes.items() if name in known}
    settings = {"scenario": Scenario.OFFLINE, "duration_s": BRIEF_S}
    settings |= {name: value for name, value in changes.items() if name not in known}
    return run_session.Request(oracle.card, oracle.store.path, RunSettings(**settings), out=out, **request)


def hurry(monkeypatch: pytest.MonkeyPatch, batch: int, pilot_s: float = 0.2) -> None:
    """Let tunings try one candidate, of this batch, in short tests."""

    def one(settings: RunSettings, *rest: Any) -> list[RunSettings]:
        return [found for found in candidates(settings, *rest) if found.batch == batch][:1]

    monkeypatch.setattr(session, "candidates", one)
    for module in (session, budget):
        monkeypatch.setattr(module, "PILOT_S", pilot_s)
    monkeypatch.setattr(budget, "LEAST_ROUNDS", 2)
    monkeypatch.setattr(budget, "MOST_ROUNDS", 2)
    # In tests of a fifth of a second a busy neighbour misleads one estimate after the other.
    monkeypatch.setattr(measurement_test, "ATTEMPTS", 9)


def test_a_detector_is_tuned_as_well(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 8, BRIEF_S / 4)
    one = make_spotter(tmp_path / "spotter", count=9)
    request = Request(one.card, one.store.path, Scenario.OFFLINE, budget_min=0.02)
    (found,) = session.tune(request, clock=lambda: 0.0)
    assert found.details["winner"]["batch"] == 8
    assert len(found.details["rounds"]) == 2


def test_a_tuning_is_found_again_and_used_by_run_which_says_so(
    oracle: Oracle,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch, 32)
    # With a clock that stands, every test has its least duration.
    request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, budget_min=0.02)
    (found,) = session.tune(request, clock=lambda: 0.0)
    assert found.path.is_relative_to(cache)
    assert sorted(path.name for path in found.path.parent.iterdir()) == ["tests", "tuning.json"]
    for trial in found.details["trials"]:
        assert (found.path.parent / trial["log"] / "mlperf_log_detail.txt").is_file()
    # A batch of 32 costs this model hardly more than a batch of 1.
    before, after = (max(values) for values in zip(*found.details["rounds"], strict=True))
    assert after > 2 * before
    assert found.details["winner"]["batch"] == 32
    assert session.tune(request) == [found]
    # Two rounds may be too few for an interval that says so.
    better = replace(found, settings={"batch": 32})
    write(better)
    document, _ = run_session.run(asked(oracle, tmp_path / "out"))
    assert document.settings.batch == 32
    assert document.tuning == better.reference()
    assert document.accuracy.good == 57
    assert f"Tuning of {found.created}: batch 32" in capsys.readouterr().err


def test_the_fastest_is_kept_and_measured_against_the_default_in_turns(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    (found,) = session.tune(planted(oracle), machine.clock)
    assert found.settings["batch"] == 4
    assert found.details["speedup"]["center"] == pytest.approx(1.2, rel=0.03)
    checks = [one["settings"]["batch"] for one in found.details["trials"] if one["stage"] == "check"]
    count = found.details["schedule"]["rounds"]
    assert checks == ([1, 4, 4, 1] * count)[: 2 * count]
    assert len(checks) >= 2 * LEAST_ROUNDS
    assert "batch 4" in found.verdict
    assert "faster than the default (95 % interval" in found.verdict
    assert found.details["remarks"] == []


def test_a_candidate_that_breaks_drops_out_and_is_on_record(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    machine.broken_batch = 4
    (found,) = session.tune(planted(oracle), machine.clock)
    assert found.settings["batch"] == 2
    broken = [trial for trial in found.details["trials"] if trial["settings"]["batch"] == 4]
    assert broken
    assert {trial["failed"] for trial in broken} == {"The test process was killed by SIGSEGV."}


def test_a_default_that_breaks_is_the_users_to_know(oracle: Oracle, cache: Path, machine: Machine) -> None:
    machine.broken_batch = 1
    with pytest.raises(RunFailed, match=r"The default settings gave no valid test: .*SIGSEGV"):
        session.tune(planted(oracle), machine.clock)


def test_with_nothing_to_try_the_default_stays(
    oracle: Oracle, cache: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "candidates", lambda *given: [])
    (found,) = session.tune(planted(oracle), machine.clock)
    assert found.settings == {}
    assert found.verdict == "the default stays, as nothing else could be measured"


def test_what_is_no_faster_leaves_the_default_and_says_so(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    machine.rates = dict.fromkeys(machine.rates, 100.0)
    (found,) = session.tune(planted(oracle), machine.clock)
    assert found.settings == {}
    assert found.verdict.startswith("the default stays, as the best candidate, ")
    assert found.text == "the default settings, as nothing measured was faster"
    assert found.apply(RunSettings(Scenario.OFFLINE)) == RunSettings(Scenario.OFFLINE)


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": Scenario.SINGLE_STREAM},
        {"precision": "bf16"},
        {"threads": 1},
    ],
)
def test_a_tuning_of_something_else_is_not_found(
    oracle: Oracle, cache: Path, changes: dict[str, Any]
) -> None:
    made(oracle, {"batch": 4})
    assert tuned.find(key(oracle.card)) is not None
    assert tuned.find(key(oracle.card, **changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu_model": "Another CPU"},
        {"cpu_signature": "6-143-8"},
        {"isa": ("avx2",)},
        {"cpus_allowed": 1},
        {"cores_allowed": 64},
        {"performance_cpus_allowed": 1},
        {"cpus_allowed": 64, "cpu_quota_cores": float(system.usable_cpus())},
        {"cpu_quota_cores": system.usable_cpus() - 0.5},
        {"versions": {**system.describe().versions, "openvino": "1.0"}},
    ],
)
def test_a_tuning_of_another_machine_or_openvino_is_not_found(
    oracle: Oracle, cache: Path, changes: dict[str, Any]
) -> None:
    made(oracle, {"batch": 4})
    settings = RunSettings(Scenario.OFFLINE)
    here = system.describe()
    assert tuned.find(tuned.key_of(oracle.card, settings, here)) is not None
    assert tuned.find(tuned.key_of(oracle.card, settings, replace(here, **changes))) is None


def test_an_older_tuning_which_does_not_tell_the_cpus_generation_is_found_until_there_is_a_newer_one(
    oracle: Oracle, cache: Path
) -> None:
    one = made(oracle, {"batch": 4})
    here = replace(one.key, cpu_signature="6-207-2")
    older = replace(one, key=replace(one.key, **tuned._UNSAID))
    shutil.rmtree(one.path.parent)
    path = tuned.write(older)
    document = json.loads(path.read_text())
    for name in tuned._UNSAID:
        del document["key"][name]
    path.write_text(json.dumps(document))
    assert hashlib.sha256(json.dumps(document["key"]).encode()).hexdigest()[:16] in path.parent.name
    found = tuned.find(here)
    assert found == older
    assert found.path == path
    newer = replace(one, key=here, settings={"batch": 8})
    tuned.write(newer)
    assert tuned.find(here) == newer
    assert tuned.find(replace(here, cpu_signature="6-143-8")) == older
    # It may pin.
    assert tuned.find(replace(here, whole=False)) is None


def test_a_tuning_for_another_input_size_is_not_found(oracle: Oracle, cache: Path) -> None:
    made(oracle, {"batch": 4})
    larger = replace(oracle.card, input=replace(oracle.card.input, size=32))
    assert tuned.find(key(larger)) is None


def test_what_the_user_gives_wins_and_no_tuning_leaves_it_out(
    oracle: Oracle, cache: Path, tmp_path: Path
) -> None:
    one = made(oracle, {"batch": 4, "streams": 1, "pinning": False})
    document, _ = run_session.run(asked(oracle, tmp_path / "given", batch=2))
    assert [getattr(document.settings, name) for name in ("batch", "streams", "pinning")] == [2, 1, False]
    assert document.precision.openvino["ENABLE_CPU_PINNING"] is False
    assert document.tuning.created == one.created
    document, _ = run_session.run(asked(oracle, tmp_path / "without", tuning=False))
    assert [getattr(document.settings, name) for name in ("batch", "streams", "pinning")] == [1, None, None]
    assert document.tuning is None


def test_more_streams_than_tuned_threads_take_the_threads_that_they_need(oracle: Oracle, cache: Path) -> None:
    one = made(oracle, {"batch": 4, "threads": 1, "streams": 1})
    settings = one.apply(RunSettings(Scenario.OFFLINE, streams=2))
    assert (settings.streams, settings.threads, settings.batch) == (2, None, 4)


def test_a_result_with_other_settings_is_not_taken_for_one_of_the_tuning(
    oracle: Oracle, cache: Path, tmp_path: Path
) -> None:
    run_session.run(asked(oracle, tmp_path / "out"))
    made(oracle, {"batch": 4})
    with pytest.raises(OutputError, match=r"is of another batch.* sets batch 4: --no-tuning\)\.$"):
        run_session.run(asked(oracle, tmp_path / "out"))
    document, _ = run_session.run(asked(oracle, tmp_path / "out", tuning=False))
    assert document.settings.batch == 1
    run_session.run(asked(oracle, tmp_path / "tuned"))
    with pytest.raises(OutputError, match=r"is of another batch.*a tuning of 2026-.* is in use there\)\.$"):
        run_session.run(asked(oracle, tmp_path / "tuned", tuning=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: text.replace('"batch": 4', '"batch": 0'), r"is damaged .*batch = 0"),
        (lambda text: text.replace('"batch": 4', '"bacht": 4'), r"is damaged .*bacht = 4"),
        (lambda text: text.replace('"batch": 4', '"threads": 4096'), r"is damaged .*more threads than CPUs"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "newer than this harness knows: update"),
        (lambda text: text.replace('"scenario": "Offline"', '"scenario": "Server"'), "is damaged"),
    ],
)
def test_a_damaged_tuning_is_one_sentence(oracle: Oracle, cache: Path, change: Any, message: str) -> None:
    one = made(oracle, {"batch": 4})
    text = one.path.read_text()
    one.path.write_text(change(text))
    assert one.path.read_text() != text
    with pytest.raises(OutputError, match=message) as raised:
        tuned.find(one.key)
    assert "--no-tuning" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("at", [0, 3, 20])
def test_an_interruption_leaves_no_tuning_and_the_same_request_goes_on(
    oracle: Oracle, cache: Path, machine: Machine, at: int
) -> None:
    machine.interrupt_at = at
    with pytest.raises(KeyboardInterrupt):
        session.tune(planted(oracle), machine.clock)
    (folder,) = cache.glob("tunings/*")
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "tests"]
    assert tuned.find(key(oracle.card)) is None
    machine.interrupt_at = None
    (found,) = session.tune(planted(oracle), machine.clock)
    assert len(set(machine.tests)) == len(machine.tests)
    assert [trial["log"] for trial in found.details["trials"]] == [
        path.relative_to(folder).as_posix() for path in machine.tests
    ]
    assert not (folder / "plan.json").exists()


def test_a_round_of_the_check_that_was_interrupted_is_measured_whole_again(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    session.tune(planted(oracle), machine.clock)
    first = next(at for at, path in enumerate(machine.tests) if "check" in path.parts)
    machine.tests.clear()
    # The third round's second side.
    machine.interrupt_at = first + 5
    with pytest.raises(KeyboardInterrupt):
        session.tune(planted(oracle, replace=True), machine.clock)
    done = list(machine.tests)
    machine.interrupt_at = None
    session.tune(planted(oracle, replace=True), machine.clock)
    assert machine.tests[len(done)] == done[-1]
    assert len(set(machine.tests)) == len(machine.tests) - 1


def test_an_interrupted_tuning_with_another_budget_is_begun_anew(
    oracle: Oracle, cache: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.interrupt_at = 5
    with pytest.raises(KeyboardInterrupt):
        session.tune(planted(oracle), machine.clock)
    machine.interrupt_at = None
    (found,) = session.tune(planted(oracle, budget_min=6.0), machine.clock)
    assert "begun anew" in capsys.readouterr().err
    assert len(found.details["trials"]) == len(machine.tests) - 5


def test_two_tunings_of_the_same_do_not_mix(oracle: Oracle, cache: Path, machine: Machine) -> None:
    folder = key(oracle.card).folder
    folder.mkdir(parents=True)
    with (
        files.locked(folder / ".lock", OutputError("not expected")),
        pytest.raises(OutputError, match=r"^Another tuning of oracle for Offline is .*: wait for it"),
    ):
        session.tune(planted(oracle), machine.clock)
    assert not machine.tests
    assert not list(folder.iterdir())
    session.tune(planted(oracle), machine.clock)
    assert sorted(path.name for path in folder.iterdir()) == ["tests", "tuning.json"]


def test_a_plan_that_is_damaged_is_one_sentence(oracle: Oracle, cache: Path, machine: Machine) -> None:
    machine.interrupt_at = 5
    with pytest.raises(KeyboardInterrupt):
        session.tune(planted(oracle), machine.clock)
    (plan,) = cache.glob("tunings/*/plan.json")
    plan.write_text("{")
    with pytest.raises(OutputError, match=r"The plan .*plan\.json of an interrupted tuning is damaged"):
        session.tune(planted(oracle), machine.clock)


def test_replace_tunes_again_and_keeps_the_old_tuning_until_the_new_is_there(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    (first,) = session.tune(planted(oracle), machine.clock)
    count = len(machine.tests)
    assert session.tune(planted(oracle), machine.clock) == [first]
    assert len(machine.tests) == count
    machine.rates[8] = 200.0
    machine.interrupt_at = count + 5
    with pytest.raises(KeyboardInterrupt):
        session.tune(planted(oracle, replace=True), machine.clock)
    assert tuned.find(first.key) == first
    machine.interrupt_at = None
    (second,) = session.tune(planted(oracle, replace=True), machine.clock)
    assert second.settings["batch"] == 8
    assert tuned.find(first.key) == second


@pytest.mark.parametrize("budget_min", [2.0, 3.0, 10.0])
def test_the_budget_is_kept_even_when_tests_take_longer_than_the_pilot(
    oracle: Oracle, cache: Path, machine: Machine, budget_min: float
) -> None:
    session_s = 60 * budget_min
    (found,) = session.tune(planted(oracle, budget_min=budget_min), machine.clock)
    assert machine.now_s <= session_s + 0.001
    again = Machine()

    def slowed(*given: Any) -> tuple[Series, Round]:
        again.overhead_s = 4.0 if again.tests else 2.0
        return Machine.measure(again, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.series, "measure", slowed)
        (found,) = session.tune(planted(oracle, budget_min=budget_min, replace=True), again.clock)
    checks = sum(trial["stage"] == "check" for trial in found.details["trials"])
    assert 2 * LEAST_ROUNDS <= checks <= 2 * found.details["schedule"]["rounds"]
    assert again.now_s <= 1.25 * session_s


def test_each_precision_that_is_allowed_has_a_tuning_of_its_own(
    oracle: Oracle, cache: Path, machine: Machine
) -> None:
    found = session.tune(planted(oracle, precisions=("f32", "bf16")), machine.clock)
    assert [one.key.precision for one in found] == ["f32", "bf16"]
    assert len({one.path for one in found}) == 2
    assert machine.now_s <= 5 * 60


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"budget_min": 0.5}, HarnessError, r"Too little time: .*: give a --budget of at least \d"),
        ({"threads": 4096}, HarnessError, r"--threads 4096: this process may use"),
        ({"store": Path("nowhere")}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(
    oracle: Oracle,
    cache: Path,
    machine: Machine,
    changes: dict[str, Any],
    error: type[HarnessError],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as raised:
        session.tune(replace(planted(oracle), **changes), machine.clock)
    assert raised.value.exit_code == 2
    assert not list(cache.rglob("tuning.json"))


def test_a_model_that_is_missing_is_one_sentence(oracle: Oracle, cache: Path) -> None:
    card = replace(oracle.card, file=replace(oracle.card.file, path="gone.xml"))
    with pytest.raises(ModelError, match=r"gone\.xml"):
        session.tune(Request(card, oracle.store.path, Scenario.OFFLINE))


def test_the_budget_says_how_many_candidates_and_how_long() -> None:
    plenty = share_out(23, 3.0, 3600.0)
    assert plenty.count == 23
    tight = share_out(23, 3.0, 120.0)
    assert 1 <= tight.count < 23
    for count, left_s in ((23, 300.0), (23, 120.0), (500, 600.0)):
        one = share_out(count, 3.0, left_s)
        assert one.test_s >= 1
        assert LEAST_ROUNDS <= one.rounds <= MOST_ROUNDS
        assert 2 * one.rounds * (one.check_s + 2.0) <= one.reserve_s + 0.001
    with pytest.raises(HarnessError, match="Too little time"):
        share_out(23, 3.0, 55.0)
    assert share_out(0, 3.0, 55.0).count == 0


def test_a_key_is_plain_json() -> None:
    one = Key("ab", None, ("avx2",), 2, "2026.4.1", "Offline", "f32", None)
    assert json.loads(json.dumps(asdict(one)))["isa"] == ["avx2"]
