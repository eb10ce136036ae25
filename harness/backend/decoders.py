"""Decoders: a detector's own outputs, told apart by their shapes, become boxes and scores in its graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.errors import ModelError
from harness.model.card import Card, DetectionOutput
from harness.model.card_parts import PIXELS

_USUAL_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_NANODET_PLUS_STRIDES = (8, 16, 32, 64)


@dataclass(frozen=True)
class Decoded:
    """What a detector says of each place in an image, in model pixels."""

    boxes: ov.Output
    """f32 [batch, boxes, 4]: left, top, right, bottom."""
    scores: ov.Output
    """f32 [batch, boxes, classes], or [batch, boxes, 1] where there are `labels`."""
    labels: ov.Output | None = None
    """f32 [batch, boxes, 1]: the class of each box, where the model itself has chosen one."""


def decoded(model: ov.Model, card: Card, batch: int) -> Decoded:
    """Return what a model's outputs mean for a batch of images.

    Raises:
        ModelError: its outputs have not the shapes that the card's decoder needs.
    """
    output, outputs = card.detector, [port.node.input_value(0) for port in model.outputs]
    decode, needed = _DECODERS[output.decoder]
    try:
        found = decode(outputs, batch, output, card.input.size)
    except _Unfit as error:
        shapes = ", ".join(str(port.partial_shape) for port in model.outputs)
        raise ModelError(
            f"Model '{card.name}' has outputs of the shapes {shapes}, but its card's decoder "
            f"'{output.decoder}' with {output.classes} classes at {card.input.size} px and batch {batch} "
            f"needs {needed(batch, output, card.input.size)}: correct output.decoder, output.classes or "
            f"output.strides."
        ) from error
    if output.boxes == PIXELS:
        return found
    return replace(found, boxes=ops.multiply(found.boxes, np.float32(card.input.size)).output(0))


class _Unfit(Exception):
    """Outputs of other shapes than a decoder needs."""


def _yolo(outputs: Sequence[ov.Output], batch: int, output: DetectionOutput, size: int) -> Decoded:
    """Decode what YOLOs give: centre, width and height of each box, and a score for each class.

    YOLO11 and its kin have no more; older ones (YOLOv5, YOLOv7, YOLOX with its decoding in the graph) have
    the score of any object before those of the classes.
    """
    for values in (4 + output.classes, 5 + output.classes):
        for found in outputs:
            shape = _shape(found)
            if len(shape) == 3 and shape[0] == batch and values in shape[1:]:
                each = found if shape[2] == values and shape[1] != values else _turned(found)
                half = ops.multiply(_columns(each, 2, 4), np.float32(0.5))
                scores = _columns(each, values - output.classes, values)
                if values > 4 + output.classes:
                    scores = ops.multiply(scores, _columns(each, 4, 5)).output(0)
                return Decoded(_around(_columns(each, 0, 2), half), scores)
    raise _Unfit


def _yolox(outputs: Sequence[ov.Output], batch: int, output: DetectionOutput, size: int) -> Decoded:
    """Decode what YOLOX gives: offsets in cells, logarithms of sides, a score of any object, and of classes.

    (demo_postprocess of YOLOX.)
    """
    values = 5 + output.classes
    for strides in _strides(output):
        corners, widths = _grid(size, strides, 0.0 if output.cell_centre is None else output.cell_centre)
        for found in outputs:
            if _shape(found) == (batch, len(widths), values):
                centre = ops.add(ops.multiply(_columns(found, 0, 2), widths), corners)
                half = ops.multiply(ops.exp(_columns(found, 2, 4)), np.float32(0.5) * widths)
                scores = ops.multiply(_columns(found, 5, values), _columns(found, 4, 5)).output(0)
                return Decoded(_around(centre, half), scores)
    raise _Unfit


def _nanodet(outputs: Sequence[ov.Output], batch: int, output: DetectionOutput, size: int) -> Decoded:
    """Decode what NanoDet gives: a score for each class, and for each side a distribution over distances.

    The scores and distributions are one output a level each, or side by side in one output. A box ends at the
    image's border (distance2bbox of NanoDet). A cell's centre is half a stride from its corner; NanoDet-Plus,
    whose fourth level tells it, takes the corner for it.
    """
    for strides in _strides(output):
        usual = 0.0 if strides == _NANODET_PLUS_STRIDES else 0.5
        centres, widths = _grid(size, strides, usual if output.cell_centre is None else output.cell_centre)
        parts = _whole_levels(outputs, batch, output.classes, len(widths))
        parts = parts or _split_levels(outputs, batch, output.classes, _cells(size, strides))
        if parts is None:
            continue
        scores, distances = parts
        bins = _shape(distances)[-1] // 4
        shape = np.array([batch, len(widths), 4, bins])
        shares = ops.softmax(ops.reshape(distances, shape, False), 3)
        steps = np.arange(bins, dtype=np.float32).reshape(bins, 1)
        sides = ops.multiply(ops.squeeze(ops.matmul(shares, steps, False, False), np.array([3])), widths)
        boxes = ops.concat(
            [ops.subtract(centres, _columns(sides, 0, 2)), ops.add(centres, _columns(sides, 2, 4))], 2
        )
        return Decoded(ops.clamp(boxes, 0.0, float(size)).output(0), scores)
    raise _Unfit


def _boxes_labels_scores(
    outputs: Sequence[ov.Output], batch: int, output: DetectionOutput, size: int
) -> Decoded:
    """Decode what a model gives that has chosen its boxes itself: corners, label and score of each.

    Labels are whole numbers. The scores may be the fifth column of the boxes, and the labels the sixth.
    """
    real = [found for found in outputs if found.get_element_type().is_real()]
    boxes = [found for found in real if _rank(found) >= 2 and _last(found) in (4, 5, 6)]
    lists = [found for found in outputs if found not in boxes and _may_list(found, boxes)]
    labels = [found for found in lists if found.get_element_type().is_integral()]
    scores = [found for found in lists if found.get_element_type().is_real()]
    width = _last(boxes[0]) if len(boxes) == 1 else 0
    if not width or (len(scores), len(labels)) != (width < 5, width < 6):
        raise _Unfit
    if batch > 1 and _rank(boxes[0]) < 3:
        raise _Unfit
    given = ops.reshape(_numbers(boxes[0]), np.array([batch, -1, width]), False)
    column = np.array([batch, -1, 1])

    def listed(place: int, found: Sequence[ov.Output]) -> ov.Output:
        if not found:
            return _columns(given, place, place + 1)
        return ops.reshape(_numbers(found[0]), column, False).output(0)

    return Decoded(_columns(given, 0, 4), listed(4, scores), listed(5, labels))


def _needs_yolo(batch: int, output: DetectionOutput, size: int) -> str:
    return " or ".join(
        f"[{batch},{one},N] or [{batch},N,{one}]" for one in (4 + output.classes, 5 + output.classes)
    )


def _needs_yolox(batch: int, output: DetectionOutput, size: int) -> str:
    counts = [sum(_cells(size, strides)) for strides in _strides(output)]
    return " or ".join(f"[{batch},{count},{5 + output.classes}]" for count in counts)


def _needs_nanodet(batch: int, output: DetectionOutput, size: int) -> str:
    cells = _cells(size, _strides(output)[0])
    scores = ", ".join(f"[{batch},{count},{output.classes}]" for count in cells)
    sides = ", ".join(f"[{batch},{count},4n]" for count in cells)
    return f"{scores} and {sides}, or [{batch},{sum(cells)},{output.classes}+4n]"


def _needs_boxes_labels_scores(batch: int, output: DetectionOutput, size: int) -> str:
    return (
        f"[{batch},N,4] and [{batch},N] of whole numbers and [{batch},N] of other ones, [{batch},N,5] and "
        f"[{batch},N] of whole numbers, or [{batch},N,6]"
    )


_Decode = Callable[[Sequence[ov.Output], int, DetectionOutput, int], Decoded]
_Needs = Callable[[int, DetectionOutput, int], str]
_DECODERS: Mapping[str, tuple[_Decode, _Needs]] = {
    "yolo": (_yolo, _needs_yolo),
    "yolox": (_yolox, _needs_yolox),
    "nanodet": (_nanodet, _needs_nanodet),
    "boxes-labels-scores": (_boxes_labels_scores, _needs_boxes_labels_scores),
}


def _strides(output: DetectionOutput) -> Sequence[tuple[int, ...]]:
    return _USUAL_STRIDES if output.strides is None else (output.strides,)


def _cells(size: int, strides: Sequence[int]) -> list[int]:
    """Return the number of cells of each level."""
    return [(-(-size // stride)) ** 2 for stride in strides]


def _grid(
    size: int, strides: Sequence[int], shift: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x and y of each cell, f32 [cells, 2], and its stride, f32 [cells, 1], row by row."""
    corners, widths = [], []
    for stride in strides:
        down, across = np.divmod(np.arange(_cells(size, [stride])[0]), -(-size // stride))
        corners.append((np.stack([across, down], 1) + shift) * stride)
        widths.append(np.full((len(across), 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(widths).astype(np.float32)


def _whole_levels(
    outputs: Sequence[ov.Output], batch: int, classes: int, cells: int
) -> tuple[ov.Output, ov.Output] | None:
    """Return scores and distributions of one output that has both for all levels."""
    for found in outputs:
        shape = _shape(found)
        if shape[:2] != (batch, cells) or len(shape) != 3:
            continue
        if shape[2] > classes and (shape[2] - classes) % 4 == 0:
            return _columns(found, 0, classes), _columns(found, classes, shape[2])
    return None


def _split_levels(
    outputs: Sequence[ov.Output], batch: int, classes: int, cells: Sequence[int]
) -> tuple[ov.Output, ov.Output] | None:
    """Return scores and distributions that are an output for each level, in the order of levels."""
    scores: list[Any] = []
    distances: list[Any] = []
    for count in cells:
        here = [found for found in outputs if np.prod(_shape(found)[:-1]) == batch * count]
        of_classes = [found for found in here if _last(found) == classes]
        of_sides = [found for found in here if found not in of_classes and _last(found) % 4 == 0]
        if len(of_classes) == 2 and not of_sides:
            # As many distances as classes: NanoDet gives the classes first.
            of_classes, of_sides = of_classes[:1], of_classes[1:]
        if len(of_classes) != 1 or len(of_sides) != 1:
            return None
        for found, parts in ((of_classes[0], scores), (of_sides[0], distances)):
            shape = np.array([batch, count, _last(found)])
            parts.append(ops.reshape(_numbers(found), shape, False))
    return ops.concat(scores, 1).output(0), ops.concat(distances, 1).output(0)


def _around(centre: Any, half: Any) -> ov.Output:
    return ops.concat([ops.subtract(centre, half), ops.add(centre, half)], 2).output(0)


def _turned(value: ov.Output) -> ov.Output:
    return ops.transpose(value, np.array([0, 2, 1])).output(0)


def _columns(value: Any, start: int, end: int) -> ov.Output:
    """Return a part of the last of three dimensions, as f32."""
    part = ops.slice(value, np.array([start]), np.array([end]), np.array([1]), np.array([2]))
    return _numbers(part.output(0))


def _numbers(value: ov.Output) -> ov.Output:
    same = value.get_element_type() == ov.Type.f32
    return value if same else ops.convert(value, np.float32).output(0)


def _shape(value: ov.Output) -> tuple[int, ...]:
    """Return an output's shape; a dimension that may change is -1."""
    if value.partial_shape.rank.is_dynamic:
        return ()
    return tuple(-1 if one.is_dynamic else one.get_length() for one in value.partial_shape)


def _may_list(found: ov.Output, boxes: Sequence[ov.Output]) -> bool:
    """Return whether an output may have a number for each of the boxes."""
    shapes = [_shape(found), *(_shape(one)[:-1] for one in boxes)]
    return (
        -1 in {side for shape in shapes for side in shape} or len({int(np.prod(one)) for one in shapes}) == 1
    )


def _rank(value: ov.Output) -> int:
    return len(_shape(value))


def _last(value: ov.Output) -> int:
    return _shape(value)[-1] if _shape(value) else -1
