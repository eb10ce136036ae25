"""A convolutional classifier of stages of blocks as a value: what it is made of, its layers, its work."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import ModelError, did_you_mean
from harness.model.blocks import FORMS, Block
from harness.model.layers import BlockLayers, Convolution, Layers, SqueezeExcite, pooled, rounded
from harness.typed import LEFT_OUT


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
class Stage:
    """Blocks of one width; the first one halves the image in every stage but the first."""

    width: int
    """Channels that each block gives."""
    blocks: tuple[Block, ...]

    def inside(self, block: Block) -> int:
        """Return the channels inside one of its blocks: its own width where the form has no others."""
        return self.width if "ratio" in FORMS[block.form].idle else block.mid


@dataclass(frozen=True)
class Architecture:
    """A classifier of images of `size` pixels, squared."""

    classes: int
    size: int
    stem: str
    stem_width: int
    stages: tuple[Stage, ...] = field(default_factory=tuple)
    early_stride: bool = field(default=False, metadata=LEFT_OUT)
    """Whether the first stage, too, halves the image."""

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ModelError(f"Stem '{self.stem}' is not known.{did_you_mean(self.stem, list(STEMS))}")
        for number, stage in enumerate(self.stages, start=1):
            if not stage.blocks:
                raise ModelError(f"Stage {number} of the architecture has no block: give it at least one.")
            for block in stage.blocks:
                block.check(number)

    @property
    def canonical(self) -> "Architecture":
        """The same network by its plain name; two architectures are one network if these are equal."""
        stages = tuple(
            Stage(stage.width, tuple(block.canonical for block in stage.blocks)) for stage in self.stages
        )
        return replace(self, stages=stages)

    @property
    def deployed(self) -> "Architecture":
        """The network that computes the same once its branches are folded."""
        stages = tuple(
            Stage(stage.width, tuple(block.deployed for block in stage.blocks)) for stage in self.stages
        )
        return replace(self, stages=stages)

    @cached_property
    def key(self) -> str:
        """12 hex digits that name the network."""
        text = json.dumps(self.canonical.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def summary(self) -> str:
        """The network in a few words, such as 'plain 2 x 32, 2 x 64, early stride': blocks by channels."""
        parts, form = [], ""
        for stage in self.stages:
            own = stage.blocks[0].form
            named = "" if own == form else f"{own} "
            parts.append(f"{named}{len(stage.blocks)} x {stage.width}")
            form = own
        if self.early_stride:
            parts.append("early stride")
        return ", ".join(parts)

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
                halves = number == 0 and (stage_number > 1 or self.early_stride)
                name = f"layer{stage_number}.{number}"
                blocks.append(block.spell(name, width, stage.width, 2 if halves else 1))
                width = stage.width
        return Layers(tuple(convolutions), stem.pool, tuple(blocks), width)

    def count_macs(self) -> int:
        """Return the multiply-accumulates of one image, once branches are folded.

        In convolutions, squeeze-excite and classifier.
        """
        layers = self.layers()
        size, macs = self.size, 0
        for convolution in layers.stem:
            size = convolution.after(size)
            macs += size * size * convolution.weights
        if layers.pool:
            size = pooled(size)
        for block in layers.blocks:
            macs += _block_macs(block.deployed, size)
            size = block.after(size)
        return macs + layers.features * self.classes

    def count_parameters(self) -> int:
        """Return the number of trainable numbers, batch normalisation's two a channel included."""
        layers = self.layers()
        total = (layers.features + 1) * self.classes
        total += sum(one.weights + 2 * one.out for one in layers.stem)
        return total + sum(block.parameters for block in layers.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as JSON values; what is as in all older networks is left out."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        _leave_out(values, Architecture)
        for stage in values["stages"]:
            for block in stage["blocks"]:
                _leave_out(block, Block)
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
                bool(values.get("early_stride", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
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


def _block_macs(block: BlockLayers, size: int) -> int:
    macs = 0
    for node, made in zip(block.nodes, block.sizes(size), strict=True):
        layer = node.layer
        if isinstance(layer, Convolution):
            macs += made * made * layer.weights
        elif isinstance(layer, SqueezeExcite):
            macs += 2 * layer.channels * layer.reduced
    return macs


def _leave_out(values: dict[str, Any], kind: type) -> None:
    for one in fields(kind):
        if one.metadata == LEFT_OUT and values[one.name] == one.default:
            del values[one.name]
