"""LoadGen in front of a real server on loopback: results like any other, and no fault of it passes."""

import json
import re
import threading
import time
import tomllib
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
from harness.endpoint.address import Endpoint
from harness.errors import HarnessError, ModelError, RunFailed
from harness.loadgen import work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.machine import hardware, system
from harness.mlperf.scenario import Mode, Scenario
from harness.results import own
from harness.run import network, result, session
from harness.run.document import Energy, RunResult
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
    own = {name: more.pop(name) for name in ("ready_timeout_s",) if name in more}
    endpoint = running.endpoint(more.pop("scheme", "grpc"), **own)
    user_conf = out / "user.conf"
    # A busy machine may well keep a thread waiting for 15 ms, or hold up a brief probe.
    user_conf.write_text("resnet50.Server.target_qps = 300\nresnet50.Server.target_latency = 60000\n")
    duration_s = 0.3 if scenario is Scenario.SERVER else BRIEF_S
    settings = RunSettings(scenario, duration_s=duration_s, endpoint=endpoint, user_conf=user_conf, **more)
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
    calls = None if scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM) else 2
    found, folder = run(oracle, tmp_path, server, scenario, *modes, scheme=scheme, streams=calls)
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
        assert f"Network SUT test server 1 at {server.endpoint(scheme, 'oracle:3')}" in detail
    text = summary(found, folder)
    assert f"served by test server 1 at {server.endpoint(scheme)}, version 3" in text
    assert text.count("the server is on this host") == 2, "said, and said to keep it from being official"


