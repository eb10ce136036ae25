"""A submission packed into one file for the upload; the same tree always gives the same bytes."""

import gzip
import tarfile
from pathlib import Path

from harness.errors import OutputError

_SUFFIX = ".tar.gz"
# 1980-01-01: tar warns of times at the epoch.
_TIME_S = 315_532_800


def require_free_archive(path: Path, root: Path, *, replace_it: bool) -> None:
    """Refuse a name for the archive before any work.

    Raises:
        OutputError: it is no name of a packed tar file, exists already, or would lie in the tree itself.
    """
    if not path.name.endswith(_SUFFIX):
        raise OutputError(f"The archive {path} must end in {_SUFFIX}: give --archive another name.")
    if path.absolute().is_relative_to(root.absolute()):
        raise OutputError(f"The archive {path} would lie in the tree {root}: give --archive another place.")
    if path.is_dir():
        raise OutputError(f"The archive {path} is a folder: give --archive another name.")
    if path.exists() and not replace_it:
        raise OutputError(f"{path} exists already: give --replace or another --archive.")


def pack(root: Path, target: Path) -> None:
    """Pack the divisions in `root`, with nothing above them, as MLCommons' pack_submission.sh does.

    Names are sorted; owners, times and the compressor's header do not tell of the machine.
    """
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(root.rglob("*")):
            archive.add(path, path.relative_to(root).as_posix(), recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = _TIME_S
    return entry
