"""A team: the processes that torchrun started, of which each trains another candidate, whole and alone.

All begin their jobs at once, and the first goes on when the last is through; what comes out does not depend
on how many they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.search.accuracy.material import Material
from harness.search.accuracy.trainer import Job, T, Tuned, finished
from harness.training.loop import Epoch
from harness.training.ranks import Ranks

_Result = list[Epoch] | HarnessError


class Team:
    """Trains as a Material does; the first of the processes has it, the others `help_out`."""

    def __init__(self, material: Material, ranks: Ranks) -> None:
        """Take what the first process trains from by itself, and its place among all."""
        self._material, self._ranks = material, ranks
        self._waiting: list[Job] = []
        self._results: dict[Path, _Result] = {}

    @property
    def precision(self) -> str:
        return self._material.precision

    def train(self, job: Job) -> Tuned:
        """Return what a job gives, and begin with it as many as there are other processes.

        Raises:
            HarnessError: see Material.train.
        """
        if job.folder not in self._results:
            others = [one for one in self._waiting if one.folder != job.folder]
            jobs = [job, *others[: self._ranks.count - 1]]
            self._waiting = others[self._ranks.count - 1 :]
            self._ranks.tell(jobs)
            found = self._ranks.gather(_trained(self._material, job))
            self._results |= {one.folder: result for one, result in zip(jobs, found, strict=False)}
        result = self._results.pop(job.folder)
        if isinstance(result, HarnessError):
            raise result
        return finished(job, result)

    @contextmanager
    def ahead(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Let others train meanwhile what will probably be asked for inside."""
        begun = {job.folder for job in jobs}
        self._waiting += jobs
        try:
            yield
        finally:
            self._waiting = [job for job in self._waiting if job.folder not in begun]

    def asked(self, question: Callable[[Material], T]) -> list[T]:
        """Return what the first process answers, for each of them: they are alike."""
        return [question(self._material)] * self._ranks.count


@contextmanager
def leading(ranks: Ranks) -> Iterator[Callable[[], None]]:
    """Yield what ends the other processes, which `help_out`; if it was not called, the end of this does.

    So does a HarnessError. After any other error they may be in the middle of a training, and torchrun ends
    them.
    """
    ended = False

    def end() -> None:
        nonlocal ended
        if not ended:
            ended = True
            ranks.tell(None)

    try:
        yield end
    except HarnessError:
        end()
        raise
    end()


def help_out(supply: Callable[[], Material], ranks: Ranks) -> None:
    """Train, as any process but the first, what the first gives out, from its first message to the last."""
    if ranks.hear() is None:
        return
    material = supply()
    while (jobs := ranks.hear()) is not None:
        ranks.gather(_trained(material, jobs[ranks.rank]) if ranks.rank < len(jobs) else None)


def _trained(material: Material, job: Job) -> _Result:
    try:
        return material.train(job).history
    except HarnessError as error:
        return error
