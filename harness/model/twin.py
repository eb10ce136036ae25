"""The PyTorch twin of an OpenVINO network: it computes the same, learns, is narrowed, and is written back.

What is written is the network that was read, with other numbers in its constants: its input, its outputs and
all operations stay.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager
from torch import Tensor, nn

from harness.dataset.recipe import MEAN, SCALE
from harness.errors import ModelError
from harness.model.card import Card
from harness.model.torch_layers import (
    Array,
    AvgPool,
    Concat,
    Convolution,
    Each,
    Input,
    Layer,
    MaxPool,
    Mean,
    Opaque,
    Product,
    Reshape,
    Transpose,
    Window,
    WithConstant,
)

_UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Exp": torch.exp,
    "HSigmoid": nn.functional.hardsigmoid,
    "HSwish": nn.functional.hardswish,
    "Mish": nn.functional.mish,
    "Negative": torch.neg,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "SoftPlus": nn.functional.softplus,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}
_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Divide": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Multiply": torch.mul,
    "Power": torch.pow,
    "Subtract": torch.sub,
}
_KERNELS = {"Convolution": 4, "GroupConvolution": 5}
"""Dimensions of the weights of convolutions of images."""
_CARRYING = ("Convert", "FakeQuantize", "Reshape", "Squeeze")
"""What may follow a softmax."""
_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Step:
    """A layer at its place in the network."""

    name: str
    """Of OpenVINO's node."""
    takes: tuple[int, ...]
    """Which steps it computes on."""
    shape: tuple[int, ...]
    """Of what it gives, for a batch of one, before anything was narrowed."""
    homes: Mapping[str, tuple[int, int]]
    """Where its constants lie: which node, in the order of computation, and which of its inputs."""


