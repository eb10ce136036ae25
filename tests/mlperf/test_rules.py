"""Rounds: seeds, and which LoadGen belongs to which."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

from harness import resources
from harness.errors import HarnessError
from harness.mlperf import conf
from harness.mlperf.rules import NEWEST, ROUNDS, Task, find_round, round_of, rounds_of_loadgen


def test_the_newest_round_has_the_numbers_of_mlperf_conf() -> None:
    rules = conf.read_rules()
    assert rules.round == NEWEST
    made, task = ROUNDS[NEWEST], ROUNDS[NEWEST].tasks["resnet"]
    offline, server = rules.scenario("resnet50", "Offline"), rules.scenario("resnet50", "Server")
    for key, seed in vars(made.seeds).items():
        assert getattr(offline, key) == seed
    assert made.min_duration_ms == offline.min_duration_ms
    assert task.performance_sample_count == offline.performance_sample_count
    assert task.offline_sample_count == offline.min_query_count
    assert task.server_latency_ns == server.target_latency_ms * 1e6


@pytest.mark.parametrize(("best", "name"), [(0.0, "yolo-95"), (0.95, "yolo-95"), (0.99, "yolo-99")])
def test_a_detector_enters_the_highest_target_that_it_reaches(best: float, name: str) -> None:
    def reaches(task: Task) -> bool:
        return task.target_fraction <= best

    task = ROUNDS[NEWEST].entry("yolo", reaches)
    assert task is not None
    assert task.official_name == name
    assert ROUNDS[NEWEST].entry("resnet50", reaches) is ROUNDS[NEWEST].task("resnet")
    assert ROUNDS[NEWEST].entry("bert", reaches) is None


@pytest.mark.parametrize("name", ["yolo-95", "yolo-99"])
def test_the_rules_of_detection_are_those_of_mlperf_conf_and_of_the_checkers(name: str) -> None:
    task, offline = ROUNDS[NEWEST].task(name), conf.read_rules().scenario("yolo", "Offline")
    assert task is not None
    assert task.performance_sample_count == offline.performance_sample_count == 64
    assert task.offline_sample_count == offline.min_query_count == task.benchmark.sample_count == 1525
    assert task.closed_scenarios["edge"] == ("SingleStream", "MultiStream", "Offline")
    assert (task.audits, task.audit_sampling_target) == (("TEST01",), 64)
    target = {"yolo-95": 0.5073, "yolo-99": 0.52866}[name]
    assert task.target_fraction * task.benchmark.reference_accuracy == pytest.approx(target)


# LoadGen applies its built-in rules, where the seeds are, at the first FromConfig of a process only.
_SEEDS = """
import json, sys
import mlperf_loadgen as lg

settings = lg.TestSettings()
assert settings.FromConfig(sys.argv[1], "resnet50", "Offline", 1) == 0
names = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
print(json.dumps({f"effective_{name}": getattr(settings, name) for name in names}))
"""


def test_the_seeds_in_the_installed_loadgen_are_those_of_the_round_that_its_version_stands_for() -> None:
    command = [sys.executable, "-c", _SEEDS, str(resources.USER_CONF)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    made = round_of(json.loads(done.stdout))
    assert made is not None, "no known round has these seeds: see docs/how-to/new-round.md"
    assert rounds_of_loadgen(metadata.version("mlcommons-loadgen")) == [made.name]
    assert made.name == NEWEST


def test_a_release_of_loadgen_belongs_to_the_round_whose_seeds_its_wheel_has() -> None:
    """As read from the wheels of 6.0.4, 6.0.5, 6.0.10, 6.0.15, 6.0.16 and 6.0.17."""
    rounds = {4: [], 5: ["v6.0"], 10: ["v6.0"], 15: ["v6.0"], 16: ["v6.1"], 17: ["v6.1"]}
    assert {patch: rounds_of_loadgen(f"6.0.{patch}") for patch in rounds} == rounds


def test_a_version_with_its_commit_is_that_version() -> None:
    assert rounds_of_loadgen("6.0.17 @ d6147c7eb7") == ["v6.1"]
    assert rounds_of_loadgen("1.0") == []


def test_seeds_tell_the_round() -> None:
    made = find_round("v6.0")
    assert round_of({f"effective_{key}": seed for key, seed in vars(made.seeds).items()}) is made
    assert round_of({"effective_qsl_rng_seed": 0}) is None


@pytest.mark.parametrize(
    ("folder", "mapping", "found"),
    [
        ("resnet", {}, True),
        ("resnet50", {}, True),
        ("mobilenet-v2", {}, True),
        ("my-resnet50-int8", {}, True),
        ("mine", {"mine": "resnet"}, True),
        ("mine", {}, False),
        ("mine", {"mine": "resnet50"}, False),
    ],
)
def test_a_folder_folds_to_a_benchmark_as_in_the_official_checker(
    folder: str, mapping: dict[str, str], found: bool
) -> None:
    assert (find_round(NEWEST).guess_task(folder, mapping) is not None) is found


def test_an_unknown_round_names_the_known() -> None:
    with pytest.raises(HarnessError, match="Round 'v9' is not known"):
        find_round("v9")
