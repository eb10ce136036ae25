"""Which images a quantized network knows; what it has answered is kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness import files
from harness.backend import labelling
from harness.backend.graph import Compiled
from harness.dataset.store import Store
from harness.errors import OutputError, RunFailed
from harness.frontier.race import Hits
from harness.loadgen.job import Job
from harness.loadgen.proof import Prover
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card

_UNKNOWN = -1


class Answers:
    """The labels that one network gave to the images of a store, as far as it was asked."""

    def __init__(self, card: Card, store: Store, folder: Path, threads: int) -> None:
        """Take up what an earlier call has kept.

        Args:
            card: the network.
            store: holds the card's recipe.
            folder: keeps the answers.
            threads: of the CPU, to answer with.

        Raises:
            OutputError: what was kept is damaged.
        """
        self._card = card
        self._store = store
        self._threads = threads
        self._path = files.make_writable_folder(folder) / f"{card.name}.json"
        self._of = [
            *model_file.identity(card),
            store.sha256(card.input.recipe),
            store.manifest.list_sha256,
        ]
        self._labels = self._kept()
        self._model: Compiled | None = None

    def hits(self, indices: npt.NDArray[np.intp], done: Callable[[], None] = lambda: None) -> Hits:
        """Return which of the images the network knows; it answers those that it has not yet.

        Raises:
            RunFailed: an inference failed.
            ModelError: OpenVINO compiles the network again and again so that it answers wrongly.
        """
        left = indices[self._labels[indices] == _UNKNOWN]
        if len(left):
            samples = self._store.samples(self._card.input.recipe)
            self._labels[left] = labelling.labels(self._compiled(), samples, left, done)
            files.write_json(self._path, {"of": self._of, "labels": self._labels.tolist()})
        return np.asarray(self._labels[indices] == self._store.labels[indices], np.bool_)

    def _kept(self) -> npt.NDArray[np.int64]:
        nothing = np.full(self._store.count, _UNKNOWN, np.int64)
        if not self._path.exists():
            return nothing
        try:
            document = files.read_json(self._path)
            labels = np.asarray(document["labels"], np.int64)
            return labels if document["of"] == self._of and labels.shape == nothing.shape else nothing
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"Cannot read {self._path} ({error!r}): delete it.") from error

    def _compiled(self) -> Compiled:
        if self._model is None:
            settings = RunSettings(Scenario.OFFLINE, threads=self._threads).with_defaults()
            job = Job(self._card, self._store.path, settings, self._path.parent, mode=None)
            self._model = Prover(Backend(job, lambda *_: None, _fail)).compile(settings, 1)
        return self._model


def _fail(fault: str) -> None:
    raise RunFailed(fault)
