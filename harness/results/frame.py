"""Find the tests below some folders, and make one table of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import files
from harness.comparison import document
from harness.errors import HarnessError, OutputError
from harness.results import own, submitted
from harness.results.columns import COLUMNS
from harness.run import result

if TYPE_CHECKING:
    import pandas


def frame(paths: Iterable[Path | str]) -> "pandas.DataFrame":
    """Return every test under the given folders, one a row.

    Runs, comparisons and submission trees are recognised; a test that is part of a comparison or a
    submission is told there and not once more. The columns are those of `harness.results.columns`, always
    all of them, in that order. What cannot be read is a row with its fault.

    Raises:
        OutputError: a folder does not exist, or there is no test in any of them.
    """
    import pandas

    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.is_dir():
            raise OutputError(f"{root} is no folder: give folders that hold results.")
    rows = {str(row["path"]) + row["mode"]: row for root in roots for row in _rows(root)}
    if not rows:
        raise OutputError(
            f"No test was found in {', '.join(map(str, roots))}: give a folder that `harness run`, `harness "
            f"compare` or `harness submit` has filled, or one of MLCommons' published results."
        )
    found = pandas.DataFrame(list(rows.values()), columns=[column.name for column in COLUMNS])
    dates = pandas.to_datetime(found["date"], utc=True, format="ISO8601", errors="coerce")
    kinds = {column.name: column.kind for column in COLUMNS}
    return found.assign(date=dates).astype(kinds)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the tests of a folder; below one that is recognised nothing is looked for."""
    try:
        if (folder / document.FILE_NAME).is_file():
            yield from own.of_comparison(folder)
            return
        if (folder / result.FILE_NAME).is_file() and _is_run(folder / result.FILE_NAME):
            yield from own.of_run(folder)
            return
    except HarnessError as error:
        yield {"path": str(folder), "mode": "", "fault": str(error)}
        return
    if folder.name == "results" and (folder.parent / "systems").is_dir():
        yield from submitted.of_submitter(folder)
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
            yield from _rows(inner)


def _is_run(path: Path) -> bool:
    """Return whether a result.json is a run's, and not a search's; a damaged one may be."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return True
    return isinstance(found, dict) and "scenario" in found
