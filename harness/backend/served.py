"""A model that a server computes, in the shape of one that OpenVINO compiled here.

It makes infer requests like `openvino.CompiledModel`; each has a connection of its own, and waits for its
answer. So all systems under test, the probe and the known answers take it as they take any other.
"""

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.backend import answers
from harness.backend.graph import Compiled
from harness.backend.settings import SERVED
from harness.endpoint.contract import ANSWER_NAME, DATATYPES
from harness.endpoint.meeting import Met, ServedBy, agree, connect
from harness.endpoint.wire import Answer, ServerFault
from harness.errors import ModelError
from harness.model.card import Card


@dataclass(frozen=True)
class _Port:
    """The output, as `openvino.CompiledModel.output` describes it."""

    shape: tuple[int, ...]
    element_type: Any


def served(met: Met, deployed: ov.Model, card: Card, in_flight: int) -> Compiled:
    """Return the served model, which must take and give what the deployed graph does, or give scores.

    Args:
        met: the server and its model.
        deployed: the card's deployed graph, of the batch that a call holds.
        card: the model's.
        in_flight: calls that may be under way at a time.

    Raises:
        ModelError: the server's model does not fit the card or the batch.
    """
    model = ServedModel(met, deployed, card, in_flight)
    return Compiled(model, deployed.input(0).shape[0], in_flight, SERVED)


class ServedModel:
    """What `Compiled.model` is for an endpoint."""

    def __init__(self, met: Met, deployed: ov.Model, card: Card, in_flight: int) -> None:
        if len(deployed.outputs) != 1 or deployed.output(0).partial_shape.is_dynamic:
            raise ModelError(
                f"The answers of model '{card.name}' are no single tensor: leave out --endpoint."
            )
        output = deployed.output(0)
        self.met = met
        self._port = _Port(tuple(output.shape), output.get_element_type())
        batch = deployed.input(0).shape[0]
        self.pixels = tuple(deployed.input(0).shape)
        scores = (batch, card.classifier.classes)
        self.agreement = agree(met, self.pixels, [self._port.shape, scores])
        # With as many classes as an answer has numbers, the shape does not tell them apart.
        is_answer = self._port.shape == scores and self.agreement.output.name == ANSWER_NAME
        gives_scores = self.agreement.shape == scores and not is_answer
        self._end = _end(card, scores) if gives_scores else None
        self._slots = threading.BoundedSemaphore(in_flight)
        self._lock = threading.Lock()
        self._answered_by: tuple[str, str] | None = None
        self.on_call: Callable[[int], None] = lambda call_ns: None
        """Told what each call took, in ns, from sending to reading; called in the thread that asked."""

    def create_infer_request(self) -> "ServedRequest":
        return ServedRequest(self)

    def output(self, place: int) -> _Port:
        assert place == 0
        return self._port

    @property
    def served_by(self) -> ServedBy:
        """What a result says of the server."""
        model, version = self._answered_by or (self.met.model.name, "")
        return ServedBy(
            str(self.met.endpoint),
            self.met.server.name,
            self.met.server.version,
            model,
            version,
            self.met.model.platform,
            self.agreement.input,
            self.agreement.output,
            self.met.is_on_this_host,
        )

    @property
    def slots(self) -> threading.BoundedSemaphore:
        """Bounds the calls in flight."""
        return self._slots

    def finish(self) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
        """Return what makes answers of what the server gave: nothing, or the end of the graph."""
        if self._end is None:
            return lambda found: found
        request = self._end.create_infer_request()
        return lambda found: np.array(request.infer({0: found})[0])

    def read(self, answer: Answer) -> npt.NDArray[Any]:
        """Return what an answer holds.

        Raises:
            ServerFault: it is of another shape, type, model or version than the first.
        """
        who = (answer.model, answer.version)
        if who != self._answered_by:
            self._identify(who)
        expected, shape = self.agreement.output, self.agreement.shape
        if answer.output.datatype != expected.datatype or tuple(answer.output.shape) != shape:
            raise ServerFault(f"{self.met.endpoint} gave {answer.output}, not {list(shape)}")
        dtype = DATATYPES.get(expected.datatype)
        if dtype is None:
            raise ServerFault(f"{self.met.endpoint} gave {answer.output}, which holds no numbers")
        if isinstance(answer.content, bytes | memoryview):
            size = np.dtype(dtype).itemsize * int(np.prod(shape))
            if len(answer.content) != size:
                raise ServerFault(
                    f"{self.met.endpoint} gave {len(answer.content)} bytes, not {size}, for {answer.output}"
                )
            return np.frombuffer(answer.content, dtype).reshape(shape)
        found = np.array(answer.content, dtype)
        if found.size != np.prod(shape):
            raise ServerFault(f"{self.met.endpoint} gave {found.size} numbers for {answer.output}")
        return found.reshape(shape)

    def _identify(self, who: tuple[str, str]) -> None:
        asked = self.met.endpoint.version
        if asked is not None and who[1] not in ("", asked):
            raise ServerFault(f"{self.met.endpoint} answered with version '{who[1]}' of '{who[0]}'")
        with self._lock:
            if self._answered_by is None:
                self._answered_by = who
        if who != self._answered_by:
            (model, version), (first, first_version) = who, self._answered_by
            raise ServerFault(
                f"{self.met.endpoint} answered with version '{version}' of '{model}', and before with "
                f"version '{first_version}' of '{first}'"
            )


