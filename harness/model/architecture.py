"""A residual network of bottleneck blocks as a value: what it is made of, its layers, its work."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import ModelError, did_you_mean

KINDS = {"dense": 3, "group16": 3, "group32": 3, "dw3": 3, "dw5": 5}
"""A block's middle convolution and its kernel: dense, in groups of 16 or 32 channels, or depthwise."""
ACTIVATIONS = ("relu", "hswish")
STEP = 16
"""Channels by which widths differ: what INT8 kernels fill their vectors with."""


@dataclass(frozen=True)
class Stem:
    """What stands before the blocks."""

    convolutions: tuple[tuple[int, int, float], ...]
    """Kernel, stride and share of the stem's width of each."""
    pool: bool
    """Whether a 3x3/2 max pool follows."""

    @property
    def stride(self) -> int:
        stride = 2 if self.pool else 1
        for _, step, _ in self.convolutions:
            stride *= step
        return stride

    def shrunk(self, size: int) -> int:
        """Return the size of the image that is made of one of `size` pixels."""
        for kernel, step, _ in self.convolutions:
            size = (size if kernel == step else size + step - 1) // step
        return pooled(size) if self.pool else size


STEMS = {
    "7x7-pool": Stem(((7, 2, 1.0),), True),
    "3x3s2-3x3s2": Stem(((3, 2, 0.5), (3, 2, 1.0)), False),
    "3x3s2-pool": Stem(((3, 2, 1.0),), True),
    "patch4": Stem(((4, 4, 1.0),), False),
    "3x3-pool": Stem(((3, 1, 1.0),), True),
    "3x3s2": Stem(((3, 2, 1.0),), False),
    "patch2": Stem(((2, 2, 1.0),), False),
    "3x3": Stem(((3, 1, 1.0),), False),
}


@dataclass(frozen=True)
class Block:
    """1x1, a middle convolution that carries the stride (v1.5), 1x1, added to the input."""

    mid: int
    """Channels of the middle convolution."""
    kind: str = "dense"
    squeeze_excite: bool = False
    activation: str = "relu"

    @property
    def group_width(self) -> int:
        """Channels that a filter of the middle convolution sees."""
        return {"dense": self.mid, "group16": 16, "group32": 32, "dw3": 1, "dw5": 1}[self.kind]

    @property
    def groups(self) -> int:
        return self.mid // self.group_width

    @property
    def canonical(self) -> "Block":
        """The same block by its plain name: one group is dense."""
        return Block(self.mid, "dense", self.squeeze_excite, self.activation) if self.groups == 1 else self


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first one halves the image in every stage but the first."""

    width: int
    """Channels that each block gives."""
    blocks: tuple[Block, ...]


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
class BlockLayers:
    """A block, spelt out."""

    name: str
    convolutions: tuple[Convolution, Convolution, Convolution]
    squeeze_excite: SqueezeExcite | None
    """Behind the second convolution."""
    shortcut: Convolution | None
    """None: the block's input itself."""
    activation: str
    """Behind the sum."""


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


