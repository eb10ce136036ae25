"""Which channels of a network go together: what takes one away must take away all that depend on it.

Every convolution makes channels. They are followed through the network: a sum ties those that it adds, a
depthwise convolution and whatever computes value by value ties what it takes to what it gives, and a grouped
convolution ties all channels of a group. What is tied, directly or not, is a bundle (Fang et al., "DepGraph:
Towards Any Structural Pruning", CVPR 2023, do the same on PyTorch's graph). The image's channels, the
classes, and whatever goes into something that is not followed stay.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.model.torch_layers import (
    Concat,
    Convolution,
    Each,
    Input,
    Kept,
    Layer,
    Mean,
    Opaque,
    Product,
    Reshape,
    Transpose,
    WithConstant,
)
from harness.model.twin import Step, Twin

Ids = NDArray[np.int64]


class Followed(NamedTuple):
    """What a step gives, as far as its channels are known."""

    ids: Ids
    """Which channel stands at each place of the axis; one may stand at several."""
    axis: int


@dataclass(frozen=True)
class Group:
    """Bundles that are alike: each has as many channels of each of the same convolutions."""

    name: str
    """Of the first layer that makes channels of the group."""
    bundles: tuple[Ids, ...]
    size: int
    """Channels of a bundle in that layer."""

    @property
    def width(self) -> int:
        """Channels in that layer."""
        return self.size * len(self.bundles)


class Channels:
    """The channels of a network, numbered, and what ties them."""

    def __init__(self, twin: Twin) -> None:
        """Follow the channels of a network that has all of them."""
        self.twin = twin
        self._parents: list[int] = []
        self._makers: list[int] = []
        self._frozen: list[int] = []
        self.given: list[Followed | None] = []
        """By step."""
        for number, (step, layer) in enumerate(zip(twin.steps, twin.layers, strict=True)):
            taken = [self.given[place] for place in step.takes]
            self.given.append(self._follow(number, step, layer, taken))
        self._freeze(self.given[-1:])
        self.makers = np.array(self._makers)
        """i64 [channels], which step makes each."""
        self.groups = self._grouped()

    @property
    def count(self) -> int:
        return len(self._parents)

    def cut(self, kept: NDArray[np.bool_]) -> None:
        """Take channels out of the network.

        Args:
            kept: bool [count], which stay; of a bundle all or none.
        """
        for number, (step, layer) in enumerate(zip(self.twin.steps, self.twin.layers, strict=True)):
            takes = [_places(self.given[place], kept) for place in step.takes]
            layer.cut(takes, _places(self.given[number], kept))

    def _follow(
        self, number: int, step: Step, layer: Layer, taken: Sequence[Followed | None]
    ) -> Followed | None:
        known = [one for one in taken if one is not None]
        if isinstance(layer, Input):
            axis = 1 if step.shape[1] == 3 else 3
            made = Followed(self._new(number, step.shape[axis]), axis)
            self._freeze([made])
            return made
        if isinstance(layer, Convolution):
            return self._convolved(number, layer, taken[0])
        if isinstance(layer, Product):
            if len(step.shape) == 2:
                return Followed(self._new(number, step.shape[1]), 1)
        elif isinstance(layer, Opaque) or len(known) < len(taken):
            pass
        elif isinstance(layer, Concat):
            return self._joined(layer, known)
        elif isinstance(layer, Reshape):
            return self._reshaped(layer, step, known[0])
        elif isinstance(layer, Transpose):
            return Followed(known[0].ids, layer.order.index(known[0].axis))
        elif isinstance(layer, WithConstant):
            return self._with_constant(layer, step, known[0])
        elif isinstance(layer, Mean):
            if all(axis > known[0].axis for axis in layer.axes):
                return known[0]
        elif isinstance(layer, Each) and len(known) > 1:
            return self._tied(known)
        else:
            return known[0]
        self._freeze(known)
        return None

    def _convolved(self, number: int, layer: Convolution, taken: Followed | None) -> Followed:
        out, groups = layer.conv.out_channels, layer.conv.groups
        if taken is not None and layer.is_depthwise:
            return Followed(np.repeat(taken.ids, out // groups), 1)
        made = self._new(number, out)
        if layer.is_grouped:
            self._freeze([Followed(made, 1)] if taken is None else [])
            parts = [made] if taken is None else [made, taken.ids]
            for part in zip(*(np.split(one, groups) for one in parts), strict=True):
                self._tie(np.concatenate(part))
        return Followed(made, 1)

    def _joined(self, layer: Concat, taken: Sequence[Followed]) -> Followed | None:
        if all(one.axis == layer.axis for one in taken):
            return Followed(np.concatenate([one.ids for one in taken]), layer.axis)
        return self._tied(taken)

    def _reshaped(self, layer: Reshape, step: Step, taken: Followed) -> Followed | None:
        """Follow channels through [1, C, ...] to [1, C * ...] or [1, C, 1, ...]; others stay."""
        before, width = self.twin.steps[step.takes[0]].shape, len(taken.ids)
        rest = int(np.prod(before)) // width
        if taken.axis == 1 and len(step.shape) == 2:
            layer.axis = 1
            return Followed(np.repeat(taken.ids, rest), 1)
        if taken.axis == 1 and rest == 1 and step.shape[1] == width:
            layer.axis = 1
            return taken
        self._freeze([taken])
        return None

    def _with_constant(self, layer: WithConstant, step: Step, taken: Followed) -> Followed | None:
        shape = layer.value.shape
        axis = taken.axis - len(step.shape) + len(shape)
        if tuple(step.shape) != self.twin.steps[step.takes[0]].shape:
            self._freeze([taken])
            return None
        if axis >= 0 and shape[axis] > 1:
            layer.axis = axis
        return taken

    def _tied(self, taken: Sequence[Followed]) -> Followed | None:
        """Tie the channels of things that are computed together value by value."""
        widest = max(taken, key=lambda one: len(one.ids))
        for one in taken:
            if one.axis != widest.axis or len(one.ids) not in (1, len(widest.ids)):
                self._freeze(taken)
                return None
            if len(one.ids) < len(widest.ids):
                self._freeze([one])
                continue
            for pair in zip(widest.ids, one.ids, strict=True):
                self._tie(np.array(pair))
        return widest

    def _new(self, maker: int, count: int) -> Ids:
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        self._makers.extend([maker] * count)
        return np.arange(start, start + count)

    def _freeze(self, followed: Sequence[Followed | None]) -> None:
        self._frozen.extend(int(one) for item in followed if item is not None for one in item.ids)

    def _tie(self, ids: Ids) -> None:
        first, *others = (self._root(int(one)) for one in ids)
        for other in others:
            self._parents[other] = first

    def _root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one

    def _grouped(self) -> tuple[Group, ...]:
        frozen = {self._root(one) for one in self._frozen}
        bundles: dict[int, list[int]] = defaultdict(list)
        for one in range(self.count):
            if (root := self._root(one)) not in frozen:
                bundles[root].append(one)
        alike: dict[tuple[tuple[int, int], ...], list[Ids]] = defaultdict(list)
        for members in bundles.values():
            makers, counts = np.unique(self.makers[members], return_counts=True)
            alike[tuple(zip(makers.tolist(), counts.tolist(), strict=True))].append(np.array(members))
        return tuple(
            Group(self.twin.steps[makers[0][0]].name, tuple(found), makers[0][1])
            for makers, found in sorted(alike.items())
            if len(found) > 1
        )


def _places(followed: Followed | None, kept: NDArray[np.bool_]) -> Kept:
    """Return where the kept channels are, None where all are kept or none is known."""
    if followed is None or kept[followed.ids].all():
        return None
    return np.flatnonzero(kept[followed.ids])
