"""Tests that LoadGen calls INVALID, made so on purpose, and the sentences that say what to change."""

import re
from pathlib import Path

import pytest
from conftest import Oracle, make_oracle

from harness.loadgen.settings import RunSettings
from harness.measurement import advice
from harness.mlperf.log import Performance, read_performance
from harness.mlperf.scenario import Mode, Scenario
from harness.run import session as run_session
from harness.run.session import Request
from harness.task import classification

GOLDEN = Path(__file__).parents[1] / "golden"


def measure(oracle: Oracle, out: Path, scenario: Scenario, conf: str, duration_s: float = 0.5) -> list[str]:
    """Run a performance test with this user.conf, and return the advice, which the summary must show."""
    user_conf = out / "user.conf"
    user_conf.write_text(conf)
    settings = RunSettings(scenario, duration_s=duration_s, user_conf=user_conf)
    request = Request(oracle.card, oracle.store.path, settings, (Mode.PERFORMANCE,), out / "results")
    document, folder = run_session.run(request)
    assert not document["performance"]["valid"]
    advice: list[str] = document["performance"]["advice"]
    assert all(sentence in run_session.result.summary(document, folder) for sentence in advice)
    return advice


def proposed(sentence: str) -> tuple[str, float]:
    found = re.search(r"'\*\.(\w+\.\w+) = ([\d.e+-]+)' in a --user-conf", sentence)
    assert found, sentence
    return found[1], float(found[2])


def test_an_offline_rate_set_far_too_low_is_named_with_the_measured_one(
    oracle: Oracle, tmp_path: Path
) -> None:
    (sentence,) = measure(oracle, tmp_path, Scenario.OFFLINE, "*.Offline.target_qps = 10\n")
    assert "of the 0.5 s asked for, as its query was made for 10 samples/s" in sentence
    key, value = proposed(sentence)
    assert key == "Offline.target_qps"
    assert value > 100


def test_the_rate_that_is_proposed_makes_the_offline_test_valid(oracle: Oracle, tmp_path: Path) -> None:
    (sentence,) = measure(oracle, tmp_path, Scenario.OFFLINE, "*.Offline.target_qps = 10\n")
    # A query of six samples says little about the rate; the second attempt is of thousands.
    for attempt in ("first", "second", "third"):
        (tmp_path / attempt).mkdir()
        conf = tmp_path / attempt / "user.conf"
        conf.write_text(f"*.Offline.target_qps = {2 * proposed(sentence)[1]}\n")
        settings = RunSettings(Scenario.OFFLINE, duration_s=0.5, user_conf=conf)
        modes = (Mode.PERFORMANCE,)
        document, _ = run_session.run(
            Request(oracle.card, oracle.store.path, settings, modes, tmp_path / attempt)
        )
        if document["performance"]["valid"]:
            assert document["performance"]["advice"] == []
            return
        (sentence,) = document["performance"]["advice"]
    pytest.fail(sentence)


def test_a_latency_set_far_too_high_ends_the_queries_early_and_a_lower_one_is_named(
    oracle: Oracle, tmp_path: Path
) -> None:
    (sentence,) = measure(oracle, tmp_path, Scenario.SINGLE_STREAM, "*.SingleStream.target_latency = 100\n")
    assert "they were for a latency of 100 ms" in sentence
    key, value = proposed(sentence)
    assert key == "SingleStream.target_latency"
    assert 0 < value < 5


def golden(**changes: object) -> Performance:
    from dataclasses import replace

    return replace(read_performance(GOLDEN / "singlestream_detail.txt"), **changes)  # type: ignore[arg-type]


def test_too_few_queries_for_the_percentile_name_the_duration_that_would_do() -> None:
    remark = "* Only processed 20 queries. * Need to process at least 64 queries for early stopping."
    measured = golden(
        validity="INVALID", early_stopping_met=False, query_count=20, invalid_reasons=(remark,),
        latency_mean_ns=500_000_000,
    )  # fmt: skip
    (sentence,) = advice.of_performance(measured, {"target_latency": 1.0})
    assert sentence == (
        "Only 20 queries were finished, and to be 99 % sure of p90 LoadGen needs 64: "
        "give --duration 36 or longer."
    )


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("Ending early: Max test duration reached.", "remove max_duration"),
        ("PerfClock and system_clock differ by more than 1%! : pc_sc_ratio 1.1", "time synchronisation"),
        ("Something else", "LoadGen logged an error (Something else): run again"),
        ("Ending early: Ran out of generated queries to issue", "'*.SingleStream.target_latency = "),
    ],
)
def test_each_error_of_loadgen_has_a_cure(error: str, cure: str) -> None:
    (sentence,) = advice.of_performance(golden(errors=(error,)), {"target_latency": 100.0})
    assert cure in sentence


def test_a_valid_test_needs_no_words() -> None:
    assert advice.of_performance(golden(), {"target_latency": 1.0}) == []


@pytest.mark.parametrize(
    ("good", "quantized", "words"),
    [
        (89, False, "1 more of 100 images would have to be right: check the recipe"),
        (89, True, "quantize again with more calibration images or with --max-drop below what is lost now"),
        (10, False, "80 more of 100 images would have to be right, so far off that the pixels or labels"),
    ],
)
def test_a_missed_accuracy_target_says_by_how_much_and_what_to_change(
    good: int, quantized: bool, words: str
) -> None:
    assert words in classification.advice(classification.Score(good, 100), 0.9, quantized)


def test_a_run_with_a_target_above_reach_says_so_in_its_summary(tmp_path: Path) -> None:
    oracle = make_oracle(tmp_path / "oracle", count=20, wrong=4)
    settings = RunSettings(Scenario.OFFLINE, duration_s=0.2)
    document, folder = run_session.run(
        Request(oracle.card, oracle.store.path, settings, (Mode.ACCURACY,), tmp_path / "results")
    )
    (verdict, *_) = document["accuracy"]["verdicts"]
    assert not verdict["passed"]
    assert "2 more of 20 images would have to be right" in verdict["advice"]
    assert verdict["advice"] in run_session.result.summary(document, folder)
