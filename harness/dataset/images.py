"""Labelled images: from an image folder to an ordered list of names and labels."""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import DataError, did_you_mean

VAL_MAP = "val_map.txt"
KAGGLE_CSV = "LOC_val_solution.csv"

DATASETS = {
    "imagenet": "the 50,000 validation images of ImageNet-1k (ILSVRC 2012)",
    "cifar10": "CIFAR-10 as image files",
    "builtin": "the harness's own procedural set",
    "custom": "any other labelled images",
}

_KAGGLE_SUFFIX = ".JPEG"
# Hugging Face adds the class to the name.
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})(_n\d{8})?\.jpe?g", re.IGNORECASE)
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True)
class ImageList:
    """Images in the order of their sample indices."""

    names: tuple[str, ...]
    """Paths relative to `root`, with forward slashes."""
    labels: tuple[int, ...]
    """The class of each image, from 0."""
    root: Path

    @cached_property
    def sha256(self) -> str:
        """The hex SHA-256 of the lines "name label"."""
        lines = "".join(f"{name} {label}\n" for name, label in zip(self.names, self.labels, strict=True))
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def require_known(dataset: str) -> None:
    """Raise DataError with the nearest name unless `dataset` is one of DATASETS."""
    if dataset not in DATASETS:
        raise DataError(f"Data set '{dataset}' is not known.{did_you_mean(dataset, DATASETS)}")


def find_images(root: Path, label_count: int, labels_file: Path | None = None) -> ImageList:
    """List the images under `root` with their labels, 0 .. label_count-1.

    Labels come from `labels_file` (lines `name label`, or Kaggle's LOC_val_solution.csv), else from a file of
    either kind in `root`, else from one folder per class: the label is then the rank of the folder's name.
    ImageNet's validation images in such folders, or in Kaggle's file, are put in the order of MLPerf's list.

    Raises:
        DataError: no folder, no labels, a broken label file, a label out of range, an image listed twice.
    """
    if not root.is_dir():
        raise DataError(f"No image folder at {root}: check --images.")
    if labels_file is None:
        found = [root / name for name in (VAL_MAP, KAGGLE_CSV) if (root / name).is_file()]
        labels_file = found[0] if found else None
    if labels_file is None:
        entries = _in_official_order(_class_folders(root, label_count))
    elif not labels_file.is_file():
        raise DataError(f"No label file at {labels_file}: check --labels.")
    elif labels_file.suffix.lower() == ".csv":
        entries = _in_official_order(_kaggle(labels_file, label_count))
    else:
        entries = list(_val_map(labels_file, label_count))
    if not entries:
        raise DataError(f"{labels_file or root} lists no images: give the folder and labels of some.")
    names, labels = zip(*entries, strict=True)
    return ImageList(names, labels, root)


