"""The latencies that a search knows: those of a model, and those it measured, from which the model learns.

A search finds what its model flatters: on unseen random networks a table was 3 % off, on those that searches
chose by it up to 38 %. What a search wants to train it therefore measures first.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.model.architecture import Architecture

Timed = tuple[Architecture, float]
"""A network and its milliseconds an image."""
Model = Callable[[Architecture], float]
"""Milliseconds of a network."""


class Latencies:
    """Measured where a network was measured, else as a model has it that knows those."""

    def __init__(
        self,
        model: Model,
        refit: Callable[[Sequence[Timed]], Model] | None = None,
        measure: Callable[[Sequence[Architecture]], list[float]] | None = None,
    ) -> None:
        """Begin with a model.

        Args:
            model: before anything was measured.
            refit: from networks and what they take to a model that has learned from them; None: it never
                learns.
            measure: milliseconds of networks, in those of the model; None: nothing can be measured here.
        """
        self._model, self._refit, self._measure = model, refit, measure
        self._before = model
        self._found: dict[Architecture, float] = {}

    @property
    def can_measure(self) -> bool:
        return self._measure is not None

    def ms(self, network: Architecture) -> float:
        """Return what a network takes, as far as that is known."""
        known = self._found.get(network)
        return self._model(network) if known is None else known

    def foretold_ms(self, network: Architecture) -> float:
        """Return what the first model, which knew nothing that was measured here, has a network take."""
        return self._before(network)

    def knows(self, network: Architecture) -> bool:
        """Whether a network was measured."""
        return network in self._found

    def measure(self, networks: Iterable[Architecture]) -> list[Timed]:
        """Measure those that are not known, learn from them and return them; none where nothing can be."""
        if self._measure is None:
            return []
        fresh = [one for one in dict.fromkeys(networks) if one not in self._found]
        timed = list(zip(fresh, self._measure(fresh), strict=True)) if fresh else []
        self.learn(timed)
        return timed

    def learn(self, timed: Iterable[Timed]) -> None:
        """Take over what was measured."""
        new = {one: found_ms for one, found_ms in timed if one not in self._found}
        self._found |= new
        if new and self._refit is not None:
            self._model = self._refit(list(self._found.items()))


def to_values(timed: Iterable[Timed]) -> list[Any]:
    """Return networks and milliseconds as JSON values."""
    return [[one.to_dict(), found_ms] for one, found_ms in timed]


def from_values(values: Iterable[Any]) -> list[Timed]:
    """Return what `to_values` was given."""
    return [(Architecture.from_dict(one), found_ms) for one, found_ms in values]
