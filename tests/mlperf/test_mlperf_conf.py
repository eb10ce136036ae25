"""mlperf.conf and rendered user.conf files against what the real LoadGen makes of them."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from harness import resources
from harness.loadgen.settings import RunSettings
from harness.measurement.demands import Demands
from harness.mlperf import conf
from harness.mlperf.log import Detail, read_detail
from harness.mlperf.scenario import Scenario

# One test per process: LoadGen applies its built-in rules at the first FromConfig only.
RUN = """
import sys
import mlperf_loadgen as lg

user_conf, scenario, folder, benchmark = sys.argv[1:]
settings = lg.TestSettings()
assert settings.FromConfig(user_conf, benchmark, scenario, 1) == 0
settings.scenario = getattr(lg.TestScenario, scenario)
settings.mode = lg.TestMode.AccuracyOnly

def issue(samples):
    lg.QuerySamplesComplete([lg.QuerySampleResponse(item.id, 0, 0) for item in samples])

sut = lg.ConstructSUT(issue, lambda: None)
qsl = lg.ConstructQSL(2, 2, lambda _: None, lambda _: None)
output = lg.LogOutputSettings()
output.outdir = folder
logs = lg.LogSettings()
logs.log_output = output
logs.enable_trace = False
lg.StartTestWithLogSettings(sut, qsl, settings, logs, folder + "/no-audit.config")
lg.DestroyQSL(qsl)
lg.DestroySUT(sut)
"""


def effective_settings(user_conf: Path, scenario: str, folder: Path, benchmark: str = "resnet50") -> Detail:
    folder.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", RUN, str(user_conf), scenario, str(folder), benchmark],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    detail = read_detail(folder / "mlperf_log_detail.txt")
    assert detail.errors == []
    return detail


def test_the_rules_name_their_round():
    assert conf.read_rules().round == "v6.1"


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Offline"])
def test_loadgen_obeys_the_rules_of_yolo_and_is_told_what_it_lacks(scenario, tmp_path):
    rules = conf.read_rules().scenario("yolo", scenario)
    demands = Demands(rules, {}, RunSettings(Scenario(scenario), official=True))
    told = demands.raised_query_count
    assert told == (1525 if scenario == "Offline" else None)
    text = conf.render_user_conf("yolo", scenario, **({} if told is None else {"min_query_count": told}))
    (tmp_path / "user.conf").write_text(text)
    detail = effective_settings(tmp_path / "user.conf", scenario, tmp_path, "yolo")
    assert detail["effective_performance_sample_count"] == rules.performance_sample_count == 64
    assert detail["requested_min_query_count"] == rules.min_query_count
    assert detail["effective_min_sample_count"] == rules.min_query_count * (rules.samples_per_query or 1)
    assert detail["effective_samples_per_query"] == (rules.samples_per_query or 1525)


@pytest.mark.parametrize("scenario", conf.SCENARIOS)
def test_loadgen_obeys_the_rules_that_our_file_states(scenario, tmp_path):
    rules = conf.read_rules().scenario("resnet50", scenario)
    detail = effective_settings(resources.USER_CONF, scenario, tmp_path)

    assert detail["effective_scenario"] == scenario
    assert detail["effective_min_duration_ms"] == rules.min_duration_ms == 600_000
    assert detail["effective_performance_sample_count"] == rules.performance_sample_count
    assert detail["effective_qsl_rng_seed"] == rules.qsl_rng_seed
    assert detail["effective_sample_index_rng_seed"] == rules.sample_index_rng_seed
    assert detail["effective_schedule_rng_seed"] == rules.schedule_rng_seed
    assert detail["effective_min_sample_count"] == rules.min_query_count * (rules.samples_per_query or 1)
    assert detail["effective_sample_concatenate_permutation"] is False
    assert detail["effective_max_duration_ms"] == detail["effective_max_query_count"] == 0
    assert detail["requested_min_query_count"] == rules.min_query_count
    if scenario == "Offline":
        assert detail["effective_samples_per_query"] == rules.offline_samples(rules.target_qps)
        assert rules.samples_per_query is rules.target_latency_percentile is None
    else:
        assert detail["effective_min_query_count"] == rules.min_query_count
        assert detail["effective_samples_per_query"] == rules.samples_per_query
        assert detail["effective_target_latency_percentile"] == rules.target_latency_percentile / 100
    if scenario in ("SingleStream", "MultiStream"):
        assert detail["effective_target_qps"] == 1000 / rules.target_latency_ms
    else:
        assert detail["effective_target_qps"] == rules.target_qps
    if scenario == "Server":
        assert detail["effective_target_latency_ns"] == rules.target_latency_ms * 1e6 == 15e6


@pytest.mark.parametrize(
    ("scenario", "values", "expected"),
    [
        ("SingleStream", {"target_latency": 1 / 3}, {"effective_target_qps": 3000}),
        (
            "MultiStream",
            {"target_latency": 0.5, "min_query_count": 700},
            {"effective_target_qps": 2000, "effective_min_query_count": 700},
        ),
        (
            "Offline",
            {"target_qps": 93.75, "performance_sample_count_override": 2048},
            {
                "effective_target_qps": 93.75,
                "effective_samples_per_query": 61875,
                "effective_performance_sample_count": 2048,
            },
        ),
        (
            "Server",
            {"target_qps": 5000.5, "target_latency": 7, "min_duration": 700_000},
            {
                "effective_target_qps": 5000.5,
                "effective_target_latency_ns": 7_000_000,
                "effective_min_duration_ms": 700_000,
            },
        ),
    ],
)
def test_loadgen_reads_a_rendered_user_conf_as_meant(scenario, values, expected, tmp_path):
    path = tmp_path / "user.conf"
    path.write_text(conf.render_user_conf("resnet50", scenario, **values))

    read = conf.read_user_conf(path, "resnet50")
    assert read.values(scenario) == values
    detail = effective_settings(path, scenario, tmp_path / "log")
    assert {key: detail[key] for key in expected} == expected


@pytest.mark.parametrize("target_qps", [37.3, 41.7, 84.2, 123.456, 1000.1])
def test_the_size_of_the_offline_query_is_forecast_as_loadgen_sizes_it(target_qps, tmp_path):
    path = tmp_path / "user.conf"
    path.write_text(conf.render_user_conf("resnet50", "Offline", target_qps=target_qps))
    detail = effective_settings(path, "Offline", tmp_path / "log")
    forecast = conf.read_rules().scenario("resnet50", "Offline").offline_samples(target_qps)
    assert detail["effective_samples_per_query"] == forecast


def test_rules_are_looked_up_in_loadgens_order(tmp_path):
    path = tmp_path / "mlperf.conf"
    lines = [
        "# MLPerf Inference round: v6.1",
        "*.*.min_duration = 1",
        "resnet50.*.min_duration = 2",
        "*.Offline.min_duration = 3",
        "resnet50.Server.min_duration = 4",
        "*.Server.min_duration = 5",
    ]
    path.write_text("\n".join(lines))
    rules = conf.read_rules(path)

    def found(model, scenario):
        return rules.lookup(model, scenario, "min_duration")

    assert found("resnet50", "Server") == 4
    assert found("resnet50", "Offline") == 3
    assert found("resnet50", "SingleStream") == 2
    assert found("other", "SingleStream") == 1
    assert rules.lookup("resnet50", "Server", "min_query_count") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*.*.min_duration = 1\n", "names no round: add a line '# MLPerf Inference round: v6.1'"),
        ("# MLPerf Inference round: v6.1\n*.*.min_time = 1\n", "line 2: key 'min_time' is not known"),
    ],
)
def test_a_broken_rules_file_is_refused(text, message, tmp_path):
    path = tmp_path / "mlperf.conf"
    path.write_text(text)
    with pytest.raises(conf.ConfError, match=message):
        conf.read_rules(path)


def test_a_rule_that_is_missing_is_named(tmp_path):
    path = tmp_path / "mlperf.conf"
    path.write_text("# MLPerf Inference round: v6.1\n*.*.min_duration = 600000\n")
    with pytest.raises(conf.ConfError, match=r"has no resnet50\.Offline\.min_query_count: add the rule\."):
        conf.read_rules(path).scenario("resnet50", "Offline")


@pytest.mark.parametrize(
    ("model", "scenario", "message"),
    [
        ("resnet", "Offline", "No rules for 'resnet' in .* Did you mean 'resnet50'?"),
        ("resnet50", "Ofline", "Scenario 'Ofline' is not known. Did you mean 'Offline'?"),
    ],
)
def test_rules_exist_for_known_benchmarks_and_scenarios_only(model, scenario, message):
    with pytest.raises(conf.ConfError, match=message):
        conf.read_rules().scenario(model, scenario)
