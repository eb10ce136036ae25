"""What a child process sets up where a server computes: store, server, and the local model to check it."""

from collections.abc import Callable, Sequence
from typing import Any

from harness.backend import served
from harness.backend.graph import Compiled
from harness.endpoint import meeting
from harness.endpoint.meeting import ServedBy
from harness.errors import HarnessError, ModelError
from harness.loadgen.job import AnsweredWrongly
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.mlperf.rules import NETWORK_SUT


class ServedBackend(Backend):
    """One served model over one store; the card's own model, computed here, knows the answers."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        endpoint = self.job.settings.endpoint
        assert endpoint is not None
        self._waited = 0
        self.report("phase", "waiting for the server")
        self._met = meeting.meet(endpoint, self._wait)
        self.report("phase", "compiling")

    def _wait(self) -> None:
        self._waited += 1
        self.report("completed", self._waited)

    def compile(self, settings: RunSettings, batch: int, *, profile: bool = False) -> Compiled:
        """Return the served model for calls of a batch; nobody takes its layers' times.

        Raises:
            ModelError: the server's model does not fit the card, or does not take the batch.
        """
        return served.served(self._met, self.deployed(batch), self.job.card, settings.streams or 1)

    def ladder(self, settings: RunSettings) -> list[int]:
        """Return those of the batches that the server takes, and the largest, whose refusal is an error."""
        *smaller, largest = super().ladder(settings)
        return [*filter(self.takes, smaller), largest]

    @property
    def compilations(self) -> int:
        return 1

    @property
    def ask_name(self) -> Callable[[], str]:
        return self._network_name

    def _network_name(self) -> str:
        endpoint = self._met.endpoint
        try:
            name = meeting.name_of(endpoint)
        except HarnessError as error:
            self._fail(f"The server of {endpoint} did not tell LoadGen its name: {error}")
            raise
        # The rules want one round trip for each call of this, and these words (inference_rules.adoc).
        return f"{NETWORK_SUT} {name} at {endpoint}"

    def takes(self, batch: int) -> bool:
        """Return whether the server's model takes calls of a batch, by what it says of itself."""
        try:
            self.compile(self.job.settings, batch)
        except ModelError:
            return False
        return True

    def answers_wrongly(self, ladder: Sequence[Compiled], attempts: int, wrong: str) -> AnsweredWrongly:
        return AnsweredWrongly(
            f"{self._met.endpoint} answers known samples otherwise than the card's model does here, in "
            f"{wrong} connections: serve what `harness export --model {self.job.card.named}` writes, or give "
            f"the card of what is served."
        )

    def inference_failed(self, index: int, error: Exception) -> None:
        self._fail(f"The call for sample {index} ({self._store.names[index]}) failed: {error}")

    def server(self, compiled: Compiled) -> ServedBy:
        assert isinstance(compiled.model, served.ServedModel)
        return compiled.model.served_by


def batches_taken(backend: Backend, *, batches: Sequence[int]) -> dict[str, Any]:
    """Return as "batches" those of the sizes that a served model takes.

    Raises:
        ModelError: it takes none of them.
    """
    assert isinstance(backend, ServedBackend)
    taken = [batch for batch in batches if backend.takes(batch)]
    if not taken:
        backend.compile(backend.job.settings, batches[0])
    return {"batches": taken}
