"""Several machines' comparisons in one table."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.comparison import output
from harness.comparison.document import FILE_NAME, Comparison, read
from harness.errors import OutputError
from harness.files import foreign


def merge(folders: Sequence[Path], out: Path) -> list[Comparison]:
    """Return the comparisons in `folders`, with paths relative to `out`; a row per machine is theirs.

    Raises:
        OutputError: fewer than two folders, one given twice (inside an earlier merger, too), no or a damaged
            compare.json, or comparisons of different models, data or rules.
    """
    if len(folders) < 2:
        raise OutputError("Merging needs at least two folders: give those that `harness compare` has filled.")
    return related(folders, out)


def related(folders: Sequence[Path], out: Path) -> list[Comparison]:
    """Return the same, of one folder, too.

    Raises:
        OutputError: as `merge`, but for the number of folders.
    """
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise OutputError(f"The folder {folder} is given twice: give each once.")
        if place == out.resolve():
            raise OutputError(f"--out {out} is one of the folders to merge: choose another.")
    if out.exists() and not _may_replace(out):
        raise foreign(out)
    found: list[Comparison] = []
    taken: set[Path] = set()
    for folder in folders:
        for comparison in read(folder / FILE_NAME):
            inner = Path(folder, comparison.source)
            place = inner.resolve()
            if place in taken:
                raise OutputError(f"{place} is given twice, once inside another: give each once.")
            taken.add(place)
            found.append(replace(comparison, source=Path(os.path.relpath(inner, out)).as_posix()))
    for comparison in found[1:]:
        _require_same(found[0], comparison)
    return found


def _may_replace(out: Path) -> bool:
    """Return whether a folder is empty or holds nothing but an earlier merger."""
    return out.is_dir() and {path.name for path in out.iterdir()} <= set(output.FILES)


def _require_same(first: Comparison, other: Comparison) -> None:
    """Refuse what cannot stand in one table."""
    for what, one, two in (
        ("variants", _names(first), _names(other)),
        ("models", _models(first), _models(other)),
        ("data", first.data, other.data),
        ("rules", first.settings.mlperf, other.settings.mlperf),
        ("baseline", first.baseline, other.baseline),
    ):
        if one != two:
            shown = f" ({_shown(one)} and {_shown(two)})" if what in ("variants", "rules", "baseline") else ""
            raise OutputError(
                f"{first.source} and {other.source} hold comparisons of different {what}{shown}: "
                f"merge comparisons of the same models on the same data."
            )


def _names(comparison: Comparison) -> list[str]:
    return [variant.name for variant in comparison.variants]


def _models(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what tells models apart; INT8 twins of one model, each made on its machine, are the same."""
    return [(variant.origin, variant.precision) for variant in comparison.variants]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
