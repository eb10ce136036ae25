"""Where a served model is, as a user writes it: grpc://HOST:PORT/MODEL[:VERSION], or http://."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.errors import HarnessError, did_you_mean

SCHEMES = ("grpc", "grpcs", "http", "https")
_FORM = "grpc://HOST:PORT/MODEL[:VERSION] or http://HOST:PORT/MODEL[:VERSION]"
DEADLINE_S = 30.0
READY_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Endpoint:
    """A served model, and how to talk to it."""

    scheme: str
    host: str
    port: int
    model: str
    version: str | None = None
    """None: the one that the server chooses."""
    ca: Path | None = None
    """Certificates in PEM that the server's is held against; None: those of the system."""
    input: str | None = None
    """NAME[:DATATYPE] of the input, where the server does not say; DATATYPE is UINT8 or BYTES."""
    output: str | None = None
    """Name of the output, where the server does not say or has several."""
    deadline_s: float = DEADLINE_S
    """A call that takes longer has failed."""
    ready_timeout_s: float = READY_TIMEOUT_S
    """How long to wait for the server and the model to be ready."""

    @property
    def is_grpc(self) -> bool:
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether the connection is by TLS."""
        return self.scheme.endswith("s")

    @property
    def target(self) -> str:
        """Host and port; an IPv6 address is in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        version = "" if self.version is None else f":{self.version}"
        return f"{self.scheme}://{self.target}/{self.model}{version}"


def parse(text: str) -> Endpoint:
    """Return the endpoint that a user wrote.

    Raises:
        HarnessError: scheme, host, port or model is missing or wrong, or there is more than these.
    """
    # What stands before an @ may be a password, which is no one else's business.
    start = f"The endpoint '{text.rpartition('@')[2]}'"
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise HarnessError(f"{start} has no scheme: write {_FORM}.")
    if scheme not in SCHEMES:
        raise HarnessError(f"{start} has the scheme '{scheme}'.{did_you_mean(scheme, SCHEMES)}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise HarnessError(f"{start} is no address ({error}): write {_FORM}.") from error
    if not host:
        raise HarnessError(f"{start} names no host: write {_FORM}.")
    if not port:
        raise HarnessError(f"{start} names no port: write {_FORM}.")
    if parts.username is not None or parts.query or parts.fragment:
        raise HarnessError(f"{start} holds more than host, port, model and version: write {_FORM}.")
    model, colon, version = unquote(parts.path.strip("/")).partition(":")
    if not model or "/" in model + version:
        fault = "has a path in place of a model" if model else "names no model"
        raise HarnessError(f"{start} {fault}: write {_FORM}.")
    if colon and not version:
        raise HarnessError(f"{start} has a ':' and no version: leave it out, or write {_FORM}.")
    return Endpoint(scheme, host, port, model, version or None)
