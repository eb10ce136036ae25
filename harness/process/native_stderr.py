"""What C libraries print on stderr, told apart by the piece of work that made them print it."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO


class Overheard:
    """The native stderr while `overhear` lasts: it goes to a file, not to the screen."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._explained: set[str] = set()

    def size(self) -> int:
        """Return the number of bytes printed so far; when it grows, all who are at work are suspects."""
        return os.fstat(self._file).st_size

    def sort_out(self, suspects: Iterable[str], redo: Callable[[str], object]) -> dict[str, str]:
        """Do the suspects' work again, each alone; return what is printed for it, by name, in one line.

        No other thread may work meanwhile. What `redo` raises is passed on.
        """
        found = {}
        for name in sorted(suspects):
            before = self.size()
            redo(name)
            if lines := self._lines(before):
                self._explained.update(lines)
                found[name] = "; ".join(dict.fromkeys(lines))
        return found

    def unexplained(self) -> Iterable[str]:
        """Return the lines that `sort_out` gave no name."""
        return [line for line in self._lines(0) if line not in self._explained]

    def _lines(self, start: int) -> list[str]:
        text = os.pread(self._file, self.size() - start, start).decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]


@contextmanager
def overhear() -> Iterator[Overheard]:
    """Keep what native code prints on stderr; Python's own stderr, progress bars too, stays on the screen.

    At the end the lines that `Overheard.sort_out` gave no name are printed after all.
    """
    python = sys.stderr
    if python is not None:
        python.flush()
    screen = _copy_of_2()
    encoding = getattr(python, "encoding", None)
    with (
        tempfile.TemporaryFile() as file,
        os.fdopen(screen, "w", buffering=1, encoding=encoding, errors="backslashreplace") as shown,
    ):
        os.dup2(file.fileno(), 2)
        if _writes_to_2(python):
            sys.stderr = shown
        heard = Overheard(file.fileno())
        try:
            yield heard
        finally:
            shown.flush()
            os.dup2(screen, 2)
            if sys.stderr is shown:
                sys.stderr = python
            for line in heard.unexplained():
                os.write(2, f"{line}\n".encode())


def _copy_of_2() -> int:
    try:
        return os.dup(2)
    except OSError:  # closed by who started us
        return os.open(os.devnull, os.O_WRONLY)


def _writes_to_2(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (OSError, ValueError):
        return False
