"""The Open Inference Protocol by HTTP: binary tensors where the server has them, JSON elsewhere."""

import http.client
import json
import select
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from urllib.parse import quote

from harness.endpoint.address import Endpoint
from harness.endpoint.contract import BYTES, Framing, Tensor
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
from harness.errors import ModelError

_Message = tuple[Iterable[Any], dict[str, str]]
"""The parts of a body, and its headers."""

_BINARY = "binary_tensor_data"
_LIVE = "/v2/health/live"
_HEADER_LENGTH = "Inference-Header-Content-Length"
_NOT_FOUND = (404, 400)
_LONGEST_FAULT = 300


class HttpWire:
    """An HTTP connection that is kept open."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        if endpoint.is_secure:
            context = ssl.create_default_context(cafile=endpoint.ca)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                endpoint.host, endpoint.port, timeout=endpoint.deadline_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(
                endpoint.host, endpoint.port, timeout=endpoint.deadline_s
            )
        version = "" if endpoint.version is None else f"/versions/{quote(endpoint.version, safe='')}"
        self._model_path = f"/v2/models/{quote(endpoint.model, safe='')}{version}"

    def is_live(self) -> bool:
        return self._status(_LIVE)

    def is_ready(self) -> bool:
        return self._status("/v2/health/ready") and self._status(f"{self._model_path}/ready")

    def server(self) -> Server:
        said = self._ask("GET", "/v2")
        return Server(
            str(said.get("name", "")), str(said.get("version", "")), tuple(said.get("extensions", ()))
        )

    def model(self) -> ServedModel:
        said = self._ask("GET", self._model_path)
        return ServedModel(
            str(said.get("name", "")),
            tuple(map(str, said.get("versions") or ())),
            str(said.get("platform", "")),
            tuple(map(_tensor, said.get("inputs") or ())),
            tuple(map(_tensor, said.get("outputs") or ())),
        )

    def models(self) -> list[str]:
        try:
            said = self._ask("POST", "/v2/repository/index", b"{}")
        except ServerFault:
            return []
        return sorted({str(one["name"]) for one in said})

    def statistics(self) -> Statistics | None:
        try:
            said = self._ask("GET", f"{self._model_path}/stats")["model_stats"][-1]["inference_stats"]
        except (ServerFault, LookupError, TypeError):
            return None
        return Statistics(
            said["success"]["count"],
            said["queue"]["ns"],
            said["compute_input"]["ns"],
            said["compute_infer"]["ns"],
            said["compute_output"]["ns"],
        )

    def call(self, given: Tensor, shape: Sequence[int], wanted: str) -> Call:
        message = self._message(given, shape, wanted)

        def send(pixels: memoryview) -> Answer:
            return self._infer(*message(pixels), wanted)

        return send

    def echo(self, given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], None]:
        message = self._message(given, shape, wanted)

        def send(pixels: memoryview) -> None:
            self._send("GET", _LIVE, *message(pixels))

        return send

    def is_on_this_host(self) -> bool:
        return is_this_host(self._endpoint.host, self._endpoint.port)

    def close(self) -> None:
        self._connection.close()

    def _message(self, given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], _Message]:
        """Return what makes the message of a call: binary where the server takes it, else JSON.

        Raises:
            ModelError: it takes JSON alone, which cannot hold the input's BYTES.
        """
        if _BINARY in self.server().extensions:
            return _binary(given, shape, wanted)
        if given.datatype == BYTES:
            raise ModelError(
                f"{self._endpoint} takes BYTES, which JSON cannot hold: use grpc://, or --input "
                f"{given.name}:UINT8 if it takes numbers, too."
            )
        return _plain(given, shape, wanted)

    def _infer(self, body: Iterable[Any], headers: dict[str, str], wanted: str) -> Answer:
        start = monotonic()
        content, length = self._send("POST", f"{self._model_path}/infer", body, headers)
        if monotonic() - start > self._endpoint.deadline_s:
            raise self._late()
        said = _json(content[:length], self._endpoint)
        place = length
        for output in said.get("outputs", ()):
            tensor = _tensor(output)
            size = (output.get("parameters") or {}).get("binary_data_size", 0)
            found = memoryview(content)[place : place + size] if size else output.get("data", ())
            place += size
            if tensor.name == wanted:
                return Answer(
                    str(said.get("model_name", "")), str(said.get("model_version") or ""), tensor, found
                )
        names = ", ".join(str(output.get("name")) for output in said.get("outputs", ())) or "none"
        raise ServerFault(f"the answer has no output '{wanted}' (it has {names})")

    def _status(self, path: str) -> bool:
        try:
            self._send("GET", path)
        except Unreachable:
            raise
        except ServerFault:
            return False
        return True

    def _ask(self, method: str, path: str, body: bytes = b"") -> Any:
        content, _ = self._send(method, path, (body,), {"Content-Length": str(len(body))})
        return _json(content, self._endpoint)

    def _send(
        self, method: str, path: str, body: Iterable[Any] = (), headers: dict[str, str] | None = None
    ) -> tuple[bytes, int]:
        """Return the content of a response, and how long its JSON is.

        Raises:
            Unreachable: nobody answers by HTTP.
            NotKnown: there is no such thing.
            ServerFault: any other fault.
        """
        connection = self._connection
        self._reopen_if_idle()
        try:
            sent = {"Content-Type": "application/json", **(headers or {"Content-Length": "0"})}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
        except TimeoutError as error:
            connection.close()
            raise self._late() from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{self._endpoint} is not to be reached ({_words(error)})") from error
        if response.status in _NOT_FOUND and b"infer" not in path.encode()[-5:]:
            raise NotKnown(f"{self._endpoint} is not known there ({_reason(content)})")
        if response.status != http.client.OK:
            raise ServerFault(f"{self._endpoint} answered {response.status}: {_reason(content)}")
        return content, int(response.getheader(_HEADER_LENGTH) or len(content))

    def _reopen_if_idle(self) -> None:
        """Close a connection that the server closed while nothing was asked, as HTTP allows it to."""
        found: socket.socket | None = self._connection.sock
        if found is not None and select.select([found], [], [], 0)[0]:
            self._connection.close()

    def _late(self) -> ServerFault:
        return ServerFault(
            f"{self._endpoint} gave no answer within {self._endpoint.deadline_s:g} s (--deadline)"
        )


def _binary(given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], _Message]:
    framing = Framing.of(given, shape)
    stated = [framing.count] if framing.header else shape
    facts = {"binary_data_size": framing.size_bytes}
    header = _question(given, stated, wanted, facts, {"binary_data": True})
    sent = {"Content-Length": str(len(header) + framing.size_bytes), _HEADER_LENGTH: str(len(header))}

    def message(pixels: memoryview) -> _Message:
        return (header, *framing.parts(pixels)), sent

    return message


def _plain(given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], _Message]:
    def message(pixels: memoryview) -> _Message:
        body = _question(given, shape, wanted, {}, {}, data=pixels.tolist())
        return (body,), {"Content-Length": str(len(body))}

    return message


def _question(
    given: Tensor,
    shape: Sequence[int],
    wanted: str,
    sent: dict[str, Any],
    back: dict[str, Any],
    **data: Any,
) -> bytes:
    tensor = {
        "name": given.name,
        "shape": list(shape),
        "datatype": given.datatype,
        "parameters": sent,
        **data,
    }
    question = {"id": REQUEST_ID, "inputs": [tensor], "outputs": [{"name": wanted, "parameters": back}]}
    return json.dumps(question).encode()


def _tensor(said: Any) -> Tensor:
    return Tensor(str(said["name"]), str(said["datatype"]), tuple(map(int, said["shape"])))


def _json(content: bytes, endpoint: Endpoint) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ServerFault(f"{endpoint} answered what is no JSON ({_reason(content)})") from error


def _reason(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    with suppress(ValueError, LookupError, TypeError):
        text = str(json.loads(text)["error"])
    return " ".join(text.split())[:_LONGEST_FAULT] or "without a reason"


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
