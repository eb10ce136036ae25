"""What can be made of a training that has ended: the mean of its weights, and statistics taken anew.

Each is kept only where it pays: on images that the network has not learned from, against the same network
without it.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from harness.training import norms
from harness.training.data import Images
from harness.training.evaluation import right
from harness.training.ranks import Ranks

AVERAGED, RECALIBRATED = "mean of weights", "statistics taken anew"
_EARLY = 10
"""The mean begins with the latest weights alone, and reaches back further as more steps are taken."""


class Average:
    """The mean of a network's weights and statistics over steps, of which late ones weigh most."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Begin with what `network` has; `decay` is what is left of a step's weight after the next one."""
        self._network, self._decay, self._steps = network, decay, 0
        self._mean = {name: value.detach().clone() for name, value in self._moving().items()}

    def add(self) -> None:
        """Take in what the network has after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (_EARLY + self._steps))
        for name, value in self._moving().items():
            self._mean[name].lerp_(value.detach(), 1 - decay)

    def network(self) -> nn.Module:
        """Return a copy of the network with the mean."""
        found = copy.deepcopy(self._network)
        found.load_state_dict(self._mean, strict=False)
        return found

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"steps": self._steps, "mean": self._mean}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._steps = int(state["steps"])
        for name, value in state["mean"].items():
            self._mean[name].copy_(value)

    def _moving(self) -> dict[str, Tensor]:
        return {
            name: value for name, value in self._network.state_dict().items() if value.is_floating_point()
        }


def settle(
    network: nn.Module,
    average: Average,
    pixels: Tensor,
    held_out: Images,
    ranks: Ranks,
    workers: int = 0,
) -> tuple[float, tuple[str, ...]]:
    """Give `network` what pays of AVERAGED and RECALIBRATED; return its top-1 and what was kept.

    Args:
        network: as the last step left it; changed in place.
        average: of the same training.
        pixels: training images, u8 [count, size, size, 3], to take statistics from.
        held_out: images to judge by.
        ranks: the processes that train together.
        workers: processes that load images.
    """
    kept: list[str] = []
    before = right(network, held_out, ranks, workers=workers)

    def attempt(name: str, make: Callable[[], nn.Module]) -> None:
        nonlocal before
        candidate = make()
        ranks.unify_statistics(candidate)
        after = right(candidate, held_out, ranks, workers=workers)
        if pays(before, after):
            network.load_state_dict(candidate.state_dict())
            kept.append(name)
            before = after

    def recalibrated() -> nn.Module:
        found = copy.deepcopy(network)
        norms.recalibrate(found, pixels)
        return found

    attempt(AVERAGED, average.network)
    attempt(RECALIBRATED, recalibrated)
    return float(before.mean()), tuple(kept)


def pays(before: Tensor, after: Tensor) -> bool:
    """Return whether more is right than before, by more than one standard error of the difference.

    That error counts the images about which the two differ, as McNemar's test does. Without it the better
    of two equals would be kept, whose accuracy on the same images flatters.

    Args:
        before: f64 [count], 1 where an answer was right, else 0.
        after: likewise, of the same images.
    """
    gained = float((after - before).clamp_min(0).sum())
    lost = float((before - after).clamp_min(0).sum())
    return gained - lost > math.sqrt(gained + lost)
