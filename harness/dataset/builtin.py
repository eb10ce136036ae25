"""The built-in task: 24 classes of drawn images, written as JPEG files in ImageNet's layout."""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness import console, files
from harness.dataset.drawing import FILLS, SHAPES, Dice, picture
from harness.dataset.label_file import VAL_MAP
from harness.errors import DataError, OutputError, RunFailed, did_you_mean
from harness.machine import system
from harness.process.workers import pool

SEED = 20_260_727
VERSION = 1
SPLITS = ("val", "train", "held-out")
"""To score on, to learn from, and to choose by; a split's place is part of its seed."""
CLASSES = tuple(f"{shape}-{fill}" for shape in SHAPES for fill in FILLS)
TEST_COUNT = 2000

_MARKER = "builtin.json"
_JPEG_QUALITY = 92
_BYTES_PER_IMAGE = 16_384
_CHUNK = 50
_FEW = 300
"""Fewer images than this are drawn sooner here than by processes that must start first."""


def draw(split: str, index: int) -> tuple[NDArray[np.uint8], int]:
    """Return image `index` (from 0) of a split, u8 RGB of H x W x 3 with sides of 80 to 130, and its label.

    The pixels depend on the split and the index alone, and any run of 24 images holds each class once.
    """
    label = index % len(CLASSES)
    shape, fill = CLASSES[label].split("-")
    return picture(Dice(SEED, SPLITS.index(split), index), shape, fill), label


def generate(out: Path, count: int = TEST_COUNT, split: str = "val", workers: int | None = None) -> Path:
    """Write the first `count` images of a split to the folder `out` and return it.

    Split "val" gives `builtin_val_00000001.JPEG`, ... and `val_map.txt` with lines of `name label`; the
    others give a folder per class. Whole images that lie there already are kept, so a second call goes on
    where an interrupted one stopped. `workers` processes draw at once (default: one per usable core).

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
        _claim(out, split)
        missing = [index for index in range(count) if not _is_whole(out / image_name(split, index))]
        purpose = f"{len(missing)} images of the built-in set"
        files.require_free_space(out, len(missing) * _BYTES_PER_IMAGE, purpose)
        for index in range(min(count, len(CLASSES)) if missing else 0):
            (out / image_name(split, index)).parent.mkdir(exist_ok=True)
        _write_images(out, split, missing, workers or system.usable_cpus())
        if split == "val":
            lines = (f"{image_name(split, index)} {index % len(CLASSES)}\n" for index in range(count))
            _write_if_new(out / VAL_MAP, "".join(lines))
    return out


def image_name(split: str, index: int) -> str:
    """Return the path of image `index` (from 0) below the folder of its split."""
    name = f"builtin_{split}_{index + 1:08d}.JPEG"
    return name if split == "val" else f"{CLASSES[index % len(CLASSES)]}/{name}"


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


def _claim(out: Path, split: str) -> None:
    """Mark `out` as a folder of this set; images of another version are removed."""
    marker = out / _MARKER
    ours = {"set": "builtin", "split": split, "version": VERSION, "seed": SEED}
    found = None
    if marker.exists():
        try:
            found = files.read_json(marker)
        except ValueError as error:
            raise OutputError(f"The file {marker} is damaged ({error}): delete the folder {out}.") from error
    elif any(out.iterdir()):
        raise OutputError(f"The folder {out} holds something else: choose a new or empty folder.")
    if found == ours:
        return
    if found is not None:
        if not isinstance(found, dict) or found.get("split") != split:
            raise OutputError(f"The folder {out} holds another split: choose a new or empty folder.")
        (out / VAL_MAP).unlink(missing_ok=True)
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


def _write_images(out: Path, split: str, indices: Sequence[int], workers: int) -> None:
    if not indices:
        return
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    write = partial(_write_chunk, out, split)
    with console.progress(f"draw the built-in {split} images", len(indices)) as bar:
        if workers == 1 or len(indices) < _FEW:
            for chunk in chunks:
                bar.advance(write(chunk))
            return
        with pool(min(workers, len(chunks))) as processes:
            for done in processes.map(write, chunks):
                bar.advance(done)


def _write_chunk(out: Path, split: str, indices: Sequence[int]) -> int:
    for index in indices:
        pixels, _ = draw(split, index)
        path = out / image_name(split, index)
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(_jpeg(pixels))
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    return len(indices)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    done, content = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return content.tobytes()
