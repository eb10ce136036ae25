"""A real Ray cluster on this host, whose nodes say that they are machines, and what works on them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import PATIENCE_S

from harness.machine import host

HEAD = "head"
HOSTS = ("one", "two", "three")


def id_of(name: str) -> str:
    """Return what no other run of these tests calls its machines."""
    return f"{name}-{os.getpid()}"


class Cluster:
    """A head that has no CPU to measure with, and nodes that can be lost and come again."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster as Made

        self._home = folder
        """All share it, as machines of a cluster often do."""
        head = {**self._facts(HEAD), "num_cpus": 0, "include_dashboard": False}
        self._made: Any = Made(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}
        self.add(*HOSTS)
        self.address: str = self._made.address

    def _facts(self, name: str) -> dict[str, Any]:
        env = {"HARNESS_HOST_ID": id_of(name), "HARNESS_CACHE": str(self._home)}
        return {
            "num_cpus": 1,
            "node_ip_address": "127.0.0.2",
            "object_store_memory": 80_000_000,
            "env_vars": env,
        }

    def cache(self, name: str) -> Path:
        """Return where a machine keeps what it has not sent home yet."""
        with host_id(name):
            return self._home / "fleet" / host.lasting_identity()

    def add(self, *names: str, **env: str) -> None:
        for name in names:
            facts = self._facts(name)
            facts["env_vars"] |= env
            self.nodes[name] = self._made.add_node(wait=False, **facts)
        self._made.wait_for_nodes()

    def lose(self, *names: str) -> None:
        """Let machines end at once, with all their processes."""
        for name in names:
            workers = [worker_of(child) for child in children_of(name)]
            self._made.remove_node(self.nodes.pop(name), allow_graceful=False)
            for worker in workers:
                kill(worker)

    def end(self) -> None:
        self._made.shutdown()


@contextmanager
def host_id(name: str) -> Iterator[None]:
    """Let this process be on one of the machines."""
    before = os.environ["HARNESS_HOST_ID"]
    os.environ["HARNESS_HOST_ID"] = id_of(name)
    try:
        yield
    finally:
        os.environ["HARNESS_HOST_ID"] = before


@contextmanager
def busy(name: str) -> Iterator[None]:
    """Let somebody measure on one of the machines."""
    with host_id(name):
        turn = host.measuring("harness tune")
        turn.__enter__()
    try:
        yield
    finally:
        turn.__exit__(None, None, None)


def is_measuring(name: str) -> bool:
    """Return whether somebody has the turn of one of the machines."""
    with host_id(name):
        return host._is_locked(host._turn_of(os.getuid()))


def children_of(name: str) -> list[int]:
    """Return the processes of the harness that a fleet started on a machine."""
    return _processes(name, lambda words: words[1:3] == [b"-m", b"harness"])


def trainers_of(name: str) -> list[int]:
    """Return Ray's workers on a machine that train an epoch."""
    return _processes(name, lambda words: words[0].startswith(b"ray::epoch"))


def _processes(name: str, condition: Callable[[list[bytes]], bool]) -> list[int]:
    """Return the processes on a machine whose command lines meet a condition."""
    wanted = f"HARNESS_HOST_ID={id_of(name)}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            env = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in env and condition(words):
            found.append(int(folder.name))
    return found


def worker_of(child: int) -> int:
    """Return the process that started another."""
    stat = Path(f"/proc/{child}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def kill(process: int, number: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        assert number is signal.SIGKILL, "only an end may have come before"


def wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found
