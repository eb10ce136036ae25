"""How long a run will take, by the rules of each scenario."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.loadgen.settings import RunSettings
from harness.measurement import probing
from harness.measurement.demands import Demands
from harness.measurement.plan import Plan
from harness.mlperf import conf
from harness.mlperf.log import read_performance
from harness.mlperf.scenario import Mode, Scenario
from harness.process.child import Progress

GOLDEN = Path(__file__).parents[1] / "golden"


def planned(
    scenario: Scenario,
    estimate: dict[str, float],
    rate: float,
    own: dict[str, int | float] | None = None,
    **changes: Any,
) -> Plan:
    settings = RunSettings(scenario, **{"official": True, **changes})
    rules = conf.read_rules().scenario("resnet50", scenario)
    card: Any = None
    store: Any = SimpleNamespace(count=50_000)
    return Plan(card, store, Demands(rules, own or {}, settings), Path(), estimate, rate)


@pytest.mark.parametrize(
    ("scenario", "estimate", "rate", "performance_s", "accuracy_s"),
    [
        (Scenario.SINGLE_STREAM, {"target_latency": 8.0}, 100, 600, 500),
        (Scenario.SINGLE_STREAM, {"target_latency": 8000.0}, 0.1, 1000, 500_000),
        (Scenario.MULTI_STREAM, {"target_latency": 64.0}, 100, 600, 500),
        (Scenario.MULTI_STREAM, {"target_latency": 640.0}, 8, 662, 6250),
        (Scenario.SERVER, {"target_qps": 50.0}, 100, 600, 1000),
        (Scenario.OFFLINE, {"target_qps": 100.0}, 100, 660, 500),
        (Scenario.OFFLINE, {"target_qps": 1.0}, 1, 24_576, 50_000),
    ],
)
def test_an_official_run_takes_as_long_as_the_rules_and_the_rate_say(
    scenario: Scenario, estimate: dict[str, float], rate: float, performance_s: float, accuracy_s: float
) -> None:
    plan = planned(scenario, estimate, rate)
    assert plan.seconds(Mode.PERFORMANCE) == pytest.approx(performance_s)
    assert plan.seconds(Mode.ACCURACY) == pytest.approx(accuracy_s)


def test_the_forecast_gives_each_test_and_the_sum() -> None:
    plan = planned(Scenario.SERVER, {"target_qps": 50.0}, 100)
    assert plan.forecast(tuple(Mode)) == (
        "Forecast for Server: performance about 10 min, accuracy about 17 min, together 27 min."
    )
    assert plan.forecast((Mode.ACCURACY,)) == "Forecast for Server: accuracy about 17 min."


@pytest.mark.parametrize(
    ("validity", "error", "told"),
    [
        ("VALID", "PerfClock and system_clock differ by more than 1 %", 8.0),
        ("VALID", "Ran out of generated queries to issue", 4.0),
        ("INVALID", "PerfClock and system_clock differ by more than 1 %", 4.0),
    ],
)
def test_a_test_that_held_is_repeated_as_it_was_unless_its_error_is_of_the_estimate(
    validity: str, error: str, told: float
) -> None:
    plan = planned(Scenario.SINGLE_STREAM, {"target_latency": 8.0}, 100)
    measured = read_performance(GOLDEN / "singlestream_detail.txt")
    better = plan.corrected(replace(measured, validity=validity, errors=(error,)))
    assert better is not None
    assert better.estimate == {"target_latency": told}


def test_a_test_that_the_users_own_limits_end_is_not_repeated() -> None:
    measured = read_performance(GOLDEN / "singlestream_detail.txt")
    cut = replace(measured, errors=("Max query count reached",))
    assert planned(Scenario.SINGLE_STREAM, {"target_latency": 8.0}, 100).corrected(cut) is None


def test_a_test_whose_error_no_estimate_cures_is_repeated_with_an_estimate_of_the_users_own_too() -> None:
    measured = read_performance(GOLDEN / "singlestream_detail.txt")
    own: dict[str, int | float] = {"target_latency": 8.0}
    plan = planned(Scenario.SINGLE_STREAM, {"target_latency": 8.0}, 100, own)
    assert plan.corrected(replace(measured, errors=("PerfClock and system_clock differ",))) is plan
    assert plan.corrected(replace(measured, validity="INVALID")) is None


def test_a_probe_shows_the_name_of_its_model_as_it_is_written() -> None:
    shown: list[str] = []
    bar: Any = SimpleNamespace(update=lambda description: shown.append(description))
    probing.show_on(bar, "YOLOX-Nano")(Progress("warming up", 0, 0.0))
    assert shown == ["Warming up YOLOX-Nano"]


def test_a_short_server_run_has_the_queries_that_early_stopping_needs() -> None:
    plan = planned(Scenario.SERVER, {"target_qps": 10.0}, 100, official=False, duration_s=5.0)
    assert plan.demands.min_query_count == 662
    assert plan.seconds(Mode.PERFORMANCE) == pytest.approx(66.2)


@pytest.mark.parametrize(
    ("scenario", "line", "official", "ignored"),
    [
        (Scenario.SINGLE_STREAM, "*.SingleStream.min_duration = 700000", False, True),
        (Scenario.SERVER, "*.*.min_duration = 700000", False, True),
        (Scenario.OFFLINE, "resnet50.Offline.min_query_count = 30000", False, True),
        (Scenario.SERVER, "resnet50.Server.min_query_count = 30000", False, False),
        (Scenario.MULTI_STREAM, "*.*.min_query_count = 30000", False, False),
        (Scenario.SINGLE_STREAM, "*.Offline.min_query_count = 30000", False, False),
        (Scenario.OFFLINE, "*.Offline.target_qps = 30", False, False),
        (Scenario.SINGLE_STREAM, "*.SingleStream.min_duration = 700001", True, False),
        (Scenario.OFFLINE, "resnet50.Offline.min_query_count = 30000", True, False),
    ],
)
def test_a_line_that_only_an_official_test_heeds_is_named(
    scenario: Scenario, line: str, official: bool, ignored: bool, tmp_path: Path
) -> None:
    path = tmp_path / "user.conf"
    path.write_text(f"# Mine.\n{line}\n")
    given = conf.read_user_conf(path, "resnet50")
    said = Demands.of("resnet50", RunSettings(scenario, official=official), given).without_effect(given)
    assert said == [
        f"{path}, line 2: '{line}' has no effect without --official: here --duration says how long a test "
        f"lasts."
    ] * int(ignored)


def test_what_the_user_asks_for_beyond_the_rules_counts() -> None:
    own: dict[str, int | float] = {"min_duration": 1_200_000, "samples_per_query": 4, "min_query_count": 1000}
    plan = planned(Scenario.MULTI_STREAM, {"target_latency": 1.0}, 2, own)
    assert plan.demands.samples_per_query == 4
    assert plan.seconds(Mode.PERFORMANCE) == 2000
    assert planned(Scenario.SERVER, {}, 1, {"target_latency": 30}).demands.latency_bound_ns == 30_000_000
