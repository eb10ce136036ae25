"""What a child process sets up where a server computes: store, server, and the local model to check it."""

from collections.abc import Sequence
from typing import Any

from harness.backend import served
from harness.backend.graph import Compiled
from harness.endpoint import meeting
from harness.endpoint.meeting import ServedBy
from harness.loadgen.job import AnsweredWrongly
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend


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

    @property
    def compilations(self) -> int:
        return 1

    def answers_wrongly(self, ladder: Sequence[Compiled], attempts: int, wrong: str) -> AnsweredWrongly:
        return AnsweredWrongly(
            f"{self._met.endpoint} answers known samples otherwise than the card's model does here, in "
            f"{wrong} connections: serve what `harness export --model {self.job.card.name}` writes, or give "
            f"the card of what is served."
        )

    def inference_failed(self, index: int, error: Exception) -> None:
        self._fail(f"The call for sample {index} ({self._store.names[index]}) failed: {error}")

    def server(self, compiled: Compiled) -> ServedBy:
        assert isinstance(compiled.model, served.ServedModel)
        return compiled.model.served_by
