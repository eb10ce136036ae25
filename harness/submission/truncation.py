"""Accuracy logs cut to their beginning and end, with the hash of the whole."""

from pathlib import Path

from harness import files
from harness.mlperf import log

# MLPerf's truncate_accuracy_log.py keeps so much of either end, and puts this in between.
VIEWABLE_BYTES = 4096
ELLIPSIS = b"\n\n...\n\n"


def copy_truncated(source: Path, target: Path) -> str:
    """Copy accuracy.txt and the accuracy log of the folder `source` to `target`; return the log's SHA-256.

    The log is cut as MLPerf's truncate_accuracy_log.py cuts it, and its hash appended to accuracy.txt; the
    whole log stays where it is.
    """
    digest = files.sha256_file(source / log.ACCURACY_LOG)
    (target / log.ACCURACY_LOG).write_bytes(truncate((source / log.ACCURACY_LOG).read_bytes()))
    text = (source / log.ACCURACY_TEXT).read_text(encoding="utf-8")
    (target / log.ACCURACY_TEXT).write_text(f"{text}\nhash={digest}\n", encoding="utf-8")
    return digest


def truncate(data: bytes) -> bytes:
    """Return the beginning and the end of a log; one that is shorter than either stays whole."""
    if len(data) < VIEWABLE_BYTES:
        return data
    return data[:VIEWABLE_BYTES] + ELLIPSIS + data[-VIEWABLE_BYTES:]
