"""A crew: nodes of a Ray cluster on which candidates are trained, each an epoch at a time.

An epoch begins with the checkpoint of the one before, which comes home each time: who dies costs one epoch of
one candidate, and neither the number nor the pace of the nodes changes what comes out.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from harness import __version__, files
from harness.console import note
from harness.errors import HarnessError, RunFailed
from harness.machine import host
from harness.process import cluster as clusters
from harness.process.cluster import Cluster, Failed, Lost, Node, Place
from harness.search.accuracy.material import MISSING_IMAGES, Material, Supplies
from harness.search.accuracy.trainer import Job, T, Tuned, finished
from harness.training.loop import CHECKPOINT_NAME, Epoch
from harness.training.precision import quickest
from harness.training.ranks import joined

_OWN = ("host", "precision")
_TRIES = 3
"""Workers that may die in the same epoch of a candidate, before it is what kills them."""


@dataclass
class _Course:
    """A job, and how far it is."""

    job: Job
    history: list[Epoch] = field(default_factory=list)
    deaths: int = 0
    """Workers that died in the epoch under way."""
    error: HarnessError | None = None
    is_wanted: bool = True

    @property
    def is_over(self) -> bool:
        return self.error is not None or len(self.history) >= self.job.settings.epochs


class Crew:
    """Trains as a Material does, on other machines."""

    def __init__(self, cluster: Cluster, supplies: Supplies, *, may_train_here: bool) -> None:
        """Look which nodes there are.

        Args:
            cluster: where to train.
            supplies: what to train from.
            may_train_here: whether this machine, which measures, may train meanwhile.

        Raises:
            HarnessError: no node can train.
        """
        self._cluster, self._trains_here = cluster, may_train_here
        self._supplies = cluster.send(supplies)
        self._wanted = facts(supplies)
        roots = (supplies.parts.learned.root, supplies.parts.held_out.root)
        self._folders = " or ".join(map(str, dict.fromkeys(roots)))
        self._refused: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._precisions: set[str] = set()
        self._courses: dict[Path, _Course] = {}
        self._waiting: list[_Course] = []
        self._under_way: dict[Any, tuple[_Course, Place]] = {}
        note(f"{len(self._places())} workers train.")

    @property
    def precision(self) -> str:
        """What all nodes compute quickest in, or f32 where they differ."""
        return next(iter(self._precisions)) if len(self._precisions) == 1 else "f32"

    def train(self, job: Job) -> Tuned:
        """Return what a job gives; see Material.train.

        Raises:
            HarnessError: no node is left, the training failed, or workers died in it again and again.
        """
        course = self._begun(job, first=True)
        while not course.is_over:
            self._step()
        del self._courses[job.folder]
        if course.error is not None:
            raise course.error
        return finished(job, course.history)

    @contextmanager
    def ahead(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Begin jobs whose results will probably be asked for inside; what was not is given up."""
        begun = [self._begun(job) for job in jobs]
        try:
            yield
        finally:
            self._give_up(begun)

    def asked(self, question: Callable[[Material], T]) -> list[T]:
        """Ask all workers at once, each about its material; return the answers of those that have one."""
        found, places = [], self._places()
        asked = [self._cluster.work(one, answered, self._supplies, question, one.cpus) for one in places]
        for started in asked:
            try:
                found.append(self._cluster.result(started))
            except (Lost, Failed) as error:
                note(f"Of {len(places)} workers one does not answer: {error}.")
        return found

    def end(self) -> None:
        """Give up all that is under way."""
        for started in self._under_way:
            self._cluster.cancel(started)

    def _begun(self, job: Job, *, first: bool = False) -> _Course:
        course = self._courses.get(job.folder)
        if course is None:
            course = self._courses[job.folder] = _Course(job)
            self._waiting.append(course)
        if first and course in self._waiting:
            self._waiting.remove(course)
            self._waiting.insert(0, course)
        self._fill()
        return course

    def _give_up(self, begun: Sequence[_Course]) -> None:
        for course in begun:
            if self._courses.get(course.job.folder) is course:
                del self._courses[course.job.folder]
                course.is_wanted = False
        self._waiting = [course for course in self._waiting if course.is_wanted]
        if self._trains_here:
            # It may measure next, and measures alone.
            for started in [one for one, (course, _) in self._under_way.items() if not course.is_wanted]:
                self._cluster.cancel(started)
                self._take_in(started)

    def _step(self) -> None:
        """Wait for one epoch to end."""
        self._fill()
        self._take_in(self._cluster.wait_for_one(list(self._under_way)))

    def _fill(self) -> None:
        """Let every place that is free train what waits."""
        busy = {place for _, place in self._under_way.values()}
        for place in self._places():
            if self._waiting and place not in busy:
                course = self._waiting.pop(0)
                job = course.job
                started = self._cluster.work(
                    place,
                    epoch,
                    self._supplies,
                    job,
                    _bytes(job.folder),
                    _bytes(job.start),
                    len(course.history) + 1,
                    place.cpus,
                )
                self._under_way[started] = course, place

    def _take_in(self, started: Any) -> None:
        course, _ = self._under_way.pop(started)
        job = course.job
        try:
            checkpoint, history = self._cluster.result(started)
        except Lost as lost:
            if not course.is_wanted:
                return
            course.deaths += 1
            what = job.name or job.architecture.key
            note(f"{what}, epoch {len(course.history) + 1}: {lost}; it is trained again.")
            if course.deaths == _TRIES:
                course.error = RunFailed(
                    f"The training of {job.architecture.key} lost {_TRIES} workers in one epoch: look at "
                    f"their memory, then repeat the command, and it goes on from there."
                )
            else:
                self._waiting.insert(0, course)
        except HarnessError as error:
            course.error = error
        else:
            if not course.is_wanted:
                return
            with files.replacing(files.make_writable_folder(job.folder) / CHECKPOINT_NAME) as temporary:
                temporary.write_bytes(checkpoint)
            course.history, course.deaths = history, 0
            if not course.is_over:
                self._waiting.insert(0, course)

    def _places(self) -> list[Place]:
        """Return the places of the nodes that are alive and fit.

        Raises:
            HarnessError: there is none.
        """
        nodes = self._cluster.nodes()
        for node in nodes:
            if node.id not in self._accepted | self._refused.keys():
                if refusal := self._refusal(node):
                    self._refused[node.id] = refusal
                    note(f"Ray's node {node.id[:8]} does not train: {refusal}.")
                else:
                    self._accepted.add(node.id)
        found = [place for node in nodes if node.id in self._accepted for place in node.places()]
        if not found:
            why = "; ".join(dict.fromkeys(self._refused.values())) or "none is alive"
            raise HarnessError(
                f"No node of the Ray cluster can train ({why}): mend or add nodes and repeat the command, "
                f"which goes on from there."
            )
        return found

    def _refusal(self, node: Node) -> str:
        """Return why a node cannot train, or nothing."""
        if not node.places():
            return "it has no CPU to train on"
        try:
            found = self._cluster.result(self._cluster.start(node, facts, self._supplies, exclusively=False))
        except (Lost, Failed) as error:
            return f"{error}, and it needs the harness with the extra 'search'"
        for name, wanted in self._wanted.items():
            if name not in _OWN and found.get(name) != wanted:
                if found.get(name) == MISSING_IMAGES:
                    return f"it lacks images of {self._folders}"
                return f"its {name} is {found.get(name)}, here {wanted}"
        if found["host"] == self._wanted["host"] and not self._trains_here:
            return "it is on the machine that measures, alone"
        self._precisions.add(found["precision"])
        return ""


