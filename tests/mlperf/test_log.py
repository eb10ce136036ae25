import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from harness.errors import RunFailed
from harness.mlperf.log import read_accuracy, read_detail, read_performance

GOLDEN = Path(__file__).parents[1] / "golden"
SINGLE = GOLDEN / "singlestream_detail.txt"
OFFLINE = GOLDEN / "offline_detail.txt"

# A run that takes no time: too short for the rules. With a limit on queries LoadGen logs an error as well.
SHORT_RUN = """
import sys
import mlperf_loadgen as lg

scenario, limit, folder = sys.argv[1:]
settings = lg.TestSettings()
settings.scenario = getattr(lg.TestScenario, scenario)
settings.mode = lg.TestMode.PerformanceOnly
settings.min_query_count = 700 if scenario in ("MultiStream", "Server") else 10
settings.max_query_count = int(limit)
settings.min_duration_ms = 5000 if scenario == "Offline" else 0
settings.multi_stream_samples_per_query = 4
settings.server_target_qps = 2000
settings.server_target_latency_ns = 15_000_000

def issue(samples):
    lg.QuerySamplesComplete([lg.QuerySampleResponse(item.id, 0, 0) for item in samples])

sut = lg.ConstructSUT(issue, lambda: None)
qsl = lg.ConstructQSL(8, 8, lambda _: None, lambda _: None)
output = lg.LogOutputSettings()
output.outdir = folder
logs = lg.LogSettings()
logs.log_output = output
logs.enable_trace = False
lg.StartTestWithLogSettings(sut, qsl, settings, logs, folder + "/no-audit.config")
lg.DestroyQSL(qsl)
lg.DestroySUT(sut)
"""


def short_run(scenario, limit, folder):
    command = [sys.executable, "-c", SHORT_RUN, scenario, str(limit), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return read_performance(folder / "mlperf_log_detail.txt")


def mutated(folder, old, new, source=SINGLE):
    text = source.read_text()
    assert old in text
    path = folder / "mlperf_log_detail.txt"
    path.write_text(text.replace(old, new))
    return path


def test_a_detail_log_maps_keys_to_values():
    detail = read_detail(SINGLE)
    assert detail["loadgen_version"].startswith("6.0.17")
    assert detail["effective_schedule_rng_seed"] == 16159082839903944936
    assert detail["effective_print_timestamps"] is False
    assert detail["generic_message"] == "Starting performance mode"
    assert detail.values_of("generic_message")[-1].startswith("Ending naturally")
    assert detail.values_of("loadgen_version") == (detail["loadgen_version"],)
    assert detail.values_of("no_such_key") == ()
    assert (detail.errors, detail.warnings) == ([], [])
    assert "no_such_key" not in detail
    assert len(detail) == len(list(detail)) > 80


def test_a_single_stream_log_gives_its_latencies():
    run = read_performance(SINGLE)
    assert (run.scenario, run.validity, run.valid) == ("SingleStream", "VALID", True)
    assert run.query_count == run.sample_count == read_detail(SINGLE)["result_query_count"]
    assert run.latency_min_ns <= run.latency_p50_ns <= run.latency_p90_ns <= run.latency_p99_ns
    assert run.latency_p99_ns <= run.latency_max_ns
    assert run.latency_min_ns < run.latency_mean_ns < run.latency_max_ns
    assert run.early_stopping_latency_ns >= run.latency_p90_ns
    assert run.early_stopping_met is True
    assert run.samples_per_second is None
    assert run.invalid_reasons == run.errors == ()


def test_the_duration_of_a_single_stream_run_is_what_loadgen_compares_with_the_minimum():
    duration_ns = read_performance(SINGLE).duration_ns
    assert 300e6 <= duration_ns <= 320e6  # the golden run asked for 300 ms


def test_an_offline_log_gives_its_throughput():
    run = read_performance(OFFLINE)
    assert (run.scenario, run.validity, run.valid) == ("Offline", "VALID", True)
    assert (run.query_count, run.sample_count) == (1, 330)
    assert run.samples_per_second == pytest.approx(run.sample_count / run.duration_ns * 1e9, rel=1e-5)
    assert run.early_stopping_latency_ns is run.early_stopping_met is None


def test_a_run_that_is_too_short_is_invalid_with_the_reason_in_words(tmp_path):
    run = short_run("Offline", 0, tmp_path)
    assert (run.validity, run.valid, run.errors) == ("INVALID", False, ())
    assert run.invalid_reasons == (
        "Increase expected QPS so the loadgen pre-generates a larger (coalesced) query.",
    )


def test_too_few_queries_for_early_stopping_are_a_reason(tmp_path):
    run = short_run("SingleStream", 0, tmp_path)
    assert run.validity == "INVALID"
    assert run.early_stopping_met is False
    assert run.early_stopping_latency_ns is None
    assert run.invalid_reasons == (
        "Only processed 10 queries. Need to process at least 64 queries for early stopping.",
    )


def test_an_error_in_the_log_makes_a_run_unusable(tmp_path):
    run = short_run("SingleStream", 5, tmp_path)
    (error,) = run.errors
    assert "Max query count reached" in error
    assert not run.valid
    assert not replace(run, validity="VALID").valid


def test_the_first_entry_of_a_key_counts_and_the_others_are_kept(tmp_path):
    path = tmp_path / "log.txt"
    last = SINGLE.read_text().splitlines()[-1]
    path.write_text(last + "\n" + last.replace('"value": 0', '"value": 7') + "\n")
    detail = read_detail(path)
    assert detail["num_errors"] == 0
    assert detail.repeated == {"num_errors": (0, 7)}


def test_warnings_are_kept_apart_from_errors(tmp_path):
    path = mutated(tmp_path, '"is_warning": false, "file": "version.cc"', '"is_warning": true, "file": ""')
    detail = read_detail(path)
    assert len(detail.warnings) > 0
    assert detail.errors == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No log at .*: repeat the command that ran the test, such as `harness run`"),
        ("", "is empty: repeat the command"),
        ("\n\n", "is empty: repeat the command"),
        ("hello\n", "Line 1 of the log .* is not an entry of LoadGen's"),
        (':::MLLOG {"key": "a"}\n', "Line 1 of the log"),
        (":::MLLOG []\n", "Line 1 of the log"),
        (':::MLLOG {"key": "a", "val', "is cut off in its last line"),
    ],
)
def test_a_broken_detail_log_is_refused(content, message, tmp_path):
    path = tmp_path / "mlperf_log_detail.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RunFailed, match=message):
        read_detail(path)


