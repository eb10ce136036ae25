"""The work in a graph, in multiply-accumulates."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import openvino as ov

from harness.errors import ModelError


def count_macs(model: ov.Model) -> int:
    """Return the multiply-accumulates of the model's convolutions, transposed ones too, matrix products and
    attention, at its batch size.

    Raises:
        ModelError: a shape is dynamic.
    """
    macs = 0
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if kind not in _MACS_OF:
            continue
        shapes = [op.output(0).get_partial_shape(), *(item.get_partial_shape() for item in op.input_values())]
        if any(shape.is_dynamic for shape in shapes):
            raise ModelError(
                f"Cannot count the work of '{op.get_friendly_name()}', whose shape is dynamic: "
                "give the model's input a fixed shape."
            )
        out, *given = (tuple(shape.to_shape()) for shape in shapes)
        macs += _MACS_OF[kind](op.get_attributes(), out, given)
    return macs


_Shape = tuple[int, ...]


def _product_macs(attributes: Mapping[str, Any], out: _Shape, given: list[_Shape]) -> int:
    data = given[0]
    return prod(out) * (data[-2] if attributes["transpose_a"] and len(data) > 1 else data[-1])


def _attention_macs(attributes: Mapping[str, Any], out: _Shape, given: list[_Shape]) -> int:
    query, key, value = given[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_MACS_OF: dict[str, Callable[[Mapping[str, Any], _Shape, list[_Shape]], int]] = {
    "Convolution": lambda _, out, given: prod(out) * prod(given[1][1:]),
    "GroupConvolution": lambda _, out, given: prod(out) * prod(given[1][2:]),
    # Each value that comes in is multiplied by its channel's weights.
    "ConvolutionBackpropData": lambda _, out, given: prod(given[0]) * prod(given[1][1:]),
    "GroupConvolutionBackpropData": lambda _, out, given: prod(given[0]) * prod(given[1][2:]),
    "MatMul": _product_macs,
    "ScaledDotProductAttention": _attention_macs,
}
