"""Tests that LoadGen calls INVALID, made so on purpose, and the sentences that say what to change."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Oracle, make_oracle

from harness.loadgen.settings import RunSettings
from harness.measurement import advice
from harness.measurement.advice import Told
from harness.mlperf.log import Performance, read_performance
from harness.mlperf.scenario import Mode, Scenario
from harness.run import session as run_session
from harness.run.session import Request
from harness.run.summary import summary
from harness.task import classification

GOLDEN = Path(__file__).parents[1] / "golden"


CONF = """\
resnet50.Server.target_latency = 60000
*.Server.target_qps = 500
bert.Server.max_async_queries = 9
*.Server.max_async_queries = 1
"""


def test_the_same_command_goes_well_once_the_advice_is_followed(oracle: Oracle, tmp_path: Path) -> None:
    user_conf = tmp_path / "user.conf"
    user_conf.write_text(CONF)
    settings = RunSettings(Scenario.SERVER, duration_s=0.3, user_conf=user_conf, batch=1, streams=1)
    request = Request(oracle.card, oracle.store.path, settings, (Mode.PERFORMANCE,), tmp_path / "results")
    document, folder = run_session.run(request)
    assert document.performance.validity == "INVALID"
    (sentence,) = document.performance.advice
    assert sentence in summary(document, folder)
    assert sentence.endswith(
        "waited for their answer and max_async_queries allows fewer: remove max_async_queries from the "
        "--user-conf."
    )
    # The estimate is the user's, and not for the harness to change.
    assert document.performance.estimate == {"target_qps": 500}
    user_conf.write_text(CONF.replace("*.Server.max_async_queries = 1\n", ""))
    document, _ = run_session.run(request)
    assert document.performance.valid, document.performance.advice
    assert document.performance.advice == ()


def golden(**changes: object) -> Performance:
    return replace(read_performance(GOLDEN / "singlestream_detail.txt"), **changes)  # type: ignore[arg-type]


def test_too_few_queries_for_the_percentile_name_the_duration_that_would_do() -> None:
    remark = "* Only processed 20 queries. * Need to process at least 64 queries for early stopping."
    measured = golden(
        validity="INVALID", early_stopping_met=False, query_count=20, invalid_reasons=(remark,),
        latency_mean_ns=500_000_000,
    )  # fmt: skip
    (sentence,) = advice.of_performance(measured, Told({"target_latency": 1.0}, "resnet50"))
    assert sentence == (
        "Only 20 queries were finished, and to be 99 % sure of p90 LoadGen needs 64, which take about 32 s: "
        "set 'resnet50.SingleStream.min_query_count = 64' in a --user-conf."
    )


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("Ending early: Max test duration reached.", "remove max_duration"),
        ("PerfClock and system_clock differ by more than 1%! : pc_sc_ratio 1.1", "time synchronisation"),
        ("Something else", "LoadGen logged an error (Something else): repeat the command"),
        ("Ending early: Ran out of generated queries to issue", "'resnet50.SingleStream.target_latency = "),
    ],
)
def test_each_error_of_loadgen_has_a_cure(error: str, cure: str) -> None:
    (sentence,) = advice.of_performance(golden(errors=(error,)), Told({"target_latency": 100.0}, "resnet50"))
    assert cure in sentence


def test_a_valid_test_needs_no_words() -> None:
    assert advice.of_performance(golden(), Told({"target_latency": 1.0}, "resnet50")) == []


def test_a_command_that_takes_no_user_conf_is_to_be_repeated() -> None:
    measured = golden(validity="INVALID", min_duration_met=False)
    (sentence,) = advice.of_performance(measured, Told({"target_latency": 100.0}))
    assert sentence.endswith("were measured: repeat the command, on a quieter machine if you can.")


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
    (verdict, *_) = document.accuracy.verdicts
    assert not verdict.passed
    assert "2 more of 20 images would have to be right" in verdict.advice
    assert verdict.advice in summary(document, folder)
