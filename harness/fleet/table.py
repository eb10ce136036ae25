"""What a fleet shows: its machines, and the tables of what came home from them."""

from collections.abc import Sequence
from pathlib import Path

from harness.comparison import costs, document, merge, output
from harness.errors import OutputError
from harness.files import format_bytes
from harness.fleet.home import RESULTS, TASK
from harness.fleet.member import Member
from harness.fleet.session import Row
from harness.machine.price import Prices
from harness.report.table import Table, aligned

TABLE = "table"
"""Folder of the table over all machines."""


def machines(members: Sequence[Member]) -> str:
    """Return the machines of a fleet as text."""
    rows = tuple(
        (
            one.name,
            one.hostname,
            str(one.cores or "unknown"),
            "unknown" if one.memory_bytes is None else format_bytes(one.memory_bytes),
            f"{one.versions.get('harness') or 'none'}, {'sent' if one.is_sent else 'installed'}",
            one.versions.get("openvino") or "none",
        )
        for one in members
    )
    header = ("machine", "host", "cores", "memory", "harness", "OpenVINO")
    return aligned(Table("Machines, one a host", header, rows))


def rows(found: Sequence[Row], out: Path) -> str:
    """Return what became of each machine as text."""
    lines = tuple(
        (
            row.member.name,
            _state(row),
            row.folder.relative_to(out).as_posix() if row.task else "",
        )
        for row in found
    )
    return aligned(Table("Machines of this fleet", ("machine", "state", "folder"), lines))


def _state(row: Row) -> str:
    if row.task is None:
        return f"missing: {row.missing}"
    if row.task.exit_code == 0:
        return "measured"
    return "measured: a test is invalid or misses its target; to measure anew, remove the folder"


def compared(roots: Sequence[Path], out: Path, prices: Prices | None = None) -> str | None:
    """Write the table of all comparisons that came home below some folders, and return it as text.

    Args:
        roots: folders that `fleet run` filled.
        out: folder for the table.
        prices: of the machines; None: costs are left out.

    Returns:
        None where no machine compared anything.

    Raises:
        OutputError: the comparisons are of different models or data, or cannot be read.
    """
    folders = [path.parent / RESULTS for root in roots for path in sorted(root.rglob(TASK))]
    folders = [folder for folder in folders if (folder / document.FILE_NAME).is_file()]
    if not folders:
        return None
    comparisons = merge.related(folders, out)
    bill = None if prices is None else costs.bill(comparisons, prices)
    output.write(comparisons, out, bill)
    return output.text(comparisons, bill)


def require_roots(roots: Sequence[Path]) -> None:
    """Raise OutputError where a folder is none that `fleet run` filled."""
    for root in roots:
        if not root.is_dir() or next(root.rglob(TASK), None) is None:
            raise OutputError(f"{root} holds nothing of a fleet: give a folder that `fleet run` has filled.")
