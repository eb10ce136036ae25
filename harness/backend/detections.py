"""The end of a detector's deployed graph: boxes decoded and suppressed, and how far two answers are equal.

Decoding and suppression are in the graph: MulticlassNonMaxSuppression of OpenVINO does per class what
OpenCV's NMSBoxesBatched does, without handing thousands of boxes to Python.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.backend import ports
from harness.backend.decoders import Decoded, decoded
from harness.dataset.placement import Frames
from harness.dataset.store import Store
from harness.errors import ModelError
from harness.model.card import Card, DetectionOutput
from harness.task import boxes, detection

ROWS, COUNTS, TOTALS = 0, 1, 2
"""Places of the outputs: what was found, how much in each image, and the sums of all scores."""

CLASS, SCORE, CORNERS = 0, 1, slice(2, 6)
"""Columns of a row."""

_ROW_TOLERANCE = 0.02
"""How far a score may be from the known one; INT8 kernels round by about 1/255 of a range, BF16 by 2^-8."""
_TOTAL_TOLERANCE = 0.01
"""How far the sum of all scores may be from the known one, as a share of it."""
_SAME_BOX = 0.9
"""Intersection over union from which two boxes are the same but for rounding."""
_MAY_DIFFER = 0.1
"""Share of the boxes, but at least one, that rounding may move over a threshold of score or overlap."""
# Boxes of different classes shall not overlap; a box that ends farther out is cut off for the comparison.
_ZONES = 3


@dataclass(frozen=True)
class Found:
    """What a deployed graph finds in one image."""

    rows: npt.NDArray[np.float32]
    """f32 [found, 6]: class, score, left, top, right, bottom in model pixels."""
    total: float
    """Sum of all scores, before any threshold; NaN if one is."""


class Writer:
    """Writes answers as LoadGen logs them, into memory for as many boxes as a card allows in an image."""

    def __init__(self, output: DetectionOutput, frames: Frames, batch: int) -> None:
        self._frames = frames
        self._categories = np.array(output.categories, detection.ANSWER)
        shape = (batch, output.max_detections, len(detection.COLUMNS))
        self._answers = np.zeros(shape, detection.ANSWER)

    def address(self, place: int) -> int:
        """Return where the answer to a sample of the batch begins."""
        return int(self._answers[place].ctypes.data)

    def write(self, place: int, rows: npt.NDArray[np.float32], index: int) -> npt.NDArray[np.float32]:
        """Write the answer to one sample.

        Args:
            place: of the sample in its batch.
            rows: f32 [found, 6] of a deployed graph.
            index: of the sample in the store.

        Returns:
            What was written: f32 [found, 7], of harness.task.detection's columns.

        Raises:
            ModelError: a class is none of the card's.
        """
        classes = rows[:, CLASS].astype(np.intp)
        if len(classes) and not (classes.min() >= 0 and classes.max() < len(self._categories)):
            rows, classes = self._without_filling(rows, classes)
        answer = self._answers[place, : len(rows)]
        answer[:, 0] = index
        answer[:, 1:5] = self._frames.shares(rows[:, CORNERS], index)[:, _YXYX]
        answer[:, 5] = rows[:, SCORE]
        answer[:, 6] = self._categories[classes]
        return answer

    def _without_filling(
        self, rows: npt.NDArray[np.float32], classes: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
        """Leave out what fills up a list to one length: objects of no class and no score."""
        kept = (classes >= 0) | (rows[:, SCORE] > 0)
        rows, classes = rows[kept], classes[kept]
        known = len(self._categories)
        strange = classes[(classes < 0) | (classes >= known)]
        if len(strange):
            raise ModelError(
                f"The model found an object of class {strange[0]}, and its card has classes 0 to {known - 1}"
                f": correct output.classes and output.class_map, in which a background has a place, too."
            )
        return rows, classes


_YXYX = (1, 0, 3, 2)


class Detections:
    """What OpenVINO computes for a detector beyond its own outputs, and when two such answers agree."""

    words = (
        "rows of class, score, left, top, right and bottom in model pixels (detections), how many of them "
        "each image has (counts), and for each image the sum of all scores, NaN if one is (totals)"
    )

    def __init__(self, card: Card) -> None:
        self._card = card

    def fold(self, model: ov.Model, batch: int) -> ov.Model:
        """Return the model with its outputs replaced by three.

        They are f32 [found, 6], rows of class, score, left, top, right and bottom in model pixels, image by
        image, the best score first; i32 [batch], how many rows an image has; and f32 [batch], the sum of the
        scores of all its places and classes, NaN if one is.

        Raises:
            ModelError: its outputs have not the shapes that the card's decoder needs.
        """
        found = decoded(model, self._card, batch)
        total = ops.reduce_sum(found.scores, np.array([1, 2]), False)
        if found.labels is not None:
            rows, counts = self._of_one_class(found.boxes, found.scores, found.labels)
        elif self._card.detector.has_several_labels:
            rows, counts = self._of_each_class(found)
        else:
            top = ops.topk(found.scores, np.int32(1), 2, "max", "none")
            labels = ops.convert(top.output(1), np.float32)
            rows, counts = self._of_one_class(found.boxes, top.output(0), labels.output(0))
        results = [ops.result(one) for one in (rows, counts, total)]
        for result, name in zip(results, ("detections", "counts", "totals"), strict=True):
            result.output(0).set_names({name})
        return ov.Model(results, model.get_parameters(), model.get_friendly_name())

    def split(self, outputs: Sequence[npt.NDArray[Any]]) -> list[Found]:
        """Return what was found in each image of a batch."""
        ends = np.cumsum(outputs[COUNTS])
        parts = np.split(outputs[ROWS][: ends[-1]], ends[:-1])
        return [
            Found(rows, float(total)) for rows, total in zip(parts, outputs[TOTALS].tolist(), strict=True)
        ]

    def agree(self, known: Found, given: Found) -> bool:
        """Return whether an answer is the known one but for rounding.

        Scores and boxes may differ a little, and a few boxes be missing, as rounding moves them over a
        threshold. NaN is known of no answer; a test that meets it fails by itself.
        """
        if np.isnan(known.total):
            return True
        if not abs(given.total - known.total) <= _TOTAL_TOLERANCE * abs(known.total):
            return False
        same = boxes.are_same(
            *(_parts(one) for one in (known, given)), overlap=_SAME_BOX, score=_ROW_TOLERANCE
        )
        return all(np.count_nonzero(~matched) <= max(1, _MAY_DIFFER * len(matched)) for matched in same)

    def reader(self, store: Store) -> Callable[[Found, int], npt.NDArray[np.float32]]:
        """Return what makes an answer as LoadGen logs it of what was found."""
        frames = self._card.input.recipe.frames(store.sizes)

        def read(found: Found, index: int) -> npt.NDArray[np.float32]:
            ports.require_number(found.total, self._card)
            return Writer(self._card.detector, frames, 1).write(0, found.rows, index)

        return read

    def _of_each_class(self, found: Decoded) -> tuple[Any, Any]:
        """Suppress boxes that may be of several classes."""
        scores = ops.transpose(found.scores, np.array([0, 2, 1]))
        chosen = self._suppress(found.boxes, scores)
        return chosen.output(0), chosen.output(2)

    def _of_one_class(self, corners: ov.Output, scores: ov.Output, labels: ov.Output) -> tuple[Any, Any]:
        """Suppress boxes that are of one class each: as one class, with a zone of the plane for each.

        (batched_nms of torchvision; it takes half the time of doing it for each class.)
        """
        size = float(self._card.input.size)
        zones = ops.multiply(labels, np.float32(_ZONES * size))
        places = ops.add(ops.clamp(corners, -size, 2 * size), zones)
        chosen = self._suppress(places, ops.transpose(scores, np.array([0, 2, 1])))
        at = ops.reshape(chosen.output(1), np.array([-1]), False)
        first, last, step = np.array([SCORE]), np.array([SCORE + 1]), np.array([1])
        columns = [
            ops.gather(ops.reshape(labels, np.array([-1, 1]), False), at, np.int32(0)),
            ops.slice(chosen.output(0), first, last, step, np.array([1])),
            ops.gather(ops.reshape(corners, np.array([-1, 4]), False), at, np.int32(0)),
        ]
        return ops.concat(columns, 1), chosen.output(2)

    def _suppress(self, places: Any, scores: Any) -> ov.Node:
        output = self._card.detector
        return ops.multiclass_nms(
            places,
            scores,
            sort_result_type="score",
            output_type="i32",
            iou_threshold=1.0 if output.iou_threshold is None else output.iou_threshold,
            score_threshold=output.score_threshold,
            nms_top_k=-1,
            keep_top_k=output.max_detections,
            normalized=True,
        )


def _parts(found: Found) -> boxes.Boxes:
    return boxes.Boxes(found.rows[:, CLASS], found.rows[:, SCORE], found.rows[:, CORNERS])
