import itertools
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from harness.errors import DataError, RunFailed
from harness.mlperf.log import LogFault
from harness.task.classification import Score, compare, score, verdict
from harness.task.scoring import difference, mcnemar

GOLDEN = Path(__file__).parents[1] / "golden"


def write_log(folder, answers):
    """Write (index, response) pairs as LoadGen does; a response is bytes or a class."""
    entries = [
        {
            "seq_id": number,
            "qsl_idx": index,
            "data": (answer if isinstance(answer, bytes) else struct.pack("<f", answer)).hex().upper(),
        }
        for number, (index, answer) in enumerate(answers)
    ]
    path = folder / "mlperf_log_accuracy.json"
    path.write_text(json.dumps(entries))
    return path


def test_the_golden_log_scores_as_the_official_script_does():
    labels = np.array([int(line.split()[1]) for line in (GOLDEN / "val_map.txt").read_text().splitlines()])
    result = score(GOLDEN / "accuracy.json", labels, 105)
    assert result.text + "\n" == (GOLDEN / "accuracy.txt").read_text()
    assert (result.good, result.total) == (78, 105)


def test_the_text_has_the_official_form():
    assert Score(38100, 50000).text == "accuracy=76.200%, good=38100, total=50000"
    assert Score(38100, 50000).fraction == 0.762


def test_the_first_of_several_answers_counts(tmp_path):
    path = write_log(tmp_path, [(0, 5), (1, 6), (0, 9), (1, 7)])
    assert score(path, np.array([5, 7]), 2) == Score(1, 2)


def test_only_the_first_element_of_a_response_counts(tmp_path):
    path = write_log(tmp_path, [(0, struct.pack("<3f", 5, 6, 7))])
    assert score(path, np.array([5]), 1) == Score(1, 1)


def test_a_class_that_no_label_has_is_just_wrong(tmp_path):
    path = write_log(tmp_path, [(0, -1), (1, 1000)])
    assert score(path, np.array([0, 1], dtype=np.int32), 2) == Score(0, 2)


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ([(0, 1), (2, 1)], "2 samples without an answer (index 1, 3)"),
        ([(0, 1), (1, 1), (2, 1)], "1 sample without an answer (index 3)"),
        ([(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)], "1 answer to an unknown sample (index 4)"),
        ([(-1, 1), (0, 1), (1, 1), (2, 1), (3, 1)], "1 answer to an unknown sample (index -1)"),
        ([(0, 0.5), (1, 1), (2, 1), (3, 1)], "1 answer that is no float32 class (index 0)"),
        (
            [(0, float("nan")), (1, float("inf")), (2, 1), (3, 1)],
            "2 answers that are no float32 class (index 0, 1)",
        ),
        ([(0, b""), (1, b"\0\0"), (2, 1), (3, 1)], "2 answers that are no float32 class (index 0, 1)"),
        (
            [(9, 1), (0, 0.5), (1, 1), (3, 1)],
            "1 sample without an answer (index 2); 1 answer to an unknown sample "
            "(index 9); 1 answer that is no float32 class (index 0)",
        ),
    ],
)
def test_a_log_that_is_not_whole_is_a_failure(answers, fault, tmp_path):
    path = write_log(tmp_path, answers)
    with pytest.raises(LogFault) as error:
        score(path, np.zeros(4, dtype=np.int64), 4)
    assert error.value.fault == f"The accuracy log {path} of 4 samples has {fault}"


def test_only_the_first_offenders_are_listed(tmp_path):
    path = write_log(tmp_path, [(0, 1)])
    with pytest.raises(RunFailed, match=r"99 samples without an answer \(index 1, 2, 3, 4, 5, \.\.\.\)"):
        score(path, np.zeros(100, dtype=np.int64), 100)


def test_an_empty_log_is_a_failure(tmp_path):
    with pytest.raises(RunFailed, match="has no entry: repeat the command that ran the test"):
        score(write_log(tmp_path, []), np.zeros(4, dtype=np.int64), 4)


