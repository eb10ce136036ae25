"""What version 0.1.0 wrote (tests/fixtures/v0.1.0) is still read, and shows the same figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.comparison import document, output
from harness.dataset.store import open_store
from harness.measurement import series, tuned
from harness.mlperf import log
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import read_card
from harness.run import result
from harness.run.folder import unsound
from harness.run.summary import summary
from harness.search import report
from harness.search import result as search_result
from harness.submission import compliance, results
from harness.task import classification

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
SCENARIOS = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)
SUMMARIES = {
    Scenario.SINGLE_STREAM: """\
oracle, SingleStream, f32 on AMD EPYC
  tuned: batch 1, 1 stream, not pinned (2026-11-28T17:08:50+00:00)
  VALID: latency p50 0.037 ms, p90 0.074 ms, p99 10.119 ms (1327 queries)
  MLPerf's score, the early-stopping estimate of p90 latency: 0.077 ms
""",
    Scenario.OFFLINE: """\
oracle, Offline, f32 on AMD EPYC
  VALID: 5322.76 samples/s (3209 samples)
""",
}
COMMON = """\
  accuracy=95.000%, good=19, total=20
  passed: 95.000 % against the target 90 % (90 % of 100 %), margin +5.000 points [the card's target]
  not official: short run (0.3 s, the rules ask for 600 s); 'custom' is not the data set of an MLPerf \
benchmark
  files: """


def folder_of(scenario: Scenario) -> Path:
    return OLD / "results" / "here" / "oracle" / scenario


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_result_shows_the_figures_that_it_showed(scenario: Scenario) -> None:
    folder = folder_of(scenario)
    found = result.read(folder / result.FILE_NAME)
    assert summary(found, folder) == f"{SUMMARIES[scenario]}{COMMON}{folder}"
    assert found.is_good


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_logs_of_a_result_give_its_figures_again(scenario: Scenario) -> None:
    folder = folder_of(scenario)
    found = result.read(folder / result.FILE_NAME)
    assert found.performance is not None
    measured = log.read_performance(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert measured.duration_ns == found.performance.duration_ns
    labels = open_store(OLD / "model" / "store").labels
    assert [unsound(found, mode, folder, labels) for mode in Mode] == ["", ""]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_result_is_written_as_it_was_read(scenario: Scenario, tmp_path: Path) -> None:
    path = folder_of(scenario) / result.FILE_NAME
    result.write(tmp_path / result.FILE_NAME, result.read(path))
    assert json.loads((tmp_path / result.FILE_NAME).read_text()) == json.loads(path.read_text())


def test_results_and_the_compliance_test_beside_them_are_found() -> None:
    found, reasons = results.collect(OLD / "results")
    assert [one.shown for one in found] == ["here/oracle/Offline", "here/oracle/SingleStream"]
    assert reasons == []
    assert compliance.is_of(found[1].folder / "TEST04", found[1].document)


def test_a_store_gives_its_samples() -> None:
    store = open_store(OLD / "model" / "store")
    recipe = read_card(OLD / "model" / "oracle.toml").input.recipe
    assert (store.dataset, store.count, list(store.labels[:3])) == ("custom", 20, [1, 1, 2])
    assert int(np.asarray(store.samples(recipe)).sum(dtype=np.int64)) == sum(
        (20 * (index % 10) + 10) * 16 * 16 * 3 for index in range(20)
    )


def test_a_comparison_shows_the_tables_that_it_showed(tmp_path: Path) -> None:
    output.write(document.read(OLD / "comparison" / document.FILE_NAME), tmp_path)
    old, new = ((folder / "table.md").read_text() for folder in (OLD / "comparison", tmp_path))
    measured = old.partition("\n- boost:")[0]
    assert "| AMD EPYC, 1 thread | 18737 | 15278 | ~0.82x |" in measured
    assert new.startswith(measured)


def test_the_rounds_and_answers_of_a_comparison_are_kept() -> None:
    (found,) = document.read(OLD / "comparison" / document.FILE_NAME)
    for cell in found.cells:
        folder = (OLD / "comparison" / cell.user_conf).parent
        for entry in cell.rounds:
            assert series.held(folder, entry.number) == entry
            measured = log.read_performance(OLD / "comparison" / entry.log / "mlperf_log_detail.txt")
            assert measured.latency_p90_ns == entry.latencies_ns["90.00"]
    for variant in found.variants:
        assert variant.accuracy is not None
        path = OLD / "comparison" / variant.accuracy.log / "mlperf_log_accuracy.json"
        assert list(classification.answers(path, 20)) == [index % 10 for index in range(20)]


def test_a_tuning_is_found_by_its_key() -> None:
    said = json.loads((OLD / "tuning.json").read_text())
    key = tuned.Key(**said["key"] | {"isa": tuple(said["key"]["isa"])})
    key.folder.mkdir(parents=True)
    shutil.copyfile(OLD / "tuning.json", key.folder / tuned.FILE_NAME)
    found = tuned.find(key)
    assert found is not None
    assert found.settings == {"streams": 1, "batch": 1, "pinning": False}
    assert found.text == "batch 1, 1 stream, not pinned"


def test_a_search_is_read_and_written_as_this_version_does(tmp_path: Path) -> None:
    found = search_result.read(OLD / "search")
    search_result.write(found, tmp_path)
    assert search_result.read(tmp_path) == found
    held = json.loads((OLD / "search" / "result.json").read_text(encoding="utf-8"))
    for row in held["test"]["models"].values():
        row["figures"] = {scenario: row.pop(scenario) for scenario in held["test"]["units"]}
    held["request"]["effort"]["seeds"] = 1
    for gone in ("trials", "fronts"):
        del held["request"]["effort"][gone]
    looks = {row["key"]: row for row in held.pop("looks")}
    del held["search"], held["front"]
    for row in held["shortlist"]:
        del row["score"]
        row["look"] = looks[row["key"]]["accuracy"]
    for row in held["estimator"]["scouts"]["seen"]:
        if row["key"] in looks:
            row["measured_ms"] = looks[row["key"]]["measured_ms"]
    written = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert written == held | {"format": search_result.FORMAT}


def test_a_search_is_reported() -> None:
    text = report.text(OLD / "search")
    rows = [line.split() for line in text.splitlines() if line.startswith("searched ")]
    assert rows[0] == ["searched", "0.169", "7182", "4.17", "%", "none"]
    assert "Chosen: 117de31d2c4e, 0.156 ms where the baseline in INT8 takes 1.97 ms" in text
