"""The pixels of a store's sample file, held against what they were when they were prepared."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness import files
from harness.errors import DataError

_SAMPLES = 64


def require_whole(path: Path, sha256: str) -> None:
    """Raise DataError unless the file has the hash `sha256`; it is read once as long as it stays as it is."""
    found = path.stat()
    if _sha256_once(path, found.st_ino, found.st_size, found.st_mtime_ns) != sha256:
        raise _changed(path)


def require_size(path: Path, needed_bytes: int) -> None:
    """Raise DataError unless the file has so many bytes."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            f"The sample file {path} cannot be opened ({error.strerror}): delete the store and prepare again."
        ) from error
    if size != needed_bytes:
        raise DataError(
            f"The sample file {path} has {size:,} bytes instead of {needed_bytes:,}: "
            f"delete the store and prepare again."
        )


def require_spread(path: Path, sha256: str, sample_bytes: int, count: int) -> None:
    """Raise DataError unless some samples of the file, evenly spread, have the hash `sha256`."""
    if spread_sha256(path, sample_bytes, count) != sha256:
        raise _changed(path)


@lru_cache(maxsize=64)
def _sha256_once(path: Path, *_: int) -> str:
    """Return the hash of a file, which is read once for each of the states that the numbers stand for."""
    return files.sha256_file(path)


def spread(count: int, at_most: int) -> list[int]:
    """Return up to so many indices below `count`, evenly spread from the first to the last."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, at_most))})


def spread_sha256(path: Path, sample_bytes: int, count: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for k in spread(count, _SAMPLES):
            file.seek(k * sample_bytes)
            digest.update(file.read(sample_bytes))
    return digest.hexdigest()


def _changed(path: Path) -> DataError:
    return DataError(
        f"The sample file {path} has other pixels than were prepared: delete the store and prepare again."
    )
