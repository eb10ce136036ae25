"""Constants computed before a graph is compiled: a compiled model unpacks no weights by itself.

From OpenVINO 2026.1 on a model that does, and has two or more streams, now and then answers wrongly
(benchmarks/wrong_streams.py).
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import openvino as ov
from openvino.passes import ConstantFolding, Manager

_NO_FOLDING = "DisableConstantFolding"
_GUARD = f"{_NO_FOLDING}_0"
_INPUT_OF_WEIGHTS = 1
_COMPUTING = frozenset(
    ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
)
_UNPACKING = frozenset(("Convert", "Subtract", "Multiply", "Reshape", "Transpose", "Squeeze", "Unsqueeze"))
# OpenVINO's low precision transformations carry integers through these.
_CARRY_INTEGERS = frozenset(
    (
        *("AvgPool", "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
        *("Clamp", "Convert", "Multiply", "PRelu", "Relu", "Subtract"),
        *("BatchToSpace", "Broadcast", "Concat", "DepthToSpace", "Gather", "Interpolate", "Pad", "Reshape"),
        *("ShuffleChannels", "Slice", "SpaceToBatch", "Split", "Squeeze", "StridedSlice", "Tile"),
        *("Transpose", "Unsqueeze", "VariadicSplit"),
    )
)


def folded(model: ov.Model) -> ov.Model:
    """Return a copy of the model whose constants are computed, ready to be compiled.

    The weights stay packed of the layers that OpenVINO computes in 8 bits, as it knows them by that.
    """
    copy = model.clone()
    fold(copy, keep=_weights_of_int8_layers(copy))
    return copy


def fold(model: ov.Model, keep: Iterable[ov.Node] = ()) -> None:
    """Compute the model's constants, in place, and unpack weights that its file holds in fewer bits.

    Args:
        model: any; what depends on its shapes is left, as they may change.
        keep: nodes that are left as they are.
    """
    kept = {node.get_name() for node in keep}
    guarded = []
    for node in model.get_ordered_ops():
        facts = node.get_rt_info()
        if node.get_name() in kept or node.get_type_name() == "ShapeOf":
            if _GUARD not in facts:
                facts[_GUARD] = ""
                guarded.append(node)
            continue
        # OpenVINO's readers guard the unpacking of weights for kernels that can read them packed.
        for key in [key for key in facts if key.startswith(_NO_FOLDING)]:
            del facts[key]
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    for node in guarded:
        del node.get_rt_info()[_GUARD]


def is_shifted_weight(node: ov.Node) -> bool:
    """Return whether a node takes the zero, if it is not 0, off weights that are being unpacked."""
    if node.get_type_name() != "Subtract":
        return False
    weights, zero = (node.input_value(place).get_node() for place in (0, 1))
    if weights.get_type_name() != "Convert":
        return False
    while zero.get_type_name() in {"Convert", "Reshape"}:
        zero = zero.input_value(0).get_node()
    kinds = {weights.input_value(0).get_node().get_type_name(), zero.get_type_name()}
    return kinds == {"Constant"} and bool(np.any(zero.get_data()))


def takes_whole_numbers(node: ov.Node) -> bool:
    """Return whether a node's first input is the model's, in integers, but for its type and shape."""
    source = node.input_value(0).get_node()
    while source.get_type_name() in {"Convert", "Transpose", "Reshape"}:
        source = source.input_value(0).get_node()
    return source.get_type_name() == "Parameter" and not source.get_output_element_type(0).is_real()


def _weights_of_int8_layers(model: ov.Model) -> list[ov.Node]:
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() in _COMPUTING]
    quantizers = {layer.get_name(): _quantizer(layer) for layer in layers}
    found = [layer for layer in layers if quantizers[layer.get_name()] is not None]
    # A quantizer that only scales the input's integers makes no quantized model of one in floating point.
    if 2 * len(found) < len(layers) and all(takes_whole_numbers(quantizers[one.get_name()]) for one in found):
        return []
    return list(chain.from_iterable(map(_unpacking, found)))


def _unpacking(layer: ov.Node) -> list[ov.Node]:
    """Return the nodes that unpack a layer's weights as OpenVINO's 8-bit kernels want them, or none.

    These weights are signed, and their zero is 0 (WeightableLayerTransformation of OpenVINO's
    low_precision_transformations); any others are computed in floating point.
    """
    found = []
    node = layer.input_value(_INPUT_OF_WEIGHTS).get_node()
    while node.get_type_name() in _UNPACKING:
        if is_shifted_weight(node):
            return []
        found.append(node)
        source = node.input_value(0)
        if node.get_type_name() == "Convert" and source.get_element_type() == ov.Type.i8:
            return found
        node = source.get_node()
    return []


def _quantizer(layer: ov.Node) -> ov.Node | None:
    """Return what quantized that which a layer computes on, as far as can be told from the graph, or None."""
    waiting, seen = [layer.input_value(0).get_node()], set()
    while waiting:
        node = waiting.pop()
        kind, name = node.get_type_name(), node.get_name()
        if kind == "FakeQuantize":
            return node
        if kind in _CARRY_INTEGERS and name not in seen:
            seen.add(name)
            waiting += _sources(node)
    return None


def _sources(node: ov.Node) -> Iterator[ov.Node]:
    return (node.input_value(place).get_node() for place in range(node.get_input_size()))


def floating_point_layers(model: ov.Model) -> list[str]:
    """Return the names of the convolutions and matrix products that a quantized model left as they were."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in _COMPUTING and _quantizer(node) is None
    ]
