"""Images sorted into one folder per class: the folders' labels, and what lies there that is no image."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.dataset.image_file import SUFFIXES
from harness.errors import DataError

_SHOWN = 10


@dataclass(frozen=True)
class ClassFolders:
    """The folders below `root`, in the order of their names, but for hidden ones."""

    root: Path
    names: tuple[str, ...]

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The label of each folder: its number where all names are whole numbers, else its rank by name.

        Raises:
            DataError: two folders have the same number.
        """
        if not self.are_numbered:
            return tuple(range(len(self.names)))
        named: dict[int, str] = {}
        for name in self.names:
            if (other := named.setdefault(int(name), name)) != name:
                raise DataError(
                    f"The class folders '{other}' and '{name}' in {self.root} are both label {int(name)}: "
                    "put their images into one of them."
                )
        return tuple(named)

    @property
    def are_numbered(self) -> bool:
        return all(name.isascii() and name.isdigit() for name in self.names)

    @property
    def label_count(self) -> int:
        """The number of labels, 0 to the highest."""
        return max(self.labels, default=-1) + 1

    @property
    def order(self) -> str:
        """Which label each folder has, in a sentence."""
        if self.are_numbered:
            given = f"the numbers of the {len(self.names):,} class folders, {min(self.labels)} to "
            return f"Labels in {self.root}: {given}{max(self.labels)}."
        pairs = [f"{label} {name}" for label, name in zip(self.labels, self.names, strict=True)]
        if len(pairs) > _SHOWN:
            pairs = [*pairs[:3], "…", pairs[-1]]
        return f"Labels in {self.root}: the ranks of the class folders' names ({', '.join(pairs)})."

    def images(self, left_out: "LeftOut") -> Iterator[tuple[str, int]]:
        """Yield each image's path, relative to the root and with forward slashes, and its label.

        What is passed over is put into `left_out`.

        Raises:
            DataError: a folder cannot be read.
        """
        for entry in _entries(self.root):
            if _is_folder(entry) and entry.name.startswith("."):
                left_out.add("hidden folders", entry.name)
            elif not _is_folder(entry) and _is_image(entry.name):
                left_out.add("images in no class folder", entry.name)
        for name, label in zip(self.names, self.labels, strict=True):
            found = sorted(_images_below(self.root / name, self.root, left_out))
            if not found:
                left_out.add("class folders without images", name)
            for image in found:
                yield image, label


class LeftOut:
    """What lies among the images and is not taken, by the reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        self._names.setdefault(reason, []).append(name)

    def remarks(self, root: Path) -> list[str]:
        """Return a sentence for each reason, with the number of names and the first of them."""
        found = []
        for reason, names in self._names.items():
            shown = sorted(names)[:_SHOWN]
            if len(names) > len(shown):
                shown.append(f"and {len(names) - len(shown):,} more")
            listed = ", ".join(map(_printable, shown))
            found.append(f"Left out in {root}: {reason} ({len(names):,}): {listed}.")
        return found


def class_folders(root: Path) -> ClassFolders:
    """Return the class folders below `root`.

    Raises:
        DataError: the folder cannot be read.
    """
    names = (entry.name for entry in _entries(root) if _is_folder(entry) and not entry.name.startswith("."))
    return ClassFolders(root, tuple(sorted(names)))


def _images_below(folder: Path, root: Path, left_out: LeftOut) -> Iterator[str]:
    for entry in _entries(folder):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if entry.name.startswith("."):
            left_out.add("hidden files or folders", name)
        elif entry.is_dir(follow_symlinks=False):
            yield from _images_below(path, root, left_out)
        elif _is_folder(entry):
            left_out.add("links to folders", name)
        elif not _is_image(entry.name):
            left_out.add("files that are no images by their suffix", name)
        elif entry.is_symlink() or entry.is_file():
            # A link to nothing is listed, too: whoever reads it says that it does not exist.
            yield name
        else:
            left_out.add("names of images that are no files", name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise DataError(
            f"Cannot read the folder {folder} ({error.strerror}): let this user read it, or move it away."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle, or to where this user may not look
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
