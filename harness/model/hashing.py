"""Hashes of model files."""

from pathlib import Path

from harness.errors import ModelError
from harness.files import hex_digest


def hash_of(kind: str, *paths: Path) -> str:
    """Return the hex digest of files, over the bytes of all, by hashlib's algorithm `kind`.

    Raises:
        ModelError: one of them cannot be read.
    """
    try:
        return hex_digest(kind, *paths)
    except OSError as error:
        raise ModelError(
            f"Cannot read {error.filename} ({error.strerror}): check its permissions."
        ) from error
