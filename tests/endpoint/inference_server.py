"""A server of the Open Inference Protocol over OpenVINO, by gRPC and HTTP, that can be told to do wrong.

    python inference_server.py IR --grpc PORT --http PORT --told JSON

It computes for real; what it does wrong ("fault"), it does after so many more calls ("after"). POST /told
with such a JSON tells it anew.
"""

import argparse
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import openvino as ov
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

FAULTS = ("shape", "type", "bytes", "version", "late", "refuse", "close", "wrong", "nan", "output")
NAME, VERSION = "oracle", "3"
DATATYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64, "INT32": np.int32}
_LATE_S = 3.0


class Model:
    """One compiled model, and how it misbehaves."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.told: dict[str, Any] = asked.told
        self._compiled = ov.Core().compile_model(asked.model, "CPU", {"NUM_STREAMS": 1})
        self._lock = threading.Lock()
        self._request = self._compiled.create_infer_request()
        self.calls = self.told_at = 0
        self.busy_ns = 0
        output = self._compiled.output(0)
        self.output = (output.any_name, "FP32", list(output.shape))

    @property
    def input(self) -> tuple[str, str, list[int]]:
        port, datatype = self._compiled.input(0), self.told["input_type"]
        return port.any_name, datatype, [1] if datatype == "BYTES" else list(port.shape)

    @property
    def is_ready(self) -> bool:
        return bool(self.told["ready"])

    def knows(self, name: str, version: str) -> bool:
        return name == NAME and version in ("", VERSION)

    def answer(self, raw: bytes) -> tuple[np.ndarray, str, str, bool]:
        """Return the answer, its output's name, the version, and whether its bytes are cut."""
        with self._lock:
            self.calls += 1
            fault = self.told["fault"] if self.calls - self.told_at > self.told["after"] else None
            start = time.perf_counter_ns()
            pixels = np.frombuffer(raw, np.uint8).reshape(self._compiled.input(0).shape)
            found = np.array(self._request.infer({0: pixels})[0])
            self.busy_ns += time.perf_counter_ns() - start
        if fault == "close":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "refuse":
            raise ValueError("told to refuse")
        if fault == "late":
            time.sleep(_LATE_S)
        if fault == "shape":
            found = np.concatenate([found, found])
        if fault == "type":
            found = found.astype(np.float64)
        if fault == "wrong":
            found = found + 1
        if fault == "nan":
            found = found * np.nan
        name = "other" if fault == "output" else self.output[0]
        return found, name, "4" if fault == "version" else VERSION, fault == "bytes"


class Grpc(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The gRPC half."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._model.is_ready)

    def ModelReady(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=self._model.is_ready)

    def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="test server", version="1", extensions=["binary_tensor_data"])

    def RepositoryIndex(self, request: Any, context: Any) -> Any:
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(name=NAME)])

    def ModelStatistics(self, request: Any, context: Any) -> Any:
        if self._model.told["uncounted"]:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "told not to count")
        found = pb.ModelStatistics(name=NAME, version=VERSION)
        found.inference_stats.success.count = self._model.calls
        found.inference_stats.success.ns = self._model.busy_ns
        found.inference_stats.compute_infer.ns = self._model.busy_ns
        return pb.ModelStatisticsResponse(model_stats=[found])

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._require_known(request.name, request.version, context)
        if self._model.told["silent"]:
            return pb.ModelMetadataResponse(name=NAME)
        kind = pb.ModelMetadataResponse.TensorMetadata
        inputs, outputs = (
            [kind(name=name, datatype=datatype, shape=shape)]
            for name, datatype, shape in (self._model.input, self._model.output)
        )
        return pb.ModelMetadataResponse(
            name=NAME, versions=[VERSION], platform="openvino", inputs=inputs, outputs=outputs
        )

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self._require_known(request.model_name, request.model_version, context)
        raw = request.raw_input_contents[0]
        if request.inputs[0].datatype == "BYTES":
            raw = b"".join(elements(raw))
        try:
            found, name, version, is_cut = self._model.answer(raw)
        except ValueError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        kind = pb.ModelInferResponse.InferOutputTensor
        output = kind(name=name, datatype=datatype_of(found), shape=found.shape)
        answer = pb.ModelInferResponse(
            model_name=NAME, model_version=version, id=request.id, outputs=[output]
        )
        if self._model.told["typed"]:
            answer.outputs[0].contents.fp32_contents.extend(found.reshape(-1).tolist())
        else:
            answer.raw_output_contents.append(found.tobytes()[: -1 if is_cut else None])
        return answer

    def _require_known(self, name: str, version: str, context: Any) -> None:
        if not self._model.knows(name, version):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {name} {version}")


