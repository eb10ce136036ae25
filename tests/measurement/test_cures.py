"""Each kind of INVALID that LoadGen gives, made by the real LoadGen, and gone when the advice is followed."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_system

from harness.measurement import advice
from harness.mlperf import conf
from harness.mlperf.early_stopping import least_queries
from harness.mlperf.log import Performance, read_performance
from harness.mlperf.scenario import Scenario


def performed(folder: Path, scenario: Scenario, text: str, **options: Any) -> tuple[Performance, list[str]]:
    """Run a performance test of a `sample_system`; return the result and the advice."""
    sample_system.perform(folder, scenario, text, **options)
    measured = read_performance(folder / "mlperf_log_detail.txt")
    own = conf.read_user_conf(folder / "user.conf", "resnet50").values(scenario)
    key = scenario.facts.estimate_key
    told = advice.Told({key: float(own[key])}, "resnet50", frozenset(own))
    return measured, advice.of_performance(measured, told)


def followed(text: str, sentence: str) -> str:
    """Return the user.conf with what the sentence says done to it."""
    lines = text.splitlines()
    if found := re.search(r"set '(\S+) = (\S+)' in a --user-conf", sentence):
        lines = [line for line in lines if not line.startswith(f"{found[1]} ")]
        return "\n".join([*lines, f"{found[1]} = {found[2]}"]) + "\n"
    found = re.search(r"remove (\w+)(?: and (\w+))? from the --user-conf", sentence)
    assert found, sentence
    return "".join(f"{line}\n" for line in lines if line.split(" ")[0].rsplit(".")[-1] not in found.groups())


SINGLE, MULTI, SERVER, OFFLINE = Scenario
EASY = "resnet50.Server.target_latency = 5000\n"
SLOW = {"service_s": 0.005, "duration_s": 1.0}
"""A system that takes much longer than a busy machine keeps a thread waiting."""


@pytest.mark.parametrize(
    ("scenario", "text", "options", "words"),
    [
        pytest.param(
            SINGLE,
            "*.SingleStream.target_latency = 100\n",
            SLOW,
            "prepared for a latency of 100 ms",
            id="out of queries",
        ),
        pytest.param(
            SINGLE,
            "*.SingleStream.target_latency = 0.1\nresnet50.SingleStream.target_latency = 100\n",
            SLOW,
            "set 'resnet50.SingleStream.target_latency = ",
            id="out of queries, by a line that comes before another",
        ),
        pytest.param(
            MULTI,
            "resnet50.*.performance_sample_count_override = 1024\n*.MultiStream.target_latency = 1000\n",
            {"service_s": 0.00025, "duration_s": 2.5},
            "ran out of the queries",
            id="out of larger queries",
        ),
        pytest.param(
            OFFLINE,
            "resnet50.Offline.target_qps = 100\n",
            {"service_s": 0.005},
            "as its query was made for 100 samples/s",
            id="a short query",
        ),
        pytest.param(
            SINGLE,
            "*.SingleStream.target_latency_percentile = 99\n*.SingleStream.target_latency = 0.2\n",
            {"duration_s": 0.2},
            "to be 99 % sure of p99 LoadGen needs 662",
            id="few queries for the percentile",
        ),
        pytest.param(
            MULTI,
            "*.MultiStream.target_latency_percentile = 99.5\n*.MultiStream.target_latency = 0.2\n",
            {"service_s": 0.00005, "duration_s": 0.1},
            "to be 99 % sure of p99.5 LoadGen needs 1325",
            id="few larger queries for the percentile",
        ),
        pytest.param(
            SERVER,
            EASY + "*.Server.target_latency_percentile = 99.5\n*.Server.target_qps = 1000\n",
            {},
            "0 of 662 queries came later than 5000 ms, and to be 99 % sure of p99.5 LoadGen needs 919",
            id="few queries of a server, none of them late",
        ),
        pytest.param(
            SERVER,
            "resnet50.Server.target_latency = 1000\nresnet50.Server.target_qps = 1500\n",
            {"duration_s": 0.6, "service_s": 0.0001, "slow_every": 300, "slow_s": 1.5},
            "and to be 99 % sure of p99 LoadGen needs 1001 queries then",
            id="few queries of a server, some of them late",
        ),
        pytest.param(
            SERVER,
            EASY + "*.Server.max_async_queries = 1\n*.Server.target_qps = 500\n",
            {},
            "remove max_async_queries from the --user-conf",
            id="too many outstanding queries",
        ),
        pytest.param(
            SERVER,
            "resnet50.Server.target_latency = 300\nresnet50.Server.target_qps = 1000\n",
            {"service_s": 0.002},
            "queries came later than 300 ms (1 % may be): set 'resnet50.Server.target_qps = ",
            id="a rate beyond reach",
        ),
        pytest.param(
            SERVER,
            "*.Server.target_latency_percentile = 90\nresnet50.Server.target_latency = 300\n"
            "resnet50.Server.target_qps = 1000\n",
            {"service_s": 0.002},
            "queries came later than 300 ms (10 % may be)",
            id="a rate beyond reach of another percentile",
        ),
    ],
)
def test_a_test_that_is_invalid_is_valid_once_the_advice_is_followed(
    tmp_path: Path, scenario: Scenario, text: str, options: dict[str, Any], words: str
) -> None:
    measured, sentences = performed(tmp_path / "first", scenario, text, **options)
    assert measured.validity == "INVALID"
    (sentence,) = sentences
    assert words in sentence
    again, none = performed(tmp_path / "second", scenario, followed(text, sentence), **options)
    assert again.valid, (sentence, none)
    assert none == []


def test_a_server_whose_fastest_answer_is_late_is_not_told_another_rate(tmp_path: Path) -> None:
    text = "resnet50.Server.target_latency = 1\nresnet50.Server.target_qps = 1000\n"
    measured, (sentence,) = performed(tmp_path / "slow", SERVER, text, service_s=0.002)
    assert measured.late_queries == measured.query_count == 662
    assert "and even the fastest took " in sentence
    machine = "use a quieter machine, more cores, or a smaller or quantized model."
    assert sentence.endswith(f": remove target_latency from the --user-conf, or {machine}")
    own = advice.Told({"target_qps": 1000}, "resnet50", frozenset({"target_latency"}))
    # The rule's 15 ms would be missed, too.
    (sentence,) = advice.of_performance(replace(measured, latency_min_ns=15_000_000), own)
    assert sentence.endswith(f"took 15 ms: {machine}")


@pytest.mark.parametrize(("percentile", "late"), [(90, 1), (97, 1), (99, 1), (99.5, 1), (99.9, 1)])
def test_loadgen_wants_as_many_queries_as_we_say(tmp_path: Path, percentile: float, late: int) -> None:
    text = f"*.SingleStream.target_latency_percentile = {percentile}\n*.SingleStream.target_latency = 0.2\n"
    options = {"duration_s": 0.0, "service_s": 0.0}
    measured, _ = performed(tmp_path / "one", SINGLE, text, **options)
    needed = least_queries(late, percentile)
    assert measured.early_stopping_met is (measured.query_count >= needed)
    remark = re.search(r"at least (\d+) queries", " ".join(measured.invalid_reasons))
    if not measured.early_stopping_met:
        assert remark
        assert int(remark[1]) == needed
