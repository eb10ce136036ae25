"""A file of samples in the making: filled by threads in any order, resumable after a kill at any moment."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from harness.dataset.image_file import ImageError, Pixels

_CHUNK_SAMPLES = 32
_SYNC_SECONDS = 5.0
# How far the checksum may catch up between two finished chunks, so that the bar keeps moving after a resume.
_HASHED_AT_ONCE = 8


class SampleFile:
    """`path` while it is made: data under a partial name beside it, and a journal of the chunks on disk.

    A chunk is journalled after its bytes are synced, with a digest of `stamp` and its samples' names, so a
    later call takes over exactly what it would write again itself.
    """

    def __init__(self, path: Path, sample_bytes: int, stamp: str) -> None:
        self.sha256 = ""
        """Hex digest of the whole file, once `fill` has left no fault."""
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._sample_bytes = sample_bytes
        self._stamp = stamp
        journal = path.with_name(path.name + ".journal")
        if path.exists() and journal.exists():
            path.rename(self._partial)
        if not self._partial.exists():
            journal.unlink(missing_ok=True)
        self._journal = _Journal(journal)
        self._file = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o644)

    def __enter__(self) -> "SampleFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        if kind is not None and not self._journal.chunks:
            self._partial.unlink(missing_ok=True)
            self._journal.remove()

    @property
    def allocated_bytes(self) -> int:
        """Bytes that an earlier, interrupted call has already taken on the disk."""
        return os.fstat(self._file).st_blocks * 512

    @property
    def unreadable(self) -> frozenset[str]:
        """Names that an earlier call has given up."""
        return frozenset(self._journal.unreadable)

    @property
    def suspects(self) -> frozenset[str]:
        """Names that `suspect` was told, in this call or an earlier one."""
        return frozenset(self._journal.suspects)

    def suspect(self, name: str) -> None:
        """Remember, for the next call too, that a decoder may have said something about an image."""
        self._journal.append([{"suspect": name}])

    def give_up(self, names: Iterable[str]) -> None:
        """Remember that `names` cannot be read, for the next call."""
        self._journal.append([{"unreadable": name} for name in names])

    def fill(
        self,
        names: Sequence[str],
        produce: Callable[[str], Pixels],
        workers: int,
        advance: Callable[[int, int], None],
        stamps: Sequence[tuple[int, int]] = (),
    ) -> dict[int, str]:
        """Write the pixels of names[k] as sample k, for every k that is not on disk yet.

        What is on disk was made of the same files: names[k] with stamps[k], where there are stamps.

        `advance(samples, computed)` is told of samples done, and how many of them this call computed.
        Returns the faults, sample index to reason: those samples are not in the file.
        """
        starts = range(0, len(names), _CHUNK_SAMPLES)
        chunks = [range(start, min(start + _CHUNK_SAMPLES, len(names))) for start in starts]
        digests = [
            self._digest(names[chunk.start : chunk.stop], stamps[chunk.start : chunk.stop])
            for chunk in chunks
        ]
        size = os.fstat(self._file).st_size
        finished = {
            k
            for k, chunk in enumerate(chunks)
            if self._journal.chunks.get(k) == digests[k] and chunk.stop * self._sample_bytes <= size
        }
        # Another list's, which are written over now: stopped half-way, this call must not leave them to that
        # list as its own.
        stale = [k for k in range(len(chunks)) if self._journal.chunks.get(k, "") not in ("", digests[k])]
        if stale:
            self._journal.append([{"chunk": k, "digest": ""} for k in stale])
        advance(sum(len(chunks[k]) for k in finished), 0)
        checksum = _Checksum(self._file, [len(chunk) * self._sample_bytes for chunk in chunks])
        faults: dict[int, str] = {}
        unsynced: list[int] = []
        stop = threading.Event()

        def sync() -> None:
            if unsynced:
                os.fdatasync(self._file)
                self._journal.append([{"chunk": k, "digest": digests[k]} for k in unsynced])
                unsynced.clear()

        with ThreadPoolExecutor(workers) as pool:
            futures = {
                pool.submit(self._fill_chunk, names, chunk, produce, stop): k
                for k, chunk in enumerate(chunks)
                if k not in finished
            }
            synced_at = time.monotonic()
            try:
                for future in as_completed(futures):
                    k = futures[future]
                    if found := future.result():
                        faults |= found
                    else:
                        finished.add(k)
                        unsynced.append(k)
                    advance(len(chunks[k]), len(chunks[k]))
                    checksum.follow(finished, _HASHED_AT_ONCE)
                    if time.monotonic() - synced_at > _SYNC_SECONDS:
                        sync()
                        synced_at = time.monotonic()
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                sync()
        if not faults:
            os.ftruncate(self._file, len(names) * self._sample_bytes)
            checksum.follow(finished, len(chunks))
            self.sha256 = checksum.hexdigest()
        return faults

    def publish(self) -> int:
        """Give the filled file its name, keeping the journal until `forget`; return its size in bytes."""
        os.fsync(self._file)
        self._partial.replace(self._path)
        return os.fstat(self._file).st_size

    def forget(self) -> None:
        """Remove the journal: a manifest vouches for the file from now on."""
        self._journal.remove()

    def _fill_chunk(
        self, names: Sequence[str], chunk: range, produce: Callable[[str], Pixels], stop: threading.Event
    ) -> dict[int, str]:
        faults: dict[int, str] = {}
        for k in chunk:
            if stop.is_set():
                break
            try:
                pixels = produce(names[k])
            except ImageError as error:
                faults[k] = error.fault
            else:
                _write_at(self._file, pixels, k * self._sample_bytes)
        return faults

    def _digest(self, names: Sequence[str], stamps: Sequence[tuple[int, int]]) -> str:
        return hashlib.sha256(json.dumps([self._stamp, *names, *stamps]).encode()).hexdigest()


class _Journal:
    """What is known to be on disk: one JSON object per line, the last of which a kill may have torn."""

    def __init__(self, path: Path) -> None:
        self.chunks: dict[int, str] = {}
        self.unreadable: set[str] = set()
        self.suspects: set[str] = set()
        self._path = path
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    self._take(json.loads(line))

    def append(self, entries: Sequence[dict[str, int | str]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            # The leading line end closes a line torn by a kill.
            file.write("\n" + "".join(json.dumps(entry) + "\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())
        for entry in entries:
            self._take(entry)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _take(self, entry: dict[str, int | str]) -> None:
        if "unreadable" in entry:
            self.unreadable.add(str(entry["unreadable"]))
        elif "suspect" in entry:
            self.suspects.add(str(entry["suspect"]))
        else:
            self.chunks[int(entry["chunk"])] = str(entry["digest"])


class _Checksum:
    """The SHA-256 of a file whose chunks become ready in any order."""

    def __init__(self, file: int, chunk_bytes: Sequence[int]) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._next = 0
        self._offset = 0
        self._sha256 = hashlib.sha256()

    def follow(self, ready: set[int], at_most: int) -> None:
        """Take in the next chunks for as long as they are ready."""
        for _ in range(at_most):
            if self._next not in ready:
                return
            end = self._offset + self._chunk_bytes[self._next]
            while self._offset < end:
                block = os.pread(self._file, min(end - self._offset, 1 << 20), self._offset)
                if not block:
                    raise OSError("The file is shorter than what was written to it")
                self._sha256.update(block)
                self._offset += len(block)
            self._next += 1

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _write_at(file: int, pixels: Pixels, offset: int) -> None:
    data = np.ascontiguousarray(pixels).reshape(-1).data
    while data:
        written = os.pwrite(file, data, offset)
        data = data[written:]
        offset += written
