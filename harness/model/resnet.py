"""Networks of stages of blocks, ResNet v1.5 and its revisions: the OpenVINO graph, and weights for it."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ModelError
from harness.model.architecture import Architecture, resnet50
from harness.model.layers import (
    INPUT,
    BlockLayers,
    Concatenation,
    Convolution,
    Layers,
    Node,
    Pool,
    SqueezeExcite,
    Sum,
)
from harness.model.nodes import Nodes, Weights

if TYPE_CHECKING:
    import openvino as ov

State = dict[str, NDArray[Any]]

# Gain of each block's last BN in seeded weights: small enough that sixteen residual sums stay of one size.
_RESIDUAL_GAIN = 0.25


def build(state: Mapping[str, ArrayLike], size: int, *, name: str = "resnet") -> "ov.Model":
    """Build the inference graph of the ResNet v1.5 with bottleneck blocks that some weights are of.

    Args:
        state: float arrays under torchvision's names ("layer1.0.conv1.weight"); convolutions [out, in, k, k].
        size: height and width of the input in pixels.
        name: the model's friendly name.

    Returns:
        Model with one input "image", f32 [1, 3, size, size], and one output "logits", f32 [1, classes].

    Raises:
        ModelError: a tensor is missing, superfluous, of a wrong shape or not finite.
    """
    return _graph(layers_of(state), size, state, name)


def assemble(architecture: Architecture, state: Mapping[str, ArrayLike], *, name: str = "") -> "ov.Model":
    """Build the inference graph of an architecture, as `build` does.

    Args:
        architecture: what to build.
        state: float arrays under the names of `architecture.layers()`; convolutions
            [out, in / groups, k, k].
        name: the model's friendly name; default: the architecture's key.
    """
    return _graph(architecture.layers(), architecture.size, state, name or architecture.key)


def _graph(layers: Layers, size: int, state: Mapping[str, ArrayLike], name: str) -> "ov.Model":
    """Build the inference graph of some layers; BN is folded into the convolutions."""
    import openvino as ov

    weights = Weights(state)
    graph = _Graph(weights)
    image, x = graph.input(size)
    for convolution in layers.stem:
        x = graph.layer(x, convolution)
    if layers.pool:
        x = graph.max_pool(x, 2, "maxpool")
    for block in layers.blocks:
        x = graph.block(x, block)
    result = graph.classifier(x)
    weights.require_all_used()
    return ov.Model([result], [image], name)


def layers_of(state: Mapping[str, ArrayLike]) -> Layers:
    """Return the layers of the ResNet v1.5 that some weights are of.

    Widths, depths and kernel sizes are those of the arrays. A stem with a 7x7 kernel has stride 2 and a
    3x3/2 max pool behind it; any smaller stem has stride 1 and no pool.

    Raises:
        ModelError: a tensor is missing or of a wrong shape.
    """
    weights = Weights(state)
    pool = weights.shape("conv1.weight", 4)[2] == 7
    stem = _convolution(weights, "conv1", "bn1", 3, 2 if pool else 1, "relu")
    blocks: list[BlockLayers] = []
    width = stem.out
    for name, stride in _blocks(state):
        blocks.append(_block(weights, name, width, stride))
        width = blocks[-1].convolutions[-1].out
    return Layers((stem,), pool, tuple(blocks), width)


def _convolution(
    weights: Weights, name: str, norm: str, into: int, stride: int, activation: str | None = None
) -> Convolution:
    out, channels, height, width = weights.shape(f"{name}.weight", 4)
    if channels != into:
        raise ModelError(
            f"Tensor '{name}.weight' takes {channels} channels where {into} arrive: "
            f"the weights are not those of {weights.network}."
        )
    if height != width or height % 2 == 0:
        raise ModelError(f"Tensor '{name}.weight' has a {height}x{width} kernel: only odd squares work.")
    return Convolution(name, norm, into, out, height, stride, activation=activation)


def _block(weights: Weights, name: str, into: int, stride: int) -> BlockLayers:
    first = _convolution(weights, f"{name}.conv1", f"{name}.bn1", into, 1, "relu")
    second = _convolution(weights, f"{name}.conv2", f"{name}.bn2", first.out, stride, "relu")
    third = _convolution(weights, f"{name}.conv3", f"{name}.bn3", second.out, 1)
    shortcut = None
    if f"{name}.downsample.0.weight" in weights:
        shortcut = _convolution(weights, f"{name}.downsample.0", f"{name}.downsample.1", into, stride)
    kept = (into, 1) if shortcut is None else (shortcut.out, stride)
    if kept != (third.out, stride):
        raise ModelError(
            f"Block '{name}' gives {third.out} channels with stride {stride}, and its shortcut {kept[0]} "
            f"with stride {kept[1]}: '{name}.downsample.0.weight' is missing or of the wrong width."
        )
    nodes = [Node(first, (INPUT,), "reduce"), Node(second, (0,), "middle"), Node(third, (1,), "expand")]
    if shortcut is not None:
        nodes.append(Node(shortcut, (INPUT,), "shortcut"))
    nodes.append(Node(Sum(name, "relu"), (2, INPUT if shortcut is None else 3)))
    return BlockLayers(name, "bottleneck", tuple(nodes))


def seeded_state(seed: int, architecture: Architecture | None = None) -> State:
    """Return random weights, f32, for an architecture (default: ResNet-50 v1.5 of 1,000 classes).

    He-uniform, with each block's last BN damped, so that activations keep their size. Made from PCG64's raw
    words, whose sequence NumPy guarantees: the same seed gives the same bytes everywhere.
    """
    words = np.random.PCG64(seed)
    state: State = {}
    architecture = architecture or resnet50(1000, 224)
    layers = architecture.layers()
    damped = {block.damped for block in layers.blocks}
    for one in layers.convolutions():
        state[f"{one.name}.weight"] = _he_uniform(words, one.shape)
        _start_norm(state, one.norm, one.out, _RESIDUAL_GAIN if one.norm in damped else 1.0)
    for norm in (norm for block in layers.blocks for norm in block.norms):
        _start_norm(state, norm.norm, norm.channels, 1.0)
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


def _start_norm(state: State, name: str, channels: int, gain: float) -> None:
    state[f"{name}.weight"] = np.full(channels, gain, np.float32)
    state[f"{name}.bias"] = np.zeros(channels, np.float32)
    state[f"{name}.running_mean"] = np.zeros(channels, np.float32)
    state[f"{name}.running_var"] = np.ones(channels, np.float32)


def from_huggingface(tensors: Mapping[str, NDArray[Any]]) -> State:
    """Return the tensors of a transformers ResNetForImageClassification under torchvision's names.

    Raises:
        ModelError: a name does not belong to such a model.
    """
    return {_torchvision_name(name): tensor for name, tensor in tensors.items()}


class _Graph(Nodes):
    """Nodes of blocks."""

    def __init__(self, weights: Weights) -> None:
        from openvino import opset1

        super().__init__(weights)
        self._max_pool = opset1.max_pool  # one output; later opsets add the indices as a second

    def block(self, x: Any, block: BlockLayers) -> Any:
        """Return what the last node of a block gives, as deployed: with branches folded."""
        nodes = block.deployed.nodes
        given: dict[int, Any] = {INPUT: x}
        for place in sorted(range(len(nodes)), key=lambda place: nodes[place].role != "shortcut"):
            layer, taken = nodes[place].layer, [given[one] for one in nodes[place].takes]
            if isinstance(layer, Sum):
                given[place] = self._sum(layer, taken)
            elif isinstance(layer, SqueezeExcite):
                given[place] = self._excited(taken[0], layer)
            elif isinstance(layer, Concatenation):
                given[place] = self._ops.concat(taken, 1, name=layer.name)
            elif isinstance(layer, Pool):
                given[place] = self.max_pool(taken[0], layer.stride, layer.name)
            elif isinstance(layer, Convolution) and block.folded:
                given[place] = self.convolved(taken[0], layer, *self._weights.folded_branches(block, layer))
            elif isinstance(layer, Convolution):
                given[place] = self.layer(taken[0], layer)
        return given[len(nodes) - 1]

    def _sum(self, layer: Sum, taken: Sequence[Any]) -> Any:
        x, *others = taken
        for other in others:
            x = self.add(x, other, layer.name)
        return x if layer.activation is None else self.activation(x, layer.activation, layer.name)

    def _excited(self, x: Any, excite: SqueezeExcite) -> Any:
        name = excite.name
        means = self._ops.reduce_mean(x, np.array([2, 3], np.int64), True, name=f"{name}.mean")
        hidden = self.activation(self._pointwise(means, f"{name}.reduce"), "relu", name)
        gates = self._ops.sigmoid(self._pointwise(hidden, f"{name}.expand"), name=f"{name}.gates")
        return self._ops.multiply(x, gates, name=f"{name}.gated")

    def max_pool(self, x: Any, stride: int, name: str) -> Any:
        return self._max_pool(x, [stride, stride], [1, 1], [1, 1], [3, 3], name=name)

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
