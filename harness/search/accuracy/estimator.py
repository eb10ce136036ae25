"""How good an architecture will be: estimators behind one interface, and how far to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from harness.model.architecture import Architecture

CONVERGED_LEAST = 10
"""Networks trained to convergence without which no estimator counts as validated."""
UNVALIDATED = "estimator unvalidated"


class Estimator(Protocol):
    """Ranks architectures; only the order of its scores means something."""

    @property
    def name(self) -> str: ...

    def score(self, architecture: Architecture) -> float:
        """Return a number that is higher for what promises more accuracy."""
        ...


class Additive(Estimator, Protocol):
    """An estimator whose score is less the sum of costs."""

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """Return what each kind of decision costs, 0 or more, the same kinds for all architectures."""
        ...


@dataclass(frozen=True)
class Macs:
    """The floor: more work, more accuracy."""

    name: str = "MACs"

    def score(self, architecture: Architecture) -> float:
        return float(architecture.count_macs())


@dataclass(frozen=True)
class Work:
    """The floor in a form that can be weighed: what is missing of the baseline's work costs."""

    baseline: Architecture
    name: str = "MACs"

    def costs(self, architecture: Architecture) -> dict[str, float]:
        return {"work": max(0.0, 1 - architecture.count_macs() / self._whole)}

    def score(self, architecture: Architecture) -> float:
        return architecture.count_macs() / self._whole

    @cached_property
    def _whole(self) -> int:
        return self.baseline.count_macs()


@dataclass(frozen=True)
class Parameters:
    """The other floor: more parameters, more accuracy."""

    name: str = "parameters"

    def score(self, architecture: Architecture) -> float:
        return float(architecture.count_parameters())


@dataclass
class Inherited:
    """Top-1 of inherited, recalibrated weights on the held-out images, without training."""

    material: Any
    """`material.Material`, which needs PyTorch."""
    name: str = "inherited weights"
    _known: dict[str, float] = field(default_factory=dict)

    def score(self, architecture: Architecture) -> float:
        if architecture.key not in self._known:
            self._known[architecture.key] = self.material.zero_shot(architecture)
        return self._known[architecture.key]


@dataclass(frozen=True)
class Agreement:
    """How well scores rank networks as their true accuracies do: Kendall's tau-b, from -1 to 1."""

    networks: int
    taus: dict[str, float]
    """By estimator, the floors among them; 0 where all scores are equal."""
    ceiling: float | None
    """Of the same networks trained with another seed; None: not measured."""

    @property
    def validated(self) -> bool:
        """Whether there were networks enough to say anything."""
        return self.networks >= CONVERGED_LEAST

    @property
    def line(self) -> str:
        """What a report must say."""
        if not self.validated:
            few = f"{self.networks} networks trained to convergence, {CONVERGED_LEAST} are needed"
            return f"{UNVALIDATED}: {few}"
        named = ", ".join(f"{name} {tau:.2f}" for name, tau in self.taus.items())
        ceiling = "not measured" if self.ceiling is None else f"{self.ceiling:.2f}"
        return f"Kendall tau on {self.networks} converged networks: {named}; seed to seed: {ceiling}"


def agreement(
    scores: Mapping[str, Sequence[float]],
    truths: Sequence[float],
    architectures: Sequence[Architecture],
    repeated: Sequence[float] | None = None,
) -> Agreement:
    """Hold estimators against the accuracies of networks trained to convergence.

    Args:
        scores: by estimator, one for each network.
        truths: the networks' accuracies.
        architectures: the networks, for MACs and parameters as floors.
        repeated: accuracies of the same networks trained with another seed, for the ceiling.

    Raises:
        ValueError: the numbers of scores, accuracies and networks differ.
    """
    floors = (Macs(), Parameters())
    columns = {
        **{name: list(values) for name, values in scores.items()},
        **{one.name: [one.score(architecture) for architecture in architectures] for one in floors},
    }
    lengths = {len(truths), *(len(column) for column in columns.values())}
    if repeated is not None:
        lengths.add(len(repeated))
    if len(lengths) > 1:
        raise ValueError(f"scores and accuracies of different numbers of networks: {sorted(lengths)}")
    return Agreement(
        len(truths),
        {name: kendall(column, truths) for name, column in columns.items()},
        None if repeated is None else kendall(repeated, truths),
    )


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Kendall's tau-b, 0 where either has no two values that differ: that orders nothing."""
    from scipy.stats import kendalltau

    if min(len({*one}), len({*other})) < 2:
        return 0.0
    return float(kendalltau(one, other).statistic)