class Twin(nn.Module):  # type: ignore[misc]
    """f32 [batch, 3, size, size] RGB, normalised by MEAN and SCALE, in; f32 [batch, labels] out."""

    def __init__(self, model: ov.Model, card: Card) -> None:
        """Read a network.

        Args:
            model: in floating point, for a batch of one, with the card's output alone.
            card: what goes in and what comes out.

        Raises:
            ModelError: it computes something that is not known here, or gives no scores of classes.
        """
        super().__init__()
        self.card = card
        self.size, self.classes = card.input.size, card.classifier.labels
        self._source = model.clone()
        manager = Manager()
        manager.register_pass(ConstantFolding())
        manager.run_passes(self._source)
        self.steps: list[Step] = []
        self.layers = nn.ModuleList()
        _Reader(self, self._source, card).read()
        factor, shift = _renormalisation(card)
        self.register_buffer("_factor", factor, persistent=False)
        self.register_buffer("_shift", shift, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        given = self.card.input
        x = x * self._factor + self._shift
        if given.channels == "BGR":
            x = x.flip(1)
        if given.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        values: list[Tensor] = []
        for step, layer in zip(self.steps, self.layers, strict=True):
            values.append(layer(*(values[place] for place in step.takes)) if step.takes else layer(x))
        scores = values[-1].flatten(1)
        return scores[:, scores.shape[1] - self.classes :]

    def write(self) -> ov.Model:
        """Return the OpenVINO network with the weights that the twin has now."""
        model = self._source.clone()
        nodes = model.get_ordered_ops()
        for step, layer in zip(self.steps, self.layers, strict=True):
            for name, values in layer.constants().items():
                place, port = step.homes[name]
                old = nodes[place].input_value(port)
                constant = ops.constant(np.ascontiguousarray(values, old.get_element_type().to_dtype()))
                # The same weights make the same file.
                constant.set_friendly_name(old.get_node().get_friendly_name())
                nodes[place].input(port).replace_source_output(constant.output(0))
        model.validate_nodes_and_infer_types()
        return model


class _Reader:
    """Makes steps of OpenVINO's nodes."""

    def __init__(self, twin: Twin, model: ov.Model, card: Card) -> None:
        self._twin, self._card = twin, card
        self._nodes = model.get_ordered_ops()
        self._places = {node.get_name(): place for place, node in enumerate(self._nodes)}
        self._made: dict[str, int] = {}
        """Which step gives what a node gives."""

    def read(self) -> None:
        last = self._last()
        for node in self._nodes:
            kind = node.get_type_name()
            if kind == "Parameter":
                self._add(node, Input(), ())
            elif kind != "Constant":
                self._read(node, kind)
            if node.get_name() == last.get_name():
                break
        given = self._card.classifier
        shape = self._twin.steps[-1].shape
        if math.prod(shape) != given.classes or given.label_offset > 0:
            raise ModelError(
                f"Model '{self._card.name}' gives scores of shape {list(shape)} where its card says "
                f"{given.words}: a network to learn has one a label."
            )

    def _last(self) -> ov.Node:
        """Return what gives the scores of classes, before a softmax."""
        given = self._card.classifier
        if given.kind == "label":
            raise ModelError(
                f"Model '{self._card.name}' gives labels and no scores to learn by: give one that ends with "
                "logits."
            )
        result = next(node for node in self._nodes if node.get_type_name() == "Result")
        last = result.input_value(0).get_node()
        if given.kind == "probabilities":
            while last.get_type_name() in _CARRYING:
                last = last.input_value(0).get_node()
            if last.get_type_name() != "Softmax":
                raise self._unknown(last, "gives the probabilities")
            last = last.input_value(0).get_node()
        return last

    def _read(self, node: ov.Node, kind: str) -> None:
        sources = [node.input_value(place) for place in range(node.get_input_size())]
        constants = {place: _constant(source) for place, source in enumerate(sources)}
        takes = tuple(
            self._made[source.get_node().get_name()]
            for place, source in enumerate(sources)
            if constants[place] is None
        )
        weight = constants.get(1)
        if weight is not None and weight.ndim == _KERNELS.get(kind):
            self._add(node, Convolution(weight, _window(node, weight.shape[-2:])), takes, weight=1)
        elif kind == "MatMul" and takes and weight is not None and _is_matrix(weight, node):
            transposed = node.get_attributes()["transpose_b"]
            self._add(node, Product(weight, is_transposed=transposed), takes, weight=1)
        elif kind in _BINARY:
            self._binary(node, kind, constants, takes)
        elif kind in _RESHAPING and node.get_output_shape(0)[:1] == [1]:
            is_stated = kind == "Reshape"
            layer = Reshape(node.get_output_shape(0), is_stated=is_stated)
            self._add(node, layer, takes, **({"shape": 1} if is_stated else {}))
        else:
            self._add(node, self._plain(node, kind, constants), takes)

    def _plain(self, node: ov.Node, kind: str, constants: Mapping[int, Array | None]) -> Layer:
        """Return the layer of a node without weights."""
        facts = node.get_attributes()
        if kind in _UNARY:
            return Each(_UNARY[kind])
        if kind == "Convert" and node.get_output_element_type(0).is_real():
            return Each(Tensor.float)
        if kind == "Clamp":
            return Each(partial(torch.clamp, min=facts["min"], max=facts["max"]))
        if kind == "Swish" and node.get_input_size() == 1:
            return Each(nn.functional.silu)
        if kind == "Gelu":
            tanh = str(facts.get("approximation_mode", "")).lower() == "tanh"
            return Each(partial(nn.functional.gelu, approximate="tanh" if tanh else "none"))
        if kind == "Elu":
            return Each(partial(nn.functional.elu, alpha=facts["alpha"]))
        if kind == "MaxPool":
            return MaxPool(_window(node, facts["kernel"]))
        if kind == "AvgPool":
            return AvgPool(_window(node, facts["kernel"]), inner=facts["exclude-pad"])
        if kind == "ReduceMean" and constants[1] is not None:
            rank = len(node.get_input_shape(0))
            axes = tuple(sorted(int(axis) % rank for axis in constants[1].reshape(-1)))
            return Mean(axes, keeps=facts["keep_dims"])
        if kind == "Concat" and all(value is None for value in constants.values()):
            return Concat(facts["axis"] % len(node.get_output_shape(0)))
        if kind == "Transpose" and constants[1] is not None:
            return Transpose(constants[1].tolist())
        if kind == "FakeQuantize" and _are_numbers(constants, 4):
            limits = [float(value.item()) for value in constants.values() if value is not None]
            return Each(partial(_rounded, facts["levels"], *limits))
        if kind == "Softmax":
            return Opaque(partial(torch.softmax, dim=facts["axis"]))
        if kind == "MatMul" and constants[0] is constants[1] is None:
            return Opaque(partial(_product, facts["transpose_a"], facts["transpose_b"]))
        raise self._unknown(node, "is among its operations")

    def _binary(
        self, node: ov.Node, kind: str, constants: Mapping[int, Array | None], takes: Sequence[int]
    ) -> None:
        if len(takes) == 2:
            self._add(node, Each(_BINARY[kind]), tuple(takes))
            return
        place = 0 if constants[0] is not None else 1
        value = constants[place]
        assert value is not None
        before = self._twin.layers[takes[0]]
        source = node.input_value(1 - place)
        if kind == "Add" and len(source.get_target_inputs()) == 1 and self._is_bias(value, before, takes[0]):
            if isinstance(before, Convolution):
                height, width = node.get_output_shape(0)[2:]
                before.add_bias(value, normed=height * width > 1)
            else:
                before.add_bias(value)
            self._made[node.get_name()] = takes[0]
            homes = self._twin.steps[takes[0]].homes
            assert isinstance(homes, dict)
            homes["bias"] = self._places[node.get_name()], place
            return
        self._add(node, WithConstant(_BINARY[kind], value, is_first=place == 0), tuple(takes), value=place)

    def _is_bias(self, value: Array, layer: nn.Module, step: int) -> bool:
        """Return whether a constant has a number for each channel of a layer that has no bias yet."""
        if "bias" in self._twin.steps[step].homes:
            return False
        if isinstance(layer, Convolution):
            wanted = layer.conv.out_channels
            return value.ndim >= 3 and value.size == wanted and value.shape[-3] == wanted
        return (
            isinstance(layer, Product)
            and value.ndim >= 1
            and value.size == value.shape[-1] == layer.linear.out_features
        )

    def _add(self, node: ov.Node, layer: Layer, takes: tuple[int, ...], **homes: int) -> None:
        name = node.get_name()
        self._made[name] = len(self._twin.steps)
        where = {what: (self._places[name], port) for what, port in homes.items()}
        shape = tuple(node.get_output_shape(0))
        self._twin.steps.append(Step(node.get_friendly_name(), takes, shape, where))
        self._twin.layers.append(layer)

    def _unknown(self, node: ov.Node, what: str) -> ModelError:
        return ModelError(
            f"Model '{self._card.name}' cannot learn here: {node.get_type_name()} "
            f"('{node.get_friendly_name()}') {what}, for which PyTorch's counterpart is not known; give a "
            "convolutional network."
        )


def _constant(source: Any) -> Array | None:
    node = source.get_node()
    return node.get_data().copy() if node.get_type_name() == "Constant" else None


def _is_matrix(weight: Array, node: ov.Node) -> bool:
    return weight.ndim == 2 and not node.get_attributes()["transpose_a"]


def _window(node: ov.Node, kernel: Sequence[int]) -> Window:
    """Return the window of a node; what is added at its end follows from the size of what it gives."""
    facts = node.get_attributes()
    stride, dilation = tuple(facts["strides"]), tuple(facts.get("dilations") or (1, 1))
    given, made = node.get_input_shape(0)[2:], node.get_output_shape(0)[2:]
    pads: list[tuple[int, int]] = []
    for side in (0, 1):
        reach = (kernel[side] - 1) * dilation[side] + 1
        added = max(0, (made[side] - 1) * stride[side] + reach - given[side])
        kind = str(facts["auto_pad"]).lower().rpartition(".")[2]
        if kind in ("same_upper", "same_lower"):
            first = added // 2 if kind == "same_upper" else added - added // 2
        else:
            first = 0 if kind == "valid" else facts["pads_begin"][side]
        pads.append((first, max(0, added - first)))
    (top, bottom), (left, right) = pads
    return Window((kernel[0], kernel[1]), stride, dilation, (top, left), (bottom, right))


def _are_numbers(constants: Mapping[int, Array | None], count: int) -> bool:
    return [value.size for value in constants.values() if value is not None] == [1] * count


def _rounded(levels: int, low: float, high: float, new_low: float, new_high: float, x: Tensor) -> Tensor:
    """Compute FakeQuantize: clip to a range, round to levels, map to another range."""
    steps = ((x.clamp(low, high) - low) * ((levels - 1) / (high - low))).round()
    return steps * ((new_high - new_low) / (levels - 1)) + new_low


def _product(transposes_first: bool, transposes_second: bool, one: Tensor, other: Tensor) -> Tensor:
    return (one.mT if transposes_first else one) @ (other.mT if transposes_second else other)


def _renormalisation(card: Card) -> tuple[Tensor, Tensor]:
    """Return what turns normalised pixels, RGB, into what the network takes: a factor and a summand."""
    given = card.input
    mean, scale = np.array(MEAN), np.array(SCALE)
    own_mean, own_scale = np.array(given.mean), np.array(given.scale)
    if given.element_type == "u8":
        own_mean, own_scale = np.zeros(3), np.ones(3)
    elif given.channels == "BGR":
        own_mean, own_scale = own_mean[::-1], own_scale[::-1]
    factor, shift = scale / own_scale, (mean - own_mean) / own_scale
    return tuple(torch.tensor(one.copy(), dtype=torch.float32).view(3, 1, 1) for one in (factor, shift))
