"""Graphs of a few layers in a row, for timing single operations among their likes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset1, opset13

from harness.model.architecture import STEMS
from harness.model.layers import Convolution, SqueezeExcite

POOL = "pool"
"""The stem's 3x3/2 max pool."""
Layer = Convolution | SqueezeExcite | str

_SEED = 1
_OUT = 16


def chain(size: int, layers: Sequence[Layer]) -> ov.Model:
    """Return a model of layers in a row, with random weights.

    Its tail, a product over one pixel, costs the same whatever the layers are, and lets NNCF quantize what
    the last one gives.

    Args:
        size: of the input, f32 [1, 3, size, size].
        layers: convolutions (with bias and activation), squeeze-excites or POOL; the first takes 3 channels.
    """
    source = np.random.default_rng(_SEED)

    def weights(*shape: int, seen_as: Sequence[int] = ()) -> Any:
        fan_in = int(np.prod(shape[1:]))
        values = (source.standard_normal(shape) / np.sqrt(fan_in / 2)).astype(np.float32)
        return opset13.constant(values.reshape(seen_as or shape))

    def convolve(x: Any, layer: Convolution) -> Any:
        stride, pad = [layer.stride] * 2, [layer.pad] * 2
        if layer.groups == 1:
            x = opset13.convolution(x, weights(*layer.shape), stride, pad, pad, [1, 1])
        else:
            grouped = weights(*layer.shape, seen_as=(layer.groups, -1, *layer.shape[1:]))
            x = opset13.group_convolution(x, grouped, stride, pad, pad, [1, 1])
        x = opset13.add(x, weights(layer.out, 1, 1, seen_as=(1, -1, 1, 1)))
        if layer.activation is None:
            return x
        return opset13.hswish(x) if layer.activation == "hswish" else opset13.relu(x)

    def excite(x: Any, layer: SqueezeExcite) -> Any:
        means = opset13.reduce_mean(x, np.array([2, 3], np.int64), True)
        hidden = convolve(means, Convolution("", "", layer.channels, layer.reduced, 1, activation="relu"))
        back = convolve(hidden, Convolution("", "", layer.reduced, layer.channels, 1))
        return opset13.multiply(x, opset13.sigmoid(back))

    image = opset13.parameter([1, 3, size, size], np.float32, name="image")
    x: Any = image
    for layer in layers:
        if isinstance(layer, Convolution):
            x = convolve(x, layer)
        elif isinstance(layer, SqueezeExcite):
            x = excite(x, layer)
        else:
            x = opset1.max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3])
    channels = x.output(0).get_shape()[1]
    pixel = opset13.slice(x, np.array([0, 0]), np.array([1, 1]), np.array([1, 1]), np.array([2, 3]))
    x = opset13.convolution(pixel, weights(_OUT, channels, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
    logits = opset13.reshape(x, np.array([1, _OUT]), False)
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], [image], "chain")


def stem(name: str, width: int) -> list[Layer]:
    """Return the layers of a stem."""
    layers: list[Layer] = []
    into = 3
    for kernel, stride, share in STEMS[name].convolutions:
        out = round(width * share)
        layers.append(Convolution("", "", into, out, kernel, stride, activation="relu"))
        into = out
    return [*layers, POOL] if STEMS[name].pool else layers
