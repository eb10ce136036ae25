"""A system under test that is proven: compiled again until every request of it knows the known answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.backend.graph import Compiled
from harness.errors import RunFailed
from harness.loadgen.known_answers import KnownAnswers
from harness.loadgen.subject import Backend
from harness.loadgen.sut import Sut


@dataclass
class Check:
    """What was asked of a system under test, and when."""

    model: str
    known: KnownAnswers
    requests: int
    compilations: int
    """How many it took until all answers were right."""
    is_repeated: bool = False
    """Whether all answers were right after the test, too."""

    def again(self, sut: Sut) -> None:
        """Check once more, after the test.

        Raises:
            RunFailed: an answer is wrong, so those of the test may be.
        """
        if wrong := self.known.wrong(sut):
            raise RunFailed(
                f"Model '{self.model}' answered rightly before the test and wrongly after it in {wrong} of "
                f"{self.requests} infer requests, so the test does not count: repeat the command."
            )
        self.is_repeated = True

    def to_dict(self) -> dict[str, Any]:
        """Return what result documents say of it."""
        return {
            "samples": self.known.samples,
            "requests": self.requests,
            "compilations": self.compilations,
            "checked_after_the_test": self.is_repeated,
        }


def prove(
    backend: Backend,
    make: Callable[[Sequence[Compiled]], Sut],
    compiled: Sequence[Compiled] | None = None,
) -> tuple[Sut, Sequence[Compiled], Check]:
    """Compile the job's model, and again while it answers wrongly, and return the system under test.

    Args:
        backend: what to compile.
        make: makes the system under test of the model by rising batch.
        compiled: what to begin with, if it is compiled already; it alone is not compiled again.

    Raises:
        ModelError: the last compilation answers wrongly, too.
        HarnessError: the model is unusable.
    """
    settings = backend.job.settings
    known = backend.known_answers(settings)
    attempts = 1 if compiled else backend.compilations
    for attempt in range(1, attempts + 1):
        ladder = compiled or backend.compile_ladder(settings)
        sut = make(ladder)
        backend.report("phase", "checking")
        wrong = known.wrong(sut)
        if not wrong:
            return sut, ladder, Check(backend.job.card.name, known, len(sut.lanes), attempt)
        sut.close()
    raise backend.answers_wrongly(ladder, attempts, f"{wrong} of {len(sut.lanes)}")
