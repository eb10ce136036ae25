"""Ray: the nodes of a cluster, and functions at work on them. No other module imports Ray."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import HarnessError, lines_of

SURROUNDINGS = {
    # Ray reports on its use to the outside unless told not to.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its first process has 30 s to start, which a cold disk beside other work can take.
    "RAY_gcs_server_port_wait_time_s": "120",
}
"""Environment variables of Ray, where the user has not set them."""
LOCAL = "local:"
_CONNECT_S = 5.0
_LOOPBACK = "127.0.0.2"
"""For 127.0.0.1 Ray would look for an address that others can reach."""
_MEMORY_BYTES = 100_000_000
"""Object store of a cluster made here; models and logs are small."""


class Lost(HarnessError):
    """A node, or its worker, is no more."""


class Failed(HarnessError):
    """A node could not call the function, or the function broke."""


@dataclass(frozen=True)
class Node:
    """One node of Ray."""

    id: str
    resources: dict[str, float]

    def places(self) -> list["Place"]:
        """Return its places: one a GPU, which share the CPUs, or without GPUs one that has all CPUs."""
        cpus, gpus = int(self.resources.get("CPU", 0)), int(self.resources.get("GPU", 0))
        if gpus:
            return [Place(self.id, number, cpus // gpus, 1) for number in range(gpus)]
        return [Place(self.id, 0, cpus, 0)] if cpus else []


@dataclass(frozen=True)
class Place:
    """The part of a node that one worker has for itself."""

    node: str
    number: int
    cpus: int
    gpus: int


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        self._tasks: dict[tuple[Callable[..., Any], int], Any] = {}

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return [Node(one["NodeID"], one["Resources"]) for one in self._ray.nodes() if one["Alive"]]

    def send(self, value: Any) -> Any:
        """Put what several tasks need into the object store, and return what stands for it."""
        return self._ray.put(value)

    def start(self, node: Node, function: Callable[..., Any], *given: Any, exclusively: bool = True) -> Any:
        """Let a node call a function, once, in a process of its own, and return what stands for its result.

        Args:
            node: it alone; the task is not moved when it is lost.
            function: of a module that the node can import.
            given: what to call it with.
            exclusively: with all CPUs of the node, so that no other task of Ray runs beside it.
        """
        cpus = node.resources.get("CPU", 0) if exclusively else 0
        return self._started(node.id, function, given, 1, cpus, 0, _own(node) if exclusively else {})

    def work(self, place: Place, function: Callable[..., Any], *given: Any) -> Any:
        """Let a place call a function, and return what stands for its result.

        The process may be one that has worked before, and still have what it kept.
        """
        return self._started(place.node, function, given, 0, place.cpus, place.gpus, {})

    def _started(
        self,
        node: str,
        function: Callable[..., Any],
        given: Sequence[Any],
        calls: int,
        cpus: float,
        gpus: int,
        resources: dict[str, float],
    ) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        key = function, calls
        if key not in self._tasks:
            self._tasks[key] = self._ray.remote(max_retries=0, max_calls=calls)(function)
        return (
            self._tasks[key]
            .options(
                num_cpus=cpus,
                num_gpus=gpus,
                resources=resources,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(*given)
        )

    def result(self, started: Any) -> Any:
        """Return a result, when it is there.

        Raises:
            Lost: its node or worker is no more.
            Failed: it broke there.
            HarnessError: the function's own.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(started)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, HarnessError):
                raise cause from error
            raise Failed(f"it failed there ({lines_of(cause)[-1]})") from error
        except errors.RayError as error:
            what = "worker" if isinstance(error, errors.WorkerCrashedError) else "node"
            raise Lost(f"{what} lost ({type(error).__name__})") from error

    def wait(self, started: Sequence[Any], seconds: float) -> list[Any]:
        """Return those whose results are there, after so long at most."""
        return list(self._ray.wait(list(started), num_returns=len(started), timeout=seconds)[0])

    def wait_for_one(self, started: Sequence[Any]) -> Any:
        """Return the first whose result is there."""
        return self._ray.wait(list(started))[0][0]

    def cancel(self, started: Any) -> None:
        """End a task's worker at once."""
        self._ray.cancel(started, force=True)


@contextmanager
def joined(address: str, package: Path | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, or make one on this machine alone; it ends with the block.

    Args:
        address: HOST:PORT of the head node, 'auto' for that of this machine, or 'local:N' for N nodes here.
        package: folder of a Python package that travels to all nodes, and comes before one that they have.

    Raises:
        HarnessError: Ray is not installed, nobody answers there, or what answers is no such cluster.
    """
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise HarnessError(
            f"{address} is to be a Ray cluster, and Ray is not installed: pip install "
            "'inference-harness[fleet]'."
        ) from error
    made = None
    if address.startswith(LOCAL):
        made = _make(address)
        address = made.address
    elif address != "auto":
        _require_somebody(address)
    try:
        try:
            ray.init(
                address=address,
                _node_ip_address=_LOOPBACK if address.startswith(f"{_LOOPBACK}:") else None,
                runtime_env={} if package is None else {"py_modules": [str(package)]},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            why = lines_of(error)[0]
            raise HarnessError(
                f"No Ray cluster can be joined at {address} ({why}): start one with `ray start --head`, with "
                f"the same versions of Python and Ray as here."
            ) from error
        yield Cluster(ray)
    finally:
        ray.shutdown()
        if made is not None:
            made.shutdown()


def _own(node: Node) -> dict[str, float]:
    """Return the resource that each node has of its own, and that no two tasks can have at once."""
    names = [name for name in node.resources if name.startswith("node:") and "__" not in name]
    return dict.fromkeys(names, 1.0)


def require_address(address: str) -> None:
    """Raise HarnessError if this is none that `joined` takes, whoever may answer there."""
    name, _, port = address.rpartition(":")
    if address != "auto" and not address.startswith(LOCAL) and not (name and port.isdecimal()):
        raise HarnessError(
            f"'{address}' is no address of a Ray cluster: give HOST:PORT as `ray start --head` prints it, "
            f"'auto' or 'local:N'."
        )


def _require_somebody(address: str) -> None:
    require_address(address)
    name, _, port = address.rpartition(":")
    try:
        socket.create_connection((name, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise HarnessError(
            f"Nobody answers at {address} ({error}): start a cluster with `ray start --head` there, or "
            f"correct the address."
        ) from error


def _make(address: str) -> Any:
    count = address.removeprefix(LOCAL)
    if not count.isdecimal() or not 1 <= int(count) <= 64:
        raise HarnessError(f"'{address}' makes no cluster: give a number of nodes, as in local:1.")
    from ray.cluster_utils import Cluster as Made

    cpus = max(1, len(os.sched_getaffinity(0)) // int(count))
    facts: dict[str, Any] = {
        "object_store_memory": _MEMORY_BYTES,
        "num_cpus": cpus,
        "node_ip_address": _LOOPBACK,
    }
    made: Any = Made(initialize_head=True, head_node_args={**facts, "include_dashboard": False})
    for _ in range(int(count) - 1):
        made.add_node(**facts)
    return made
