"""Writing that cannot be caught half-way, hashing, and the checks made before work starts."""

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from harness import resources
from harness.console import note
from harness.errors import HarnessError, OutputError

_TICK_NS = 10_000_000
"""The longest tick of the Linux kernel's timer (CONFIG_HZ=100)."""
_ROOM_BYTES = 1 << 16
LOCK = ".lock"
"""Of a folder in which one process works at a time."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What network file systems without locks say."""


PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Names of folders that git and MLPerf's checkers are happy with, and that lie where they are put."""


def require_plain_name(name: str, what: str) -> str:
    """Return a name that is a folder's and no path; `what` begins the error's sentence.

    Raises:
        HarnessError: it is empty, a path, or has other characters.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise HarnessError(
            f"{what} {name!r} is no plain name of a folder: give a word of letters, digits, '.', '_', '+' "
            f"and '-' that begins with a letter or a digit."
        )
    return name


def read_json(path: Path) -> Any:
    """Return the JSON document in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is cut, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sha256_file(*paths: Path) -> str:
    """Return the hex SHA-256 over the bytes of all files, in the order given."""
    return hex_digest("sha256", *paths)


def hex_digest(kind: str, *paths: Path) -> str:
    """Return the hex digest over the bytes of all files, in the order given; each is read once a process.

    A file that has another size or time of change by now is read again.

    Args:
        kind: an algorithm of hashlib.

    Raises:
        OSError: a file cannot be read.
    """
    return _digest(kind, tuple(stamp(path) for path in paths))


@cache
def _digest(kind: str, stamps: tuple["Stamp", ...]) -> str:
    found = hashlib.new(kind, usedforsecurity=False)
    for stamp in stamps:
        with stamp.path.open("rb") as file:
            hashlib.file_digest(file, lambda: found)
    return found.hexdigest()


class Stamp(NamedTuple):
    """What tells the content of a file from any that it has later."""

    path: Path
    inode: int
    size_bytes: int
    changed_ns: int


def stamp(path: Path) -> Stamp:
    facts = path.stat()
    # Linux stamps changes by the ticks of its timer: a change in the same tick would have the same stamp.
    wait_ns = facts.st_mtime_ns + _TICK_NS - time.time_ns()
    if 0 < wait_ns <= _TICK_NS:
        time.sleep(wait_ns / 1e9)
    return Stamp(path.absolute(), facts.st_ino, facts.st_size, facts.st_mtime_ns)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name, on failure it is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the whole new one.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"Cannot write {path} ({error.strerror}): free some space, or {elsewhere(path)}."
        ) from error


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, as `write_text` does."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def make_writable_folder(path: Path) -> Path:
    """Create `path` and its parents; raise OutputError when nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f"Cannot write to the folder {path} ({error.strerror}): {elsewhere(path)}."
        ) from error
    return path


@contextmanager
def staging(parent: Path, name: str) -> Iterator[Path]:
    """Yield a folder `.NAME.*` in `parent` for work under way; it disappears with what was not finished.

    One process at a time may do so, under a lock: what an earlier one that was killed left goes first.
    """
    left_behind = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}")
    for path in parent.iterdir():
        if left_behind.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def alone(
    place: Path, who: str = "process", cure: str = "or choose another --out", *, lock: Path | None = None
) -> Iterator[None]:
    """Keep other processes of this kind from a folder or a file, by a lock.

    Args:
        place: an existing folder, or a file in one.
        who: what another one is called.
        cure: what to do but to wait; empty: nothing.
        lock: the lock file; default: LOCK in the folder `place`.

    Raises:
        OutputError: another one is at work there, or the lock cannot be made.
    """
    busy = f"Another {who} is at work on {place}: {', '.join(filter(None, ('wait for it', cure)))}."
    with locked(place / LOCK if lock is None else lock, OutputError(busy)):
        yield


def require_own(out: Path, *marks: str) -> None:
    """Raise OutputError for what is there already, unless it is an empty folder or has one of the marks.

    Args:
        out: the folder, which need not exist.
        marks: names of files, or patterns for them, that only we make.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: choose a folder.")
    names = {path.name for path in out.iterdir()} - {LOCK} if out.is_dir() else set()
    if names and not any(fnmatch(name, mark) for name in names for mark in marks):
        raise foreign(out)


def foreign(out: Path) -> OutputError:
    """Return the error of a folder that is to be filled and holds what we did not make."""
    return OutputError(f"The folder {out} holds something else: choose a new or empty one.")


@contextmanager
def locked(path: Path, refusal: Exception) -> Iterator[None]:
    """Hold the lock file `path`, in a folder that exists, for this process alone; the end removes it.

    What a killed process left locks nothing. Where the file system cannot lock, a note says so.

    Args:
        path: the lock file.
        refusal: raised when another process holds it.

    Raises:
        OutputError: the file cannot be made or locked.
    """
    try:
        handle = _lock(path)
    except BlockingIOError as error:
        raise refusal from error
    except OSError as error:
        raise OutputError(f"Cannot lock {path} ({error.strerror}): {elsewhere(path)}.") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass  # the previous holder removed it just now
        except OSError as error:
            if error.errno in _NO_LOCKS:
                note(f"{path.parent} lies where nothing can be locked: start no second process that uses it.")
                return handle
            os.close(handle)
            raise
        os.close(handle)


def require_free_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise OutputError unless `folder` has room for `needed_bytes`."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise OutputError(
            f"No room for {purpose} in {folder}: {format_bytes(needed_bytes)} needed, "
            f"{format_bytes(free_bytes)} free. Free some space or {elsewhere(folder)}."
        )


def require_room(folder: Path, purpose: str) -> None:
    """Raise OutputError when `folder` takes no more bytes, or a file in it was cut at a limit.

    Unlike the free space that a file system states, this also sees quotas.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
        if max(sizes, default=0) >= limit or limit < _ROOM_BYTES:
            raise OutputError(
                f"This process may write files of {format_bytes(limit)} at most, which is too little for "
                f"{purpose} in {folder}: raise the limit (`ulimit -f`) and run again."
            )
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            if file.write(bytes(_ROOM_BYTES)) < _ROOM_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OutputError(
            f"No room for {purpose} in {folder} ({error.strerror}): free some space or {elsewhere(folder)}, "
            f"then run again."
        ) from error


def elsewhere(path: Path) -> str:
    """Return what to do about a place that cannot be used: the variable to set where only that moves it."""
    if resources.is_in_cache(path):
        return "set HARNESS_CACHE to another folder"
    return "choose another folder"


def format_bytes(count: float) -> str:
    """Return a byte count as a short decimal size, such as '7.5 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
