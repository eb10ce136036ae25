"""The faults a user can cause; the command line prints them as one sentence and exits.

HarnessError            exit 2: the request cannot be carried out as it stands
├── CardError           a model card is broken or contradicts its model
├── ModelError          a model file is missing, damaged or of the wrong shape
├── DataError           images, labels or a store are missing, damaged or mismatched
├── ConfError           user.conf or mlperf.conf says something LoadGen would misread
├── OutputError         a target cannot be written, or would be overwritten
└── RunFailed           exit 1: a test was started and broke (crash, hang, failed inference)
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class HarnessError(Exception):
    """A fault whose message says what is wrong, where, and what to do."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is on its way from a child process: a kind that makes its message itself would make it twice.
        return _as_it_was, (type(self), self.args), self.__dict__


def _as_it_was(kind: type[HarnessError], args: tuple[Any, ...]) -> HarnessError:
    error = kind.__new__(kind)
    error.args = args
    return error


class CardError(HarnessError):
    pass


class ModelError(HarnessError):
    pass


class DataError(HarnessError):
    pass


class ConfError(HarnessError):
    pass


class OutputError(HarnessError):
    pass


class RunFailed(HarnessError):
    exit_code = 1


def lines_of(error: BaseException) -> list[str]:
    """Return what an error says, line by line; its kind where it says nothing."""
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known word nearest to `word`, or the list of known words."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(names)}."
