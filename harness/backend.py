"""What a child process sets up before it measures: the store, the model, an undisturbed interpreter."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from harness import graph, known_answers, model_file
from harness.job import Job
from harness.known_answers import Expected, KnownAnswers
from harness.qsl import Pixels, Qsl
from harness.settings import RunSettings, doublings
from harness.store import open_store

Report = Callable[[str, Any], None]
"""Tell the parent: an event's name and its content."""


class Backend:
    """One model over one store."""

    def __init__(self, job: Job, report: Report, fail: Callable[[str], None]) -> None:
        """Open what the job names.

        `fail` is called from whatever thread an inference failed in, and must not return.

        Raises:
            HarnessError: the model or the store is unusable.
        """
        report("phase", "compiling")
        self.job = job
        self.report = report
        self._fail = fail
        self._store = open_store(job.store)
        self._model = model_file.read(job.card)
        self.qsl = Qsl(self._store.samples(job.card.input.recipe))

    def deployed(self, batch: int) -> Any:
        """Return the model, an openvino.Model, with u8 pixels in and labels out.

        Raises:
            ModelError: the model contradicts its card, or does not admit the batch.
        """
        return graph.deployed(self._model, self.job.card, batch)

    def compile(self, settings: RunSettings, batch: int) -> graph.Compiled:
        """Compile the model for a batch.

        Raises:
            ModelError: the model does not admit the batch, or the CPU the precision.
        """
        return graph.compile_model(self.deployed(batch), settings.compile_settings)

    def compile_ladder(self, settings: RunSettings) -> list[graph.Compiled]:
        """Compile what the scenario's SUT needs, by rising batch."""
        return [self.compile(settings, batch) for batch in batches(settings)]

    def known_answers(self, settings: RunSettings) -> KnownAnswers:
        """Choose samples of the store, and let one stream compute what is right for them.

        Raises:
            ModelError: the model contradicts its card, or the CPU cannot compute in the precision.
        """
        card = self.job.card

        def answers(pixels: Pixels, batch: int) -> Expected:
            try:
                scores = known_answers.computed(self.one_stream(settings, batch), pixels)
            except RuntimeError as error:
                self.inference_failed(chosen[0], error)
                raise
            return known_answers.expected_of(
                scores, card.output.label_offset, are_labels=card.output.kind == "label"
            )

        chosen = known_answers.candidates(self.qsl.count)
        return KnownAnswers(self.qsl.copy(chosen), answers)

    def one_stream(self, settings: RunSettings, batch: int) -> graph.Compiled:
        """Compile the model with its own output, such as scores, for one stream in the settings' precision."""
        model = graph.fold_input(self._model, self.job.card, batch)
        return graph.compile_model(model, replace(settings.compile_settings, hint="LATENCY", streams=1))

    def inference_failed(self, index: int, error: Exception) -> None:
        self._fail(
            f"Inference failed on sample {index} ({self._store.names[index]}): {graph.first_line(error)}"
        )

    @staticmethod
    def facts(compiled: graph.Compiled) -> dict[str, Any]:
        """Return what OpenVINO made of the model."""
        return {
            "precision": compiled.precision,
            "kernels": compiled.kernels,
            "openvino": compiled.properties,
        }


def batches(settings: RunSettings) -> list[int]:
    """Return the batch sizes to compile: in Server the powers of two up to the batch, and the batch."""
    batch = settings.batch or 1
    if not settings.scenario.facts.paced:
        return [batch]
    return doublings(batch)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python's collector away: a collection in the middle of a query would be measured as latency."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
