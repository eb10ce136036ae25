"""How many channels of each group stay: the order in which they go, and how far along it is fast enough.

Channels go in units of as many as kernels compute at a time, always those next whose loss is the least for
the time that they save (as HALP does: Shen et al., "Structural Pruning via Latency-Saliency Knapsack", 2022).
What a unit saves is reckoned from the measured times of the layers; how fast the narrowed network is, is
measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.model.torch_layers import Convolution, Product
from harness.model.twin import Step
from harness.search.narrowing.channels import Channels, Group

_LEAST_SHARE = 0.25
"""Of each group stays at least so much: with less, what is left of a network learns little."""
_STEPS = 64
"""The order is halved until so small a part of it is left."""


@dataclass(frozen=True)
class Removal:
    """A unit of channels that goes."""

    group: int
    bundles: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """A layer's time, and which share of the channels that it takes and makes is of which group."""

    time_us: float
    takes: Mapping[int, float]
    makes: Mapping[int, float]

    def left_us(self, left: Sequence[float]) -> float:
        """Return the time when such shares of the groups are left."""
        return self.time_us * _share(self.takes, left) * _share(self.makes, left)


def _share(parts: Mapping[int, float], left: Sequence[float]) -> float:
    return 1.0 - sum(part * (1 - left[group]) for group, part in parts.items())


def loads(channels: Channels, times_us: Mapping[str, float]) -> list[Load]:
    """Return the load of each layer; `times_us` has them by name.

    A layer that is not among them takes as long for its work as the others do.
    """
    group_of = {
        int(one): number
        for number, group in enumerate(channels.groups)
        for bundle in group.bundles
        for one in bundle
    }

    def parts(step: int) -> dict[int, float]:
        followed = channels.given[step]
        if followed is None:
            return {}
        found: dict[int, float] = {}
        for one in followed.ids:
            if (group := group_of.get(int(one))) is not None:
                found[group] = found.get(group, 0.0) + 1 / len(followed.ids)
        return found

    computing = [
        (number, step, layer)
        for number, (step, layer) in enumerate(zip(channels.twin.steps, channels.twin.layers, strict=True))
        if isinstance(layer, Convolution | Product)
    ]
    known = [
        (times_us[step.name], _work(step, layer)) for _, step, layer in computing if step.name in times_us
    ]
    us_per_work = sum(time for time, _ in known) / max(1, sum(work for _, work in known)) or 1.0
    return [
        Load(
            times_us.get(step.name, us_per_work * _work(step, layer)),
            {} if isinstance(layer, Convolution) and layer.is_grouped else parts(step.takes[0]),
            parts(number),
        )
        for number, step, layer in computing
    ]


def _work(step: Step, layer: Convolution | Product) -> int:
    """Return the multiply-accumulates of a layer."""
    if isinstance(layer, Product):
        return int(layer.linear.weight.numel())
    return int(layer.conv.weight.numel()) * math.prod(step.shape[2:])


def unit(group: Group, multiple: int) -> int:
    """Return how many bundles of a group go at once, so that widths stay multiples of `multiple`."""
    return multiple // math.gcd(multiple, group.size)


def order(
    groups: Sequence[Group], worth: Sequence[NDArray[np.float64]], found: Sequence[Load], multiple: int
) -> list[Removal]:
    """Return all units that can go, the ones first that cost the least for the time that they save.

    Args:
        groups: of channels.
        worth: f64 [bundles] for each group.
        found: the layers' times.
        multiple: of which the widths stay; the first unit of a group that is none takes what is too much.
    """
    waiting = [_units(group, values, multiple) for group, values in zip(groups, worth, strict=True)]
    of_group = [
        [load for load in found if number in load.takes or number in load.makes]
        for number in range(len(groups))
    ]
    left = [1.0] * len(groups)
    removals: list[Removal] = []

    def price(number: int) -> float:
        bundles = waiting[number][0]
        after = list(left)
        after[number] -= len(bundles) / len(groups[number].bundles)
        saved = sum(load.left_us(left) - load.left_us(after) for load in of_group[number])
        return float(worth[number][list(bundles)].sum()) / max(saved, 1e-9)

    while open_groups := [number for number, units in enumerate(waiting) if units]:
        cheapest = min(open_groups, key=price)
        bundles = waiting[cheapest].pop(0)
        left[cheapest] -= len(bundles) / len(groups[cheapest].bundles)
        removals.append(Removal(cheapest, bundles))
    return removals


def _units(group: Group, worth: NDArray[np.float64], multiple: int) -> list[tuple[int, ...]]:
    """Return the bundles of a group that may go, in units, the least worth first."""
    count, step = len(group.bundles), unit(group, multiple)
    stays = step * max(1, math.ceil(_LEAST_SHARE * count / step))
    ranked = np.argsort(worth, kind="stable").tolist()
    found: list[tuple[int, ...]] = []
    start = 0
    for end in range(count % step or step, count - stays + 1, step):
        found.append(tuple(ranked[start:end]))
        start = end
    return found


def kept(channels: Channels, removals: Sequence[Removal]) -> NDArray[np.bool_]:
    """Return bool [channels], which are left after some removals."""
    found = np.ones(channels.count, np.bool_)
    for removal in removals:
        for bundle in removal.bundles:
            found[channels.groups[removal.group].bundles[bundle]] = False
    return found


def fewest(count: int, target: float, speedup: Callable[[int], float]) -> tuple[int, float] | None:
    """Return the fewest removals that are fast enough when measured, and how fast; None if all are not.

    Args:
        count: of all removals.
        target: how many times as fast as the original.
        speedup: measures the network after so many removals.
    """
    step = max(1, count // _STEPS)
    low, high, best = 0, count + step, None
    while high - low > step and low < count:
        middle = min(count, (low + high) // 2)
        found = speedup(middle)
        if found >= target:
            high, best = middle, (middle, found)
        else:
            low = middle
    return best
