"""What networks are made of: layers as values, and blocks as short lists of them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

STEP = 16
"""Channels by which widths differ: what INT8 kernels fill their vectors with."""
INPUT = -1
"""Stands for what a block takes, where other numbers stand for what its nodes give."""


@dataclass(frozen=True)
class Convolution:
    """A convolution, its batch normalisation and what follows. Tensors: NAME.weight, NORM.weight, ..."""

    name: str
    norm: str
    into: int
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: str | None = None

    @property
    def pad(self) -> int:
        return self.kernel // 2 if self.kernel % 2 else 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weight: [out, into / groups, kernel, kernel]."""
        return (self.out, self.into // self.groups, self.kernel, self.kernel)

    @property
    def weights(self) -> int:
        """Number of them, and of multiply-accumulates for each pixel that is made."""
        return math.prod(self.shape)

    def after(self, size: int) -> int:
        """Return the size of the image made of one of `size` pixels."""
        return (size + 2 * self.pad - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class SqueezeExcite:
    """Channels weighed by their means: 1x1 to `reduced`, ReLU, 1x1 back, sigmoid.

    Tensors: NAME.reduce.weight [reduced, channels, 1, 1], NAME.reduce.bias, NAME.expand.weight, ....bias.
    """

    name: str
    channels: int
    reduced: int

    @classmethod
    def of(cls, name: str, channels: int) -> "SqueezeExcite":
        """Return that of so many channels: a quarter in the middle, in steps of 8."""
        return cls(name, channels, max(8, 8 * round(channels / 32)))


@dataclass(frozen=True)
class Norm:
    """A batch normalisation without a convolution: one that adds nothing but a scale and a bias."""

    norm: str
    channels: int


@dataclass(frozen=True)
class Sum:
    """The sum of all that it takes, and what follows."""

    name: str
    activation: str | None = None


@dataclass(frozen=True)
class Concatenation:
    """The channels of all that it takes, one after the other."""

    name: str
    channels: int


@dataclass(frozen=True)
class Pool:
    """The greatest value of each 3x3 pixels."""

    name: str
    channels: int
    stride: int = 1

    def after(self, size: int) -> int:
        """Return the size of the image made of one of `size` pixels."""
        return (size - 1) // self.stride + 1


Layer = Convolution | SqueezeExcite | Norm | Sum | Concatenation | Pool


@dataclass(frozen=True)
class Node:
    """A layer and what it takes: places of earlier nodes of its block, or INPUT."""

    layer: Layer
    takes: tuple[int, ...]
    role: str = ""
    """Of a convolution: 'reduce', 'middle', 'expand', 'shortcut', or 'branch' of a folded one."""


@dataclass(frozen=True)
class BlockLayers:
    """A block, spelt out: what its last node gives is what it gives."""

    name: str
    form: str
    """See blocks.FORMS."""
    nodes: tuple[Node, ...]
    folded: tuple[Node, ...] = ()
    """What computes the same in a deployed network; empty: the nodes themselves."""

    @cached_property
    def deployed(self) -> "BlockLayers":
        return BlockLayers(self.name, self.form, self.folded) if self.folded else self

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Those on the way through the block, in the order of computation."""
        return tuple(self._of_role(lambda role: role != "shortcut"))

    @property
    def shortcut(self) -> Convolution | None:
        """The convolution on the way past the others; None: the block's input itself, or nothing."""
        return next(self._of_role(lambda role: role == "shortcut"), None)

    @property
    def squeeze_excite(self) -> SqueezeExcite | None:
        return next((one.layer for one in self.nodes if isinstance(one.layer, SqueezeExcite)), None)

    @property
    def readers(self) -> tuple[Convolution, ...]:
        """Convolutions that take the block's input, be it pooled."""
        inputs = {INPUT, *(place for place, node in enumerate(self.nodes) if isinstance(node.layer, Pool))}
        taking = (node.layer for node in self.nodes if inputs & {*node.takes})
        return tuple(layer for layer in taking if isinstance(layer, Convolution))

    @property
    def makers(self) -> tuple[Convolution, ...]:
        """Convolutions that make what the block gives, but for the shortcut."""
        return self.convolutions if self.folded else self.convolutions[-1:]

    @property
    def excites_end(self) -> bool:
        """Whether squeeze-excite stands behind the last convolution, not before it."""
        takes = next((node.takes[0] for node in self.nodes if isinstance(node.layer, SqueezeExcite)), None)
        return takes is not None and self.nodes[takes].layer == self.convolutions[-1]

    @property
    def norms(self) -> tuple[Norm, ...]:
        """Batch normalisations that stand alone."""
        return tuple(node.layer for node in self.nodes if isinstance(node.layer, Norm))

    @property
    def damped(self) -> str | None:
        """The batch normalisation before a sum with the block's input, or with what a shortcut makes of it.

        Where it starts at 0, the block starts as what is added to it.
        """
        is_residual = isinstance(self.nodes[-1].layer, Sum) and not self.folded
        return self.convolutions[-1].norm if is_residual else None

    @property
    def parameters(self) -> int:
        """Trainable numbers, batch normalisation's two a channel included."""
        return sum(_parameters(node.layer) for node in self.nodes)

    def after(self, size: int) -> int:
        """Return the size of the image that the block makes of one of `size` pixels."""
        return self.sizes(size)[-1]

    def sizes(self, size: int) -> tuple[int, ...]:
        """Return the size of the image that each node makes of one of `size` pixels."""
        if size not in self._known_sizes:
            self._known_sizes[size] = self._sizes(size)
        return self._known_sizes[size]

    @cached_property
    def _known_sizes(self) -> dict[int, tuple[int, ...]]:
        return {}

    def _sizes(self, size: int) -> tuple[int, ...]:
        found: list[int] = []
        for node in self.nodes:
            taken = size if node.takes[0] == INPUT else found[node.takes[0]]
            layer = node.layer
            found.append(layer.after(taken) if isinstance(layer, Convolution | Pool) else taken)
        return tuple(found)

    def _of_role(self, wanted: Callable[[str], bool]) -> Iterator[Convolution]:
        for node in self.nodes:
            if isinstance(node.layer, Convolution) and wanted(node.role):
                yield node.layer


@dataclass(frozen=True)
class Layers:
    """A network, spelt out; both the OpenVINO graph and the PyTorch module are made from this."""

    stem: tuple[Convolution, ...]
    pool: bool
    blocks: tuple[BlockLayers, ...]
    features: int
    """Channels whose means the classifier "fc" takes."""

    def convolutions(self) -> Iterator[Convolution]:
        """Yield every convolution but those of squeeze-excite, in the order of computation."""
        yield from self.stem
        for block in self.blocks:
            yield from block.convolutions
            if block.shortcut is not None:
                yield block.shortcut


def pooled(size: int) -> int:
    """Return the size of the image that the stem's 3x3/2 max pool makes of one of `size` pixels."""
    return (size - 1) // 2 + 1


def rounded(channels: float) -> int:
    """Return the nearest multiple of STEP, at least one."""
    return max(STEP, STEP * int(channels / STEP + 0.5))


def _parameters(layer: Layer) -> int:
    match layer:
        case Convolution():
            return layer.weights + 2 * layer.out
        case SqueezeExcite():
            return 2 * layer.channels * layer.reduced + layer.channels + layer.reduced
        case Norm():
            return 2 * layer.channels
    return 0