def test_a_log_of_bytes_is_refused(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe")
    with pytest.raises(RunFailed, match="Cannot read the log"):
        read_detail(tmp_path / "log")


@pytest.mark.parametrize("kept", [0.25, 0.5, 0.75, 0.99])
def test_a_log_cut_anywhere_gives_no_result(kept, tmp_path):
    path = tmp_path / "mlperf_log_detail.txt"
    text = SINGLE.read_text()
    path.write_text(text[: int(len(text) * kept)])
    with pytest.raises(RunFailed, match="cut off"):
        read_performance(path)


def test_a_log_that_ends_before_the_results_gives_none(tmp_path):
    path = tmp_path / "mlperf_log_detail.txt"
    lines = SINGLE.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:60]))
    with pytest.raises(RunFailed, match="holds no 'result_validity', so the test broke off"):
        read_performance(path)


def test_the_first_error_of_a_broken_run_is_told(tmp_path):
    path = tmp_path / "mlperf_log_detail.txt"
    lines = SINGLE.read_text().splitlines(keepends=True)
    lines[50] = lines[50].replace('"is_error": false', '"is_error": true')
    path.write_text("".join(lines[:60]))
    with pytest.raises(RunFailed, match="LoadGen's first error: "):
        read_performance(path)


def test_a_multi_stream_log_gives_the_latencies_of_whole_queries(tmp_path):
    run = short_run("MultiStream", 0, tmp_path)
    detail = read_detail(tmp_path / "mlperf_log_detail.txt")
    assert (run.query_count, run.sample_count) == (700, 2800)
    assert run.latency_p99_ns == detail["result_99.00_percentile_per_query_latency_ns"]
    assert run.latency_max_ns == detail["result_max_query_latency_ns"]
    assert run.early_stopping_latency_ns == run.score == detail["early_stopping_latency_ms"] > 0
    assert run.samples_per_second is run.latency_bound_ns is None
    assert 0.5 * run.latency_mean_ns * 700 < run.duration_ns < 60e9


def test_a_server_log_gives_rates_and_what_came_late(tmp_path):
    run = short_run("Server", 0, tmp_path)
    assert run.samples_per_second == run.score > 0
    assert run.scheduled_samples_per_second == pytest.approx(2000, rel=0.2)
    assert run.duration_ns == pytest.approx(699 / run.scheduled_samples_per_second * 1e9, rel=1e-4)
    detail = read_detail(tmp_path / "mlperf_log_detail.txt")
    assert run.latency_bound_ns == 15_000_000
    # Beside other work some may be late.
    assert run.late_queries == detail["result_overlatency_query_count"] < 70
    assert (run.late_queries > 0) is (run.latency_max_ns > run.latency_bound_ns)
    assert run.early_stopping_met is detail["early_stopping_met"]
    assert run.early_stopping_latency_ns is None


def test_a_scenario_that_loadgen_does_not_know_is_refused(tmp_path):
    path = mutated(
        tmp_path, '"effective_scenario", "value": "SingleStream"', '"effective_scenario", "value": "Serve"'
    )
    with pytest.raises(RunFailed, match="is of a 'Serve' run, which is no scenario of LoadGen's"):
        read_performance(path)


def test_an_accuracy_log_lists_every_response():
    entries = read_accuracy(GOLDEN / "accuracy.json")
    assert len(entries) == 112
    assert {index for _, index, _ in entries} == set(range(105))
    assert all(len(data) == 4 for _, _, data in entries)


def test_the_accuracy_log_of_a_performance_run_is_an_empty_list(tmp_path):
    short_run("Offline", 0, tmp_path)
    assert read_accuracy(tmp_path / "mlperf_log_accuracy.json") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No log at"),
        ("", "is empty"),
        ('[\n{ "seq_id" : 0, "qsl_idx" : 1, "da', "is cut off or damaged"),
        ('[{"seq_id": 0, "qsl_idx": 1}]', "has an entry that is not LoadGen's"),
        ('[{"seq_id": 0, "qsl_idx": 1, "data": "0"}]', "has an entry that is not LoadGen's"),
        ('[{"seq_id": 0, "qsl_idx": "x", "data": "00"}]', "has an entry that is not LoadGen's"),
        ("{}", "it is not a list"),
        ("7", "it is not a list"),
    ],
)
def test_a_broken_accuracy_log_is_refused(content, message, tmp_path):
    path = tmp_path / "mlperf_log_accuracy.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RunFailed, match=message):
        read_accuracy(path)
