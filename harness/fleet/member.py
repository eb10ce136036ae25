"""A machine of a fleet: what it says of itself in a handshake."""

import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.dataset.store import open_store
from harness.errors import DataError, HarnessError, did_you_mean
from harness.machine import host, system

ALL = "all"


@dataclass(frozen=True)
class Member:
    """A machine, whatever number of Ray's nodes it is."""

    node: str
    """Ray's id of one of its nodes."""
    host: str
    hostname: str
    kind: str
    """Name of the CPU and number of cores, such as 'amd-epyc-2c'."""
    cpu: str | None
    cores: int | None
    memory_bytes: int | None
    versions: Mapping[str, str | None]
    stores: Mapping[str, str]
    """By path, the digest of what the store there holds, or why there is none."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.host[:8]}"

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"name": self.name}


def hello(stores: Sequence[str]) -> dict[str, Any]:
    """Return what this machine says of itself, in plain values that another version can read.

    Args:
        stores: paths of stores to look at.
    """
    machine = system.describe()
    return {
        "host": host.identity(),
        "hostname": socket.gethostname(),
        "kind": system.slug(machine),
        "cpu": machine.cpu_model,
        "cores": machine.cores_allowed or machine.physical_cores,
        "memory_bytes": machine.memory_bytes,
        "versions": versions(machine),
        "stores": {path: _digest(Path(path)) for path in stores},
    }


def versions(machine: system.Machine) -> dict[str, str | None]:
    """Return the versions that a result hangs on."""
    return {"harness": __version__, "python": platform.python_version(), **machine.versions}


def machines(members: Sequence[Member]) -> list[Member]:
    """Return one member a host, the first; two nodes of Ray on a host are one machine."""
    return list({member.host: member for member in reversed(members)}.values())[::-1]


def choose(members: Sequence[Member], kinds: Sequence[str]) -> list[Member]:
    """Return the machines to measure on: those of the kinds, or with none given one of each kind.

    Args:
        members: one a host.
        kinds: kinds, each of which takes one machine, names of machines, or 'all'.

    Raises:
        HarnessError: there is no machine of a kind.
    """
    if ALL in kinds:
        return list(members)
    first: dict[str, Member] = {}
    for member in members:
        first.setdefault(member.kind, member)
    known = first | {member.name: member for member in members}
    for kind in kinds:
        if kind not in known:
            raise HarnessError(f"The fleet has no machine '{kind}'.{did_you_mean(kind, known)}")
    return machines([known[kind] for kind in kinds]) if kinds else list(first.values())


def require_same(members: Sequence[Member], wanted: Mapping[str, str | None]) -> None:
    """Hold the machines' versions against those here, and their stores against each other.

    Raises:
        HarnessError: a version differs.
        DataError: a machine has no store, or another.
    """
    for member in members:
        for name in sorted(wanted.keys() | member.versions.keys()):
            if (theirs := member.versions.get(name)) != wanted.get(name):
                raise HarnessError(
                    f"{member.name} ({member.hostname}) has {name} {theirs or 'not installed'}, here is "
                    f"{wanted.get(name) or 'none'}: install the same versions, or leave it out with --on."
                )
        for path, digest in member.stores.items():
            if " " in digest:
                raise DataError(f"{member.name} ({member.hostname}) cannot use the store: {digest}")
            if digest != members[0].stores[path]:
                raise DataError(
                    f"The store {path} on {member.name} ({member.hostname}) holds other samples than that on "
                    f"{members[0].name}: copy one store to all machines."
                )


def _digest(path: Path) -> str:
    try:
        manifest = open_store(path).manifest
    except HarnessError as error:
        return str(error)
    pixels = sorted(f"{key}={one.sha256}" for key, one in manifest.recipes.items())
    return ";".join([manifest.list_sha256, *pixels])