def test_server_measures_a_model_that_takes_only_whole_batches(oracle: Oracle, tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    deployment.write(oracle.card, path, 4)
    with serving(path) as running:
        found, _ = run(oracle, tmp_path, running, Scenario.SERVER, batch=4, streams=2)
        assert found.is_good
        assert found.accuracy is not None
        assert (found.accuracy.good, found.accuracy.total) == (57, 60)
        assert found.accuracy.known_answers is not None
        assert found.accuracy.known_answers["requests"] == 2, "no smaller batch was asked for"
        settings = RunSettings(Scenario.SERVER, endpoint=running.endpoint(), streams=2, batch=4)
        probe = Job(oracle.card, oracle.store.path, settings, tmp_path, None, probe_s=0.3)
        assert work.run(probe)["estimate"].batch == 4
        with pytest.raises(ModelError, match=r"in a batch of 1: .* another --batch"):
            work.run(replace(probe, settings=replace(settings, batch=None)))


def test_the_rate_that_holds_servers_bound_is_searched_through_an_endpoint(
    oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    settings = RunSettings(Scenario.SERVER, endpoint=server.endpoint(), streams=2, batch=1)
    # A busy machine may well keep one call in a hundred waiting; half of them it does not.
    bound = {"latency_bound_ns": 20_000_000, "latency_percentile": 50.0, "search": True, "probe_s": 0.3}
    found = work.run(Job(oracle.card, oracle.store.path, settings, tmp_path, None, **bound))["estimate"]
    held = [trial.target_qps for trial in found.trials if trial.held]
    assert found.target_qps in held
    assert all(trial.latency_ns is None or trial.latency_ns > 0 for trial in found.trials)
    assert found.server.server == "test server"


def test_calls_in_flight_are_those_asked_for(oracle: Oracle, server: Running, tmp_path: Path) -> None:
    found, _ = run(oracle, tmp_path, server, Scenario.OFFLINE, Mode.ACCURACY, streams=3)
    assert found.settings.streams == found.probe.streams == 3
    assert found.accuracy is not None
    assert found.accuracy.known_answers is not None
    assert found.accuracy.known_answers["requests"] == 3, "each connection was asked"


ACCURACY_CALLS = 60
BEFORE = 3
"""Calls of one connection before LoadGen's first: a warm-up and two known answers."""


def accuracy_job(oracle: Oracle, folder: Path, endpoint: Endpoint) -> Job:
    """Return an accuracy test by itself: BEFORE calls, ACCURACY_CALLS of LoadGen, and two known answers."""
    settings = RunSettings(Scenario.SINGLE_STREAM, endpoint=endpoint).with_defaults()
    user_conf = folder / "user.conf"
    user_conf.write_text("resnet50.SingleStream.target_latency = 1.0\n")
    return Job(oracle.card, oracle.store.path, settings, folder, Mode.ACCURACY, user_conf)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("version", "answered with version '4' of 'oracle', and before with version '3'"),
        ("nan", "not a number"),
    ],
)
def test_a_fault_in_the_middle_fails_the_test_and_names_the_sample(
    fault: str, words: str, oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    job = accuracy_job(oracle, tmp_path, server.endpoint())
    with server.told(fault=fault, after=BEFORE + 7), pytest.raises(RunFailed, match=words) as error:
        work.run(job)
    assert "The call for sample " in str(error.value)
    assert re.search(r"\(image_\d{5}\.png\) failed", str(error.value))


@pytest.mark.parametrize(
    ("scheme", "after"),
    [
        ("grpc", 0),
        ("http", BEFORE - 1),
        ("grpc", BEFORE + ACCURACY_CALLS // 2),
        ("http", BEFORE + ACCURACY_CALLS - 1),
        ("grpc", BEFORE + ACCURACY_CALLS),
    ],
    ids=["in the warm-up", "in the known answers", "in the middle", "at the last sample", "after the test"],
)
def test_a_server_killed_at_any_moment_fails_the_test(
    scheme: str, after: int, oracle: Oracle, exported: Path, tmp_path: Path
) -> None:
    gone = "is not to be reached|closed the connection|did not tell LoadGen its name"
    with (
        serving(exported, fault="close", after=after) as running,
        pytest.raises(RunFailed, match=gone) as error,
    ):
        work.run(accuracy_job(oracle, tmp_path, running.endpoint(scheme)))
    names_sample = BEFORE <= after < BEFORE + ACCURACY_CALLS
    assert ("The call for sample " in str(error.value)) == names_sample


def test_a_server_killed_between_the_tests_leaves_no_accuracy(
    oracle: Oracle, exported: Path, tmp_path: Path
) -> None:
    with serving(exported) as running:

        def kill() -> None:
            while not list(tmp_path.rglob("run_1/mlperf_log_detail.txt")):
                time.sleep(0.01)
            running.kill()

        watcher = threading.Thread(target=kill, daemon=True)
        watcher.start()
        with pytest.raises(HarnessError, match="Nobody answers by grpc"):
            run(oracle, tmp_path, running, Scenario.SINGLE_STREAM, ready_timeout_s=0.2)
        watcher.join()
    (path,) = tmp_path.rglob("result.json")
    found = result.read(path)
    assert found.accuracy is None
    assert not found.official
    assert not list(path.parent.rglob("accuracy"))


NETWORK_FIELDS = [
    *("is_network", "network_type", "network_media", "network_rate", "nic_loadgen", "number_nic_loadgen"),
    *("net_software_stack_loadgen", "network_protocol", "number_connections", "nic_sut", "number_nic_sut"),
    *("net_software_stack_sut", "network_topology"),
]
"""SYSTEM_DESC_REQUIRED_FIELDS_NETWORK_MODE of the submission checker, v6.1."""


def test_what_the_network_division_asks_for_is_written_of_a_server_elsewhere(
    oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    found, folder = run(oracle, tmp_path, server, Scenario.OFFLINE, Mode.ACCURACY, streams=3)
    path = folder / network.FILE_NAME
    assert not path.exists(), "on one host there is no network"
    assert found.probe.server is not None
    elsewhere = replace(found.probe.server, is_on_this_host=False)
    network.write(replace(found, probe=replace(found.probe, server=elsewhere)), folder)
    fields = tomllib.loads(path.read_text())
    assert list(fields) == NETWORK_FIELDS
    assert fields["is_network"] == "true", "a text, which the checker compares"
    assert fields["network_protocol"] == "gRPC (HTTP/2) over TCP/IP"
    assert fields["number_connections"] == "3"
    assert system.describe().kernel in fields["net_software_stack_loadgen"]
    assert fields["nic_sut"] == "", "nothing here tells it"
    assert "the QDL may not batch" not in path.read_text()
    path.write_text(path.read_text().replace('\nnic_sut = ""', '\nnic_sut = "a card"').replace('"3"', '"4"'))
    network.write(replace(found, probe=replace(found.probe, server=elsewhere)), folder)
    again = tomllib.loads(path.read_text())
    assert again == fields | {"nic_sut": "a card"}, "what nothing here tells stays as it was stated"
    path.write_text("nic_sut = ")
    network.write(replace(found, probe=replace(found.probe, server=elsewhere)), folder)
    assert path.read_text() == "nic_sut = "
    batched = replace(found, settings=replace(found.settings, batch=4))
    assert "put 4 samples into a call, and the QDL may not batch" in network.text(
        batched, hardware.describe()
    )


def test_the_energy_of_this_machine_is_not_that_of_a_server_elsewhere(
    oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    found, folder = run(oracle, tmp_path, server, Scenario.OFFLINE, Mode.PERFORMANCE)
    performance, server_met = found.performance, found.probe.server
    assert performance is not None
    assert server_met is not None
    found = replace(found, performance=replace(performance, energy=Energy(3.0, ("package-0",), 0.5)))
    assert "energy, unofficial: 0.5 J a sample (package-0)" in summary(found, folder)
    elsewhere = replace(server_met, is_on_this_host=False)
    found = replace(found, probe=replace(found.probe, server=elsewhere))
    assert "energy, unofficial" not in summary(found, folder)
    (row,) = own.of_run(folder, found)
    assert row["joules_per_sample"] is None


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
        ((*ENDPOINT, "--scenario", "Offline", "--price", "1", "EUR"), "--price is that of the machine that"),
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
    settings = RunSettings(Scenario.SINGLE_STREAM, duration_s=BRIEF_S)
    found, _ = session.run(
        session.Request(oracle.card, oracle.store.path, settings, (Mode.ACCURACY,), tmp_path, tuning=False)
    )
    document = json.dumps(result.to_dict(found))
    assert "server" not in document
    assert "endpoint" not in document
