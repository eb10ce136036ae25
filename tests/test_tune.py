"""Tuning real models through LoadGen, and what `run` makes of a tuning."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Oracle

from harness import child, run, system, tuning
from harness.errors import DataError, HarnessError, ModelError, OutputError
from harness.job import Job
from harness.scenario import Mode, Scenario
from harness.settings import RunSettings
from harness.tuner import session
from harness.tuner.budget import CHECK_ROUNDS, share_out
from harness.tuner.candidates import candidates
from harness.tuner.session import Request
from harness.tuning import Key, Tuning


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of the test's own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def two_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave few candidates, one with a batch that costs the oracle far less a sample than the default."""

    def few(settings: RunSettings, *rest: Any) -> list[RunSettings]:
        return [one for one in candidates(settings, *rest) if one.pinning and one.batch in (2, 32)][:2]

    monkeypatch.setattr(session, "candidates", few)


def key(card: Any, **changes: Any) -> Key:
    settings = RunSettings(**{"scenario": Scenario.OFFLINE, **changes})
    return tuning.key_of(card, settings, system.describe())


def made(oracle: Oracle, settings: dict[str, Any], **changes: Any) -> Tuning:
    """Write a tuning of the oracle."""
    one = Tuning(key(oracle.card, **changes), "oracle", "2026-11-21T09:00:00+00:00", "0.1.0", settings, "x")
    tuning.write(one)
    return one


def asked(oracle: Oracle, out: Path, **changes: Any) -> run.Request:
    request = {"modes": (Mode.ACCURACY,), "system": "here"}
    known = run.Request.__dataclass_fields__
    request |= {name: value for name, value in changes.items() if name in known}
    settings = {"scenario": Scenario.OFFLINE, "duration_s": 0.2}
    settings |= {name: value for name, value in changes.items() if name not in known}
    return run.Request(oracle.card, oracle.store.path, RunSettings(**settings), out=out, **request)


def test_a_tuning_is_found_again_and_used_by_run_which_says_so(
    oracle: Oracle, cache: Path, tmp_path: Path, two_candidates: None, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, budget_min=0.35)
    (found,) = session.tune(request)
    assert found.settings["batch"] == 32
    assert found.details["speedup"]["low"] > 1
    assert found.path.is_relative_to(cache)
    assert sorted(path.name for path in found.path.parent.iterdir()) == ["tests", "tuning.json"]
    for trial in found.details["trials"]:
        assert (found.path.parent / trial["log"] / "mlperf_log_detail.txt").is_file()
    assert tuning.find(key(oracle.card)) == found
    assert session.tune(request) == [found]
    document, _ = run.run(asked(oracle, tmp_path / "out"))
    assert document["settings"]["batch"] == 32
    assert document["tuning"] == json.loads(json.dumps(found.reference()))
    assert document["accuracy"]["good"] == 57
    assert f"Tuning of {found.created}: batch 32" in capsys.readouterr().err


