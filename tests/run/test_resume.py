"""What a second call with the same words does: finished tests are kept, the others are run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import harness
from conftest import BRIEF_S, Oracle

from harness import cli, files
from harness.errors import OutputError, RunFailed
from harness.loadgen import work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.measurement import test
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import read_card
from harness.run import folder, measuring, result
from harness.run import session as run_session
from harness.run.folder import PERFORMANCE_SETTINGS

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
BOTH = (Mode.PERFORMANCE, Mode.ACCURACY)


def request(
    oracle: Oracle,
    out: Path,
    modes: tuple[Mode, ...] = BOTH,
    scenario: Scenario = Scenario.OFFLINE,
    **changes: Any,
) -> run_session.Request:
    settings = RunSettings(scenario, **{"duration_s": BRIEF_S, **changes})
    return run_session.Request(oracle.card, oracle.store.path, settings, modes, out, system="here")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Mode | None]:
    """Return the jobs that child processes are given, as they come; None is a probe."""
    seen: list[Mode | None] = []
    original = work.run

    def spy(job: Job, *rest: Any) -> dict[str, Any]:
        seen.append(job.mode)
        return original(job, *rest)

    monkeypatch.setattr(work, "run", spy)
    return seen


def edit(folder: Path, **changes: Any) -> None:
    """Change the performance part of a result document."""
    path = folder / "result.json"
    document = json.loads(path.read_text())
    document["performance"] |= changes
    path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def finished(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results folder of a finished MultiStream run, whose batch the probe chose."""
    out = tmp_path_factory.mktemp("finished")
    run_session.run(request(oracle, out, scenario=Scenario.MULTI_STREAM))
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def again(oracle: Oracle, out: Path, modes: tuple[Mode, ...] = BOTH, **changes: Any) -> run_session.Request:
    return request(oracle, out, modes, Scenario.MULTI_STREAM, **changes)


def folder_of(out: Path) -> Path:
    return out / "here" / "oracle" / "MultiStream"


