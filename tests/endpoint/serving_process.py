"""Servers in processes of their own, started and ended by tests."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.endpoint.address import Endpoint, parse

DEFAULTS: dict[str, Any] = {
    "fault": None,
    "after": 0,
    "ready": True,
    "input_type": "UINT8",
    "silent": False,
    "typed": False,
    "plain_json": False,
    "uncounted": False,
    "bodiless": False,
    "tls": None,
}
"""What the server does unless it is told otherwise."""

_PROGRAM = Path(__file__).with_name("inference_server.py")


@dataclass
class Running:
    """A server's process and ports."""

    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int

    def endpoint(self, scheme: str = "grpc", model: str = "oracle", **more: Any) -> Endpoint:
        port = self.grpc_port if scheme.startswith("grpc") else self.http_port
        return replace(parse(f"{scheme}://127.0.0.1:{port}/{model}"), **more)

    def tell(self, **options: Any) -> None:
        """Let the server do something else from now on: its options, by name."""
        body = json.dumps(options).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/told", body).close()

    @contextmanager
    def told(self, **options: Any) -> Iterator[None]:
        """Let the server do something else in the block, and then as it does by default."""
        self.tell(**options)
        try:
            yield
        finally:
            self.tell(**{name: DEFAULTS[name] for name in options})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens now."""
    found = [socket.socket() for _ in range(count)]
    try:
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]
    finally:
        for one in found:
            one.close()


@contextmanager
def serving(model: Path, ports: tuple[int, int] | None = None, **options: Any) -> Iterator[Running]:
    """Serve an IR by gRPC and HTTP on loopback until the block ends."""
    grpc_port, http_port = ports or free_ports(2)
    words = [sys.executable, str(_PROGRAM), str(model), "--grpc", str(grpc_port), "--http", str(http_port)]
    words += ["--told", json.dumps(DEFAULTS | options)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            yield Running(process, grpc_port, http_port)
        finally:
            process.kill()