class Http(BaseHTTPRequestHandler):
    """The HTTP half."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    model: Model

    def do_GET(self) -> None:
        model, path = self.model, self.path
        if length := int(self.headers.get("Content-Length", 0)):
            self.rfile.read(length)
            if model.told["bodiless"]:
                self._say(413, {"error": "told to take no body"})
                return
        if path == "/v2":
            extensions = [] if model.told["plain_json"] else ["binary_tensor_data"]
            self._say(200, {"name": "test server", "version": "1", "extensions": extensions})
        elif path == "/v2/health/live":
            self._say(200, {})
        elif path.endswith("/ready"):
            self._say(200 if model.is_ready else 400, {})
        elif path in (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/{VERSION}"):
            tensors = [
                dict(zip(("name", "datatype", "shape"), one, strict=True))
                for one in (model.input, model.output)
            ]
            self._say(
                200,
                {
                    "name": NAME,
                    "versions": [VERSION],
                    "platform": "openvino",
                    "inputs": tensors[:1],
                    "outputs": tensors[1:],
                },
            )
        else:
            self._say(404, {"error": f"nothing at {path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/told":
            self.model.told |= json.loads(body)
            self.model.told_at = self.model.calls
            self._say(200, {})
            return
        if self.path == "/v2/repository/index":
            self._say(200, [{"name": NAME}])
            return
        length = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        question = json.loads(body[:length])
        given = question["inputs"][0]
        raw = body[length:] if "data" not in given else np.array(given["data"], np.uint8).tobytes()
        if given["datatype"] == "BYTES":
            raw = b"".join(elements(raw))
        try:
            found, name, version, is_cut = self.model.answer(raw)
        except ValueError as error:
            self._say(500, {"error": str(error)})
            return
        output: dict[str, Any] = {"name": name, "datatype": datatype_of(found), "shape": list(found.shape)}
        content = b""
        if question["outputs"][0].get("parameters", {}).get("binary_data"):
            content = found.tobytes()[: -1 if is_cut else None]
            output["parameters"] = {"binary_data_size": len(content)}
        else:
            output["data"] = found.reshape(-1).tolist()[: 0 if is_cut else None]
        self._say(200, {"model_name": NAME, "model_version": version, "outputs": [output]}, content)

    def log_message(self, *_: Any) -> None:
        pass

    def _say(self, status: int, said: Any, content: bytes = b"") -> None:
        header = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(header) + len(content)))
        if content:
            self.send_header("Inference-Header-Content-Length", str(len(header)))
        self.end_headers()
        self.wfile.write(header + content)


def elements(raw: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(raw):
        size = int.from_bytes(raw[place : place + 4], "little")
        yield raw[place + 4 : place + 4 + size]
        place += 4 + size


def datatype_of(found: np.ndarray) -> str:
    return next(name for name, kind in DATATYPES.items() if kind == found.dtype)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--grpc", type=int)
    parser.add_argument("--http", type=int)
    parser.add_argument("--told", type=json.loads, help="serving_process.DEFAULTS, as JSON.")
    asked = parser.parse_args()
    model = Model(asked)
    server = grpc.server(ThreadPoolExecutor(80), options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Grpc(model), server)
    if tls := asked.told["tls"]:
        pair = tuple(Path(tls, name).read_bytes() for name in ("key.pem", "certificate.pem"))
        server.add_secure_port(f"127.0.0.1:{asked.grpc}", grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(f"127.0.0.1:{asked.grpc}")
    server.start()
    Http.model = model
    ThreadingHTTPServer.daemon_threads = True
    web = ThreadingHTTPServer(("127.0.0.1", asked.http), Http)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(tls, "certificate.pem"), Path(tls, "key.pem"))
        web.socket = context.wrap_socket(web.socket, server_side=True)
    print("serving", flush=True)
    web.serve_forever()


if __name__ == "__main__":
    main()