@contextmanager
def hired(address: str, supplies: Supplies) -> Iterator[Crew]:
    """Yield the crew of a Ray cluster; what it is at ends with the block.

    Args:
        address: as `process.cluster.joined` takes it; with 'local:N' this machine itself trains.
        supplies: what to train from.

    Raises:
        HarnessError: the cluster cannot be joined, or no node can train.
    """
    with clusters.joined(address) as cluster:
        crew = Crew(cluster, supplies, may_train_here=address.startswith(clusters.LOCAL))
        try:
            yield crew
        finally:
            crew.end()


def facts(supplies: Supplies) -> dict[str, Any]:
    """Return what a node must have alike, and what is its own."""
    return {
        "host": host.identity(),
        "precision": quickest(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "harness": __version__,
        "PyTorch": torch.__version__.partition("+")[0],
        f"number of bytes in the images of {supplies.parts.learned.root}": supplies.count_bytes(),
    }


_held: dict[tuple[int, str], Material] = {}
"""What this process trained from last."""


def epoch(
    supplies: Supplies,
    job: Job,
    checkpoint: bytes | None,
    start: bytes | None,
    until_epoch: int,
    threads: int,
) -> tuple[bytes, list[Epoch]]:
    """Train to the end of an epoch, on a node; return the checkpoint and what all epochs brought."""
    with _at_work(supplies, threads) as material, tempfile.TemporaryDirectory() as folder:
        own, begin = Path(folder, "own"), Path(folder, "start")
        for place, content in ((own, checkpoint), (begin, start)):
            place.mkdir()
            if content is not None:
                (place / CHECKPOINT_NAME).write_bytes(content)
        here = replace(job, folder=own, start=None if job.start is None else begin)
        tuned = material.train(here, until_epoch)
        return (own / CHECKPOINT_NAME).read_bytes(), tuned.history


def answered(supplies: Supplies, question: Callable[[Material], T], threads: int) -> T:
    """Return what a node answers, given the material that it trains from."""
    with _at_work(supplies, threads) as material:
        return question(material)


@contextmanager
def _at_work(supplies: Supplies, threads: int) -> Iterator[Material]:
    """Yield what this process trains from, on a node."""
    torch.set_num_threads(max(1, threads))
    with joined() as ranks:
        key = threads, supplies.sha256
        if key not in _held:
            _held.clear()
            _held[key] = supplies.material(ranks)
        yield _held[key]


def _bytes(folder: Path | None) -> bytes | None:
    """Return the checkpoint in a folder, None where there is none."""
    path = None if folder is None else folder / CHECKPOINT_NAME
    return path.read_bytes() if path is not None and path.exists() else None