def test_a_finished_run_is_reused_and_nothing_is_started(
    oracle: Oracle, out: Path, jobs: list[Mode | None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder_of(out) / "result.json").read_bytes()
    document, folder = run_session.run(again(oracle, out))
    assert jobs == []
    assert (folder / "result.json").read_bytes() == before
    assert result.to_dict(document) == json.loads(before)
    words = capsys.readouterr().err
    assert "Reused: the finished MultiStream performance test in" in words
    assert "Reused: the finished MultiStream accuracy test in" in words


def test_replace_runs_everything_again_even_in_place_of_a_damaged_result(
    oracle: Oracle, out: Path, jobs: list[Mode | None]
) -> None:
    path = folder_of(out) / "result.json"
    path.write_text(path.read_text()[:500])
    document, _ = run_session.run(replace(again(oracle, out), replace=True))
    assert jobs == [None, Mode.PERFORMANCE, Mode.ACCURACY]
    assert result.read(path) == document


def test_an_accuracy_cannot_join_a_performance_test_whose_user_conf_is_gone(
    oracle: Oracle, out: Path, jobs: list[Mode | None]
) -> None:
    shutil.rmtree(folder_of(out) / "accuracy")
    (folder_of(out) / "user.conf").unlink()
    with pytest.raises(
        OutputError, match="repeat the `harness run` with --mode both, which runs that test again"
    ):
        run_session.run(again(oracle, out, (Mode.ACCURACY,)))
    assert jobs == []


def test_an_interrupted_run_goes_on_after_its_last_finished_test(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[Mode | None]
) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(measuring._SECTIONS, Mode.ACCURACY, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_session.run(request(oracle, tmp_path, batch=4))
    assert jobs == [None, Mode.PERFORMANCE]
    held = result.read(tmp_path / "here/oracle/Offline/result.json")
    del jobs[:]
    document, folder = run_session.run(request(oracle, tmp_path, batch=4))
    assert jobs == [Mode.ACCURACY]
    assert document.performance == held.performance
    assert document.accuracy.good == 57
    assert document.precision == held.precision
    assert result.read(folder / "result.json") == document


@pytest.mark.parametrize(
    ("at", "cure", "taken_again"),
    [
        (Mode.PERFORMANCE, "repeat the command", [None, Mode.PERFORMANCE, Mode.ACCURACY]),
        (Mode.ACCURACY, "repeat the command without --replace", [Mode.ACCURACY]),
    ],
    ids=str,
)
def test_an_interrupted_replacement_goes_on_by_the_command_that_is_named(
    at: Mode,
    cure: str,
    taken_again: list[Mode | None],
    oracle: Oracle,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[Mode | None],
) -> None:
    asked = again(oracle, out)
    command = click.Command(
        "run",
        params=[click.Option(["--replace"], is_flag=True)],
        callback=lambda **given: run_session.run(replace(asked, **given)),
    )
    with monkeypatch.context() as patched:
        patched.setitem(measuring._SECTIONS, at, _interrupt)
        patched.setattr(cli, "cli", click.Group(commands={"run": command}))
        done = harness("run", "--replace")
    assert done.returncode == 130
    assert done.stderr.endswith(f"harness: interrupted; finished parts are kept: {cure} to go on.\n")
    del jobs[:]
    run_session.run(replace(asked, replace="without" not in cure))
    assert jobs == taken_again


def _interrupt(*_: Any) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_an_invalid_performance_test_is_run_again_with_the_settings_of_the_accuracy(
    oracle: Oracle, out: Path, jobs: list[Mode | None]
) -> None:
    edit(folder_of(out), valid=False)
    held = result.read(folder_of(out) / "result.json")
    document, _ = run_session.run(again(oracle, out))
    assert jobs == [None, Mode.PERFORMANCE]
    assert document.performance.valid
    assert document.accuracy == held.accuracy
    assert document.settings.tunable == held.settings.tunable


def test_a_finished_test_whose_log_is_gone_is_run_again(
    oracle: Oracle, out: Path, jobs: list[Mode | None]
) -> None:
    shutil.rmtree(folder_of(out) / "accuracy")
    run_session.run(again(oracle, out))
    assert jobs == [Mode.ACCURACY]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"duration_s": 0.3}, "duration"),
        ({"official": True}, r"kind \(official or not\)"),
        ({"batch": 2}, "batch"),
        ({"threads": 1}, "threads"),
    ],
)
def test_other_settings_do_not_pass_for_the_same_test(
    oracle: Oracle, out: Path, changes: dict[str, Any], what: str
) -> None:
    held = json.loads((folder_of(out) / "result.json").read_text())
    if held["settings"].get("batch") == changes.get("batch"):
        changes = {"batch": 1}
    with pytest.raises(OutputError, match=f"The performance result in .* is of another {what}.*--replace"):
        run_session.run(again(oracle, out, **changes))


def test_another_user_conf_is_another_test(oracle: Oracle, out: Path, tmp_path: Path) -> None:
    user_conf = tmp_path / "mine.conf"
    user_conf.write_text("resnet50.MultiStream.target_latency = 1\n")
    with pytest.raises(OutputError, match=r"is of another user\.conf"):
        run_session.run(again(oracle, out, user_conf=user_conf))


def test_what_a_performance_test_was_asked_goes_with_it_whichever_test_came_first(
    oracle: Oracle, tmp_path: Path, jobs: list[Mode | None]
) -> None:
    user_conf = tmp_path / "mine.conf"
    own = {"user_conf": user_conf, "duration_s": 0.1}
    # It leaves target_qps to the harness, which raises it until the brief test is VALID.
    user_conf.write_text("resnet50.MultiStream.target_latency = 1\n")
    run_session.run(request(oracle, tmp_path, (Mode.ACCURACY,), duration_s=0.3))
    document, folder = run_session.run(request(oracle, tmp_path, (Mode.PERFORMANCE,), **own))
    stated = {key: getattr(document.settings, key) for key in PERFORMANCE_SETTINGS}
    assert stated["user_conf"] == Path("mine.conf")
    assert stated["user_conf_sha256"] == files.sha256_file(user_conf)
    assert stated["duration_s"] == 0.1
    shutil.rmtree(folder / "accuracy")
    document, _ = run_session.run(request(oracle, tmp_path, (Mode.ACCURACY,)))
    assert {key: getattr(document.settings, key) for key in PERFORMANCE_SETTINGS} == stated
    del jobs[:]
    run_session.run(request(oracle, tmp_path, (Mode.PERFORMANCE,), **own))
    assert jobs == []


