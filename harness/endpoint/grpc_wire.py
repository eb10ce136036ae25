"""The Open Inference Protocol by gRPC: calls that wait, on a connection of their own.

A call's request is put together from two parts: what is the same in all calls, serialized once, and the
pixels, which are copied once, into the message. tritonclient would copy them twice.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from harness.endpoint.address import Endpoint
from harness.endpoint.contract import Framing, Tensor
from harness.endpoint.host import is_this_host
from harness.endpoint.wire import (
    REQUEST_ID,
    Answer,
    Call,
    NotKnown,
    ServedModel,
    Server,
    ServerFault,
    Statistics,
    Unreachable,
)

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_LIVE = "/inference.GRPCInferenceService/ServerLive"
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection of its own for each wire, to this very host, that is never repaired in silence.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
]
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Where a response that is not raw holds its elements (inference.proto)."""


class GrpcWire:
    """A gRPC connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = _channel(endpoint)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._infer = self._channel.unary_unary(
            _INFER, response_deserializer=pb.ModelInferResponse.FromString
        )
        self._was_ready = False
        self._is_lost = False
        self._is_watched = False

    def is_live(self) -> bool:
        return bool(self._ask(self._stub.ServerLive, pb.ServerLiveRequest()).live)

    def is_ready(self) -> bool:
        if not self._ask(self._stub.ServerReady, pb.ServerReadyRequest()).ready:
            return False
        return bool(self._ask(self._stub.ModelReady, pb.ModelReadyRequest(**self._named)).ready)

    def server(self) -> Server:
        said = self._ask(self._stub.ServerMetadata, pb.ServerMetadataRequest())
        return Server(said.name, said.version, tuple(said.extensions))

    def model(self) -> ServedModel:
        said = self._ask(self._stub.ModelMetadata, pb.ModelMetadataRequest(**self._named))
        return ServedModel(
            said.name,
            tuple(said.versions),
            said.platform,
            tuple(map(_tensor, said.inputs)),
            tuple(map(_tensor, said.outputs)),
        )

    def models(self) -> list[str]:
        try:
            said = self._ask(self._stub.RepositoryIndex, pb.RepositoryIndexRequest())
        except ServerFault:
            return []
        return sorted({one.name for one in said.models})

    def statistics(self) -> Statistics | None:
        try:
            said = self._ask(self._stub.ModelStatistics, pb.ModelStatisticsRequest(**self._named))
        except ServerFault:
            return None
        if not said.model_stats:
            return None
        stats = said.model_stats[-1].inference_stats
        return Statistics(
            stats.success.count,
            stats.queue.ns,
            stats.compute_input.ns,
            stats.compute_infer.ns,
            stats.compute_output.ns,
        )

    def call(self, given: Tensor, shape: Sequence[int], wanted: str) -> Call:
        framing = Framing.of(given, shape)
        before = _prefix(self._endpoint, given, shape, framing, wanted)
        timeout_s = self._endpoint.deadline_s
        self._channel.subscribe(self._changed)
        self._is_watched = True

        def send(pixels: memoryview) -> Answer:
            self._require_connection()
            message = b"".join((before, *framing.parts(pixels)))
            try:
                return _answer(self._infer(message, timeout=timeout_s), wanted)
            except grpc.RpcError as error:
                raise _fault(error, self._endpoint) from error

        return send

    def echo(self, given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], None]:
        framing = Framing.of(given, shape)
        # A message may hold fields that its receiver does not know, which it reads and leaves alone.
        before = _prefix(self._endpoint, given, shape, framing, wanted)
        live = self._channel.unary_unary(_LIVE, response_deserializer=pb.ServerLiveResponse.FromString)

        def send(pixels: memoryview) -> None:
            self._ask(live, b"".join((before, *framing.parts(pixels))))

        return send

    def is_on_this_host(self) -> bool:
        return is_this_host(self._endpoint.host, self._endpoint.port)

    def close(self) -> None:
        if self._is_watched:
            # The thread that watches looks once more; the channel closes with the last reference to it.
            self._channel.unsubscribe(self._changed)
        else:
            self._channel.close()

    @property
    def _named(self) -> dict[str, str]:
        return {"name": self._endpoint.model, "version": self._endpoint.version or ""}

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._endpoint.deadline_s)
        except grpc.RpcError as error:
            raise _fault(error, self._endpoint) from error

    def _changed(self, state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            self._was_ready = True
        elif self._was_ready:
            self._is_lost = True

    def _require_connection(self) -> None:
        """Raise ServerFault after a connection broke: gRPC opens another, perhaps to another server."""
        if self._is_lost:
            raise ServerFault(f"{self._endpoint} closed the connection: was the server restarted?")


def _channel(endpoint: Endpoint) -> grpc.Channel:
    if not endpoint.is_secure:
        return grpc.insecure_channel(endpoint.target, _OPTIONS)
    roots = None if endpoint.ca is None else endpoint.ca.read_bytes()
    return grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(roots), _OPTIONS)


def _prefix(endpoint: Endpoint, given: Tensor, shape: Sequence[int], framing: Framing, wanted: str) -> bytes:
    """Return the serialized request up to the pixels, which end it."""
    stated = [framing.count] if framing.header else shape
    whole = bytes(framing.size_bytes)
    request = pb.ModelInferRequest(
        model_name=endpoint.model,
        model_version=endpoint.version or "",
        id=REQUEST_ID,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=given.name, datatype=given.datatype, shape=stated)
        ],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=wanted)],
        raw_input_contents=[whole],
    )
    # Fields are serialized in the order of their numbers, and the raw contents have the last.
    return bytes(request.SerializeToString()[: -len(whole)])


def _tensor(said: Any) -> Tensor:
    return Tensor(said.name, said.datatype, tuple(said.shape))


def _answer(said: Any, wanted: str) -> Answer:
    for place, output in enumerate(said.outputs):
        if output.name == wanted:
            tensor = _tensor(output)
            if len(said.raw_output_contents) > place:
                content = said.raw_output_contents[place]
            else:
                content = getattr(output.contents, _CONTENTS.get(output.datatype, "bytes_contents"))
            return Answer(said.model_name, said.model_version, tensor, content)
    names = ", ".join(output.name for output in said.outputs) or "none"
    raise ServerFault(f"the answer has no output '{wanted}' (it has {names})")


def _fault(error: Any, endpoint: Endpoint) -> ServerFault:
    code, details = error.code(), " ".join(str(error.details()).split())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerFault(f"{endpoint} gave no answer within {endpoint.deadline_s:g} s (--deadline)")
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(f"{endpoint} is not to be reached ({details})")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotKnown(f"{endpoint} is not known there ({details})")
    return ServerFault(f"{endpoint} answered {code.name}: {details}")
