"""LoadGen in front of a real server on loopback: results like any other, and no fault of it passes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Oracle
from endpoint.serving_process import Running, serving

from harness.backend import deployment
from harness.cli import cli
from harness.errors import HarnessError, ModelError, RunFailed
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Mode, Scenario
from harness.run import result, session
from harness.run.document import RunResult
from harness.run.summary import summary


@pytest.fixture(scope="module")
def exported(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.xml"
    deployment.write(oracle.card, path)
    return path


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Running]:
    with serving(exported) as running:
        yield running


def run(
    oracle: Oracle, out: Path, running: Running, scenario: Scenario, *modes: Mode, **more: Any
) -> tuple[RunResult, Path]:
    endpoint = running.endpoint(more.pop("scheme", "grpc"))
    user_conf = out / "user.conf"
    # A busy machine may well keep a thread waiting for 15 ms.
    user_conf.write_text("resnet50.Server.target_qps = 300\nresnet50.Server.target_latency = 60000\n")
    settings = RunSettings(scenario, duration_s=0.5, endpoint=endpoint, user_conf=user_conf, **more)
    asked = modes or tuple(Mode)
    return session.run(session.Request(oracle.card, oracle.store.path, settings, asked, out, tuning=False))


@pytest.mark.parametrize(
    ("scenario", "scheme", "modes"),
    [
        (Scenario.SINGLE_STREAM, "http", tuple(Mode)),
        (Scenario.SERVER, "grpc", tuple(Mode)),
        (Scenario.OFFLINE, "grpc", (Mode.PERFORMANCE,)),
        (Scenario.MULTI_STREAM, "grpc", (Mode.ACCURACY,)),
    ],
    ids=str,
)
def test_a_served_model_is_measured_like_any_other(
    scenario: Scenario, scheme: str, modes: tuple[Mode, ...], oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    found, folder = run(oracle, tmp_path, server, scenario, *modes, scheme=scheme)
    assert folder.parent.name == "oracle-served"
    assert found.is_good
    assert not found.official
    assert found.precision.computed == "served"
    assert result.read(folder / "result.json") == found
    assert found.probe.server is not None
    assert found.probe.server.model_version == "3"
    if Mode.ACCURACY in modes:
        assert found.accuracy is not None
        assert (found.accuracy.good, found.accuracy.total) == (57, 60)
        assert found.accuracy.known_answers is not None
    if Mode.PERFORMANCE in modes:
        detail = (folder / "performance" / "run_1" / "mlperf_log_detail.txt").read_text()
        assert "Network SUT" in detail
    text = summary(found, folder)
    assert f"served by test server 1 at {server.endpoint(scheme)}, version 3" in text
    assert text.count("the server is on this host") == 2, "said, and said to keep it from being official"


def test_calls_in_flight_are_those_asked_for(oracle: Oracle, server: Running, tmp_path: Path) -> None:
    found, _ = run(oracle, tmp_path, server, Scenario.OFFLINE, Mode.ACCURACY, streams=3)
    assert found.settings.streams == found.probe.streams == 3
    assert found.accuracy is not None
    assert found.accuracy.known_answers is not None
    assert found.accuracy.known_answers["requests"] == 3, "each connection was asked"


@pytest.mark.parametrize(
    ("fault", "after", "words"),
    [
        ("close", 30, r"is not to be reached|closed the connection"),
        ("close", 150, r"is not to be reached|closed the connection"),
        ("nan", 150, "not a number"),
    ],
)
def test_a_fault_in_the_middle_fails_the_run_and_names_the_sample(
    fault: str, after: int, words: str, oracle: Oracle, exported: Path, tmp_path: Path
) -> None:
    with (
        serving(exported, fault=fault, after=after) as running,
        pytest.raises(RunFailed, match=words) as error,
    ):
        run(oracle, tmp_path, running, Scenario.SINGLE_STREAM, Mode.PERFORMANCE)
    assert "The call for sample " in str(error.value)
    assert "(image_" in str(error.value)
    assert not list(tmp_path.rglob("result.json"))


def test_a_server_with_other_answers_is_not_measured(oracle: Oracle, server: Running, tmp_path: Path) -> None:
    with server.told(fault="wrong"), pytest.raises(ModelError, match="answers known samples otherwise"):
        run(oracle, tmp_path, server, Scenario.SINGLE_STREAM)


def test_one_folder_holds_the_tests_of_one_endpoint_and_version(
    oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    run(oracle, tmp_path, server, Scenario.SINGLE_STREAM, Mode.ACCURACY)
    with pytest.raises(HarnessError, match="is of another endpoint"):
        run(oracle, tmp_path, server, Scenario.SINGLE_STREAM, Mode.ACCURACY, scheme="http")
    # The server has another version by now.
    with server.told(fault="version"), pytest.raises(RunFailed, match="answered with version '4'"):
        run(oracle, tmp_path, server, Scenario.SINGLE_STREAM, Mode.PERFORMANCE)


ENDPOINT = ("--endpoint", "grpc://127.0.0.1:1/oracle")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((*ENDPOINT, "--official"), "Network division"),
        ((*ENDPOINT, "--threads", "1"), "--threads with --endpoint"),
        ((*ENDPOINT, "--precision", "bf16"), "--precision with --endpoint"),
        ((*ENDPOINT, "--streams", "1"), "give --concurrency"),
        ((*ENDPOINT, "--concurrency", "2"), "SingleStream runs one query at a time: leave out --concurrency"),
        (("--concurrency", "2"), "--concurrency is for an --endpoint"),
        (("--deadline", "2"), "--deadline is for an --endpoint: give both"),
        (("--ca", "x.pem"), "--ca is for an --endpoint"),
        (("--endpoint", "127.0.0.1:1/oracle"), "has no scheme"),
        ((*ENDPOINT, "--ready-timeout", "0"), "Nobody answers by grpc"),
    ],
    ids=str,
)
def test_what_does_not_go_with_an_endpoint_is_refused(
    words: tuple[str, ...], fault: str, oracle: Oracle, tmp_path: Path
) -> None:
    command = ["run", "--model", str(oracle.card_path), "--data", str(oracle.store.path)]
    command += ["--scenario", "SingleStream", "--out", str(tmp_path / "results"), *words]
    told = CliRunner().invoke(cli, command)
    assert told.exit_code != 0
    assert fault in told.output + str(told.exception)
    assert not list(tmp_path.rglob("result.json"))


def test_a_result_that_was_not_served_says_nothing_of_a_server(oracle: Oracle, tmp_path: Path) -> None:
    settings = RunSettings(Scenario.SINGLE_STREAM, duration_s=0.5)
    found, _ = session.run(
        session.Request(oracle.card, oracle.store.path, settings, (Mode.ACCURACY,), tmp_path, tuning=False)
    )
    document = json.dumps(result.to_dict(found))
    assert "server" not in document
    assert "endpoint" not in document
