"""What a child process sets up before it measures: the store, the model, an undisturbed interpreter."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.backend import answers, graph
from harness.backend.detections import Writer
from harness.dataset.store import open_store
from harness.endpoint.meeting import ServedBy
from harness.loadgen import known_answers
from harness.loadgen.job import AnsweredWrongly, Job
from harness.loadgen.known_answers import COMPILATIONS, KnownAnswers
from harness.loadgen.qsl import Qsl
from harness.loadgen.settings import RunSettings, doublings
from harness.loadgen.sut import BoxLane, LabelLane, Lane, MakeSlot
from harness.model import file as model_file
from harness.model.card import DetectionOutput

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
        self.end = answers.end_of(job.card)
        self._deployed: dict[int, Any] = {}
        is_detector = isinstance(job.card.output, DetectionOutput)
        self._frames = job.card.input.recipe.frames(self._store.sizes) if is_detector else None
        self.qsl = Qsl(self._store.samples(job.card.input.recipe))

    def deployed(self, batch: int) -> Any:
        """Return the model, an openvino.Model, with u8 pixels in and its task's answers out.

        Raises:
            ModelError: the model contradicts its card, or does not admit the batch.
        """
        if batch not in self._deployed:
            self._deployed[batch] = graph.deployed(self._model, self.job.card, batch)
        return self._deployed[batch]

    def compile(self, settings: RunSettings, batch: int, *, profile: bool = False) -> graph.Compiled:
        """Compile the model for a batch; with `profile` its layers' times are taken.

        Raises:
            ModelError: the model does not admit the batch, or the CPU the precision.
        """
        return graph.compile_model(
            self.deployed(batch), settings.compile_settings, profile=profile, is_folded=True
        )

    def compile_ladder(self, settings: RunSettings) -> list[graph.Compiled]:
        """Compile what the scenario's SUT needs, by rising batch."""
        return [self.compile(settings, batch) for batch in self.ladder(settings)]

    def ladder(self, settings: RunSettings) -> list[int]:
        """Return the batches to compile: in Server the powers of two up to the batch, and the batch."""
        batch = settings.batch or 1
        return doublings(batch) if settings.scenario.facts.paced else [batch]

    def known_answers(self, settings: RunSettings) -> KnownAnswers:
        """Let one stream compute what is right for a few samples of the store.

        Raises:
            ModelError: the model contradicts its card, or the CPU cannot compute in the precision.
        """

        def known(indices: list[int], batch: int) -> list[Any]:
            request = self.one_stream(settings, batch).model.create_infer_request()
            found: list[Any] = []
            for first in range(0, len(indices), batch):
                some = [indices[place % len(indices)] for place in range(first, first + batch)]
                try:
                    outputs = request.infer([self.qsl.copy(some)])
                except RuntimeError as error:
                    self.inference_failed(some[0], error)
                    raise
                found += self.end.split([np.array(outputs[place]) for place in range(len(outputs))])
            return found[: len(indices)]

        return KnownAnswers(self.end, known_answers.spread(self.qsl.count), self.qsl.copy, known)

    def one_stream(self, settings: RunSettings, batch: int) -> graph.Compiled:
        """Compile the model for one stream in the same precision."""
        alone = replace(settings.compile_settings, hint="LATENCY", streams=1)
        return graph.compile_model(self.deployed(batch), alone, is_folded=True)

    def make_lane(self, compiled: graph.Compiled, make_slot: MakeSlot, shape: tuple[int, ...]) -> Lane:
        """Return the lane that answers as the card's task does (harness.loadgen.sut)."""
        output = self.job.card.output
        if self._frames is None or not isinstance(output, DetectionOutput):
            return LabelLane(compiled, make_slot, shape)
        return BoxLane(Writer(output, self._frames, compiled.batch), compiled, make_slot, shape)

    def inference_failed(self, index: int, error: Exception) -> None:
        self._fail(
            f"Inference failed on sample {index} ({self._store.names[index]}): {graph.last_line(error)}"
        )

    def server(self, compiled: graph.Compiled) -> ServedBy | None:
        """Return what answers in the model's place: nothing, as it is compiled here."""
        return None

    @property
    def ask_name(self) -> Callable[[], str] | None:
        """Asks a system under test across a network for its name; None where it is in this process.

        LoadGen calls it, and an error in it is a crash of LoadGen.
        """
        return None

    @property
    def compilations(self) -> int:
        """How often to compile a model at most until it answers rightly."""
        return COMPILATIONS

    def answers_wrongly(self, ladder: Sequence[graph.Compiled], attempts: int, wrong: str) -> AnsweredWrongly:
        """Return what to raise when the last attempt failed, too; `wrong` says how many requests did."""
        streams = ladder[-1].streams
        other = "another version of OpenVINO"
        cure = other if streams == 1 else f"--streams 1 or {other}"
        return AnsweredWrongly(
            f"OpenVINO compiled model '{self.job.card.name}' for {streams} stream(s) and {attempts} time(s), "
            f"and each time it answered known samples wrongly, the last time in {wrong} requests: use {cure}."
        )

    @staticmethod
    def facts(compiled: graph.Compiled) -> dict[str, Any]:
        """Return what OpenVINO made of the model."""
        return {
            "precision": compiled.precision,
            "kernels": compiled.kernels,
            "openvino": compiled.properties,
        }
