"""Before the first question: a connection, a server and a model that are ready, and tensors that fit."""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.endpoint.address import Endpoint
from harness.endpoint.contract import BYTES, Tensor
from harness.endpoint.wire import NotKnown, ServedModel, Server, ServerFault, Unreachable, Wire
from harness.errors import HarnessError, ModelError, did_you_mean

_POLL_S = 0.1
_PIXELS = "UINT8"
_INPUT_TYPES = (_PIXELS, BYTES)


@dataclass(frozen=True)
class Met:
    """What a server said of itself and of the endpoint's model."""

    endpoint: Endpoint
    server: Server
    model: ServedModel
    is_on_this_host: bool


@dataclass(frozen=True)
class ServedBy:
    """Who answered, in words of the protocol."""

    endpoint: str
    """The address that was asked for."""
    server: str
    """The server's name, as it says."""
    server_version: str
    model: str
    """The model's name in the answers."""
    model_version: str
    """In the answers; empty where they say none."""
    platform: str
    input: Tensor
    output: Tensor
    is_on_this_host: bool
    """Whether the server ran on the machine of the measurement, so far as its address tells."""


@dataclass(frozen=True)
class Agreement:
    """The tensors that images and answers go in."""

    input: Tensor
    output: Tensor
    shape: tuple[int, ...]
    """Of the answers, as they are expected."""


def connect(endpoint: Endpoint) -> Wire:
    """Return a connection, which is made with its first use.

    Raises:
        HarnessError: gRPC's library is not installed, or the file of certificates cannot be read.
    """
    if endpoint.ca is not None and not endpoint.is_secure:
        raise HarnessError(f"--ca is for TLS: write {endpoint.scheme}s:// in place of {endpoint.scheme}://.")
    try:
        # gRPC does not say what is wrong with a file of certificates.
        ssl.create_default_context(cafile=endpoint.ca)
        if endpoint.is_grpc:
            from harness.endpoint.grpc_wire import GrpcWire

            return GrpcWire(endpoint)
        from harness.endpoint.http_wire import HttpWire

        return HttpWire(endpoint)
    except ModuleNotFoundError as error:
        raise HarnessError(
            f"An endpoint by gRPC needs '{error.name}': pip install 'inference-harness[serve]', or use http://."
        ) from error
    except OSError as error:
        raise HarnessError(f"Cannot use --ca {endpoint.ca} ({error}): give certificates in PEM.") from error


def name_of(endpoint: Endpoint) -> str:
    """Ask a server for its name and version, on a connection of its own.

    Raises:
        ServerFault: it does not answer.
    """
    wire = connect(endpoint)
    try:
        return wire.server().words
    finally:
        wire.close()


def meet(endpoint: Endpoint, tick: Callable[[], None] = lambda: None) -> Met:
    """Wait until server and model are ready, and return what they say of themselves.

    Args:
        endpoint: whom to meet.
        tick: called while there is nothing to do but wait.

    Raises:
        HarnessError: they are not ready in time, or the server has no such model or version.
    """
    deadline = time.monotonic() + endpoint.ready_timeout_s
    while True:
        wire = connect(endpoint)
        try:
            if wire.is_live():
                found = _asked(wire, endpoint)
                if found is not None:
                    return found
                fault = "is not ready"
            else:
                fault = "is not live"
        except NotKnown as error:
            raise _stranger(wire, endpoint, error) from error
        except Unreachable as error:
            fault = _cure(endpoint, error)
        except ServerFault as error:
            fault = f"is not ready ({error.fault})"
        finally:
            wire.close()
        if time.monotonic() >= deadline:
            start = "" if fault.startswith("Nobody") else f"The server of {endpoint} "
            raise HarnessError(
                f"{start}{fault}: start it, correct the address, or wait longer (--ready-timeout, "
                f"{endpoint.ready_timeout_s:g} s now)."
            )
        tick()
        time.sleep(_POLL_S)