def count_classes(folder: Path) -> int:
    """Return the number of classes of a training set: the folders below `folder`.

    Raises:
        DataError: the folder is missing or has fewer than two classes.
    """
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}: check the path.")
    count = sum(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    if count < 2:
        raise DataError(
            f"The folder {folder} holds {count} class folders: sort the training images into one folder per "
            "class, at least two."
        )
    return count


def is_in_official_order(names: Sequence[str]) -> bool:
    """Return whether names stand as in MLPerf's val_map.txt, as far as they are ImageNet's of validation.

    Its accuracy script knows an image by its place there.
    """
    numbers = _validation_numbers(names)
    return numbers is None or numbers == sorted(numbers)


def official_name(name: str) -> str:
    """Return an image's file name; one of ImageNet's of validation is named as in MLPerf's lists."""
    file_name = name.rpartition("/")[2]
    found = _VALIDATION.fullmatch(file_name)
    return f"ILSVRC2012_val_{found[1]}.JPEG" if found else file_name


def require_same_classes(one: Path, other: Path) -> None:
    """Raise DataError if class folders of two roots differ: labels are ranks of their names, in each root.

    Roots with a file of labels have none to hold against each other.
    """
    for root in (one, other):
        if not root.is_dir() or any((root / name).is_file() for name in (VAL_MAP, KAGGLE_CSV)):
            return
    unlike = sorted({path.name for path in _folders(one)} ^ {path.name for path in _folders(other)})
    if unlike:
        raise DataError(
            f"The class folder '{unlike[0]}' is in only one of {one} and {other}, and labels go by the order "
            f"of these names: make them alike, or put {VAL_MAP} (lines '<image name> <label>') into {other}."
        )


def _in_official_order(entries: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return names and labels in the order of MLPerf's val_map.txt, if they are ImageNet's of validation."""
    given = list(entries)
    numbers = _validation_numbers([name for name, _ in given])
    if numbers is None:
        return given
    return [entry for _, entry in sorted(zip(numbers, given, strict=True))]


def _validation_numbers(names: Iterable[str]) -> list[int] | None:
    """Return the numbers, from 1, of ImageNet's validation images; None when there is another among them."""
    found = [_VALIDATION.fullmatch(name.rpartition("/")[2]) for name in names]
    numbers = [int(one[1]) for one in found if one is not None]
    return numbers if len(numbers) == len(found) else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"Cannot read the label file {path} ({error.strerror}): check it.") from error


def _val_map(path: Path, label_count: int) -> Iterator[tuple[str, int]]:
    first_line: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        words = line.rsplit(maxsplit=1)
        name, word = words[0].strip(), words[-1]
        if len(words) != 2 or not _is_whole_number(word):
            raise DataError(
                f"Line {number} of {path} is not '<image name> <label>' but '{_shown(line)}': correct it."
            )
        label = int(word)
        if not 0 <= label < label_count:
            raise DataError(
                f"Line {number} of {path} has label {label}, but the model's labels are 0 to "
                f"{label_count - 1}: use the label file that belongs to the model (labels count from 0)."
            )
        _refuse_repetition(first_line, name, number, path)
        yield name, label


def _kaggle(path: Path, label_count: int) -> Iterator[tuple[str, int]]:
    rows = csv.reader(_lines(path))
    header = next(rows, [])
    if header[:2] != ["ImageId", "PredictionString"]:
        raise DataError(
            f"{path} does not begin with 'ImageId,PredictionString' as Kaggle's {KAGGLE_CSV} does: "
            f"give that file, or a text file of '<image name> <label>' lines not named .csv."
        )
    first_line: dict[str, int] = {}
    classes: list[str] = []
    names: list[str] = []
    for row in rows:
        if not row:
            continue
        words = row[1].split() if len(row) == 2 else []
        if not words or not row[0].strip():
            raise DataError(f"Line {rows.line_num} of {path} has no image id and class: correct it.")
        name = row[0].strip() + _KAGGLE_SUFFIX
        _refuse_repetition(first_line, name, rows.line_num, path)
        names.append(name)
        classes.append(words[0])
    rank = {wnid: label for label, wnid in enumerate(sorted(set(classes)))}
    if len(rank) != label_count:
        raise DataError(
            f"{path} names {len(rank)} classes, but the model has {label_count} labels: "
            f"give a file of '<image name> <label>' lines with --labels."
        )
    for name, wnid in zip(names, classes, strict=True):
        yield name, rank[wnid]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_folders(root: Path, label_count: int) -> Iterator[tuple[str, int]]:
    folders = _folders(root)
    if not folders:
        raise DataError(
            f"No labels for the images in {root}: put {VAL_MAP} (lines '<image name> <label>') or Kaggle's "
            f"{KAGGLE_CSV} there, sort the images into one folder per class, or give --labels FILE."
        )
    if len(folders) != label_count:
        raise DataError(
            f"{root} holds {len(folders)} class folders, but the model has {label_count} labels: "
            f"give a file of '<image name> <label>' lines with --labels."
        )
    for label, folder in enumerate(folders):
        for name in sorted(_images_below(folder, root)):
            yield name, label


def _images_below(folder: Path, root: Path) -> Iterable[str]:
    return (
        path.relative_to(root).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def _refuse_repetition(first_line: dict[str, int], name: str, number: int, path: Path) -> None:
    if name in first_line:
        raise DataError(
            f"Lines {first_line[name]} and {number} of {path} both list '{_shown(name)}': remove one."
        )
    first_line[name] = number


def _is_whole_number(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _shown(text: str) -> str:
    return text.strip()[:80].encode("utf-8", "backslashreplace").decode()