class ServedRequest:
    """What `openvino.InferRequest` is for an endpoint: one call at a time, on a connection of its own."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        wire = connect(model.met.endpoint)
        # Like OpenVINO's, a request needs no closing: its connection ends with it.
        weakref.finalize(self, wire.close)
        agreement = model.agreement
        self._call = wire.call(agreement.input, model.pixels, agreement.output.name)
        self._finish = model.finish()
        self._pixels = memoryview(b"")
        self._target: npt.NDArray[Any] = np.zeros(0)
        self._thread: _Caller | None = None

    def set_input_tensor(self, tensor: ov.Tensor) -> None:
        """Take u8 pixels, which are read while the call is under way."""
        self._pixels = tensor.data.reshape(-1).data

    def set_output_tensor(self, tensor: ov.Tensor) -> None:
        """Take where the answers go."""
        self._target = tensor.data

    def infer(self, *, share_outputs: bool = False) -> None:
        """Ask the server, and wait for its answer.

        Raises:
            ServerFault: there is none, or it is not what it should be.
        """
        with self._model.slots:
            start_ns = time.perf_counter_ns()
            answer = self._call(self._pixels)
            self._model.on_call(time.perf_counter_ns() - start_ns)
        found = self._finish(self._model.read(answer))
        self._target[...] = found.reshape(self._target.shape)

    def start_async(self) -> None:
        """Ask in a thread of this request; `wait` before anything else."""
        if self._thread is None:
            self._thread = _Caller(self.infer)
        self._thread.start()

    def wait(self) -> None:
        """Wait for what was started.

        Raises:
            ServerFault: as `infer`.
        """
        assert self._thread is not None
        self._thread.wait()


class _Caller:
    """A thread that calls a function again and again, once for each start."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._started, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def start(self) -> None:
        self._started.release()

    def wait(self) -> None:
        self._done.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while True:
            self._started.acquire()
            try:
                self._function()
            except Exception as error:
                self._error = error
            self._done.release()


def _end(card: Card, scores: tuple[int, ...]) -> Any:
    """Compile the end of the deployed graph alone, which makes answers of scores."""
    given = ops.parameter(scores, np.float32, name="scores")
    model = answers.end_of(card).fold(ov.Model([ops.result(given)], [given], "end"), scores[0])
    return ov.Core().compile_model(model, "CPU", {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1})
