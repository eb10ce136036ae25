"""The table of results as text, CSV, Markdown, JSON and Parquet."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness import files
from harness.errors import HarnessError, OutputError
from harness.report.table import Table, aligned, as_markdown

if TYPE_CHECKING:
    import pandas

_SHOWN = {
    "system": "system",
    "model": "model",
    "precision": "precision",
    "scenario": "scenario",
    "mode": "mode",
    "round": "round",
    "valid": "valid",
    "p90_ms": "p90 ms",
    "p99_ms": "p99 ms",
    "samples_per_second": "samples/s",
    "samples_per_second_per_core": "samples/s per core",
    "accuracy": "accuracy",
    "price_per_million_samples": "price of a million",
    "currency": "currency",
}


def show(found: "pandas.DataFrame") -> str:
    """Return what a person looks for, aligned; a column without any value is left out."""
    faults = [f"  {fault}" for fault in found["fault"].dropna()]
    table = _table(found)
    return "\n".join([aligned(table) if table.rows else table.title, *faults])


def _table(found: "pandas.DataFrame") -> Table:
    sound = found[found["fault"].isna()]
    names = [name for name in _SHOWN if sound[name].notna().any()]
    rows = tuple(tuple(map(_text, row)) for row in sound[names].itertuples(index=False))
    count = len(sound)
    title = f"{count} test{'' if count == 1 else 's'}"
    return Table(title, tuple(_SHOWN[name] for name in names), rows)


def _text(value: Any) -> str:
    import pandas

    if pandas.isna(value):
        return ""
    if pandas.api.types.is_bool(value):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(found: "pandas.DataFrame") -> str:
    table = _table(found)
    return as_markdown(table) if table.rows else f"**{table.title}**"


def _json(found: "pandas.DataFrame") -> str:
    return str(found.to_json(orient="records", indent=2, date_format="iso", force_ascii=False))


FORMATS: Mapping[str, Callable[["pandas.DataFrame"], str]] = MappingProxyType(
    {
        "csv": lambda found: str(found.to_csv(index=False)).removesuffix("\n"),
        "markdown": _markdown,
        "json": _json,
    }
)


def write(found: "pandas.DataFrame", path: Path) -> None:
    """Write the table as Parquet to a new file.

    Raises:
        HarnessError: pyarrow is not installed.
        OutputError: the file is there already.
    """
    if path.exists():
        raise OutputError(f"{path} is there already: name a new file.")
    try:
        import pyarrow  # noqa: F401 - pandas writes Parquet by it
    except ImportError as error:
        raise HarnessError(
            "Parquet needs pyarrow, which is not installed: pip install 'inference-harness[parquet]'."
        ) from error
    files.make_writable_folder(path.absolute().parent)
    with files.replacing(path) as staged:
        found.to_parquet(staged, index=False)
