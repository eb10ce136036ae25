"""One connection to a server of the Open Inference Protocol, whichever way the bytes go."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from harness.endpoint.contract import Tensor
from harness.errors import RunFailed

REQUEST_ID = "harness"
"""Of all calls: there is one on a connection at a time, and KServe wants an id."""


class ServerFault(RunFailed):
    """What a server, or the way to it, did wrong: a clause without an end."""

    @property
    def fault(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.fault}: look into the server's log, then repeat the command."


class Unreachable(ServerFault):
    """Nobody answers, or not in this protocol."""


class NotKnown(ServerFault):
    """The server does not have what was asked for."""


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Its name and version, or that it has none."""
        return f"{self.name} {self.version}".strip() or "a server"


@dataclass(frozen=True)
class ServedModel:
    """What a server says of a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Answer:
    """What a server answered to a call."""

    model: str
    version: str
    output: Tensor
    """With the shape that it has."""
    content: Any
    """Its elements: a buffer of little-endian bytes, or a sequence of numbers."""


@dataclass(frozen=True)
class Statistics:
    """What a server counted of a model since it was started; times are of all calls together."""

    calls: int
    queue_ns: int
    input_ns: int
    compute_ns: int
    output_ns: int

    def since(self, before: "Statistics") -> "Statistics":
        """Return what was counted after `before`."""
        earlier = asdict(before)
        return Statistics(**{name: value - earlier[name] for name, value in asdict(self).items()})


Call = Callable[[memoryview], Answer]
"""Send one tensor's bytes, and wait for the answer.

Raises:
    ServerFault: there is no answer, or it is none to the question.
"""


class Wire(Protocol):
    """A connection; each method raises ServerFault."""

    def is_live(self) -> bool: ...

    def is_ready(self) -> bool:
        """Return whether the server and the model are ready."""

    def server(self) -> Server: ...

    def model(self) -> ServedModel:
        """Return what the server says of the endpoint's model.

        Raises:
            NotKnown: the server has no such model, or no such version.
        """

    def models(self) -> list[str]:
        """Return the names of the models that the server has; none where it does not say."""

    def statistics(self) -> Statistics | None:
        """Return what the server counted so far; None where it counts nothing."""

    def call(self, given: Tensor, shape: Sequence[int], wanted: str) -> Call:
        """Return what asks for the output `wanted`, given u8 pixels [count, height, width, channels].

        Where the input takes BYTES, each image is one element.
        """

    def echo(self, given: Tensor, shape: Sequence[int], wanted: str) -> Callable[[memoryview], None]:
        """Return what sends the bytes of such a call to where the server computes nothing with them.

        That is the question whether it is live, which has no content of its own.
        """

    def is_on_this_host(self) -> bool:
        """Return whether the server runs on the machine of this process, as far as its address tells."""

    def close(self) -> None: ...