def test_a_candidate_that_is_no_faster_leaves_the_default(
    oracle: Oracle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(settings: RunSettings, default: Any, *rest: Any) -> list[RunSettings]:
        return [replace(settings, batch=1, streams=1, threads=1)]

    monkeypatch.setattr(session, "candidates", worse)
    (found,) = session.tune(Request(oracle.card, oracle.store.path, Scenario.OFFLINE, budget_min=0.3))
    assert found.settings == {}
    assert found.verdict.startswith("the default stays")
    assert found.text.startswith("the default settings")


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
    assert tuning.find(key(oracle.card)) is not None
    assert tuning.find(key(oracle.card, **changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu_model": "Another CPU"},
        {"isa": ("avx2",)},
        {"cpus_allowed": 1},
        {"versions": {**system.describe().versions, "openvino": "1.0"}},
    ],
)
def test_a_tuning_of_another_machine_or_openvino_is_not_found(
    oracle: Oracle, cache: Path, changes: dict[str, Any]
) -> None:
    made(oracle, {"batch": 4})
    settings = RunSettings(Scenario.OFFLINE)
    here = system.describe()
    assert tuning.find(tuning.key_of(oracle.card, settings, here)) is not None
    assert tuning.find(tuning.key_of(oracle.card, settings, replace(here, **changes))) is None


def test_what_the_user_gives_wins_and_no_tuning_leaves_it_out(
    oracle: Oracle, cache: Path, tmp_path: Path
) -> None:
    one = made(oracle, {"batch": 4, "streams": 1, "pinning": False})
    document, _ = run.run(asked(oracle, tmp_path / "given", batch=2))
    assert [document["settings"][name] for name in ("batch", "streams", "pinning")] == [2, 1, False]
    assert document["precision"]["openvino"]["ENABLE_CPU_PINNING"] is False
    assert document["tuning"]["created"] == one.created
    document, _ = run.run(asked(oracle, tmp_path / "without", tuning=False))
    assert [document["settings"][name] for name in ("batch", "streams", "pinning")] == [1, None, None]
    assert document["tuning"] is None


def test_more_streams_than_tuned_threads_take_the_threads_that_they_need(oracle: Oracle, cache: Path) -> None:
    one = made(oracle, {"batch": 4, "threads": 1, "streams": 1})
    settings = one.apply(RunSettings(Scenario.OFFLINE, streams=2))
    assert (settings.streams, settings.threads, settings.batch) == (2, None, 4)


def test_a_result_with_other_settings_is_not_taken_for_one_of_the_tuning(
    oracle: Oracle, cache: Path, tmp_path: Path
) -> None:
    run.run(asked(oracle, tmp_path / "out"))
    made(oracle, {"batch": 4})
    with pytest.raises(OutputError, match=r"is of another batch.* sets batch 4: --no-tuning\)\.$"):
        run.run(asked(oracle, tmp_path / "out"))
    document, _ = run.run(asked(oracle, tmp_path / "out", tuning=False))
    assert document["settings"]["batch"] == 1
    run.run(asked(oracle, tmp_path / "tuned"))
    with pytest.raises(OutputError, match=r"is of another batch.*a tuning of 2026-.* is in use there\)\.$"):
        run.run(asked(oracle, tmp_path / "tuned", tuning=False))


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
        tuning.find(one.key)
    assert "--no-tuning" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ctrl_c_leaves_no_tuning_and_the_same_command_goes_on(oracle: Oracle, cache: Path) -> None:
    command = [sys.executable, "-m", "harness", "tune", "--model", str(oracle.card_path), "--data",
               str(oracle.store.path), "--scenario", "single-stream", "--budget", "0.6"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(cache.glob("tunings/*/tests/candidates/*/1/round_1/round.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 130, words
    (folder,) = cache.glob("tunings/*")
    assert not list(folder.glob(".*"))
    assert tuning.find(key(oracle.card, scenario=Scenario.SINGLE_STREAM)) is None
    finished = {path: path.stat().st_mtime_ns for path in folder.rglob("round.json")}
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (printed,) = json.loads(done.stdout)
    assert printed == json.loads((folder / "tuning.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not (folder / "plan.json").exists()


def test_time_that_runs_out_ends_the_search_and_not_the_check(
    oracle: Oracle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def measured(job: Job, *rest: Any, **more: Any) -> dict[str, Any]:
        nonlocal now
        now += 2.5 if job.settings.batch == 1 else 1.0
        return original(job, *rest, **more)

    original = child.run
    monkeypatch.setattr(child, "run", measured)
    asked_for = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, threads=1, budget_min=0.9)
    (found,) = session.tune(asked_for, clock=lambda: now)
    stages = [trial["stage"] for trial in found.details["trials"]]
    assert 2 * 3 <= stages.count("check") <= 2 * CHECK_ROUNDS
    assert now < 1.3 * 60 * 0.9


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"budget_min": 0.01}, HarnessError, r"Too little time: .*: give a --budget of at least \d"),
        ({"threads": 4096}, HarnessError, r"--threads 4096: this process may use"),
        ({"store": Path("nowhere")}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(
    oracle: Oracle, cache: Path, changes: dict[str, Any], error: type[HarnessError], message: str
) -> None:
    request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE)
    with pytest.raises(error, match=message) as raised:
        session.tune(replace(request, **changes))
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
        assert one.first_s >= 1
        assert 2 * CHECK_ROUNDS * (one.check_s + 2.0) <= 0.41 * left_s
    with pytest.raises(HarnessError, match="Too little time"):
        share_out(23, 3.0, 60.0)


def test_a_key_is_plain_json() -> None:
    one = Key("ab", None, ("avx2",), 2, "2026.4.1", "Offline", "f32", None)
    assert json.loads(json.dumps(asdict(one)))["isa"] == ["avx2"]
