"""What an accuracy log holds for each sample, and what is wrong with it in any task."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from harness.mlperf import log

_Answer = TypeVar("_Answer")
_SHOWN = 5


class NoAnswer(ValueError):
    """Bytes that are no answer of a task."""

    def __init__(self, one: str, many: str) -> None:
        super().__init__(one)
        self.words = one, many
        """What such an entry is, as the end of a sentence: for one of them, and for several."""


def first_entries(log_path: Path) -> dict[int, bytes]:
    """Return the bytes for each index of mlperf_log_accuracy.json; of several entries the first counts.

    MLPerf's scripts have it so (accuracy-imagenet.py, accuracy-coco.py).

    Raises:
        RunFailed: the log is unreadable.
    """
    found: dict[int, bytes] = {}
    for _, index, data in log.read_accuracy(log_path):
        found.setdefault(index, data)
    return found


def answers(log_path: Path, count: int, read: Callable[[int, bytes], _Answer]) -> list[_Answer]:
    """Return the answer to each of `count` samples, in the order of the QSL.

    Args:
        log_path: mlperf_log_accuracy.json.
        count: of samples.
        read: makes the answer to a sample of its bytes, or raises NoAnswer.

    Raises:
        RunFailed: the log is unreadable or empty, lacks samples, or has entries that are not answers.
    """
    first = first_entries(log_path)
    if not first:
        raise log.LogFault(f"The accuracy log {log_path} has no entry")
    found: dict[int, _Answer] = {}
    broken: dict[tuple[str, str], list[int]] = {}
    for index, data in first.items():
        try:
            found[index] = read(index, data)
        except NoAnswer as fault:
            broken.setdefault(fault.words, []).append(index)
    unknown = [index for index in first if not 0 <= index < count]
    missing = [index for index in range(count) if index not in first]
    faults = [
        _count(missing, "sample without an answer", "samples without an answer"),
        _count(unknown, "answer to an unknown sample", "answers to unknown samples"),
        *(_count(indices, *words) for words, indices in broken.items()),
    ]
    if any(faults):
        raise log.LogFault(
            f"The accuracy log {log_path} of {count} samples has {'; '.join(filter(None, faults))}"
        )
    return [found[index] for index in range(count)]


def some_answers(
    log_path: Path, indices: Iterable[int], read: Callable[[int, bytes], _Answer]
) -> dict[int, _Answer]:
    """Return the answers that a log holds to some samples.

    Raises:
        RunFailed: the log is unreadable, or one of these entries is no answer.
    """
    first = first_entries(log_path)
    found = {}
    for index in sorted(set(indices) & first.keys()):
        try:
            found[index] = read(index, first[index])
        except NoAnswer as fault:
            raise log.LogFault(f"The accuracy log {log_path} has {_count([index], *fault.words)}") from fault
    return found


def _count(indices: Iterable[int], one: str, many: str) -> str:
    found = sorted(indices)
    if not found:
        return ""
    first = ", ".join(map(str, found[:_SHOWN]))
    more = ", ..." if len(found) > _SHOWN else ""
    return f"{len(found)} {one if len(found) == 1 else many} (index {first}{more})"