def test_an_official_run_stays_one_when_its_accuracy_is_added_without_the_word(
    oracle: Oracle, out: Path
) -> None:
    path = folder_of(out) / "result.json"
    document = json.loads(path.read_text())
    document["settings"]["official"] = True
    path.write_text(json.dumps(document))
    shutil.rmtree(folder_of(out) / "accuracy")
    added, _ = run_session.run(again(oracle, out, (Mode.ACCURACY,)))
    assert added.settings.official
    assert added.performance == result.read(path).performance


def corrected(oracle: Oracle, folder: Path, old: str, new: str) -> Any:
    """Return the oracle's card with a line of it changed, in another file."""
    text = oracle.card_path.read_text().replace("oracle.xml", str(oracle.card_path.with_suffix(".xml")))
    assert old in text
    path = folder / "corrected.toml"
    path.write_text(text.replace(old, new))
    return read_card(path)


def test_a_finished_accuracy_is_held_against_the_target_that_the_card_has_by_now(
    oracle: Oracle, out: Path, tmp_path: Path, jobs: list[Mode | None]
) -> None:
    for fraction, passed in (("0.96", False), ("0.94", True)):
        card = corrected(oracle, tmp_path, "fraction = 0.9", f"fraction = {fraction}")
        document, folder = run_session.run(replace(again(oracle, out), card=card))
        assert document.accuracy.passed is passed
        assert result.read(folder / "result.json") == document
    assert jobs == []


def test_a_result_of_a_card_that_feeds_the_model_otherwise_is_another_models(
    oracle: Oracle, out: Path, tmp_path: Path
) -> None:
    card = corrected(oracle, tmp_path, 'channels = "RGB"', 'channels = "BGR"')
    with pytest.raises(OutputError, match="is of another model"):
        run_session.run(replace(again(oracle, out), card=card))


def test_a_result_of_other_labels_is_of_other_data(oracle: Oracle, out: Path, tmp_path: Path) -> None:
    path = shutil.copytree(oracle.store.path, tmp_path / "store")
    lines = (path / "val_map.txt").read_text().replace(" 1\n", " 2\n")
    (path / "val_map.txt").write_text(lines)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["list_sha256"] = files.sha256_file(path / "val_map.txt")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match="is of another data"):
        run_session.run(replace(again(oracle, out), store=path))


def test_what_a_killed_call_left_while_it_cleared_away_does_no_harm(tmp_path: Path) -> None:
    for name in ("new", "run_1", ".run_1.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").write_text(name)
    test.take_place(tmp_path / "new", tmp_path / "run_1")
    assert (tmp_path / "run_1" / "log").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["run_1"]


@pytest.mark.parametrize(
    ("key", "words"),
    [("cpu_model", "CPU"), ("cpu_signature", "family, model or stepping of the CPU")],
)
def test_a_result_of_another_machine_is_not_continued(
    oracle: Oracle, out: Path, key: str, words: str
) -> None:
    path = folder_of(out) / "result.json"
    document = json.loads(path.read_text())
    document["machine"][key] = "another"
    document["performance"] = None
    path.write_text(json.dumps(document))
    with pytest.raises(OutputError, match=f"is of another {words}, and one folder holds"):
        run_session.run(again(oracle, out))