def agree(met: Met, pixels: Sequence[int], answers: Sequence[Sequence[int]]) -> Agreement:
    """Hold what a server says of its model against what it will be sent, and must answer.

    Args:
        met: what it says; where it says nothing, the endpoint's `input` and `output` must.
        pixels: the shape of the images, u8 [batch, height, width, 3].
        answers: the shapes of answers that are understood.

    Raises:
        ModelError: they do not fit, so that the card, the export or the batch is another.
    """
    taken = _input(met, pixels)
    given = _output(met, answers)
    if taken.datatype not in _INPUT_TYPES:
        raise ModelError(
            f"{met.endpoint} takes {taken}, and the harness sends raw pixels (UINT8 or BYTES), whose "
            f"normalisation is part of the model: serve what `harness export` writes."
        )
    expected = pixels[:1] if taken.datatype == BYTES else pixels
    if not taken.takes(expected):
        batch = f" in a batch of {pixels[0]}" if taken.takes([taken.shape[0], *expected[1:]]) else ""
        raise ModelError(
            f"{met.endpoint} takes {taken}, and the card's images are {list(pixels)}{batch}: give the card "
            f"that was exported, or another --batch."
        )
    for shape in answers:
        if given.takes(shape):
            return Agreement(taken, given, tuple(shape))
    wanted = " or ".join(str(list(shape)) for shape in answers)
    raise ModelError(
        f"{met.endpoint} gives {given}, and the card's answers are {wanted}: give the card that was "
        f"exported, or another --output or --batch."
    )


def _asked(wire: Wire, endpoint: Endpoint) -> Met | None:
    """Return what there is to know, or None while server or model are not ready."""
    model = wire.model()
    if not wire.is_ready():
        return None
    return Met(endpoint, wire.server(), model, wire.is_on_this_host())


def _stranger(wire: Wire, endpoint: Endpoint, error: NotKnown) -> HarnessError:
    names = wire.models()
    if endpoint.model in names and endpoint.version is not None:
        return HarnessError(f"{error.fault}: give a version that the server has, or none.")
    if names:
        return HarnessError(
            f"{endpoint.target} has no model '{endpoint.model}'.{did_you_mean(endpoint.model, names)}"
        )
    return HarnessError(f"{error.fault}: give the name of a model that the server has.")


def _cure(endpoint: Endpoint, error: Unreachable) -> str:
    other = "http://" if endpoint.is_grpc else "grpc://"
    secure = ", certificates by --ca" if endpoint.is_secure else f", TLS by {endpoint.scheme}s://"
    return f"Nobody answers by {endpoint.scheme}: {error.fault} ({other} has another port{secure})"


def _input(met: Met, pixels: Sequence[int]) -> Tensor:
    told = met.endpoint.input
    if told is not None:
        name, _, datatype = told.partition(":")
        for tensor in met.model.inputs:
            if tensor.name == name and datatype in ("", tensor.datatype):
                return tensor
        datatype = datatype or _PIXELS
        return Tensor(name, datatype, tuple(pixels[:1] if datatype == BYTES else pixels))
    if len(met.model.inputs) == 1:
        return met.model.inputs[0]
    if not met.model.inputs:
        raise ModelError(
            f"{met.endpoint} does not say what it takes: name its input (--input) and its output (--output)."
        )
    names = ", ".join(map(str, met.model.inputs))
    raise ModelError(f"{met.endpoint} takes {names}: serve a model that takes one image.")


def _output(met: Met, answers: Sequence[Sequence[int]]) -> Tensor:
    told, outputs = met.endpoint.output, met.model.outputs
    if told is None:
        if len(outputs) == 1:
            return outputs[0]
        fault = f"gives {', '.join(map(str, outputs))}" if outputs else "does not say what it gives"
        raise ModelError(f"{met.endpoint} {fault}: name the output with the answers (--output).")
    for tensor in outputs:
        if tensor.name == told:
            return tensor
    if outputs:
        names = [tensor.name for tensor in outputs]
        raise ModelError(f"{met.endpoint} has no output '{told}'.{did_you_mean(told, names)}")
    return Tensor(told, "FP32", tuple(answers[0]))
