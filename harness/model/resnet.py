"""Networks of bottleneck blocks, ResNet v1.5 and its revisions: the OpenVINO graph, and weights for it."""

from collections.abc import Iterator, Mapping
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ModelError
from harness.model.architecture import Architecture, BlockLayers, SqueezeExcite, resnet50
from harness.model.nodes import Nodes, Weights

if TYPE_CHECKING:
    import openvino as ov

State = dict[str, NDArray[Any]]

# Gain of each block's last BN in seeded weights: small enough that sixteen residual sums stay of one size.
_RESIDUAL_GAIN = 0.25


def build(state: Mapping[str, ArrayLike], size: int, *, name: str = "resnet") -> "ov.Model":
    """Build the inference graph of a ResNet v1.5 with bottleneck blocks; BN is folded into the convolutions.

    Widths, depths, kernel sizes and the class count are those of the arrays. A stem with a 7x7 kernel has
    stride 2 and a 3x3/2 max pool behind it; any smaller stem has stride 1 and no pool.

    Args:
        state: float arrays under torchvision's names ("layer1.0.conv1.weight"); convolutions [out, in, k, k].
        size: height and width of the input in pixels.
        name: the model's friendly name.

    Returns:
        Model with one input "image", f32 [1, 3, size, size], and one output "logits", f32 [1, classes].

    Raises:
        ModelError: a tensor is missing, superfluous, of a wrong shape or not finite.
    """
    import openvino as ov

    weights = Weights(state)
    graph = _Graph(weights)
    image, x = graph.input(size)
    stem_kernel = weights.shape("conv1.weight", 4)[2]
    x = graph.convolution(x, "conv1", "bn1", 2 if stem_kernel == 7 else 1)
    x = graph.relu(x)
    if stem_kernel == 7:
        x = graph.max_pool(x)
    for prefix, stride in _blocks(state):
        x = graph.bottleneck(x, prefix, stride)
    result = graph.classifier(x)
    weights.require_all_used()
    return ov.Model([result], [image], name)


def assemble(architecture: Architecture, state: Mapping[str, ArrayLike], *, name: str = "") -> "ov.Model":
    """Build the inference graph of an architecture; BN is folded into the convolutions.

    Args:
        architecture: what to build.
        state: float arrays under the names of `architecture.layers()`; convolutions
            [out, in / groups, k, k].
        name: the model's friendly name; default: the architecture's key.

    Returns:
        Model with one input "image", f32 [1, 3, size, size], and one output "logits", f32 [1, classes].

    Raises:
        ModelError: a tensor is missing, superfluous, of a wrong shape or not finite.
    """
    import openvino as ov

    weights = Weights(state)
    graph = _Graph(weights)
    layers = architecture.layers()
    image, x = graph.input(architecture.size)
    for convolution in layers.stem:
        x = graph.layer(x, convolution)
    if layers.pool:
        x = graph.max_pool(x)
    for block in layers.blocks:
        x = graph.block(x, block)
    result = graph.classifier(x)
    weights.require_all_used()
    return ov.Model([result], [image], name or architecture.key)


def seeded_state(seed: int, architecture: Architecture | None = None) -> State:
    """Return random weights, f32, for an architecture (default: ResNet-50 v1.5 of 1,000 classes).

    He-uniform, with each block's last BN damped, so that activations keep their size. Made from PCG64's raw
    words, whose sequence NumPy guarantees: the same seed gives the same bytes everywhere.
    """
    words = np.random.PCG64(seed)
    state: State = {}
    architecture = architecture or resnet50(1000, 224)
    layers = architecture.layers()
    damped = {block.convolutions[2].norm for block in layers.blocks}
    for one in layers.convolutions():
        state[f"{one.name}.weight"] = _he_uniform(words, one.shape)
        gain = _RESIDUAL_GAIN if one.norm in damped else 1.0
        state[f"{one.norm}.weight"] = np.full(one.out, gain, np.float32)
        state[f"{one.norm}.bias"] = np.zeros(one.out, np.float32)
        state[f"{one.norm}.running_mean"] = np.zeros(one.out, np.float32)
        state[f"{one.norm}.running_var"] = np.ones(one.out, np.float32)
    state["fc.weight"] = _he_uniform(words, (architecture.classes, layers.features))
    state["fc.bias"] = np.zeros(architecture.classes, np.float32)
    for block in layers.blocks:
        if (excite := block.squeeze_excite) is not None:
            for part, out, into in (
                ("reduce", excite.reduced, excite.channels),
                ("expand", excite.channels, excite.reduced),
            ):
                state[f"{excite.name}.{part}.weight"] = _he_uniform(words, (out, into, 1, 1))
                state[f"{excite.name}.{part}.bias"] = np.zeros(out, np.float32)
    return state


def from_huggingface(tensors: Mapping[str, NDArray[Any]]) -> State:
    """Return the tensors of a transformers ResNetForImageClassification under torchvision's names.

    Raises:
        ModelError: a name does not belong to such a model.
    """
    return {_torchvision_name(name): tensor for name, tensor in tensors.items()}


