"""The files of a comparison: compare.json, table.md, table.csv and report.html."""

from pathlib import Path
from typing import Any

from harness import files
from harness.comparison import document, findings, page, table
from harness.comparison.document import Comparison

MARKDOWN, CSV, REPORT = "table.md", "table.csv", "report.html"
FILES = (MARKDOWN, CSV, REPORT, document.FILE_NAME)


def write(comparisons: list[Comparison], out: Path) -> None:
    """Write all files into `out`, compare.json last; each is replaced whole.

    Raises:
        OutputError: the folder cannot be written.
    """
    files.make_writable_folder(out)
    files.write_text(out / MARKDOWN, table.markdown(comparisons))
    files.write_text(out / CSV, table.comma_separated(comparisons))
    files.write_text(out / REPORT, page.render(comparisons))
    files.write_json(out / document.FILE_NAME, as_json(comparisons))


def as_json(comparisons: list[Comparison]) -> dict[str, Any]:
    """Return what compare.json holds."""
    return document.to_dict(comparisons, [findings.derived(comparison) for comparison in comparisons])


def is_good(comparisons: list[Comparison]) -> bool:
    """Return whether every test was valid and every variant reached its accuracy target."""
    return not any(comparison.faults for comparison in comparisons)
