"""A machine of a fleet: what it says of itself in a handshake."""

import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness import __version__
from harness.dataset.store import open_store
from harness.errors import DataError, HarnessError, did_you_mean
from harness.fleet import luggage
from harness.machine import host, system

ALL = "all"
_CODE_DIGITS = 12


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
    code: str
    """Digest of the harness's code."""
    is_sent: bool
    """Whether the harness came there for this command; else it is installed."""
    stores: Mapping[str, str]
    """By path, the digest of what the store there holds, or why there is none."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.host[:8]}"

    @property
    def lacks_store(self) -> bool:
        return any(map(_is_reason, self.stores.values()))

    @property
    def at(self) -> str:
        """Its name for a sentence."""
        return f"{self.name} ({self.hostname})"

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"name": self.name}


def of(node: str, facts: Mapping[str, Any]) -> Member:
    """Return the machine that said `facts` in a handshake, whatever version of the harness it has."""
    silent: dict[str, Any] = {"code": "", "is_sent": False, "stores": {}}
    known = {one.name for one in fields(Member)}
    said = {name: value for name, value in facts.items() if name in known}
    return Member(**silent | said | {"node": node})


def hello(stores: Sequence[str], recipes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what this machine says of itself, in plain values that another version can read.

    Args:
        stores: paths of stores to look at.
        recipes: keys of those whose samples are needed; empty: all that a store has.
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
        "code": luggage.digest()[:_CODE_DIGITS],
        "is_sent": luggage.is_sent(),
        "stores": {path: _digest(Path(path), recipes) for path in stores},
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
            raise HarnessError(
                f"The fleet has no machine '{kind}', only {', '.join(first)}.{did_you_mean(kind, known)}"
            )
    return machines([known[kind] for kind in kinds]) if kinds else list(first.values())


def require_same(members: Sequence[Member], wanted: Mapping[str, str | None]) -> None:
    """Hold the machines' versions and code against those here.

    Args:
        members: machines to measure on.
        wanted: the versions here.

    Raises:
        HarnessError: a version or the code differs.
    """
    code = luggage.digest()[:_CODE_DIGITS]
    for member in members:
        for name in sorted(wanted.keys() | member.versions.keys()):
            if (theirs := member.versions.get(name)) != wanted.get(name):
                raise HarnessError(
                    f"{member.at} has {name} {theirs or 'not installed'}, here is "
                    f"{wanted.get(name) or 'none'}: install the same versions, or leave it out with --on."
                )
        if member.code != code:
            raise HarnessError(
                f"{member.at} has other code of the harness {__version__} ({member.code or 'unknown'}, here "
                f"{code}): install the same there, or send it with --send-harness."
            )


def require_stores(members: Sequence[Member]) -> None:
    """Hold the machines' stores against each other.

    Raises:
        DataError: a machine has no store, or another.
    """
    for member in members:
        for path, digest in member.stores.items():
            if _is_reason(digest):
                raise DataError(
                    f"{member.at} cannot use the store {path}: copy one to all machines under this path, or "
                    f"let each make it from images that it has with --prepare IMAGES ({digest.rstrip('.')})."
                )
            if digest != members[0].stores[path]:
                raise DataError(
                    f"The store {path} on {member.at} holds other samples than that on {members[0].name}: "
                    f"copy one store to all machines."
                )


def _is_reason(told: str) -> bool:
    """Return whether `_digest` told why there is no store: a digest is one word."""
    return " " in told


def _digest(path: Path, recipes: Sequence[str]) -> str:
    """Return the digests of a store, held against its files, or in a sentence why it does not do."""
    try:
        store = open_store(path)
        for key in recipes:
            if key not in store.recipes:
                return f"{path} has no samples of the recipe {key}"
        wanted = {key: store.recipes[key] for key in recipes or store.recipes}
        for entry in wanted.values():
            store.samples(entry.recipe)
    except HarnessError as error:
        return str(error)
    return ";".join(
        [store.manifest.list_sha256, *sorted(f"{key}={one.sha256}" for key, one in wanted.items())]
    )
