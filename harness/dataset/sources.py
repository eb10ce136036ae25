"""What the samples of a store were made of: sources.txt, one line for each image file."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.dataset.manifest import Manifest, sync
from harness.errors import DataError

SOURCES = "sources.txt"


@dataclass(frozen=True)
class Source:
    """One image file, as it was when it became a sample."""

    sha256: str
    bytes: int
    modified_ns: int


def stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of change in ns of the file, which tell it from another without a read.

    Both are -1 where it cannot be told.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


def read_sources(folder: Path, manifest: Manifest) -> list[Source] | None:
    """Return the source of each sample; None for a store of version 0.1.0, which does not know them.

    Raises:
        DataError: the file is missing or not the one that the manifest describes.
    """
    if not manifest.sources_sha256:
        return None
    file = folder / SOURCES
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        sound = files.sha256_file(file) == manifest.sources_sha256 and len(lines) == manifest.count
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): delete the store and prepare again.") from error
    if not sound:
        raise DataError(f"{file} was changed after the store was made: delete the store and prepare again.")
    words = (line.split() for line in lines)
    return [Source(sha256, int(size), int(modified)) for sha256, size, modified in words]


def write_sources(folder: Path, sources: Sequence[Source]) -> str:
    """Write sources.txt, where line k is of sample k, and return its SHA-256."""
    file = folder / SOURCES
    lines = [f"{source.sha256} {source.bytes} {source.modified_ns}\n" for source in sources]
    files.write_text(file, "".join(lines))
    sync(file)
    return files.sha256_file(file)


def changed(root: Path, names: Sequence[str], sources: Sequence[Source]) -> Iterator[str]:
    """Yield the names whose files below `root` are others than they were; only what may be is read.

    Files that are no longer there are none: the samples that were made of them stay right.

    Raises:
        DataError: a file that may be another cannot be read.
    """
    for name, source in zip(names, sources, strict=True):
        path = root / name
        found = stamp(path)
        if found in ((source.bytes, source.modified_ns), (-1, -1)):
            continue
        try:
            same = found[0] == source.bytes and path.is_file() and _sha256(path) == source.sha256
        except OSError as error:
            raise DataError(f"Cannot read the image {path} ({error.strerror}): restore it.") from error
        if not same:
            yield name


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
