"""Find the tests below some folders, and make one table of them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backend.settings import SERVED
from harness.comparison import document
from harness.errors import HarnessError, OutputError
from harness.machine.price import Price
from harness.results import own, submitted
from harness.results.columns import COLUMNS, Row
from harness.run import result

if TYPE_CHECKING:
    import pandas


def frame(paths: Iterable[Path | str], price: Price | None = None) -> "pandas.DataFrame":
    """Return every test under the given folders, one a row.

    Runs, comparisons and submission trees are recognised; a test that is part of a comparison or a
    submission is told there and not once more. The columns are those of `harness.results.columns`, always
    all of them, in that order. What cannot be read is a row with its fault.

    Args:
        paths: folders.
        price: of the machine that runs and comparisons are of.

    Raises:
        OutputError: a folder does not exist, or there is no test in any of them.
        HarnessError: there is a price, and own tests are of several kinds of machine or there are none.
    """
    import pandas

    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.is_dir():
            raise OutputError(f"{root} is no folder: give folders that hold results.")
    # One test can be reached by several paths: a merged comparison names those of other folders.
    rows = {(os.path.realpath(row["path"]), row["mode"]): row for root in roots for row in _rows(root)}
    if not rows:
        raise OutputError(
            f"No test was found in {', '.join(map(str, roots))}: give a folder that `harness run`, `harness "
            f"compare` or `harness submit` has filled, or one of MLCommons' published results."
        )
    if price is not None:
        _add_price(list(rows.values()), price)
    found = pandas.DataFrame(list(rows.values()), columns=[column.name for column in COLUMNS])
    dates = pandas.to_datetime(found["date"], utc=True, format="ISO8601", errors="coerce")
    kinds = {column.name: column.kind for column in COLUMNS}
    return found.assign(date=dates).astype(kinds)


def _add_price(rows: Sequence[Row], price: Price) -> None:
    # What a server costs that may be elsewhere is not known.
    ours = [row for row in rows if row.get("source") in own.SOURCES and row["precision"] != SERVED]
    if not ours:
        raise HarnessError(
            "--price is that of the machine that computes, and all of these tests are of servers or were "
            "published by others, whose machines have prices of their own: leave it out."
        )
    machines = sorted({f"{row['system']} with {row['cpus']} CPUs" for row in ours})
    if len(machines) > 1:
        raise HarnessError(
            f"--price is that of one machine, and these tests are of {len(machines)} "
            f"({', '.join(machines)}): give the folders of one at a time."
        )
    for row in ours:
        row |= price.facts(row.get("samples_per_second"))


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the tests of a folder; below one that is recognised nothing is looked for."""
    try:
        if (folder / document.FILE_NAME).is_file():
            yield from own.of_comparison(folder)
            return
        path = folder / result.FILE_NAME
        # A search has a result.json, too, of another kind.
        if path.is_file() and "scenario" in (values := result.load(path)):
            yield from own.of_run(folder, result.structured(values, path))
            return
    except HarnessError as error:
        yield {"path": str(folder), "mode": "", "fault": str(error)}
        return
    whole = Path(os.path.abspath(folder))
    if whole.name == "results" and (whole.parent / "systems").is_dir():
        yield from submitted.of_submitter(folder)
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
            yield from _rows(inner)
