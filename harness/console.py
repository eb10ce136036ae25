"""What a person sees while the harness works: all of it on stderr, so that stdout stays for results."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def stderr() -> Console:
    """Return a console on the present stderr."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print one line on stderr, verbatim."""
    stderr().print(text, markup=False)


@contextmanager
def progress(description: str, total: float | None, *, counts: bool = True) -> Iterator["Bar"]:
    """Show a bar with rate and remaining time on stderr; without a terminal only its end is printed."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn() if counts else TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    ]
    with Progress(*columns, console=stderr(), transient=False) as shown:
        task = shown.add_task(description, total=total, rate="")
        yield Bar(shown, task)


class Bar:
    """One running progress bar."""

    def __init__(self, shown: Progress, task: int) -> None:
        self._shown = shown
        self._task = shown.tasks[task].id

    def advance(self, by: float = 1) -> None:
        self._shown.advance(self._task, by)

    def update(
        self,
        completed: float | None = None,
        *,
        total: float | None = None,
        description: str | None = None,
        rate: str | None = None,
    ) -> None:
        self._shown.update(self._task, completed=completed, total=total, description=description)
        if rate is not None:
            self._shown.update(self._task, rate=rate)
