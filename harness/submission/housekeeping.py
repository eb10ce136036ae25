"""Names, sizes and folders, as the older official checker and git want them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from harness.submission.verdict import Ledger


def check_names_and_sizes(ledger: Ledger, home: Path, root: Path, max_file_bytes: int) -> bool:
    """Check a submitter's folder and all that lies in it; paths are shown relative to `root`.

    Return whether it can be read on: what is neither file nor folder may have no end.
    """
    readable, prefix = True, os.path.join(root, "")
    for path in (os.fspath(home), *_everything(home)):
        shown, name = path.removeprefix(prefix), os.path.basename(path)
        found = os.lstat(path)
        ledger.hold(
            "git can hold the name",
            shown,
            " " not in name and not name.startswith("."),
            "has a blank, or a dot at the beginning of its name",
            "rename or remove it",
        )
        if stat.S_ISLNK(found.st_mode):
            check_link(ledger, Path(path), root)
        elif stat.S_ISDIR(found.st_mode):
            cache = name == "__pycache__"
            ledger.hold("no cache of Python's", shown, not cache, "is Python's cache", "remove it")
            ledger.hold(
                "the folder is not empty", shown, bool(os.listdir(path)), "is an empty folder", "remove it"
            )
        elif stat.S_ISREG(found.st_mode):
            ledger.hold(
                "the file is not too large",
                shown,
                found.st_size <= max_file_bytes,
                f"has {found.st_size:,} bytes where {max_file_bytes:,} are allowed",
                "put it elsewhere and name its address and digest",
            )
        else:
            detail = "is neither file nor folder"
            readable = ledger.hold("all are files or folders", shown, False, detail, "remove it")
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


def _everything(folder: Path) -> Iterator[str]:
    for parent, names, found in os.walk(folder):
        names.sort()
        for name in sorted([*names, *found]):
            yield os.path.join(parent, name)
