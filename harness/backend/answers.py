"""OpenVINO's part of each task: the end of the deployed graph, and the same outside of it.

harness.task knows how answers are written and scored, and needs no OpenVINO; here stands how they come out
of a model's own output.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.backend import ports
from harness.errors import ModelError
from harness.mlperf.benchmark import find_benchmark
from harness.model.card import Card
from harness.task import classification

NOT_A_NUMBER = (
    "a score that is not a number (NaN): check its weights, and input.mean and input.scale of its card"
)

_LABEL = classification.ANSWER.type


def fold_output(model: ov.Model, card: Card) -> ov.Model:
    """Return the model with its only output replaced by the answers of the card's task.

    Each sample has a row of it, whose bytes LoadGen gets.

    Raises:
        ModelError: the output is not what the card says of it.
    """
    return ENDS[find_benchmark(card.benchmark).task](model, card)


def label_of(answer: npt.NDArray[Any], card: Card) -> int:
    """Return the label in one sample's output of the card's original model.

    Raises:
        ModelError: a score is NaN.
    """
    require_numbers(answer, card)
    best = answer.reshape(-1)[0] if card.classifier.kind == "label" else answer.argmax()
    return int(best) + card.classifier.label_offset


def require_numbers(answer: npt.NDArray[Any], card: Card) -> None:
    """Raise ModelError where scores or labels that a card's model has given are NaN."""
    if np.isnan(answer).any():
        raise ModelError(f"Model '{card.name}' gives {NOT_A_NUMBER}.")


def _fold_labels(model: ov.Model, card: Card) -> ov.Model:
    """Return the model with its only output replaced by f32 [batch] labels.

    A label is the class with the highest score (the lowest such class on a tie, as argmax has it) plus the
    card's label_offset; NaN where a score is NaN. The output may lack the batch where that is 1.

    Raises:
        ModelError: the output does not hold the card's number of classes per sample.
    """
    batch = model.input(0).shape[0]
    wanted = 1 if card.classifier.kind == "label" else card.classifier.classes
    ports.check_output(model.output(0), card, batch, wanted)
    source = model.output(0).node.input_value(0)
    if card.classifier.kind == "label":
        classes = ops.convert(ops.reshape(source, np.array([batch]), False), _LABEL)
    else:
        scores = ops.reshape(source, np.array([batch, wanted]), False)
        top = ops.topk(scores, np.int32(1), 1, "max", "value", stable=True)
        classes = ops.convert(ops.reshape(top.output(1), np.array([batch]), False), _LABEL)
        if scores.get_element_type().is_real():
            has_nan = ops.reduce_logical_or(ops.is_nan(scores), np.array([1]), False)
            classes = ops.select(has_nan, _LABEL(np.nan), classes)
    labels = ops.add(classes, _LABEL(card.classifier.label_offset))
    labels.output(0).set_names({"label"})
    return ov.Model([ops.result(labels)], model.get_parameters(), model.get_friendly_name())


ENDS: Mapping[str, Callable[[ov.Model, Card], ov.Model]] = {"classification": _fold_labels}
"""By task, what ends its deployed graphs."""