def test_labels_of_another_data_set_are_refused(tmp_path):
    path = write_log(tmp_path, [(0, 1)])
    with pytest.raises(DataError, match="3 labels do not fit the 1 samples of the run"):
        score(path, np.zeros(3, dtype=np.int64), 1)


@pytest.mark.parametrize(("good", "passed"), [(37847, False), (37848, True), (0, False), (50000, True)])
def test_the_verdict_on_the_official_target_is_exact(good, passed):
    assert verdict(Score(good, 50000), 0.7646, 0.99).passed is passed


@pytest.mark.parametrize(
    ("good", "total", "reference", "fraction"),
    [
        (693, 1000, 0.7, 0.99),
        (297, 1000, 0.3, 0.99),
        (57, 100, 0.57, 1.0),
        (29, 100, 0.29, 1.0),
        (7, 100, 0.1, 0.7),
    ],
)
def test_a_score_equal_to_its_target_passes_where_floats_would_err(good, total, reference, fraction):
    reached = verdict(Score(good, total), reference, fraction)
    assert reached.passed
    assert reached.margin == 0
    assert reached.text.endswith("margin +0.000 points")
    assert not verdict(Score(good - 1, total), reference, fraction).passed


@pytest.mark.parametrize(
    ("result", "reference", "text"),
    [
        (
            Score(355, 400),
            0.718,
            "passed: 88.750 % against the target 71.082 % (99 % of 71.8 %), margin +17.668 points",
        ),
        (
            Score(37847, 50000),
            0.7646,
            "failed: 75.694 % against the target 75.6954 % (99 % of 76.46 %), margin -0.001 points",
        ),
        (
            Score(9_999_999, 10_000_000),
            1.0,
            "passed: 100.000 % against the target 99 % (99 % of 100 %), margin +1.000 points",
        ),
    ],
)
def test_the_verdict_names_target_and_margin(result, reference, text):
    assert verdict(result, reference, 0.99).text == text


def test_a_miss_by_a_hair_does_not_read_like_a_tie():
    missed = verdict(Score(9_999_999, 10_000_000), 1.0, 1.0)
    assert not missed.passed
    assert missed.text.endswith("margin -1e-05 points")
    assert missed.target == 1.0
    assert missed.margin == pytest.approx(-1e-7)


@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 0), (1, 0), (3, 3), (5, 1), (0, 12), (40, 60), (500, 430), (3000, 3200)]
)
def test_mcnemar_is_the_binomial_test_of_scipy(lost: int, gained: int) -> None:
    wanted = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("count", [10, 50, 1000])
def test_the_interval_of_a_difference_leaves_out_0_just_where_mcnemar_tells_one(count: int) -> None:
    for lost, gained in itertools.product(range(26), repeat=2):
        if lost + gained <= count:
            low, high = difference(lost, gained, count)
            assert low <= (gained - lost) / count <= high
            assert (low > 0 or high < 0) is (mcnemar(lost, gained) < 0.05), (lost, gained)


@pytest.mark.parametrize(("first", "second"), [(0.95, 0.95), (0.9, 0.96), (0.1, 0.9)])
def test_the_interval_of_a_difference_holds_the_true_one_in_19_of_20_cases(
    first: float, second: float
) -> None:
    source = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        # How hard an image is, both have in common.
        hard = source.random(500)
        one, other = (
            np.where(source.random(500) < 0.7, hard, source.random(500)) < p for p in (first, second)
        )
        low, high = difference(int(np.sum(one & ~other)), int(np.sum(other & ~one)), 500)
        held += low <= second - first <= high
    assert held / 400 > 0.93


def test_answers_of_which_none_changed_may_still_differ() -> None:
    low, high = difference(0, 0, 20)
    assert high == -low == pytest.approx(0.089, abs=0.001)


def test_answers_are_compared_image_by_image() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5])
    first = np.array([0, 1, 2, 9, 9, 5])
    second = np.array([0, 7, 7, 3, 8, 5])
    found = compare(first, second, labels)
    assert (found.count, found.changed, found.lost, found.gained) == (6, 4, 2, 1)
    assert found.p_value == 1.0
