"""accuracy.txt and the truncated accuracy log beside it."""

import re
from pathlib import Path

from harness.mlperf.log import ACCURACY_TEXT
from harness.mlperf.rules import Round
from harness.submission.verdict import Ledger
from harness.task import Score, Task

_SUBMIT_AGAIN = "make the tree again with `harness submit`"
_HASH = re.compile(r"^hash=([0-9a-f]{64})$", re.MULTILINE)


def check(ledger: Ledger, folder: Path, shown: str, task: Task, again: str, *, hashed: bool) -> Score | None:
    """Check accuracy.txt; return the score that it states. `again` says how its test is repeated."""
    path = f"{shown}/{ACCURACY_TEXT}"
    try:
        text = (folder / ACCURACY_TEXT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        ledger.hold("accuracy.txt is there", path, False, f"cannot be read ({error})", again)
        return None
    hashes = _HASH.findall(text)
    ledger.hold(
        "accuracy.txt has the hash of the full accuracy log",
        path,
        len(hashes) == hashed,
        f"has {len(hashes)} lines 'hash=...' where {int(hashed)} belongs",
        _SUBMIT_AGAIN if hashed else "give the results as `harness run` wrote them",
    )
    lines = task.score_lines(text)
    if not ledger.hold(
        "accuracy.txt states one score",
        path,
        len(lines) == 1,
        f"states several scores ({', '.join(lines[:3])})" if lines else f"has no line '{task.LINE}'",
        again,
    ):
        return None
    found = task.read_line(lines[0])
    if not ledger.hold(
        "accuracy.txt is of MLPerf's script",
        path,
        found is not None,
        f"has the line '{lines[0]}', where '{task.LINE}' belongs",
        again,
    ):
        return None
    assert found is not None
    ledger.hold(
        "accuracy.txt agrees with itself",
        path,
        not found.fault,
        found.fault,
        again,
    )
    return None if found.fault else found.score


def percentage_in(path: Path, task: Task) -> float | None:
    """Return the accuracy in per cent that a file with MLPerf's line states, or None."""
    try:
        lines = task.score_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    found = task.read_line(lines[0]) if len(lines) == 1 else None
    return None if found is None else found.percentage


def check_truncated(ledger: Ledger, log_path: Path, path: str, made_for: Round, again: str) -> None:
    """Check that an accuracy log was truncated as MLPerf's truncate_accuracy_log.py does it."""
    try:
        data = log_path.read_bytes()
    except OSError as error:
        ledger.hold("the accuracy log is there", path, False, f"cannot be read ({error.strerror})", again)
        return
    ledger.hold(
        "the accuracy log is truncated",
        path,
        len(data) <= made_for.max_accuracy_log_bytes,
        f"has {len(data):,} bytes where {made_for.max_accuracy_log_bytes:,} are allowed",
        f"{_SUBMIT_AGAIN}, which truncates it",
    )
    ledger.hold(
        "the accuracy log is LoadGen's",
        path,
        data.startswith(b"[") and data.rstrip().endswith(b"]") and b'"qsl_idx"' in data,
        "is not the beginning and end of an accuracy log",
        _SUBMIT_AGAIN,
    )
