"""Images to be prepared, and the labelled ones: from a folder to an ordered list of names and labels."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from harness.dataset.class_folders import LeftOut, class_folders
from harness.dataset.form import Form
from harness.dataset.label_file import KAGGLE_CSV, VAL_MAP, kaggle_entries, val_map_entries
from harness.errors import DataError, did_you_mean

DATASETS = {
    "imagenet": "the 50,000 validation images of ImageNet-1k (ILSVRC 2012)",
    "cifar10": "CIFAR-10 as image files",
    "coco": "the validation images of COCO 2017, with boxes",
    "builtin": "the harness's own procedural set",
    "custom": "any other images with labels or boxes",
}

# Hugging Face adds the class to the name.
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})(_n\d{8})?\.jpe?g", re.IGNORECASE)


class Listed(Protocol):
    """Images in the order of their sample indices, and what is right about them."""

    @property
    def form(self) -> Form:
        """In which form it is known what is right about them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Paths relative to `root`, with forward slashes."""

    @property
    def root(self) -> Path: ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user: where the truth comes from, and what was left out."""

    @property
    def numbers(self) -> tuple[tuple[int, ...], ...]:
        """What a store's list has of each image beside its name; the first is its label or its id."""

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Width and height in pixels that an image must have, by name, where they are known."""

    def truth(self, kept: Sequence[int]) -> str:
        """Return what is right about the images with the indices `kept`, "" where their numbers say it."""

    def different(self, kept: Sequence[int]) -> int:
        """Return how many different labels or categories the images with the indices `kept` have."""


@dataclass(frozen=True)
class ImageList:
    """Labelled images."""

    names: tuple[str, ...]
    """Paths relative to `root`, with forward slashes."""
    labels: tuple[int, ...]
    """The class of each image, from 0."""
    root: Path
    remarks: tuple[str, ...] = field(default=(), compare=False)
    """Sentences for the user: where the labels come from, and what was left out."""
    form = Form.LABEL

    @property
    def numbers(self) -> tuple[tuple[int], ...]:
        return tuple((label,) for label in self.labels)

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        return {}

    def truth(self, kept: Sequence[int]) -> str:
        return ""

    def different(self, kept: Sequence[int]) -> int:
        return len({self.labels[k] for k in kept})

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
    either kind in `root`, else from one folder per class: the label is then the folder's number, or the rank
    of its name where not all names are whole numbers.
    ImageNet's validation images in such folders, or in Kaggle's file, are put in the order of MLPerf's list.
    Where a file of labels names images and none of them is in `root`, they are sought in such folders.

    Raises:
        DataError: no folder, no labels, a broken label file, a label out of range, an image listed twice.
    """
    if not root.is_dir():
        raise DataError(f"No image folder at {root}: check --images.")
    if labels_file is None:
        found = [root / name for name in (VAL_MAP, KAGGLE_CSV) if (root / name).is_file()]
        labels_file = found[0] if found else None
    remarks: list[str] = []
    if labels_file is None:
        entries = _in_official_order(_in_class_folders(root, label_count, remarks))
    elif not labels_file.is_file():
        raise DataError(f"No label file at {labels_file}: check --labels.")
    elif labels_file.suffix.lower() == ".csv":
        listed = _in_official_order(kaggle_entries(labels_file, label_count))
        entries = _where_they_lie(root, listed, remarks)
    else:
        entries = _where_they_lie(root, list(val_map_entries(labels_file, label_count)), remarks)
    if not entries:
        raise DataError(f"{labels_file or root} lists no images: give the folder and labels of some.")
    names, labels = zip(*entries, strict=True)
    return ImageList(names, labels, root, tuple(remarks))


def count_classes(folder: Path) -> int:
    """Return the number of labels of a training set: the folders below `folder`, or the highest number + 1.

    Raises:
        DataError: the folder is missing, has fewer than two classes, or is numbered with large gaps.
    """
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}: check the path.")
    found = class_folders(folder)
    if len(found.names) < 2:
        raise DataError(
            f"The folder {folder} holds {len(found.names)} class folders: sort the training images into one "
            "folder per class, at least two."
        )
    if found.label_count > 2 * len(found.names):
        raise DataError(
            f"The {len(found.names)} class folders in {folder} are numbered up to {found.label_count - 1}, "
            "and these numbers are their labels: number them from 0, or begin their names with a letter."
        )
    return found.label_count


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


def is_labelled(root: Path) -> bool:
    """Return whether a folder has a file of labels, so that its folders are no classes."""
    return any((root / name).is_file() for name in (VAL_MAP, KAGGLE_CSV))


def require_same_classes(one: Path, other: Path) -> None:
    """Raise DataError if class folders of two roots differ, where labels are ranks of their names.

    Roots with a file of labels have none to hold against each other, and numbered folders say their labels.
    """
    for root in (one, other):
        if not root.is_dir() or is_labelled(root):
            return
    ours, theirs = class_folders(one), class_folders(other)
    if ours.are_numbered and theirs.are_numbered:
        return
    unlike = sorted({*ours.names} ^ {*theirs.names})
    if unlike:
        raise DataError(
            f"The class folder '{unlike[0]}' is in only one of {one} and {other}, and labels go by the order "
            f"of these names: make them alike, or put {VAL_MAP} (lines '<image name> <label>') into {other}."
        )


def _in_class_folders(root: Path, label_count: int, remarks: list[str]) -> Iterator[tuple[str, int]]:
    folders = class_folders(root)
    if not folders.names:
        raise DataError(
            f"No labels for the images in {root}: put {VAL_MAP} (lines '<image name> <label>') or Kaggle's "
            f"{KAGGLE_CSV} there, sort the images into one folder per class, or give --labels FILE."
        )
    if folders.are_numbered:
        for name, label in zip(folders.names, folders.labels, strict=True):
            if label >= label_count:
                raise DataError(
                    f"The class folder '{name}' in {root} is label {label}, but the model's labels are 0 to "
                    f"{label_count - 1}: name the folders by the model's labels, or give a file of "
                    "'<image name> <label>' lines with --labels."
                )
    elif len(folders.names) != label_count:
        raise DataError(
            f"{root} holds {len(folders.names)} class folders, but the model has {label_count} labels: "
            f"give a file of '<image name> <label>' lines with --labels."
        )
    left_out = LeftOut()
    yield from folders.images(left_out)
    remarks += [folders.order, *left_out.remarks(root)]


def _where_they_lie(root: Path, entries: list[tuple[str, int]], remarks: list[str]) -> list[tuple[str, int]]:
    """Return listed images with the paths that they have in class folders, if none is in `root` itself.

    A name that none of the folders holds, or several do, stays as it is.
    """
    if any("/" in name or (root / name).exists() for name, _ in entries):
        return entries
    paths: dict[str, list[str]] = {}
    for path, _ in class_folders(root).images(LeftOut()):
        paths.setdefault(official_name(path), []).append(path)
    found = {name: held[0] for name, held in paths.items() if len(held) == 1}
    placed = [(found.get(official_name(name), name), label) for name, label in entries]
    if placed != entries:
        remarks.append(
            f"The listed images are taken from the class folders in {root}, with the list's labels."
        )
    return placed


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