class _Graph(Nodes):
    """Nodes of bottleneck blocks."""

    def __init__(self, weights: Weights) -> None:
        from openvino import opset1

        super().__init__(weights)
        self._max_pool = opset1.max_pool  # one output; later opsets add the indices as a second

    def convolution(self, x: Any, conv: str, bn: str, stride: int) -> Any:
        channels = x.output(0).get_shape()[1]
        weight, bias = self._weights.folded(conv, bn, channels)
        pad = [weight.shape[2] // 2] * 2
        kernel = self.constant(weight)
        x = self._ops.convolution(x, kernel, [stride, stride], pad, pad, [1, 1], name=conv)
        return self.bias(x, bias, conv)

    def block(self, x: Any, block: BlockLayers) -> Any:
        shortcut = x if block.shortcut is None else self.layer(x, block.shortcut)
        first, second, third = block.convolutions
        x = self.layer(self.layer(x, first), second)
        if block.squeeze_excite is not None:
            x = self._excited(x, block.squeeze_excite)
        return self.activation(
            self._ops.add(self.layer(x, third), shortcut, name=block.name), block.activation
        )

    def _excited(self, x: Any, excite: SqueezeExcite) -> Any:
        means = self._ops.reduce_mean(x, np.array([2, 3], np.int64), True)
        hidden = self._ops.relu(self._pointwise(means, f"{excite.name}.reduce"))
        return self._ops.multiply(x, self._ops.sigmoid(self._pointwise(hidden, f"{excite.name}.expand")))

    def max_pool(self, x: Any) -> Any:
        return self._max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], name="maxpool")

    def bottleneck(self, x: Any, prefix: str, stride: int) -> Any:
        shortcut = x
        if f"{prefix}.downsample.0.weight" in self._weights:
            shortcut = self.convolution(x, f"{prefix}.downsample.0", f"{prefix}.downsample.1", stride)
        x = self.relu(self.convolution(x, f"{prefix}.conv1", f"{prefix}.bn1", 1))
        x = self.relu(self.convolution(x, f"{prefix}.conv2", f"{prefix}.bn2", stride))
        x = self.convolution(x, f"{prefix}.conv3", f"{prefix}.bn3", 1)
        made, kept = x.output(0).get_shape(), shortcut.output(0).get_shape()
        if made != kept:
            raise ModelError(
                f"Block '{prefix}' makes {list(made)} and its shortcut {list(kept)}: "
                f"'{prefix}.downsample.0.weight' is missing or of the wrong width."
            )
        return self.relu(self._ops.add(x, shortcut, name=prefix))

    def _pointwise(self, x: Any, name: str) -> Any:
        weight = self._weights.array(f"{name}.weight", 4)
        bias = self._weights.array(f"{name}.bias", 1, weight.shape[0])
        x = self._ops.convolution(x, self.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1], name=name)
        return self.bias(x, bias, name)


def _blocks(state: Mapping[str, ArrayLike]) -> Iterator[tuple[str, int]]:
    """Yield each block's prefix and the stride of its 3x3 convolution."""
    stage = 1
    while stage == 1 or f"layer{stage}.0.conv1.weight" in state:
        block = 0
        while block == 0 or f"layer{stage}.{block}.conv1.weight" in state:
            yield f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            block += 1
        stage += 1


def _he_uniform(words: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return uniform f32 numbers of variance 2 / fan-in, from the upper 24 bits of one word each."""
    bound = sqrt(6 / prod(shape[1:]))
    raw = np.asarray(words.random_raw(prod(shape)), np.uint64) >> np.uint64(40)
    unit = raw.astype(np.float64) / (1 << 24)
    return ((2 * unit - 1) * bound).astype(np.float32).reshape(shape)


def _torchvision_name(name: str) -> str:
    *path, leaf = name.split(".")
    match path:
        case ["resnet", "embedder", "embedder", part]:
            return f"{ {'convolution': 'conv1', 'normalization': 'bn1'}.get(part, part) }.{leaf}"
        case ["resnet", "encoder", "stages", stage, "layers", block, "layer", index, part] if (
            stage.isdecimal() and index.isdecimal()
        ):
            kind = {"convolution": "conv", "normalization": "bn"}.get(part, part)
            return f"layer{int(stage) + 1}.{block}.{kind}{int(index) + 1}.{leaf}"
        case ["resnet", "encoder", "stages", stage, "layers", block, "shortcut", part] if stage.isdecimal():
            index = {"convolution": "0", "normalization": "1"}.get(part, part)
            return f"layer{int(stage) + 1}.{block}.downsample.{index}.{leaf}"
        case ["classifier", "1"]:
            return f"fc.{leaf}"
    raise ModelError(
        f"Tensor '{name}' has no place in a Hugging Face ResNet: the weights are of another model."
    )
