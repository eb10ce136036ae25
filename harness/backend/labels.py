"""The end of a classifier's deployed graph: a row of numbers for each sample, the label first.

LoadGen gets the label. The rest is for known answers. Within the one output they cost less than the search
for NaN that their sum stands for, where a second output costs more than that.
"""

from collections.abc import Callable, Sequence
from math import isclose, isnan

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.backend import ports
from harness.dataset.store import Store
from harness.endpoint.contract import ANSWER_NAME
from harness.model.card import Card
from harness.task import classification

TOLERANCE = 0.01
"""How far a score may be from the known one, as a share of the best score's height above the mean of all.

The same kernels add in the same order: between one stream and two at the same batch, nothing differed in 48
images (MobileNet V2 in f32, INT8, and TensorFlow Lite's own quantization). Rounding to BF16 changes a value
by 2^-8 of it at most.
"""

_ROUNDING = 1e-5
"""Of the best score: f32 kernels that add in another order differ by so much, whatever the height."""

_BEST, _SECOND, _SUM = 2, 3, 4


class Labels:
    """What OpenVINO computes for a classifier beyond its scores, and when two such answers agree."""

    words = (
        "for each image the label, the class that comes second, their scores, and the sum of all scores (NaN "
        "if one is)"
    )

    def __init__(self, card: Card) -> None:
        self._card = card
        self._output = card.classifier

    def fold(self, model: ov.Model, batch: int) -> ov.Model:
        """Return the model with its only output replaced by f32 [batch, 5], or [batch, 1] of labels.

        A row is the label, the class that comes second, their scores, and the sum of all scores, NaN if one
        of them is. A label is the class with the highest score (the lowest such class on a tie, as argmax has
        it) plus the card's label_offset. The output may lack the batch where that is 1.

        Raises:
            ModelError: the output does not hold the card's number of classes per sample.
        """
        card = self._card
        is_label = self._output.kind == "label"
        wanted = 1 if is_label else self._output.classes
        ports.check_output(model.output(0), card, batch, wanted)
        found = ops.reshape(model.output(0).node.input_value(0), np.array([batch, wanted]), False)
        if is_label:
            row = _numbers(found)
        else:
            top = ops.topk(found, np.int32(2), 1, "max", "value", stable=True)
            total = ops.reduce_sum(_numbers(found), np.array([1]), True)
            row = ops.concat([_numbers(top.output(1)), _numbers(top.output(0)), total], 1)
        if offset := self._output.label_offset:
            width = row.output(0).shape[1]
            shift = np.zeros((1, width), classification.ANSWER)
            shift[0, :2] = offset
            row = ops.add(row, shift)
        row.output(0).set_names({ANSWER_NAME})
        return ov.Model([ops.result(row)], model.get_parameters(), model.get_friendly_name())

    def split(self, outputs: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """Return each sample's row of an inference's outputs."""
        return list(outputs[0])

    def agree(self, known: npt.NDArray[np.float32], given: npt.NDArray[np.float32]) -> bool:
        """Return whether an answer is the known one but for rounding.

        The best score and the mean of all may differ by the tolerance, and the label where the lead of the
        best score is so small that such differences can turn it. NaN is known of no answer; a test that meets
        it fails by itself.
        """
        if len(known) == 1:
            return bool(known[0] == given[0] or isnan(known[0]))
        if isnan(known[_SUM]):
            return True
        tolerance = self._tolerance(known)
        mean, other = known[_SUM] / self._output.classes, given[_SUM] / self._output.classes
        is_near = _near(known[_BEST], given[_BEST], tolerance) and _near(mean, other, tolerance)
        return bool(is_near and (known[0] == given[0] or not self._is_clear(known)))

    def reader(self, store: Store) -> Callable[[npt.NDArray[np.float32], int], int]:
        """Return what makes a label of a row."""

        def read(row: npt.NDArray[np.float32], index: int) -> int:
            ports.require_number(float(row.sum()), self._card)
            return int(row[0])

        return read

    def _tolerance(self, known: npt.NDArray[np.float32]) -> float:
        height = float(known[_BEST]) - float(known[_SUM]) / self._output.classes
        return TOLERANCE * height + _ROUNDING * abs(float(known[_BEST]))

    def _is_clear(self, known: npt.NDArray[np.float32]) -> bool:
        return float(known[_BEST] - known[_SECOND]) > 2 * self._tolerance(known)


def _numbers(value: ov.Node | ov.Output) -> ov.Node | ov.Output:
    """Return a value as numbers of the kind that LoadGen's answers are made of."""
    kind = classification.ANSWER.type
    return value if value.get_element_type() == ov.Type.f32 else ops.convert(value, kind)


def _near(one: float, other: float, tolerance: float) -> bool:
    return bool(one == other) or isclose(one, other, rel_tol=0, abs_tol=tolerance)
