"""Where the time of a call goes: parts that add up, beside the same model in process."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import Oracle
from endpoint.serving_process import Running, serving

from harness.backend import deployment
from harness.cli import cli
from harness.endpoint.host import ON_THIS_HOST
from harness.endpoint.wire import Statistics
from harness.explain.document import Way
from harness.explain.served import page, session, ways
from harness.explain.served.document import HERE, PARTS, THERE, CallSplit, ServedExplanation
from harness.explain.session import Request
from harness.loadgen.settings import RunSettings
from harness.machine import noise
from harness.mlperf.scenario import Scenario


@pytest.fixture(scope="module")
def server(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("exported") / "model.xml"
    deployment.write(oracle.card, path)
    with serving(path) as running:
        yield running


def explained(
    oracle: Oracle, running: Running, scenario: Scenario, scheme: str, calls: int
) -> ServedExplanation:
    settings = RunSettings(scenario, threads=1, duration_s=0.2)
    served = RunSettings(scenario, streams=calls, duration_s=0.2, endpoint=running.endpoint(scheme))
    return session.explain(Request(oracle.card, settings, oracle.store.path, rounds=2), served)


def test_a_latency_through_an_endpoint_is_cut_into_parts_that_add_up(
    oracle: Oracle, server: Running, tmp_path: Path
) -> None:
    words = ["explain", "--model", str(oracle.card_path), "--data", str(oracle.store.path), "--rounds", "2"]
    words += ["--duration", "0.2", "--endpoint", str(server.endpoint()), "--out", str(tmp_path), "--json"]
    told = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    assert json.loads((tmp_path / "explain.json").read_text()) == told
    assert [way["name"] for way in told["ways"]] == [HERE, THERE]
    for values, figure_ns in zip(told["splits"], told["ways"][1]["figures_ns"], strict=True):
        split = CallSplit(**values)
        parts_ns = [split.part_ns(part) for part in PARTS]
        assert sum(part for part in parts_ns if part is not None) == pytest.approx(figure_ns)
        assert split.echo_ns > 0
        assert 0 < split.call_ns < split.whole_ns
        assert split.queue_ns == 0
        assert 0 < (split.compute_ns or 0) < split.call_ns
    assert set(told["split_ns"]) == set(PARTS)
    assert told["added_ns"][1] > 0, "a call costs more than a function"
    assert (told["server"]["model_version"], told["server"]["is_on_this_host"]) == ("3", True)
    assert not any("others use it" in remark for remark in told["remarks"])
    shown = (tmp_path / "explain.html").read_text()
    for text in (
        ON_THIS_HOST,
        "through the endpoint",
        "test server 1",
        "version 3",
        "1 call in flight",
        *PARTS,
    ):
        assert text in shown
    again = CliRunner().invoke(cli, words)
    assert "holds an explanation already" in str(again.exception)


def test_the_time_of_connections_is_cut_where_a_server_counts_nothing(
    oracle: Oracle, server: Running
) -> None:
    with server.told(uncounted=True, bodiless=True):
        found = explained(oracle, server, Scenario.OFFLINE, "http", 2)
    for split, figure_ns in zip(found.splits, found.way(THERE).figures_ns, strict=True):
        assert split.whole_ns == pytest.approx(2 * figure_ns), "two connections share the samples"
        assert split.echo_ns > 0
        assert 0 < split.call_ns < split.whole_ns
    assert found.part_ns("compute") is found.part_ns("queue") is None
    shown = page.text(found)
    assert "test server gives no statistics" in shown
    assert "takes no bytes where it computes nothing, so the echo is empty" in shown
    assert "all that the server does, as it gives no statistics" in shown
    assert "samples/s" in shown


def test_other_callers_of_a_server_are_told() -> None:
    there = {"concurrency": 1, "calls": 100, "counted": 300, "echo_is_whole": True}
    made = [session._Round({}, there, noise.Watch().stop()) for _ in range(2)]
    named = type("Server", (), {"server": "triton", "endpoint": "grpc://h:1/m", "is_on_this_host": True})
    (said,) = [one for one in session._remarks(made, {}, named) if "others" in one]  # type: ignore[arg-type]
    assert said.startswith("triton counted 600 calls and 200 were made here: others use it, too")


@pytest.mark.parametrize(("is_on_this_host", "remarks"), [(True, 0), (False, 1)])
def test_the_work_of_a_server_on_this_host_is_no_noise(is_on_this_host: bool, remarks: int) -> None:
    there = {"concurrency": 1, "calls": 100, "counted": 100, "echo_is_whole": True}
    made = [session._Round({}, there, noise.Noise(1.0, 8, 0.0, 7.5, 0, 0.0, 0, None))]
    facts = {"server": "triton", "endpoint": "grpc://h:1/m", "is_on_this_host": is_on_this_host}
    said = list(session._remarks(made, {}, type("Server", (), facts)))  # type: ignore[arg-type]
    assert len(said) == sum("Other processes" in one for one in said) == remarks


def test_a_server_that_began_anew_has_counted_nothing() -> None:
    before, after = Statistics(10, 10, 10, 60, 10), Statistics(14, 14, 18, 100, 20)
    assert ways._between(before, after) == Statistics(4, 4, 8, 40, 10)
    assert ways._between(after, before) is None
    assert ways._between(None, after) is None


def test_parts_are_of_the_medians() -> None:
    splits = (
        CallSplit(100, 90, 20, 5, 40),
        CallSplit(120, 100, 30, 5, 40),
        CallSplit(110, 95, 25, None, None),
    )
    whole = [[split.part_ns(part) for part in PARTS] for split in splits]
    assert whole == [[10, 20, 5, 40, 25], [20, 30, 5, 40, 25], [15, 25, None, None, 70]]
    figures = Way(THERE, (100.0, 120.0)).over_ns(Way(HERE, (60.0, 70.0)))
    assert figures == (40, 45, 50)
