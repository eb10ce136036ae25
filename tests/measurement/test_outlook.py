"""Estimates of the user held against the probe, before a test runs."""

from pathlib import Path

import pytest
import sample_system

from harness.errors import ConfError
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.measurement.demands import Demands
from harness.measurement.outlook import Outlook, refuse_hopeless
from harness.mlperf import conf
from harness.mlperf.log import read_detail
from harness.mlperf.scenario import Scenario

SINGLE, MULTI, SERVER, OFFLINE = Scenario
GB = 10**9
# A model that takes 8 ms a sample, on two streams.
PROBED = {
    SINGLE: Estimate(125.0, 1, 1, latency_ns=8e6),
    MULTI: Estimate(250.0, 4, 2, latency_ns=32e6),
    SERVER: Estimate(250.0, 1, 2, latency_ns=8e6),
    OFFLINE: Estimate(250.0, 1, 2),
}


def hold(folder: Path, scenario: Scenario, text: str, official: bool = True, free: int = 64 * GB) -> None:
    path = folder / "user.conf"
    path.write_text(text)
    given = conf.read_user_conf(path, "resnet50")
    settings = RunSettings(scenario, official=official, duration_s=10.0)
    demands = Demands(conf.read_rules().scenario("resnet50", scenario), given.values(scenario), settings)
    probed = PROBED[scenario]
    own = demands.own.get(scenario.facts.estimate_key)
    true = probed.latency_ns / 1e6 if probed.latency_ns and scenario.facts.is_latency else 50.0
    refuse_hopeless(Outlook(demands, float(own or true), probed), given, free)


@pytest.mark.parametrize(
    ("scenario", "line"),
    [
        (SINGLE, "resnet50.SingleStream.target_latency = 8"),
        (SINGLE, "resnet50.SingleStream.target_latency = 16"),
        (SINGLE, "*.SingleStream.target_latency = 1"),
        (MULTI, "resnet50.MultiStream.target_latency = 64"),
        (MULTI, "resnet50.MultiStream.target_latency = 3"),
        (SERVER, "resnet50.Server.target_qps = 250"),
        (SERVER, "resnet50.Server.target_qps = 0.5"),
        (OFFLINE, "resnet50.Offline.target_qps = 200"),
        (OFFLINE, "resnet50.Offline.target_qps = 250"),
        (OFFLINE, "*.Offline.target_qps = 900"),
        (OFFLINE, "*.Offline.min_query_count = 200000"),
    ],
)
def test_an_estimate_that_may_do_is_taken(tmp_path: Path, scenario: Scenario, line: str) -> None:
    hold(tmp_path, scenario, line)


@pytest.mark.parametrize(
    ("scenario", "line", "words"),
    [
        (OFFLINE, "*.Offline.target_qps = 180", "would last 7.92 min of the 10 min .* write 250, or"),
        (OFFLINE, "*.Offline.target_qps = 2500", "would make the test last 1.83 hours where 10 min do"),
        (OFFLINE, "*.Offline.target_qps = 25000", "would make the test last 18.3 hours where 10 min do"),
        (SINGLE, "*.SingleStream.target_latency = 20", "would last 8 min of the 10 min .* 8 ms a query"),
        (
            SINGLE,
            "*.SingleStream.target_latency = 0.008",
            "prepare 150,000,000 queries, about .* GB",
        ),
        (MULTI, "*.MultiStream.target_latency = 80", "would last 8 min of the 10 min .* write 32"),
        (
            MULTI,
            "*.MultiStream.target_latency = 0.032",
            "1,000 times as many .* in ms: write 32",
        ),
        (SERVER, "*.Server.target_qps = 400", r"INVALID after 16 min: the probe measured 250 samples/s"),
        (
            SINGLE,
            "*.SingleStream.target_latency = 0.8\n*.*.sample_concatenate_permutation = 1",
            "last 3.33 hours where 10 min do",
        ),
        (SERVER, "*.Server.target_qps = 0.1", "would make the test last 1.84 hours where 10 min do"),
        (SERVER, "*.Server.min_query_count = 100\n*.Server.target_qps = 0.5", "wants 459 .* and 300 would"),
    ],
)
def test_an_estimate_that_cannot_do_is_refused_with_its_cost(
    tmp_path: Path, scenario: Scenario, line: str, words: str
) -> None:
    with pytest.raises(ConfError, match=words) as raised:
        hold(tmp_path, scenario, line)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / 'user.conf'}, line 1: '*.")


@pytest.mark.parametrize(
    ("scenario", "line", "words"),
    [
        (
            SINGLE,
            "*.SingleStream.target_latency = 0.1",
            "'.*target_latency = 0.1' would make LoadGen",
        ),
        (
            SINGLE,
            "*.*.min_query_count = 2000000000",
            "'.*min_query_count = 2000000000' would",
        ),
        (SERVER, "*.*.min_duration = 2000000000", "'.*min_duration = 2000000000' would .* a smaller one"),
        (OFFLINE, "*.*.min_query_count = 2000000000", "prepare 2,000,000,000 samples, about 800.0 GB"),
    ],
)
def test_what_does_not_fit_into_the_memory_is_refused_by_the_line_that_asks_for_it(
    tmp_path: Path, scenario: Scenario, line: str, words: str
) -> None:
    hold(tmp_path, scenario, line, free=2000 * GB)
    for free in (5 * GB, 0):
        with pytest.raises(ConfError, match=words):
            hold(tmp_path, scenario, line, free=free)


def test_a_duration_whose_queries_do_not_fit_into_the_memory_is_refused(tmp_path: Path) -> None:
    settings = RunSettings(SINGLE, duration_s=1e8)
    demands = Demands(conf.read_rules().scenario("resnet50", SINGLE), {}, settings)
    with pytest.raises(ConfError, match=r"^--duration 1e\+08 would .* give a shorter one"):
        refuse_hopeless(Outlook(demands, 8.0, PROBED[SINGLE]), None, 64 * GB)


@pytest.mark.parametrize(
    ("scenario", "estimate"),
    [
        (SINGLE, "target_latency = 0.0005"),
        (MULTI, "target_latency = 0.002"),
        (MULTI, "target_latency = 0.001"),
        (SERVER, "target_qps = 3e6"),
    ],
)
def test_loadgen_takes_as_much_memory_as_is_said(tmp_path: Path, scenario: Scenario, estimate: str) -> None:
    text = f"*.{scenario}.{estimate}\n*.Server.max_async_queries = 1\n"
    run = sample_system.perform(tmp_path / "run", scenario, text, duration_s=0.1, service_s=0.001)
    settings = RunSettings(scenario, duration_s=0.1)
    demands = Demands(conf.read_rules().scenario("resnet50", scenario), {}, settings)
    outlook = Outlook(demands, float(estimate.split(" = ")[1]), PROBED[scenario])
    detail = read_detail(run.folder / "mlperf_log_detail.txt")
    assert detail["generated_query_count"] == pytest.approx(outlook.queries, rel=0.01)
    assert run.grown_bytes == pytest.approx(outlook.memory_bytes, rel=0.15)
