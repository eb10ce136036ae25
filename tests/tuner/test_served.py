"""Tuning the calls to a server: what is tried, what is kept, and who finds it again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import BRIEF_S, Oracle
from endpoint.serving_process import Running, serving

from harness.backend import deployment
from harness.cli import cli
from harness.endpoint.address import parse
from harness.endpoint.host import ON_THIS_HOST
from harness.errors import HarnessError, ModelError
from harness.loadgen.settings import MOST_CALLS, RunSettings
from harness.machine import system
from harness.machine.noise import Noise, Watch
from harness.measurement import tuned
from harness.measurement.tuned import Tuning
from harness.mlperf.scenario import Mode, Scenario
from harness.run import session as run_session
from harness.run.summary import summary
from harness.tuner import budget, report, session
from harness.tuner.candidates import call_candidates
from harness.tuner.session import Request

ENDPOINT = parse("grpc://127.0.0.1:1/m")
UNTUNED: dict[str, Any] = dict.fromkeys(("threads", "pinning", "smt", "core_type"))


@pytest.fixture(scope="module")
def server(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("exported") / "model.xml"
    deployment.write(oracle.card, path, 2)
    with serving(path) as running:
        yield running


@pytest.mark.parametrize(
    ("scenario", "batches", "shapes"),
    [
        (Scenario.OFFLINE, (1,), {(1, calls) for calls in (1, 2, 4, 8, 16, 32, 64)}),
        (Scenario.OFFLINE, (4,), {(4, calls) for calls in (1, 2, 4, 8, 16, 32, 64)}),
        (Scenario.MULTI_STREAM, (1, 8), {(1, 1), (1, 2), (1, 4), (1, 8), (8, 1)}),
    ],
    ids=str,
)
def test_the_ways_to_ask_are_those_that_the_server_takes(
    scenario: Scenario, batches: tuple[int, ...], shapes: set[tuple[int, int]]
) -> None:
    settings = RunSettings(scenario, endpoint=ENDPOINT)
    found = call_candidates(settings, {**UNTUNED, "batch": batches[0], "streams": 2}, batches, 8)
    assert {(one.batch or 0, one.streams or 0) for one in found} == shapes - {(batches[0], 2)}
    assert all(one.endpoint == ENDPOINT for one in found)
    assert max(streams for _, streams in shapes) <= MOST_CALLS


def test_a_tuning_is_of_one_endpoint(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    machine = system.describe()
    served = RunSettings(Scenario.OFFLINE, endpoint=ENDPOINT)
    key = tuned.key_of(oracle.card, served, machine)
    made = Tuning(key, "oracle", "2026-11-21T09:00:00+00:00", "0", {"batch": 4, "streams": 8}, "faster")
    tuned.write(made)
    assert tuned.find(key) == made
    assert made.text == "batch 4, 8 calls"
    for other in (replace(served, endpoint=None), replace(served, endpoint=parse("grpc://127.0.0.1:2/m"))):
        assert tuned.find(tuned.key_of(oracle.card, other, machine)) is None
    assert made.apply(served) == replace(served, batch=4, streams=8)
    assert made.apply(replace(served, streams=2)).streams == 2


def test_a_tuning_of_a_server_is_made_and_used_by_run(
    oracle: Oracle, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(settings: RunSettings, *rest: Any) -> list[RunSettings]:
        return call_candidates(settings, *rest)[:1]

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(session, "call_candidates", one)
    for module in (session, budget):
        monkeypatch.setattr(module, "PILOT_S", BRIEF_S / 4)
    monkeypatch.setattr(budget, "LEAST_ROUNDS", 1)
    monkeypatch.setattr(budget, "MOST_ROUNDS", 1)
    watched = Noise(1.0, 8, 0.0, 7.5, 0, 0.0, 3, None)
    monkeypatch.setattr(Watch, "stop", lambda _: watched)
    endpoint = server.endpoint()
    request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, endpoint=endpoint, budget_min=0.02)
    (found,) = session.tune(request, clock=lambda: 0.0)
    assert found.details["winner"]["batch"] == 2, "the server takes no other"
    assert found.details["winner"]["streams"] != found.details["default"]["streams"]
    swapped, neighbour = found.details["remarks"]
    assert "pages were swapped" in swapped, "of the server's work nothing is said"
    assert ON_THIS_HOST in neighbour
    shown = report.summary([found])
    assert str(endpoint) in shown
    assert ON_THIS_HOST in shown
    kept = replace(found, settings={"batch": 2, "streams": 4})
    tuned.write(kept)
    settings = RunSettings(Scenario.OFFLINE, duration_s=BRIEF_S, endpoint=endpoint)
    request_ = run_session.Request(
        oracle.card, oracle.store.path, settings, (Mode.ACCURACY,), tmp_path / "out"
    )
    measured, folder = run_session.run(request_)
    assert measured.tuning == kept.reference()
    assert (measured.settings.batch, measured.settings.streams) == (2, 4)
    assert "tuned: batch 2, 4 calls" in summary(measured, folder)


def test_an_interrupted_tuning_of_what_takes_other_batches_by_now_is_begun_anew(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(session.series, "measure", interrupted)
    ports: tuple[int, int] | None = None
    for batch in (2, 4):
        path = tmp_path / str(batch) / "model.xml"
        path.parent.mkdir()
        deployment.write(oracle.card, path, batch)
        with serving(path, ports) as running:
            ports = running.grpc_port, running.http_port
            request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, endpoint=running.endpoint())
            with pytest.raises(KeyboardInterrupt):
                session.tune(request)
        assert ("begun anew" in capsys.readouterr().err) == (batch == 4)


def test_what_cannot_be_tuned_of_a_server_is_told(oracle: Oracle, server: Running, tmp_path: Path) -> None:
    words = ["tune", "--model", str(oracle.card_path), "--data", str(oracle.store.path), "--scenario"]
    words += ["SingleStream", "--endpoint", str(server.endpoint())]
    told = CliRunner().invoke(cli, words)
    assert isinstance(told.exception, HarnessError)
    assert "asks an endpoint one sample at a time" in str(told.exception)
    words[words.index("SingleStream")] = "Offline"
    told = CliRunner().invoke(cli, [*words, "--threads", "1"])
    assert "--threads with --endpoint" in str(told.exception)
    request = Request(oracle.card, oracle.store.path, Scenario.OFFLINE, endpoint=server.endpoint())
    with server.told(input_type="FP32"), pytest.raises(ModelError, match="sends raw pixels"):
        session.tune(request)
