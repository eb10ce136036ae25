"""A system under test that is proven: compiled again until every request of it knows the known answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.backend.graph import Compiled
from harness.errors import RunFailed
from harness.loadgen.known_answers import COMPILATIONS, KnownAnswers
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.loadgen.sut import Sut, make_sut


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


class Prover:
    """Proves systems under test of one backend; what is right is computed once for all of them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: KnownAnswers | None = None

    def prove(
        self,
        make: Callable[[Sequence[Compiled]], Sut],
        compile_ladder: Callable[[], Sequence[Compiled]] | None = None,
        *,
        attempts: int = COMPILATIONS,
    ) -> tuple[Sut, Sequence[Compiled], Check]:
        """Compile, and again while requests answer wrongly.

        Args:
            make: makes the system under test of the model by rising batch.
            compile_ladder: compiles the model by rising batch; None: as the job's settings have it.
            attempts: how often it may compile.

        Returns:
            The system under test, the model by rising batch, and what was checked.

        Raises:
            AnsweredWrongly: the last compilation answers wrongly, too.
            HarnessError: the model is unusable.
        """
        backend = self._backend
        settings, name = backend.job.settings, backend.job.card.name
        known = self._known = self._known or backend.known_answers(settings)
        attempts = min(attempts, backend.compilations)
        for attempt in range(1, attempts + 1):
            ladder = backend.compile_ladder(settings) if compile_ladder is None else compile_ladder()
            sut = make(ladder)
            backend.report("phase", "checking")
            wrong = known.wrong(sut)
            if not wrong:
                return sut, ladder, Check(name, known, len(sut.lanes), attempt)
            sut.close()
        raise backend.answers_wrongly(ladder, attempts, f"{wrong} of {len(sut.lanes)}")

    def compile(self, settings: RunSettings, batch: int, *, profile: bool = False) -> Compiled:
        """Return what `Backend.compile` does, once it answers rightly; errors are those of `prove`."""
        (compiled,) = self._compiled(lambda: [self._backend.compile(settings, batch, profile=profile)])
        return compiled

    def compile_ladder(self, settings: RunSettings) -> Sequence[Compiled]:
        """Return what `Backend.compile_ladder` does, once it answers rightly; errors are those of `prove`."""
        return self._compiled(lambda: self._backend.compile_ladder(settings))

    def _compiled(self, compile_ladder: Callable[[], Sequence[Compiled]]) -> Sequence[Compiled]:
        sut, ladder, _ = self.prove(partial(_idle_sut, self._backend), compile_ladder)
        sut.close()
        return ladder


def _idle_sut(backend: Backend, ladder: Sequence[Compiled]) -> Sut:
    """Return a system under test whose answers go nowhere."""
    job = backend.job
    return make_sut(
        job.settings.scenario,
        ladder,
        backend.qsl,
        lambda *_: None,
        lambda _: None,
        backend.inference_failed,
        job.samples_per_query,
        backend.make_lane,
    )
