"""The machine's measured peak: dense convolutions and products, big enough to keep every unit busy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from harness.backend import graph, kernels
from harness.backend.graph import Compiled
from harness.backend.macs import count_macs
from harness.backend.settings import CompileSettings
from harness.profiling import loops

KINDS = ("int8", "bf16", "f32")

# Channels, height and width, kernel: the shapes of ResNet-50's heavy layers and wider ones, each a candidate.
_SHAPES = ((256, 28, 3), (512, 14, 3), (512, 28, 1), (1024, 14, 1))
_SEED = 1
_REPEATS = 4


@dataclass(frozen=True)
class Peak:
    """The fastest dense kernel that was found."""

    kind: str
    """int8, bf16 or f32."""
    gmacs_per_second: float
    """Of all streams together."""
    shape: tuple[int, int, int]
    """Channels, height and width, kernel of the convolution."""
    exec_type: str
    """Its kernel in OpenVINO."""


def measure(kind: str, settings: CompileSettings, streams: int, seconds: float) -> Peak:
    """Return the highest rate of multiply-accumulates over the candidate shapes, each measured a few times.

    The fastest counts, for a busy neighbour only ever slows one down.

    Args:
        kind: int8, bf16 or f32.
        settings: threads and hint; streams and precision are set here.
        streams: how many compute at a time.
        seconds: for each of the measurements.

    Raises:
        ModelError: the CPU cannot compute in this precision.
    """
    return max(_candidates(kind, settings, streams, seconds), key=lambda peak: peak.gmacs_per_second)


def _candidates(kind: str, settings: CompileSettings, streams: int, seconds: float) -> Iterator[Peak]:
    precision = "bf16" if kind == "bf16" else "f32"
    asked = CompileSettings(settings.hint, precision, settings.threads, streams)
    dice = np.random.default_rng(_SEED)
    for shape in _SHAPES:
        model = _convolutions(shape, kind == "int8")
        compiled = graph.compile_model(model, asked)
        computing = [layer for layer in kernels.layers(compiled.model) if layer.computes]
        dimensions = list(model.input(0).shape)
        tensor = ov.Tensor(dice.integers(0, 256, dimensions).astype(np.uint8))
        for _ in range(_REPEATS):
            rate = _rate(compiled, tensor, streams, seconds)
            yield Peak(kind, count_macs(model) * rate / 1e9, shape, computing[-1].exec_type)


def _rate(compiled: Compiled, tensor: ov.Tensor, streams: int, seconds: float) -> float:
    return loops.bare(compiled, [tensor], seconds, streams).samples_per_second


_DEPTH = 2
"""Convolutions in a row, so that the reading of pixels and the writing of the answer hardly count."""


def _convolutions(shape: tuple[int, int, int], quantized: bool) -> ov.Model:
    """Return a chain of equal convolutions, u8 in, their mean out; with `quantized` in 8 bits throughout."""
    channels, size, kernel = shape
    dice = np.random.default_rng(_SEED)
    pixels = ops.parameter([1, channels, size, size], np.uint8, name="pixels")
    value = ops.convert(pixels, np.float32)
    for number in range(_DEPTH):
        weights = dice.integers(-127, 128, (channels, channels, kernel, kernel)).astype(np.int8)
        scale = np.float32(1 / (127 * np.sqrt(weights[0].size)))
        if quantized:
            value = ops.fake_quantize(value, *(np.float32(edge) for edge in (0, 255, 0, 255)), 256)
            filters = ops.multiply(ops.convert(ops.constant(weights), np.float32), scale)
        else:
            filters = ops.constant(weights.astype(np.float32) * scale)
        pad = [kernel // 2] * 2
        value = ops.relu(ops.convolution(value, filters, [1, 1], pad, pad, [1, 1], name=f"dense{number}"))
    mean = ops.reduce_mean(value, np.array([1, 2, 3]), False)
    return ov.Model([ops.result(mean)], [pixels], "dense")
