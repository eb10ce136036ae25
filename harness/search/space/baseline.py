"""The baseline of a search: a card's model read back into an architecture and trainable weights."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.backend import graph
from harness.backend.settings import CompileSettings
from harness.dataset.recipe import MEAN, SCALE
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model import resnet
from harness.model.architecture import STEMS, Architecture, Stage
from harness.model.blocks import KINDS, Block
from harness.model.card import Card
from harness.model.nodes import BN_EPSILON
from harness.search.space.ranges import REVISIONS, Ranges
from harness.search.space.revisions import Space

_PIXEL_TOLERANCE = 0.01
_TOLERANCE = 1e-4
_ACTIVATIONS = {"Relu": "relu", "HSwish": "hswish"}
_CURE = "use a network that `harness train` made, or a card with builder 'resnet50_v1.5' and its weights"


def read(card: Card) -> tuple[Architecture, resnet.State]:
    """Return a card's model as an architecture and f32 tensors under the names of its `layers()`.

    Each folded convolution becomes one with a batch normalisation that changes nothing (mean 0, variance 1);
    `norms.liven` gives those the statistics of images. That the two compute the same is checked on noise.

    Raises:
        ModelError: the model's file is missing or unreadable; it takes other pixels than the trainer's; or
            it is no network of bottleneck blocks under torchvision's names, nor of those that its card names.
    """
    _require_usual_input(card)
    model = model_file.read(card)
    try:
        reader = _Reader(model)
        named = _named(card)
        architecture, state = reader.read_as(named) if named else reader.read(card.input.size)
        rebuilt = resnet.assemble(architecture, state)
    except (LookupError, ModelError) as error:
        raise ModelError(f"Model '{card.name}' cannot be a baseline, {error.args[0]}: {_CURE}.") from error
    difference = _difference(model, rebuilt, card.input.size)
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"Model '{card.name}' cannot be a baseline, it computes something else than the layers that it "
            f"names would (logits differ by {difference:.2g} of their size): {_CURE}."
        )
    return architecture, state


def space(card: Card, sizes: Sequence[int] = (), ranges: Ranges = REVISIONS) -> Space:
    """Return the revisions of a card's model.

    Args:
        card: the baseline.
        sizes: of the input, in pixels; default: the card's. If the card's is not among them, the baseline
            is taken at the largest of them.
        ranges: what may take the place of what.

    Raises:
        HarnessError: the model is no network of bottleneck blocks, or outside the space.
    """
    architecture, _ = read(card)
    known = tuple(sorted(set(sizes))) or (architecture.size,)
    size = architecture.size if architecture.size in known else max(known)
    return Space(replace(architecture, size=size), known, ranges)


def _named(card: Card) -> Architecture | None:
    """Return the architecture that a card names, where it is not of usual bottlenecks alone.

    Of those the layers' names say enough.
    """
    if (values := card.training.get("architecture")) is None:
        return None
    found = Architecture.from_dict(values).deployed.canonical
    forms = {block.form for stage in found.stages for block in stage.blocks}
    is_usual = forms == {"bottleneck"} and not found.early_stride
    return None if is_usual else replace(found, size=card.input.size)


def _require_usual_input(card: Card) -> None:
    given = card.input
    usual = (
        (given.layout, given.element_type, given.channels) == ("NCHW", "f32", "RGB")
        and np.allclose(given.mean, MEAN, rtol=0, atol=_PIXEL_TOLERANCE)
        and np.allclose(given.scale, SCALE, rtol=0, atol=_PIXEL_TOLERANCE)
    )
    if not usual or card.classifier.kind != "logits" or card.classifier.label_offset:
        raise ModelError(
            f"Model '{card.name}' cannot be a baseline, the trainer gives f32 NCHW RGB with mean "
            f"{list(MEAN)} and scale {list(SCALE)} and takes logits, one a label: {_CURE}."
        )


class _Reader:
    """Finds layers by their friendly names, torchvision's, which `resnet` gives them."""

    def __init__(self, model: Any) -> None:
        self._ops = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
        self._state: resnet.State = {}

    def read(self, size: int) -> tuple[Architecture, resnet.State]:
        convolutions = [name for name in self._ops if re.fullmatch(r"conv\d+", name)]
        for name in convolutions:
            self._convolution(name, name.replace("conv", "bn"))
        if not convolutions:
            raise LookupError("it has no convolution 'conv1'")
        stem, stem_width = self._stem(convolutions)
        stages: list[Stage] = []
        while f"layer{len(stages) + 1}.0.conv1" in self._ops:
            stages.append(self._stage(f"layer{len(stages) + 1}"))
        self._classifier()
        classes = len(self._state["fc.bias"])
        return Architecture(classes, size, stem, stem_width, tuple(stages)).canonical, self._state

    def read_as(self, wanted: Architecture) -> tuple[Architecture, resnet.State]:
        """Return the weights of this very architecture with it."""
        layers = wanted.layers()
        for convolution in layers.convolutions():
            self._convolution(convolution.name, convolution.norm)
        for block in layers.blocks:
            if block.squeeze_excite is not None:
                self._gates(block.squeeze_excite.name)
        self._classifier()
        return wanted, self._state

    def _stem(self, names: list[str]) -> tuple[str, int]:
        shapes = [self._state[f"{name}.weight"].shape for name in names]
        strides = [self._ops[name].get_attributes()["strides"][0] for name in names]
        width = shapes[-1][0]
        for stem, known in STEMS.items():
            wanted = [(round(width * share), kernel, stride) for kernel, stride, share in known.convolutions]
            found = [(shape[0], shape[2], stride) for shape, stride in zip(shapes, strides, strict=True)]
            if wanted == found and known.pool == ("maxpool" in self._ops):
                return stem, width
        raise LookupError(f"its stem is none of {', '.join(STEMS)}")

    def _stage(self, name: str) -> Stage:
        blocks: list[Block] = []
        while f"{name}.{len(blocks)}.conv1" in self._ops:
            blocks.append(self._block(f"{name}.{len(blocks)}"))
        return Stage(self._state[f"{name}.0.conv3.weight"].shape[0], tuple(blocks))

    def _block(self, name: str) -> Block:
        for number in (1, 2, 3):
            self._convolution(f"{name}.conv{number}", f"{name}.bn{number}")
        if f"{name}.downsample.0" in self._ops:
            self._convolution(f"{name}.downsample.0", f"{name}.downsample.1")
        excite = f"{name}.se.reduce" in self._ops
        if excite:
            self._gates(f"{name}.se")
        mid, group_width, kernel, _ = self._state[f"{name}.conv2.weight"].shape
        for kind, known in KINDS.items():
            if known == kernel and Block(mid, kind).group_width == group_width:
                return Block(mid, kind, excite, self._activation(name))
        raise LookupError(f"its convolution '{name}.conv2' is of no known kind")

    def _gates(self, name: str) -> None:
        for part in ("reduce", "expand"):
            self._state[f"{name}.{part}.weight"] = self._constant(f"{name}.{part}")
            self._state[f"{name}.{part}.bias"] = self._constant(f"{name}.{part}.bias").reshape(-1)

    def _classifier(self) -> None:
        self._state["fc.weight"] = self._constant("fc")
        self._state["fc.bias"] = self._constant("logits").reshape(-1)

    def _convolution(self, name: str, norm: str) -> None:
        weight = self._constant(name)
        if weight.ndim == 5:  # [groups, out / groups, in / groups, k, k]
            weight = weight.reshape(-1, *weight.shape[2:])
        if weight.ndim != 4:
            raise LookupError(f"'{name}' is no convolution")
        bias = self._constant(f"{name}.bias").reshape(-1)
        self._state[f"{name}.weight"] = weight
        self._state[f"{norm}.weight"] = np.full(len(bias), np.sqrt(1 + BN_EPSILON), np.float32)
        self._state[f"{norm}.bias"] = bias
        self._state[f"{norm}.running_mean"] = np.zeros(len(bias), np.float32)
        self._state[f"{norm}.running_var"] = np.ones(len(bias), np.float32)

    def _constant(self, name: str) -> Any:
        """Return the constant that the op of this name takes second, as f32."""
        if name not in self._ops or self._ops[name].get_input_size() < 2:
            raise LookupError(f"it has no layer '{name}' that takes weights")
        node = self._ops[name].input_value(1).get_node()
        while node.get_type_name() == "Convert":  # from an IR compressed to f16
            node = node.input_value(0).get_node()
        if node.get_type_name() != "Constant":
            raise LookupError(f"the weights of '{name}' are computed, as in a quantized model")
        return np.array(node.get_data(), np.float32)

    def _activation(self, name: str) -> str:
        if name not in self._ops:
            raise LookupError(f"it has no sum '{name}'")
        for user in self._ops[name].output(0).get_target_inputs():
            kind = user.get_node().get_type_name()
            if kind in _ACTIVATIONS:
                return _ACTIVATIONS[kind]
        raise LookupError(f"no known activation follows the sum '{name}'")


def _difference(one: Any, other: Any, size: int) -> float:
    """Return the largest difference of two models' logits on noise, over their size."""
    noise = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    settings = CompileSettings("LATENCY", streams=1)
    found = [graph.compile_model(model, settings).model(noise)[0] for model in (one, other)]
    return float(np.abs(found[0] - found[1]).max() / max(1.0, np.abs(found[0]).max()))
