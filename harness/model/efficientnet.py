"""EfficientNet-Lite: the OpenVINO graph of its five sizes, from weights under timm's names or in order.

Made as in google's tensorflow/tpu, models/official/efficientnet/lite: no squeeze-excite, ReLU6, stem and head
of fixed width, first and last stage of fixed depth, TensorFlow's padding.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from harness.errors import ModelError
from harness.model.layers import Convolution
from harness.model.nodes import BN_PARTS, Nodes, Weights

if TYPE_CHECKING:
    import openvino as ov

SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}
"""Factors of width and depth."""

_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3
_CHANNEL_STEP = 8
# Kernel, stride, expansion, channels, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class _Block:
    """Convolutions one after the other; the input is added where it has the shape of what they give."""

    name: str
    convolutions: tuple[Convolution, ...]

    @property
    def is_residual(self) -> bool:
        same_width = self.convolutions[0].into == self.convolutions[-1].out
        return same_width and all(one.stride == 1 for one in self.convolutions)


def build(
    builder: str, state: Mapping[str, ArrayLike], size: int, classes: int, *, name: str = ""
) -> "ov.Model":
    """Build the inference graph; BN is folded into the convolutions.

    Args:
        builder: one of SCALES.
        state: float arrays under timm's names ("blocks.0.0.conv_dw.weight"); convolutions
            [out, in / groups, k, k].
        size: height and width of the input in pixels.
        classes: how many the classifier tells apart.
        name: the model's friendly name; default: the builder's.

    Returns:
        Model with one input "image", f32 [1, 3, size, size], and one output "logits", f32 [1, classes].

    Raises:
        ModelError: a tensor is missing, superfluous, of a wrong shape or not finite.
    """
    import openvino as ov

    weights = Weights(state, "an EfficientNet-Lite", _EPSILON)
    if (made := weights.shape("classifier.weight", 2)[0]) != classes:
        raise ModelError(
            f"The weights tell {made} classes apart, not {classes}: use those of a network for {classes}."
        )
    nodes = Nodes(weights)
    image, x = nodes.input(size)
    for block in _blocks(builder):
        before = x
        for convolution in block.convolutions:
            x = nodes.layer(x, convolution, same=True)
        if block.is_residual:
            x = nodes.add(x, before, block.name)
    result = nodes.classifier(x, "classifier")
    weights.require_all_used()
    return ov.Model([result], [image], name or builder)


def in_order(builder: str, tensors: Mapping[str, NDArray[Any]], classes: int) -> dict[str, NDArray[Any]]:
    """Return tensors that stand in the order of the network, under whatever names, under timm's names.

    Raises:
        ModelError: one has another shape, or another last part of its name, than its place wants; or there
            are too few or too many.
    """
    wanted = list(_tensors(builder, classes))
    given = [(name, tensor) for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")]
    for (name, shape), (key, tensor) in zip(wanted, given, strict=False):
        if tensor.shape != shape or name.rpartition(".")[2] != key.rpartition(".")[2]:
            raise ModelError(
                f"Tensor '{key}' of the weights, {list(tensor.shape)}, is the first that is not as "
                f"{builder} has it ('{name}', {list(shape)}): the weights are of another network."
            )
    if len(wanted) != len(given):
        raise ModelError(
            f"The weights hold {len(given)} tensors where {builder} has {len(wanted)}: they are of another "
            "network."
        )
    return {name: tensor for (name, _), (_, tensor) in zip(wanted, given, strict=True)}


def _tensors(builder: str, classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of each tensor."""
    for block in _blocks(builder):
        for convolution in block.convolutions:
            yield f"{convolution.name}.weight", convolution.shape
            yield from ((f"{convolution.norm}.{part}", (convolution.out,)) for part in BN_PARTS)
    yield "classifier.weight", (classes, _HEAD)
    yield "classifier.bias", (classes,)


def _blocks(builder: str) -> Iterator[_Block]:
    width, depth = SCALES[builder]
    yield _Block("stem", (Convolution("conv_stem", "bn1", 3, _STEM, 3, 2, activation="relu6"),))
    into = _STEM
    for number, (kernel, stride, expansion, channels, blocks) in enumerate(_STAGES):
        out = _rounded(channels * width)
        is_edge = number in (0, len(_STAGES) - 1)
        for place in range(blocks if is_edge else math.ceil(blocks * depth)):
            step = stride if place == 0 else 1
            yield _block(f"blocks.{number}.{place}", into, out, kernel, step, expansion)
            into = out
    yield _Block("head", (Convolution("conv_head", "bn2", into, _HEAD, 1, activation="relu6"),))


def _block(name: str, into: int, out: int, kernel: int, stride: int, expansion: int) -> _Block:
    mid = into * expansion
    names = ["conv_dw", "conv_pw"] if expansion == 1 else ["conv_pw", "conv_dw", "conv_pwl"]
    layers = []
    for number, part in enumerate(names, start=1):
        last = number == len(names)
        is_middle = part == "conv_dw"
        layers.append(
            Convolution(
                f"{name}.{part}",
                f"{name}.bn{number}",
                into if number == 1 else mid,
                out if last else mid,
                kernel if is_middle else 1,
                stride if is_middle else 1,
                mid if is_middle else 1,
                None if last else "relu6",
            )
        )
    return _Block(name, tuple(layers))


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is not more than a tenth below."""
    nearest = max(_CHANNEL_STEP, int(channels + _CHANNEL_STEP / 2) // _CHANNEL_STEP * _CHANNEL_STEP)
    return nearest + _CHANNEL_STEP if nearest < 0.9 * channels else nearest
