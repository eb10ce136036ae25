"""The latencies that a search knows: those of a model, and those it measured, from which the model learns.

A search finds what its model flatters: on unseen random networks a table was 3 % off, on those that searches
chose by it up to 38 %. What a search wants to train it therefore measures first.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from harness.model.architecture import Architecture
from harness.search.parts import Parts

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
        parts: Parts | None = None,
    ) -> None:
        """Begin with a model.

        Args:
            model: before anything was measured.
            refit: from networks and what they take to a model that has learned from them; None: it never
                learns.
            measure: milliseconds of networks, in those of the model; None: nothing can be measured here.
            parts: where what was measured is kept; None: nowhere.
        """
        self._model, self._refit, self._measure, self._parts = model, refit, measure, parts
        self._before = model
        self._found: dict[Architecture, float] = {}

    def ms(self, network: Architecture) -> float:
        """Return what a network takes, as far as that is known."""
        known = self._found.get(network)
        return self._model(network) if known is None else known

    @property
    def model(self) -> Model:
        """The model as it is now, with all that it has learned."""
        return self._model

    def foretold_ms(self, network: Architecture) -> float:
        """Return what the first model, which knew nothing that was measured here, has a network take."""
        return self._before(network)

    def knows(self, network: Architecture) -> bool:
        """Whether a network was measured."""
        return network in self._found

    def measure(self, networks: Collection[Architecture]) -> list[Architecture]:
        """Learn from those that are not known and return them; none where nothing can be measured.

        What a call that broke off has measured of them is not measured again, and is learned with the others:
        what follows is what would have followed there.
        """
        if self._measure is None:
            return []
        fresh = [one for one in dict.fromkeys(networks) if one not in self._found]
        known_ms = dict(self._held(fresh))
        if missing := [one for one in fresh if one not in known_ms]:
            measured_ms = dict(zip(missing, self._measure(missing), strict=True))
            self._note_down(measured_ms.items())
            known_ms |= measured_ms
        self.learn([(one, known_ms[one]) for one in fresh])
        return fresh

    def keep(self, timed: Iterable[Timed]) -> None:
        """Learn what was measured, and keep it for later calls."""
        timed = list(timed)
        self._note_down(timed)
        self.learn(timed)

    def recall(self, networks: Iterable[Architecture]) -> None:
        """Learn what earlier calls measured of these."""
        self.learn(self._held([one for one in networks if one not in self._found]))

    def _held(self, networks: Iterable[Architecture]) -> list[Timed]:
        """Return what earlier calls measured of these."""
        if self._parts is None:
            return []
        held = [one for one in networks if self._parts.has(_named(one))]
        return [(one, self._parts.held(_named(one))) for one in held]

    def _note_down(self, timed: Iterable[Timed]) -> None:
        if self._parts is not None:
            for network, found_ms in timed:
                self._parts.keep(_named(network), found_ms)

    def learn(self, timed: Iterable[Timed]) -> None:
        """Take over what is known of some networks."""
        new = {one: found_ms for one, found_ms in timed if one not in self._found}
        self._found |= new
        if new and self._refit is not None:
            self._model = self._refit(list(self._found.items()))


def _named(network: Architecture) -> str:
    return f"latency-{network.key}"
