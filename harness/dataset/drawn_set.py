"""A set of images that the harness draws: written as JPEG files by several processes, and gone on with."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness import console, files
from harness.errors import DataError, OutputError, RunFailed, did_you_mean
from harness.machine import system
from harness.process.workers import pool

SEED = 20_260_727
SPLITS = ("val", "train", "held-out")
"""To score on, to learn from, and to choose by; a split's place is part of its seed."""

_MARKER = "builtin.json"
_JPEG_QUALITY = 92
_BYTES_PER_IMAGE = 16_384
_CHUNK = 50
FEW = 300
"""Fewer images than this are drawn sooner here than by processes that must start first."""


@dataclass(frozen=True)
class DrawnSet:
    """What is drawn; the functions are of modules, as other processes call them."""

    name: str
    version: int
    """Of the drawing: another one draws other images."""
    pixels: Callable[[str, int], NDArray[np.uint8]]
    """Split and index, from 0 -> u8 RGB, [height, width, 3]."""
    path_of: Callable[[str, int], str]
    """Likewise -> path below the folder of the split; the file's name begins with 'builtin_SPLIT_'."""
    truth_name: str
    """The file that says what is right."""


def generate(
    out: Path,
    drawn: DrawnSet,
    count: int,
    split: str,
    truth: Callable[[], str] | None,
    workers: int | None = None,
) -> Path:
    """Write the first `count` images of a split to the folder `out`, then its file of truth; return `out`.

    Whole images that lie there already are kept, so a second call goes on where an interrupted one stopped.

    Args:
        out: the folder, new, empty or of the same split.
        drawn: the set.
        count: how many images.
        split: one of SPLITS.
        truth: returns the text of the file that says what is right; None where it is not needed.
        workers: processes that draw at once; default: one per usable core.

    Raises:
        DataError: the split is not known, or `count` is not positive.
        OutputError: `out` holds something else, cannot be written, or has no room.
        RunFailed: a drawing process was killed.
    """
    if split not in SPLITS:
        raise DataError(f"The built-in set has no split '{split}'.{did_you_mean(split, SPLITS)}")
    if count < 1:
        raise DataError(f"The built-in set cannot have {count} images: ask for at least one.")
    files.make_writable_folder(out)
    with _explaining(out):
        _claim(out, drawn, split)
        paths = [out / drawn.path_of(split, index) for index in range(count)]
        missing = [index for index, path in enumerate(paths) if not _is_whole(path)]
        purpose = f"{len(missing)} images of the built-in set"
        files.require_free_space(out, len(missing) * _BYTES_PER_IMAGE, purpose)
        for folder in {path.parent for path in paths} if missing else ():
            folder.mkdir(exist_ok=True)
        _write_images(out, drawn, split, missing, workers or system.usable_cpus())
        if truth is not None:
            _write_if_new(out / drawn.truth_name, truth())
    return out


@contextmanager
def _explaining(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write the built-in set to {out} ({error.strerror}): free some space or choose another "
            "folder; the next call goes on from here."
        ) from error
    except BrokenProcessPool as error:
        raise RunFailed(
            f"A process that draws the built-in set in {out} was killed, perhaps for want of memory: call "
            "again to go on."
        ) from error


def _claim(out: Path, drawn: DrawnSet, split: str) -> None:
    """Mark `out` as a folder of this set; images of another version are removed."""
    marker = out / _MARKER
    ours = {"set": drawn.name, "split": split, "version": drawn.version, "seed": SEED}
    found = None
    if marker.exists():
        try:
            found = files.read_json(marker)
        except ValueError as error:
            raise OutputError(f"The file {marker} is damaged ({error}): delete the folder {out}.") from error
    elif any(out.iterdir()):
        raise files.foreign(out)
    if found == ours:
        return
    if found is not None:
        if not isinstance(found, dict) or found.get("set") != drawn.name or found.get("split") != split:
            raise OutputError(f"The folder {out} holds another split or set: choose a new or empty folder.")
        (out / drawn.truth_name).unlink(missing_ok=True)
        for path in out.rglob(f"builtin_{split}_*.JPEG"):
            path.unlink()
    files.write_json(marker, ours)


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def _write_if_new(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)


def _write_images(out: Path, drawn: DrawnSet, split: str, indices: Sequence[int], workers: int) -> None:
    if not indices:
        return
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    write = partial(_write_chunk, out, drawn, split)
    with console.progress(f"draw the built-in {split} images", len(indices)) as bar:
        if workers == 1 or len(indices) < FEW:
            for chunk in chunks:
                bar.advance(write(chunk))
            return
        with pool(min(workers, len(chunks))) as processes:
            for done in processes.map(write, chunks):
                bar.advance(done)


def _write_chunk(out: Path, drawn: DrawnSet, split: str, indices: Sequence[int]) -> int:
    for index in indices:
        path = out / drawn.path_of(split, index)
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(_jpeg(drawn.pixels(split, index)))
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    return len(indices)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    done, content = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return content.tobytes()