def test_a_result_that_does_not_tell_the_cpus_generation_is_continued(
    oracle: Oracle, out: Path, jobs: list[Mode | None]
) -> None:
    path = folder_of(out) / "result.json"
    document = json.loads(path.read_text())
    del document["machine"]["cpu_signature"]
    path.write_text(json.dumps(document))
    run_session.run(again(oracle, out))
    assert jobs == []


def test_two_runs_of_one_scenario_do_not_mix(oracle: Oracle, out: Path, jobs: list[Mode | None]) -> None:
    folder = folder_of(out)
    with (
        files.locked(folder.with_name(".MultiStream.lock"), OutputError("not expected")),
        pytest.raises(OutputError, match=r"^Another process is at work on .*MultiStream: wait .* --out\.$"),
    ):
        run_session.run(replace(again(oracle, out), replace=True))
    assert jobs == []
    run_session.run(again(oracle, out))
    assert [path.name for path in folder.parent.iterdir()] == ["MultiStream"]


AUDIT_TEST01 = (
    "*.*.mode = 2\n*.*.accuracy_log_rng_seed = 720381539243781796\n*.*.accuracy_log_sampling_target = 64\n"
)


def test_a_performance_test_is_repeated_with_an_audit_file(
    oracle: Oracle, out: Path, tmp_path: Path, jobs: list[Mode | None]
) -> None:
    audit = tmp_path / "audit.config"
    audit.write_text(AUDIT_TEST01)
    held = json.loads((folder_of(out) / "result.json").read_text())
    logs = tmp_path / "TEST01"
    measured = run_session.repeat_performance(oracle.card, oracle.store.path, folder_of(out), audit, logs)
    assert measured.valid, measured.invalid_reasons
    assert jobs == [Mode.PERFORMANCE]
    assert measured.scenario is Scenario.MULTI_STREAM
    assert len(json.loads((logs / "mlperf_log_accuracy.json").read_text())) > 0
    assert json.loads((folder_of(out) / "result.json").read_text()) == held
    assert sorted(path.name for path in tmp_path.iterdir()) == ["TEST01", "audit.config", "out"]
    with pytest.raises(OutputError, match="TEST01 exists already"):
        run_session.repeat_performance(oracle.card, oracle.store.path, folder_of(out), audit, logs)


def test_an_audit_file_that_is_missing_or_not_heeded_fails(
    oracle: Oracle, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match="No audit file"):
        run_session.repeat_performance(
            oracle.card, oracle.store.path, folder_of(out), tmp_path / "none", tmp_path / "logs"
        )
    audit = tmp_path / "audit.config"
    audit.write_text(AUDIT_TEST01)
    original = run_session.take_with_bar

    def without(job: Job, *rest: Any, **options: Any) -> test.Taken:
        return original(replace(job, audit_config=None), *rest, **options)

    monkeypatch.setattr(run_session, "take_with_bar", without)
    with pytest.raises(RunFailed, match="did not heed the audit file"):
        run_session.repeat_performance(
            oracle.card, oracle.store.path, folder_of(out), audit, tmp_path / "logs"
        )
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("pinning", "allowed", "unlike"),
    [
        ((None, None), (8, 2), ["pinning", "CPU quota"]),
        ((None, None), (8, 8), []),
        ((False, None), (8, 8), []),
        ((False, None), (2, 2), ["pinning"]),
    ],
)
def test_under_a_quota_nothing_is_pinned_whether_a_result_says_so_or_not(
    pinning: tuple[bool | None, bool | None], allowed: tuple[int, int], unlike: list[str]
) -> None:
    old = OLD / "results" / "here" / "oracle" / "Offline" / "result.json"
    identity = result.read(old).identity
    pair = [
        replace(
            identity,
            settings=replace(identity.settings, pinning=pinned),
            machine=replace(identity.machine, cpus_allowed=cpus, cpu_quota_cores=2.0),
        )
        for pinned, cpus in zip(pinning, allowed, strict=True)
    ]
    assert folder.differences(*pair) == unlike
