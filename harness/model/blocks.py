"""Kinds of blocks, by name: each is a short list of nodes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from harness.errors import ModelError, did_you_mean
from harness.model.layers import (
    INPUT,
    STEP,
    BlockLayers,
    Concatenation,
    Convolution,
    Layer,
    Node,
    Norm,
    Pool,
    SqueezeExcite,
    Sum,
)
from harness.typed import LEFT_OUT

KINDS = {"dense": 3, "group16": 3, "group32": 3, "dw3": 3, "dw5": 5}
"""A block's middle convolution and its kernel: dense, in groups of 16 or 32 channels, or depthwise."""
ACTIVATIONS = ("relu", "hswish")
_REMEMBERED = 4096
"""Blocks spelt out that are kept: a search spells the same ones thousands of times."""


@dataclass(frozen=True)
class Block:
    """A block of a stage, which gives as many channels as the stage is wide."""

    mid: int
    """Channels inside."""
    kind: str = "dense"
    """Of the middle convolution; see KINDS."""
    squeeze_excite: bool = False
    activation: str = "relu"
    form: str = field(default="bottleneck", metadata=LEFT_OUT)
    """See FORMS."""

    @property
    def group_width(self) -> int:
        """Channels that a filter of the middle convolution sees."""
        return {"dense": self.mid, "group16": 16, "group32": 32, "dw3": 1, "dw5": 1}[self.kind]

    @property
    def groups(self) -> int:
        return self.mid // self.group_width

    @cached_property
    def canonical(self) -> "Block":
        """The same block by its plain name: one group is dense, and what a form has not does not differ."""
        idle = FORMS[self.form].idle
        found = self
        if self.kind != "dense" and ("kind" in idle or self.groups == 1):
            found = replace(found, kind="dense")
        if self.mid != STEP and "ratio" in idle:
            found = replace(found, mid=STEP)
        if self.squeeze_excite and "squeeze_excite" in idle:
            found = replace(found, squeeze_excite=False)
        return found

    @property
    def deployed(self) -> "Block":
        """What computes the same once its branches are folded."""
        return replace(self.canonical, form="plain") if self.form == "branched" else self

    def check(self, stage: int) -> None:
        """Raise ModelError if there is no such block; `stage` is where it stands, counted from 1."""
        if self._fault is not None:
            raise ModelError(self._fault.replace("{stage}", str(stage)))

    @cached_property
    def _fault(self) -> str | None:
        for what, value, known in (
            ("form", self.form, tuple(FORMS)),
            ("kind", self.kind, tuple(KINDS)),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if value not in known:
                return f"Block {what} '{value}' is not known.{did_you_mean(value, known)}"
        if self.mid < 1 or self.mid % self.group_width:
            return f"A block of stage {{stage}} has {self.mid} channels, which fit no '{self.kind}'."
        return None

    def spell(self, name: str, into: int, out: int, stride: int) -> BlockLayers:
        """Return the block spelt out, its layers under torchvision's names as far as that has such blocks.

        Args:
            name: such as 'layer1.0'.
            into: channels that it takes.
            out: channels that it gives.
            stride: by which it shrinks the image.
        """
        return _spelt(self.canonical, name, into, out, stride)


@lru_cache(_REMEMBERED)
def _spelt(block: Block, name: str, into: int, out: int, stride: int) -> BlockLayers:
    parts = _Parts(name, into, out, stride)
    FORMS[block.form].spell(parts, block)
    return BlockLayers(name, block.form, tuple(parts.nodes), tuple(parts.folded))


class _Parts:
    """The nodes of a block as they are put together."""

    def __init__(self, name: str, into: int, out: int, stride: int) -> None:
        self.name, self.into, self.out, self.stride = name, into, out, stride
        self.nodes: list[Node] = []
        self.folded: list[Node] = []
        self._convolutions = 0

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.into == self.out

    def convolution(
        self,
        takes: int,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        role: str,
        activation: str | None = None,
        groups: int = 1,
    ) -> int:
        """Add the next convolution, CONV1, CONV2, ...; return its place."""
        self._convolutions += 1
        number = self._convolutions
        names = f"{self.name}.conv{number}", f"{self.name}.bn{number}"
        return self.add(Convolution(*names, *channels, kernel, stride, groups, activation), (takes,), role)

    def excite(self, takes: int, channels: int, wanted: bool) -> int:
        """Add squeeze-excite, if wanted."""
        return self.add(SqueezeExcite.of(f"{self.name}.se", channels), (takes,)) if wanted else takes

    def shortcut(self) -> int:
        """Add a 1x1 convolution past the block, where its input has another shape than what it gives."""
        if self.keeps_shape:
            return INPUT
        names = f"{self.name}.downsample.0", f"{self.name}.downsample.1"
        return self.add(Convolution(*names, self.into, self.out, 1, self.stride), (INPUT,), "shortcut")

    def sum(self, takes: tuple[int, ...], activation: str | None) -> int:
        return self.add(Sum(self.name, activation), takes)

    def add(self, layer: Layer, takes: tuple[int, ...], role: str = "") -> int:
        self.nodes.append(Node(layer, takes, role))
        return len(self.nodes) - 1


def _around(parts: _Parts, block: Block) -> int:
    """Add 1x1, a middle convolution that carries the stride (v1.5), 1x1."""
    mid, act = block.mid, block.activation
    place = parts.convolution(INPUT, (parts.into, mid), 1, 1, "reduce", act)
    kernel = KINDS[block.kind]
    place = parts.convolution(place, (mid, mid), kernel, parts.stride, "middle", act, block.groups)
    place = parts.excite(place, mid, block.squeeze_excite)
    return parts.convolution(place, (mid, parts.out), 1, 1, "expand")


def _bottleneck(parts: _Parts, block: Block) -> None:
    place = _around(parts, block)
    parts.sum((place, parts.shortcut()), block.activation)


def _inverted(parts: _Parts, block: Block) -> None:
    place = _around(parts, block)
    if parts.keeps_shape:
        parts.sum((place, INPUT), None)


def _basic(parts: _Parts, block: Block) -> None:
    place = parts.convolution(INPUT, (parts.into, block.mid), 3, parts.stride, "middle", block.activation)
    place = parts.convolution(place, (block.mid, parts.out), 3, 1, "middle")
    place = parts.excite(place, parts.out, block.squeeze_excite)
    parts.sum((place, parts.shortcut()), block.activation)


def _fused(parts: _Parts, block: Block) -> None:
    place = parts.convolution(INPUT, (parts.into, block.mid), 3, parts.stride, "middle", block.activation)
    place = parts.excite(place, block.mid, block.squeeze_excite)
    place = parts.convolution(place, (block.mid, parts.out), 1, 1, "expand")
    if parts.keeps_shape:
        parts.sum((place, INPUT), None)


def _plain(parts: _Parts, block: Block) -> None:
    parts.convolution(INPUT, (parts.into, parts.out), 3, parts.stride, "middle", block.activation)


def _branched(parts: _Parts, block: Block) -> None:
    deployed = _Parts(parts.name, parts.into, parts.out, parts.stride)
    _plain(deployed, block)
    parts.folded = deployed.nodes
    channels = parts.into, parts.out
    places = [parts.convolution(INPUT, channels, kernel, parts.stride, "branch") for kernel in (3, 1)]
    if parts.keeps_shape:
        places.append(parts.add(Norm(f"{parts.name}.bn3", parts.out), (INPUT,)))
    parts.sum(tuple(places), block.activation)


def _aggregated(parts: _Parts, block: Block) -> None:
    source, mid, act = INPUT, block.mid, block.activation
    if parts.stride > 1:
        source = parts.add(Pool(f"{parts.name}.pool", parts.into, parts.stride), (INPUT,))
    first = parts.convolution(source, (parts.into, mid), 3, 1, "middle", act)
    second = parts.convolution(first, (mid, mid), 3, 1, "middle", act)
    channels = parts.into + 2 * mid
    place = parts.add(Concatenation(f"{parts.name}.together", channels), (source, first, second))
    place = parts.convolution(place, (channels, parts.out), 1, 1, "expand", act)
    parts.excite(place, parts.out, block.squeeze_excite)


@dataclass(frozen=True)
class Form:
    """A kind of block."""

    spell: Callable[[_Parts, Block], None]
    idle: frozenset[str] = frozenset()
    """What makes no difference: 'kind', 'ratio' (that is `mid`), 'squeeze_excite'."""
    about: str = ""
    """What it computes, and who published it."""
    kind: str = "dense"
    """Of the middle convolution, as published."""
    ratio: float = 1.0
    """Of the middle's channels to the block's own, as published."""


FORMS = {
    "bottleneck": Form(
        _bottleneck,
        about="1x1, a middle convolution, 1x1, added to the input (He et al. 2016, v1.5)",
        ratio=0.25,
    ),
    "basic": Form(_basic, frozenset({"kind"}), "3x3, 3x3, added to the input (He et al. 2016)"),
    "plain": Form(
        _plain, frozenset({"kind", "ratio", "squeeze_excite"}), "3x3 (Simonyan and Zisserman 2015)"
    ),
    "inverted": Form(
        _inverted,
        about="as a bottleneck, but linear where it ends (MobileNetV2, Sandler et al. 2018)",
        kind="dw3",
        ratio=6.0,
    ),
    "fused": Form(
        _fused,
        frozenset({"kind"}),
        "3x3, 1x1, linear where it ends (EfficientNetV2, Tan and Le 2021)",
        ratio=4.0,
    ),
    "branched": Form(
        _branched,
        frozenset({"kind", "ratio", "squeeze_excite"}),
        "3x3, 1x1 and the input, each normalised, added: one 3x3 when deployed (RepVGG, Ding et al. 2021)",
    ),
    "aggregated": Form(
        _aggregated,
        frozenset({"kind"}),
        "the input, pooled where it shrinks, a 3x3 of it and a 3x3 of that, side by side, 1x1 (VoVNet, Lee "
        "et al. 2019)",
        ratio=0.5,
    ),
}
"""By name; the first is what older documents mean."""