@dataclass(frozen=True)
class Architecture:
    """A classifier of images of `size` pixels, squared."""

    classes: int
    size: int
    stem: str
    stem_width: int
    stages: tuple[Stage, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ModelError(f"Stem '{self.stem}' is not known.{did_you_mean(self.stem, list(STEMS))}")
        for number, stage in enumerate(self.stages, start=1):
            if not stage.blocks:
                raise ModelError(f"Stage {number} of the architecture has no block: give it at least one.")
            for block in stage.blocks:
                _check(block, number)

    @property
    def canonical(self) -> "Architecture":
        """The same network by its plain name; two architectures are one network if these are equal."""
        stages = tuple(
            Stage(stage.width, tuple(block.canonical for block in stage.blocks)) for stage in self.stages
        )
        return Architecture(self.classes, self.size, self.stem, self.stem_width, stages)

    @cached_property
    def key(self) -> str:
        """12 hex digits that name the network."""
        text = json.dumps(self.canonical.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def layers(self) -> Layers:
        """Return the network spelt out, under torchvision's names."""
        stem = STEMS[self.stem]
        width = 3
        convolutions = []
        for number, (kernel, stride, share) in enumerate(stem.convolutions, start=1):
            out = round(self.stem_width * share)
            convolutions.append(
                Convolution(f"conv{number}", f"bn{number}", width, out, kernel, stride, 1, "relu")
            )
            width = out
        blocks = []
        for stage_number, stage in enumerate(self.stages, start=1):
            for number, block in enumerate(stage.blocks):
                stride = 2 if stage_number > 1 and number == 0 else 1
                blocks.append(_spell(f"layer{stage_number}.{number}", block, width, stage.width, stride))
                width = stage.width
        return Layers(tuple(convolutions), stem.pool, tuple(blocks), width)

    def count_macs(self) -> int:
        """Return the multiply-accumulates of one image, in convolutions, squeeze-excite and classifier."""
        layers = self.layers()
        size, macs = self.size, 0
        for convolution in layers.stem:
            size = convolution.after(size)
            macs += size * size * convolution.weights
        if layers.pool:
            size = pooled(size)
        for block in layers.blocks:
            before = size
            for convolution in block.convolutions:
                size = convolution.after(size)
                macs += size * size * convolution.weights
            if block.squeeze_excite is not None:
                macs += 2 * block.squeeze_excite.channels * block.squeeze_excite.reduced
            if block.shortcut is not None:
                after = block.shortcut.after(before)
                macs += after * after * block.shortcut.weights
        return macs + layers.features * self.classes

    def count_parameters(self) -> int:
        """Return the number of trainable numbers, batch normalisation's two a channel included."""
        layers = self.layers()
        total = (layers.features + 1) * self.classes
        total += sum(one.weights + 2 * one.out for one in layers.convolutions())
        for block in layers.blocks:
            if (excite := block.squeeze_excite) is not None:
                total += 2 * excite.channels * excite.reduced + excite.channels + excite.reduced
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Architecture":
        """Return the architecture that `to_dict` wrote.

        Raises:
            ModelError: the values are not those of an architecture.
        """
        try:
            stages = tuple(
                Stage(int(stage["width"]), tuple(Block(**block) for block in stage["blocks"]))
                for stage in values["stages"]
            )
            return cls(
                int(values["classes"]),
                int(values["size"]),
                values["stem"],
                int(values["stem_width"]),
                stages,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"These values are no architecture ({error!r}): take them from a file that the search wrote."
            ) from error


def read_architecture(path: Path) -> Architecture:
    """Return the architecture in a JSON file.

    Raises:
        ModelError: the file cannot be read, or holds none.
    """
    try:
        values = files.read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read the architecture {path} ({error}): check the path.") from error
    return Architecture.from_dict(values)


def resnet50(classes: int, size: int, width: float = 1.0, stem: str = "7x7-pool") -> Architecture:
    """Return ResNet-50 v1.5 with all widths times `width`, rounded to multiples of 16 (at least 16)."""
    stages = []
    for mid, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        middle = rounded(mid * width)
        stages.append(Stage(4 * middle, (Block(middle),) * depth))
    return Architecture(classes, size, stem, rounded(64 * width), tuple(stages))


def pooled(size: int) -> int:
    """Return the size of the image that the stem's 3x3/2 max pool makes of one of `size` pixels."""
    return (size - 1) // 2 + 1


def rounded(channels: float) -> int:
    """Return the nearest multiple of STEP, at least one."""
    return max(STEP, STEP * int(channels / STEP + 0.5))


def _check(block: Block, stage: int) -> None:
    for what, value, known in (
        ("kind", block.kind, tuple(KINDS)),
        ("activation", block.activation, ACTIVATIONS),
    ):
        if value not in known:
            raise ModelError(f"Block {what} '{value}' is not known.{did_you_mean(value, known)}")
    if block.mid < 1 or block.mid % block.group_width:
        raise ModelError(f"A block of stage {stage} has {block.mid} channels, which fit no '{block.kind}'.")


def _spell(name: str, block: Block, into: int, out: int, stride: int) -> BlockLayers:
    mid, act = block.mid, block.activation
    shortcut = None
    if stride != 1 or into != out:
        shortcut = Convolution(f"{name}.downsample.0", f"{name}.downsample.1", into, out, 1, stride)
    return BlockLayers(
        name,
        (
            Convolution(f"{name}.conv1", f"{name}.bn1", into, mid, 1, activation=act),
            Convolution(
                f"{name}.conv2", f"{name}.bn2", mid, mid, KINDS[block.kind], stride, block.groups, act
            ),
            Convolution(f"{name}.conv3", f"{name}.bn3", mid, out, 1),
        ),
        SqueezeExcite.of(f"{name}.se", mid) if block.squeeze_excite else None,
        shortcut,
        act,
    )
