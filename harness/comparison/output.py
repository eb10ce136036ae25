"""The files of a comparison: compare.json, table.md, table.csv and report.html."""

from pathlib import Path
from typing import Any

from harness import files
from harness.comparison import costs, document, findings, page, table
from harness.comparison.costs import Bill
from harness.comparison.document import Comparison

MARKDOWN, CSV, REPORT = "table.md", "table.csv", "report.html"
FILES = (MARKDOWN, CSV, REPORT, document.FILE_NAME)


def write(comparisons: list[Comparison], out: Path, bill: Bill | None = None) -> None:
    """Write all files into `out`, compare.json last; each is replaced whole.

    Raises:
        OutputError: the folder cannot be written.
    """
    files.make_writable_folder(out)
    tables = table.markdown(comparisons) + ("" if bill is None else f"\n{costs.markdown(bill)}")
    files.write_text(out / MARKDOWN, tables)
    files.write_text(out / CSV, table.comma_separated(comparisons))
    files.write_text(out / REPORT, page.render(comparisons, bill))
    files.write_json(out / document.FILE_NAME, as_json(comparisons, bill))


def text(comparisons: list[Comparison], bill: Bill | None = None) -> str:
    """Return all there is to say at a terminal."""
    return "\n\n".join([table.text(comparisons), *([] if bill is None else [costs.text(bill)])])


def as_json(comparisons: list[Comparison], bill: Bill | None = None) -> dict[str, Any]:
    """Return what compare.json holds."""
    found = document.to_dict(comparisons, [findings.derived(comparison) for comparison in comparisons])
    return found if bill is None else found | {"costs": bill.to_dict()}


def is_good(comparisons: list[Comparison]) -> bool:
    """Return whether every test was valid and every variant reached its accuracy target."""
    return not any(comparison.faults for comparison in comparisons)
