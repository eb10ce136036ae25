"""This host: what tells it from others, and whose turn it is to measure on it."""

import fcntl
import hashlib
import os
import pwd
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import files
from harness.console import note
from harness.errors import HarnessError, OutputError
from harness.machine.procfs import text

_TURNS = Path("/tmp")
"""The same for all users, sessions and environments of a host, and writable to all."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Of the kernel, so that containers of one host have the same."""
_MACHINE = Path("/etc/machine-id")
"""Of the installation; containers may have none, or that of their image."""
_ENV = "HARNESS_HOST_ID"
"""Lets tests be on several hosts."""
_POLL_S = 0.1
_TRIES = 3
"""Whoever looks whether a lock is held holds it for a moment."""


class _Held(Exception):
    """Another process of this user has the turn."""


def identity() -> str:
    """Return what tells this host from others until it starts anew, 16 characters."""
    known = os.environ.get(_ENV) or text(_BOOT) or socket.gethostname()
    return _digest(known)


def lasting_identity() -> str:
    """Return what tells this host from others, also when it has started anew, 16 characters.

    Where nothing says which machine it is, as in many containers, it is as `identity`.
    """
    machine = text(_MACHINE)
    return _digest(os.environ.get(_ENV) or f"{machine} {socket.gethostname()}") if machine else identity()


def _digest(known: str) -> str:
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@contextmanager
def measuring(what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Have the turn to measure on this host, of which this user has one; that others measure is noted.

    Where nothing can be written that all processes of a host see (a read-only container), a note says so.

    Args:
        what: what the process does, for others to read.
        wait_s: how long to wait for another process of this user to end.

    Raises:
        HarnessError: another process of this user has the turn.
    """
    path = _turn_of(os.getuid())
    with ExitStack() as stack:
        try:
            _take(path, wait_s, stack)
            path.write_text(f"process {os.getpid()} ({what})", encoding="utf-8")
        except (OutputError, OSError) as error:
            why = getattr(error.__cause__ or error, "strerror", None) or error
            note(f"No turn can be kept in {_TURNS} ({why}): start no other measurement on this host.")
        for user in _others():
            note(
                f"User {user} is measuring on this host, too, which disturbs both: measure when it has ended."
            )
        yield


def _take(path: Path, wait_s: float, stack: ExitStack) -> None:
    until = time.monotonic() + max(wait_s, _TRIES * _POLL_S)
    is_told = False
    while True:
        try:
            stack.enter_context(files.locked(path, _Held()))
            return
        except _Held:
            holder = text(path) or "another process"
        if time.monotonic() >= until:
            raise HarnessError(
                f"On this host {holder} is measuring, and two measurements at once disturb each other: "
                f"repeat the command when it has ended, or let it wait for that with --wait SECONDS."
            )
        if wait_s and not is_told:
            note(f"Waiting for up to {wait_s:g} s: {holder} is measuring on this host.")
            is_told = True
        time.sleep(_POLL_S)


def _turn_of(user: int | str) -> Path:
    return _TURNS / f"harness-{identity()}-{user}.measuring"


def _others() -> list[str]:
    """Return the names of other users who are measuring."""
    mine = _turn_of(os.getuid())
    turns = sorted(set(_TURNS.glob(_turn_of("*").name)) - {mine})
    return [_name(path.stem.rpartition("-")[2]) for path in turns if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # It was removed just now, or is no file of ours.
        return False
    return False


def _name(user: str) -> str:
    try:
        return pwd.getpwuid(int(user)).pw_name
    except (KeyError, ValueError):
        return user
