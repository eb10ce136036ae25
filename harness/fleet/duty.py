"""What a machine of a fleet does in its turn: one child of the harness, and its folder sent home."""

import ctypes
import datetime
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import files, resources
from harness.errors import HarnessError
from harness.fleet.parcel import Parcel, unpack
from harness.machine import host

_PR_SET_PDEATHSIG = 1
_LEFT_OUT = ("OMP_NUM_THREADS",)
"""What Ray sets for its workers and a measurement must not see."""
_LAST_WORDS = 4000


@dataclass(frozen=True)
class Order:
    """One command for one machine."""

    key: str
    """Name of its folder there."""
    words: tuple[str, ...]
    """The command line after `harness`; '{OUT}' stands for the folder, '{CARD digest}' for a card's path."""


@dataclass(frozen=True)
class Outcome:
    """What became of an order."""

    exit_code: int
    """The child's; negative where a signal ended it."""
    stdout: str
    last_words: str
    """The end of what the child wrote to stderr."""
    started: str
    ended: str
    """Times of the machine, in ISO 8601, UTC."""
    niceness: int
    affinity: tuple[int, ...]
    """CPUs that the child might run on."""
    archive: bytes
    """The folder, as an uncompressed tar; b"" where there is none."""


OUT = "{OUT}"


def card_word(digest: str) -> str:
    """Return what stands for the path of a card that travels."""
    return f"{{CARD {digest}}}"


def carry_out(order: Order, parcels: Sequence[Parcel]) -> Outcome:
    """Run an order in a child process, which goes on where an earlier one stopped and ends with this process.

    Raises:
        HarnessError: this process may not take the priority that measuring needs.
        OutputError: the folder cannot be written.
    """
    _take_normal_priority()
    base = files.make_writable_folder(_base())
    out = base / order.key
    places = {OUT: str(out)} | {card_word(one.digest): str(unpack(one, base / "models")) for one in parcels}
    words = [places.get(word, word) for word in order.words]
    started = _now()
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        env=_environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=partial(_end_with, os.getpid()),
    )
    return Outcome(
        exit_code=done.returncode,
        stdout=done.stdout,
        last_words=done.stderr[-_LAST_WORDS:].strip(),
        started=started,
        ended=_now(),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
        affinity=tuple(sorted(os.sched_getaffinity(0))),
        archive=_archive(out) if out.is_dir() else b"",
    )


def clear(key: str) -> None:
    """Remove the folder of an order whose outcome is safe at home."""
    folder = _base() / key
    if folder.is_dir():
        shutil.rmtree(folder)


def _base() -> Path:
    """Return this machine's own folder: others may share its home, and it may have started anew meanwhile."""
    return resources.cache_folder() / "fleet" / host.lasting_identity()


def wait_until_quiet(seconds: float) -> None:
    """Return when nothing of this user is measuring on this host.

    Raises:
        HarnessError: something still is.
    """
    with host.measuring("harness fleet", seconds):
        pass


def _take_normal_priority() -> None:
    """Raise this process to niceness 0, as Ray starts its workers with 15.

    Raises:
        HarnessError: the user may not.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) <= 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except PermissionError as error:
        raise HarnessError(
            "Ray runs its workers at a low priority here, and this user may not raise it: set "
            "RAY_worker_niceness=0 before `ray start` on this machine."
        ) from error


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    # The very code that this worker runs, wherever Ray put it.
    code = str(Path(__file__).parents[2])
    return kept | {"PYTHONPATH": os.pathsep.join([code, *filter(None, [given.get("PYTHONPATH")])])}


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before it was asked for


def _archive(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
