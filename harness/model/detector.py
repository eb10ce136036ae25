"""The built-in detector: a small network that answers as YOLOX does, and its OpenVINO graph."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from harness.model.layers import Convolution
from harness.model.nodes import Nodes, Weights

if TYPE_CHECKING:
    import openvino as ov

STRIDES = (8, 16, 32)
"""Pixels from cell to cell of each level."""
_WIDTHS = {2: 8, 4: 24, 8: 32, 16: 48, 32: 64}
"""Channels by stride."""
_NECK = 32
_HEADS = ("box", "class")


def numbers(part: str, classes: int) -> int:
    """Return how many numbers a head gives a cell: a box and how sure it is, or the classes."""
    return 5 if part == "box" else classes


def trunk() -> Iterator[tuple[int, Convolution, tuple[Convolution, ...]]]:
    """Yield, for each stride, the layer that halves the picture, and the two of the block that may follow."""
    channels = 3
    for stride, width in _WIDTHS.items():
        down = _layer(f"down{stride}", channels, width, stride=2)
        block = (
            ()
            if stride < STRIDES[0]
            else tuple(_layer(f"block{stride}{part}", width, width) for part in "ab")
        )
        yield stride, down, block
        channels = width


def lateral(stride: int) -> Convolution:
    """Return the layer that takes a level of the trunk into the neck."""
    return _layer(f"lateral{stride}", _WIDTHS[stride], _NECK, kernel=1)


def smooth(stride: int) -> Convolution:
    """Return the layer that follows where a level meets the coarser ones."""
    return _layer(f"smooth{stride}", _NECK, _NECK)


def heads(stride: int) -> Iterator[tuple[str, Convolution, str]]:
    """Yield, for each head of a level, its part, its layer, and the name of the convolution that ends it."""
    for part in _HEADS:
        yield part, _layer(f"{part}{stride}", _NECK, _NECK), f"{part}{stride}_out"


def convolutions() -> Iterator[Convolution]:
    """Yield every layer with batch normalisation."""
    for _, down, block in trunk():
        yield from (down, *block)
    for stride in STRIDES:
        yield from (lateral(stride), smooth(stride), *(layer for _, layer, _ in heads(stride)))


def assemble(state: Mapping[str, ArrayLike], size: int, *, name: str) -> "ov.Model":
    """Build the inference graph; batch normalisation is folded into the convolutions.

    Args:
        state: float arrays by name, as the training's network has them.
        size: height and width of the input in pixels, a multiple of 32.
        name: the model's friendly name.

    Returns:
        Model with one input "image", f32 [1, 3, size, size], and one output "detections", f32
        [1, cells, 5 + classes], finest level first and row by row: the box relative to its cell, and, from 0
        to 1, how sure it is of an object and of each class, as YOLOX's models have them.

    Raises:
        ModelError: a tensor is missing, superfluous, of a wrong shape or not finite.
    """
    import openvino as ov

    weights = Weights(state, "the built-in detector")
    graph = _Graph(weights)
    image, x = graph.input(size)
    levels = {}
    for stride, down, block in trunk():
        x = levels[stride] = graph.block(graph.layer(x, down), block)
    answers, coarser = [], None
    for stride in reversed(STRIDES):
        x = graph.layer(levels[stride], lateral(stride))
        if coarser is not None:
            x = graph.add(x, graph.doubled(coarser), f"meet{stride}")
        coarser = graph.layer(x, smooth(stride))
        answers.append(graph.level(coarser, stride))
    result = graph.detections(answers[::-1])
    weights.require_all_used()
    return ov.Model([result], [image], name)


class _Graph(Nodes):
    def block(self, x: Any, layers: tuple[Convolution, ...]) -> Any:
        if not layers:
            return x
        first, second = layers
        return self.add(self.layer(self.layer(x, first), second), x, f"{first.name}_sum")

    def doubled(self, x: Any) -> Any:
        """Return a picture of twice the height and width, each pixel four times."""
        sizes, axes = np.array([2.0, 2.0], np.float32), np.array([2, 3], np.int64)
        return self._ops.interpolate(
            x,
            sizes,
            "nearest",
            "scales",
            axes=axes,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def level(self, x: Any, stride: int) -> Any:
        """Return what a level answers: [1, 5 + classes, cells]."""
        parts = []
        for part, layer, end in heads(stride):
            out = self._ended(self.layer(x, layer), end)
            if part == "box":
                box, sure = self._ops.variadic_split(out, np.int64(1), np.array([4, 1], np.int64)).outputs()
                parts += [box, self._ops.sigmoid(sure)]
            else:
                parts.append(self._ops.sigmoid(out))
        together = self._ops.concat(parts, 1)
        return self._ops.reshape(together, np.array([0, 0, -1], np.int64), True)

    def detections(self, levels: list[Any]) -> Any:
        cells = self._ops.concat(levels, 2)
        found = self._ops.transpose(cells, np.array([0, 2, 1], np.int64), name="detections")
        found.output(0).set_names({"detections"})
        return self._ops.result(found, name="detections/result")

    def _ended(self, x: Any, name: str) -> Any:
        weight = self._weights.array(f"{name}.weight", 4)
        bias = self._weights.array(f"{name}.bias", 1, weight.shape[0])
        x = self._ops.convolution(x, self.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1], name=name)
        return self.bias(x, bias, name)


def _layer(name: str, into: int, out: int, *, kernel: int = 3, stride: int = 1) -> Convolution:
    return Convolution(name, f"{name}_bn", into, out, kernel, stride, activation="relu")
