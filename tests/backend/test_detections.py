"""A detector's outputs become boxes in its graph, whatever they are called and however they are ordered."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from sample_detectors import make_spotter, spotter_model

from harness.backend import answers, graph, kernels
from harness.backend.detections import Found, Writer
from harness.backend.settings import CompileSettings
from harness.errors import ModelError
from harness.model.card import Card, DetectionOutput, FileSpec, InputSpec

SIZE, CLASSES = 32, 3
RANDOM = np.random.default_rng(2)


def card(decoder: str, classes: int = CLASSES, **changes: Any) -> Card:
    given = InputSpec(SIZE, "NHWC", "u8", "RGB", "linear", None, (0.0,) * 3, (1.0,) * 3, fit="stretch")  # type: ignore[arg-type]
    output = DetectionOutput(decoder, classes, 0.3, 0.5, 20)
    return Card("net", "yolo", FileSpec(path="x"), given, replace(output, **changes), task="detection")


def found(described: Card, *outputs: np.ndarray) -> list[Found]:
    """Return what is found in a model's outputs, [batch, ...] each."""
    batch = len(outputs[0])
    pixels = ops.parameter([batch, SIZE, SIZE, 3], np.uint8)
    zero = ops.multiply(
        ops.reduce_sum(ops.convert(pixels, np.float32), np.array([0, 1, 2, 3]), False), np.float32(0)
    )
    results = [
        ops.result(
            ops.add(ops.constant(one), ops.convert(zero, one.dtype.type) if one.dtype != np.float32 else zero)
        )
        for one in outputs
    ]
    deployed = graph.deployed(ov.Model(results, [pixels], "net"), described, batch)
    compiled = ov.Core().compile_model(deployed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = compiled([np.zeros((batch, SIZE, SIZE, 3), np.uint8)])
    return answers.end_of(described).split(list(given.values()))


def logit(row: Found) -> list[tuple[float, ...]]:
    return [tuple(np.round(one, 3)) for one in row.rows.tolist()]


def f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


YOLO = f32([[[10, 10, 8, 4], [11, 10, 8, 4], [24, 24, 4, 4], [5, 5, 2, 2]]])
SCORES = f32([[[0.9, 0.1, 0], [0.8, 0.1, 0.7], [0.2, 0.4, 0.6], [0.1, 0.2, 0.2]]])


@pytest.mark.parametrize("turned", [False, True])
def test_yolo_gives_centres_and_sides_and_a_box_is_of_its_best_class(turned: bool) -> None:
    given = np.concatenate([YOLO, SCORES], 2)
    (one,) = found(card("yolo"), given.transpose(0, 2, 1).copy() if turned else given)
    assert logit(one) == [(0.0, 0.9, 6.0, 8.0, 14.0, 12.0), (2.0, 0.6, 22.0, 22.0, 26.0, 26.0)]
    assert one.total == pytest.approx(SCORES.sum())


def test_older_yolos_have_the_score_of_any_object_besides() -> None:
    given = np.concatenate([YOLO, f32([[[0.5]] * 4]), SCORES], 2)
    (one,) = found(card("yolo", score_threshold=0.25), given)
    assert logit(one) == [(0.0, 0.45, 6.0, 8.0, 14.0, 12.0), (2.0, 0.3, 22.0, 22.0, 26.0, 26.0)]


def test_a_box_may_be_of_several_classes_where_the_card_says_so() -> None:
    given = np.concatenate([YOLO, SCORES], 2)
    (one,) = found(card("yolo", multi_label=True), given)
    assert [(row[0], row[1]) for row in logit(one)] == [(0.0, 0.9), (2.0, 0.7), (2.0, 0.6), (1.0, 0.4)]


def test_boxes_may_be_shares_of_the_sides() -> None:
    given = np.concatenate([YOLO / SIZE, SCORES], 2)
    assert logit(found(card("yolo", boxes="shares"), given)[0]) == logit(
        found(card("yolo"), np.concatenate([YOLO, SCORES], 2))[0]
    )


def test_yolox_gives_offsets_in_cells_and_logarithms() -> None:
    cells = [(stride, x, y) for stride in (8, 16, 32) for y, x in product(range(SIZE // stride), repeat=2)]
    given = np.zeros((2, len(cells), 5 + CLASSES), np.float32)
    given[0, cells.index((8, 2, 1))] = [0.5, 0.25, np.log(0.5), np.log(1.5), 0.8, 0.1, 0.9, 0.3]
    given[1, cells.index((16, 1, 0))] = [0.5, 0.5, 0, 0, 1, 0.6, 0, 0]
    first, second = found(card("yolox"), given)
    assert logit(first) == [(1.0, 0.72, 18.0, 4.0, 22.0, 16.0)]
    assert logit(second) == [(0.0, 0.6, 16.0, 0.0, 32.0, 16.0)]


@pytest.mark.parametrize("classes", [3, 32])
@pytest.mark.parametrize("whole", [False, True])
def test_nanodet_gives_distributions_of_distances_and_a_box_may_be_of_several_classes(
    classes: int, whole: bool
) -> None:
    scores, sides = [], []
    for stride in (8, 16, 32):
        count = (SIZE // stride) ** 2
        scores.append(np.zeros((1, count, classes), np.float32))
        sides.append(np.full((1, count, 32), -50, np.float32))
    scores[0][0, 5, :2] = [0.9, 0.5]  # the cell at x 1, y 1
    # Left 1, top 0.5, right 2 and bottom 7 cells, which ends outside.
    for side, places in enumerate(([1], [0, 1], [2], [7])):
        sides[0][0, 5, [8 * side + place for place in places]] = 50
    outputs = [*scores, *sides]
    if whole:
        outputs = [np.concatenate([np.concatenate(scores, 1), np.concatenate(sides, 1)], 2)]
    (one,) = found(card("nanodet", classes, class_map=None), *outputs)
    assert logit(one) == [(0.0, 0.9, 4.0, 8.0, 28.0, 32.0), (1.0, 0.5, 4.0, 8.0, 28.0, 32.0)]
    (moved,) = found(card("nanodet", classes, class_map=None, cell_centre=0.0), *outputs)
    assert logit(moved)[0] == (0.0, 0.9, 0.0, 4.0, 24.0, 32.0)


def test_boxes_labels_and_scores_are_told_apart_by_shape_and_kind() -> None:
    boxes = f32([[[0, 0, 8, 8], [1, 0, 8, 8], [20, 20, 30, 30]]])
    labels, scores = np.array([[2, 2, 0]], np.int64), f32([[0.5, 0.9, 0.2]])
    described = card("boxes-labels-scores", iou_threshold=None)
    first = logit(found(described, scores, labels, boxes)[0])
    assert first == [(2.0, 0.9, 1.0, 0.0, 8.0, 8.0), (2.0, 0.5, 0.0, 0.0, 8.0, 8.0)]
    assert logit(found(described, labels, np.concatenate([boxes, scores[..., None]], 2))[0]) == first
    columns = [boxes, scores[..., None], labels[..., None].astype(np.float32)]
    assert logit(found(described, np.concatenate(columns, 2))[0]) == first
    count = np.array([[3]], np.int32)
    for outputs in ((count, boxes, labels, scores), (count, boxes[0], labels[0], scores[0])):
        assert logit(found(described, *outputs)[0]) == first
    suppressed = found(card("boxes-labels-scores"), boxes, labels, scores)
    assert logit(suppressed[0]) == first[:1]


@pytest.mark.parametrize("strange", [-1, 3])
def test_an_object_of_a_class_that_the_card_does_not_have_is_refused_by_its_number(strange: int) -> None:
    described = card("boxes-labels-scores", iou_threshold=None)
    boxes, scores = f32([[[0, 0, 8, 8], [1, 0, 8, 8]]]), f32([[0.5, 0.9]])
    (one,) = found(described, scores, np.array([[2, strange]], np.int64), boxes)
    frames = described.input.recipe.frames(np.array([[SIZE, SIZE]]))
    with pytest.raises(ModelError, match=f"an object of class {strange}, and its card has classes 0 to 2"):
        Writer(described.detector, frames, 1).write(0, one.rows, 0)


def test_what_fills_up_a_list_is_no_object() -> None:
    described = card("boxes-labels-scores", iou_threshold=None, score_threshold=0.0)
    boxes, scores = f32([[[0, 0, 8, 8], [1, 0, 8, 8], [0, 0, 0, 0]]]), f32([[0.5, 0.9, 0.0]])
    (one,) = found(described, scores, np.array([[2, 0, -1]], np.int64), boxes)
    assert len(one.rows) == 3
    frames = described.input.recipe.frames(np.array([[SIZE, SIZE]]))
    written = Writer(described.detector, frames, 1).write(0, one.rows, 0)
    assert written[:, 5].tolist() == pytest.approx([0.9, 0.5])
    assert written[:, 6].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("decoder", "shapes", "needed"),
    [
        ("yolo", [(1, 84, 21)], "needs [1,7,N] or [1,N,7] or [1,8,N] or [1,N,8]"),
        ("yolox", [(1, 20, 8)], "needs [1,21,8] or [1,22,8]"),
        (
            "nanodet",
            [(1, 16, 3), (1, 4, 3), (1, 1, 3)],
            "needs [1,16,3], [1,4,3], [1,1,3] and [1,16,4n], [1,4,4n]",
        ),
        ("boxes-labels-scores", [(1, 9, 4), (1, 9), (1, 9)], "needs [1,N,4] and [1,N] of whole numbers and"),
    ],
)
def test_a_decoder_that_does_not_fit_is_told_by_shapes(decoder: str, shapes: Any, needed: str) -> None:
    with pytest.raises(ModelError) as caught:
        found(card(decoder), *(np.zeros(shape, np.float32) for shape in shapes))
    has = ", ".join(f"[{','.join(map(str, shape))}]" for shape in shapes)
    assert f"outputs of the shapes {has}, but its card's decoder '{decoder}' with 3 classes" in str(
        caught.value
    )
    assert needed in str(caught.value)


def test_at_most_so_many_boxes_stay_as_the_card_says_and_boxes_far_outside_disturb_no_other_class() -> None:
    given = np.zeros((1, 7, 30), np.float32)
    given[0, :4] = RANDOM.uniform(1, 30, (30, 4)).T
    given[0, 2:4, 0] = 1e6
    given[0, 4 + np.arange(30) % 3, np.arange(30)] = np.linspace(0.4, 0.99, 30)
    (one,) = found(card("yolo", iou_threshold=1.0, max_detections=20), given)
    assert one.rows[:, 1] == pytest.approx(np.linspace(0.4, 0.99, 30)[:9:-1])
    assert one.rows[:, 0].tolist() == [number % 3 for number in range(29, 9, -1)]


def test_a_batch_finds_what_single_images_have() -> None:
    described = replace(card("yolo"), output=DetectionOutput("yolo", 3, 0.3, 0.5, 10))
    images = RANDOM.integers(0, 120, (15, SIZE, SIZE, 3), np.uint8)
    images[[0, 3], 8:16, 16:24] = (250, 20, 20)
    images[3, :8, :8] = (20, 20, 200)
    end = answers.end_of(described)
    rows = {}
    for batch, own in ((1, 1), (5, 5), (3, -1)):
        compiled = ov.Core().compile_model(graph.deployed(spotter_model(batch=own), described, batch), "CPU")
        parts = [
            end.split(list(compiled([images[first : first + batch]]).values()))
            for first in range(0, len(images), batch)
        ]
        rows[batch] = [logit(one) for part in parts for one in part]
    assert rows[1] == rows[5] == rows[3]
    assert [one[0] for one in rows[1][3]] == [0.0, 2.0]


_KINDS_AND_SCORES = np.stack([np.arange(20) % 3, np.linspace(0.9, 0.4, 20)], 1)
_CORNERS = [RANDOM.uniform(0, 300, (20, 2)), RANDOM.uniform(310, 400, (20, 2))]
KNOWN = Found(f32(np.concatenate([_KINDS_AND_SCORES, *_CORNERS], 1)), 500.0)


@pytest.mark.parametrize(
    ("given", "agrees"),
    [
        (replace(KNOWN, rows=KNOWN.rows + f32([0, 0.01, 1, 1, 1, 1])), True),
        (replace(KNOWN, rows=KNOWN.rows[:18]), True),
        (replace(KNOWN, rows=KNOWN.rows[:17]), False),
        (replace(KNOWN, rows=KNOWN.rows + f32([0, 0.05, 0, 0, 0, 0])), False),
        (replace(KNOWN, rows=KNOWN.rows + f32([1, 0, 0, 0, 0, 0])), False),
        (replace(KNOWN, rows=KNOWN.rows + f32([0, 0, 60, 60, 60, 60])), False),
        (replace(KNOWN, total=504.0), True),
        (replace(KNOWN, total=506.0), False),
        (replace(KNOWN, total=float("nan")), False),
    ],
)
def test_answers_agree_but_for_rounding(given: Found, agrees: bool) -> None:
    assert answers.end_of(card("yolo")).agree(KNOWN, given) is agrees


def test_what_follows_a_model_s_outputs_makes_the_answers_that_are_scored(tmp_path: Path) -> None:
    spotter = make_spotter(tmp_path, count=6)
    end, samples = answers.end_of(spotter.card), spotter.store.samples(spotter.card.input.recipe)
    model = ov.Core().compile_model(spotter_model(), "CPU")
    tail = ov.Core().compile_model(answers.tail(spotter_model(), spotter.card), "CPU")
    read = end.reader(spotter.store)
    (one,) = end.split(list(tail(list(model([samples[5:6]]).values())).values()))
    answer = sorted(read(one, 5).tolist())
    assert [(one[0], one[6]) for one in answer] == [(5, 3), (5, 7)]
    assert [one[1:5] for one in answer] == [[0.0, 0.0, 0.5, 0.25], [0.5, 0.25, 1.0, 0.5]]


def test_the_layers_that_make_the_answers_are_known_by_their_names() -> None:
    described = replace(card("yolo"), output=DetectionOutput("yolo", 3, 0.3, 0.5, 10))
    compiled = graph.compile_model(
        graph.deployed(spotter_model(), described), CompileSettings("LATENCY"), profile=True
    )
    pixels = ov.Tensor(RANDOM.integers(0, 255, (1, SIZE, SIZE, 3), np.uint8))
    layers = kernels.profiled(compiled.model, [pixels], 3)
    ends = {layer.type for layer in layers if layer.makes_answers}
    assert "MulticlassNms" in ends
    assert "Reduce" in {layer.type for layer in layers if not layer.makes_answers}
    whole = [replace(layer, time_us=1.0) for layer in layers]
    assert kernels.answers_share(whole) == sum(layer.makes_answers for layer in layers) / len(layers)
    assert kernels.answers_share([]) is None
