"""What a classifier's deployed graph answers, and which differences between two answers are rounding."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.backend import answers, graph
from harness.model.card import Card, FileSpec, InputSpec, OutputSpec

CLASSES = 10


def card(kind: str = "logits", offset: int = 0) -> Card:
    given = InputSpec(4, "NHWC", "u8", "RGB", "none", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Card("net", "resnet50", FileSpec(path="x"), given, OutputSpec(kind, CLASSES, offset))


def row_of(scores: list[float], offset: int = 0) -> np.ndarray:
    """Return what a deployed graph gives that always has these scores."""
    pixels = ops.parameter([1, 4, 4, 3], np.uint8)
    zero = ops.multiply(
        ops.reduce_mean(ops.convert(pixels, np.float32), np.array([1, 2, 3]), False), np.float32(0)
    )
    given = ops.add(ops.reshape(zero, np.array([1, 1]), False), np.array([scores], np.float32))
    described = card(offset=offset)
    deployed = graph.deployed(ov.Model([ops.result(given)], [pixels], "net"), described)
    found = ov.Core().compile_model(deployed, "CPU")([np.zeros((1, 4, 4, 3), np.uint8)])[0]
    (row,) = answers.end_of(described).split([found])
    return row


SCORES = [0.0, 1.0, 9.0, 2.0, 3.0, 1.0, 0.0, 1.0, 2.0, 1.0]
"""The best is 7 above the mean, 2, and leads by 6."""


def changed(**at: float) -> list[float]:
    return [at.get(f"of_{place}", score) for place, score in enumerate(SCORES)]


def test_a_row_is_the_two_best_labels_their_scores_and_the_sum_of_all() -> None:
    assert row_of(SCORES, offset=100).tolist() == [102.0, 104.0, 9.0, 3.0, 20.0]


@pytest.mark.parametrize(
    ("given", "agrees"),
    [
        (SCORES, True),
        (changed(of_2=9.05), True),
        (changed(of_2=9.2), False),
        (changed(of_2=8.8), False),
        ([score + 0.05 for score in SCORES], True),
        ([score + 0.2 for score in SCORES], False),
        # The best and its label are right, and the rest is not.
        (changed(of_0=3.0), False),
        ([*SCORES[1:], 0.0], False),
        ([float("nan")] * CLASSES, False),
    ],
)
def test_scores_agree_within_a_hundredth_of_the_best_ones_height(given: list[float], agrees: bool) -> None:
    assert answers.end_of(card()).agree(row_of(SCORES), row_of(given)) is agrees


@pytest.mark.parametrize(("lead", "agrees"), [(0.1, True), (0.3, False)])
def test_another_label_is_rounding_only_where_the_best_score_hardly_leads(lead: float, agrees: bool) -> None:
    known, given = changed(of_4=9.0 - lead), changed(of_4=9.0, of_2=9.0 - lead)
    assert answers.end_of(card()).agree(row_of(known), row_of(given)) is agrees


def test_equal_scores_agree_but_for_the_last_digits() -> None:
    assert answers.end_of(card()).agree(row_of([5.0] * CLASSES), row_of([5.0] * 9 + [5.00001]))
    assert not answers.end_of(card()).agree(row_of([5.0] * CLASSES), row_of([5.0] * 9 + [5.1]))


def test_of_a_model_that_gives_labels_each_label_counts() -> None:
    end = answers.end_of(card("label"))
    assert end.agree(np.array([3.0]), np.array([3.0]))
    assert not end.agree(np.array([3.0]), np.array([4.0]))


def test_nan_is_known_of_no_answer() -> None:
    assert answers.end_of(card()).agree(row_of([float("nan")] * CLASSES), row_of(SCORES))
