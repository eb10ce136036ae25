"""Names, sizes and folders, as the older official checker and git want them."""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.submission.verdict import Ledger


def check_names_and_sizes(ledger: Ledger, home: Path, root: Path, max_file_bytes: int) -> bool:
    """Check a submitter's folder and all that lies in it; paths are shown relative to `root`.

    Return whether it can be read on: what is neither file nor folder may have no end.
    """
    readable = True
    for path in (home, *_everything(home)):
        shown = path.relative_to(root).as_posix()
        ledger.hold(
            "git can hold the name",
            shown,
            " " not in path.name and not path.name.startswith("."),
            "has a blank, or a dot at the beginning of its name",
            "rename or remove it",
        )
        if path.is_symlink():
            check_link(ledger, path, root)
        elif not (path.is_dir() or path.is_file()):
            detail = "is neither file nor folder"
            readable = ledger.hold("all are files or folders", shown, False, detail, "remove it")
        elif path.is_dir():
            cache = path.name == "__pycache__"
            ledger.hold("no cache of Python's", shown, not cache, "is Python's cache", "remove it")
            ledger.hold(
                "the folder is not empty", shown, any(path.iterdir()), "is an empty folder", "remove it"
            )
        else:
            size = path.stat().st_size
            ledger.hold(
                "the file is not too large",
                shown,
                size <= max_file_bytes,
                f"has {size:,} bytes where {max_file_bytes:,} are allowed",
                "put it elsewhere and name its address and digest",
            )
    return readable


def check_link(ledger: Ledger, path: Path, root: Path) -> None:
    """Note a link: the older checker holds relative ones for broken, and MLCommons' repository takes none."""
    what = "a link" if path.exists() else "a broken link"
    ledger.hold(
        "nothing is a link",
        path.relative_to(root).as_posix(),
        not path.is_symlink(),
        f"is {what}, and a submission holds files",
        "put the file in its place",
    )


def _everything(folder: Path) -> Iterator[Path]:
    for parent, names, found in os.walk(folder):
        names.sort()
        for name in sorted([*names, *found]):
            yield Path(parent, name)
