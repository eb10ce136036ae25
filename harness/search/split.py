"""The split of the training images: most to learn from, some held out to judge candidates by."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.console import note
from harness.dataset.images import ImageList, count_classes, find_images, is_labelled, require_same_classes
from harness.errors import DataError

SHARE = 0.1
SEED = 1


@dataclass(frozen=True)
class Split:
    """Two parts of one list of training images; the test images are in neither."""

    learned: ImageList
    held_out: ImageList

    @property
    def identity(self) -> dict[str, Any]:
        """Return what tells these images from others, by name, as JSON values: a stat an image."""
        # What was encoded anew under its old name is another set.
        parts = self.learned, self.held_out
        return {
            "set of training images": self.learned.sha256,
            "set of held-out images": self.held_out.sha256,
            "number of bytes in the images": [sum(bytes_by_file(part).values()) for part in parts],
        }


def of_folders(train: Path, held_out: Path | None, labels: int, seed: int) -> Split:
    """Return the images of two folders, or, without the second, those of the first, a tenth held out.

    Raises:
        DataError: the folders have not as many classes as there are labels, or not the same; an image is in
            both; or a class has one image, of which none can be held out.
    """
    folders = [folder for folder in (train, held_out) if folder is not None]
    for folder in folders:
        found = labels if is_labelled(folder) else count_classes(folder)
        if found != labels:
            raise DataError(
                f"The images in {folder} have {found} classes and the baseline {labels}: give the data that "
                "it was trained for."
            )
    lists = [find_images(folder, labels) for folder in folders]
    for remark in (remark for images in lists for remark in images.remarks):
        note(remark)
    if held_out is None:
        return split(lists[0], seed=seed)
    require_same_classes(train, held_out)
    learned, unseen = map(bytes_by_file, lists)
    shared = learned.keys() & unseen.keys()
    if shared:
        raise DataError(
            f"{len(shared):,} of the {len(unseen):,} images in --held-out {held_out} are among those of "
            "--train: give images that the baseline has not learned from."
        )
    return Split(*lists)


def bytes_by_file(images: ImageList) -> Mapping[Any, int]:
    """Return the length of each file by what is the same for all of its names and links: a stat an image.

    By its path and as 0 where there is none: who reads it says so.
    """
    found: dict[Any, int] = {}
    for path in (images.root / name for name in images.names):
        try:
            file = path.stat()
        except OSError:
            found[path] = 0
        else:
            found[file.st_dev, file.st_ino] = file.st_size
    return found


def split(images: ImageList, share: float = SHARE, seed: int = SEED) -> Split:
    """Hold out the same share of each class (at least one image), chosen by a hash of seed and name.

    An image's part thus depends on its class mates' names alone, neither on their order nor on the folder.

    Raises:
        DataError: a class has fewer than two images.
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1, not be {share}")
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(images.labels):
        by_class.setdefault(label, []).append(index)
    held_out: set[int] = set()
    for label, members in by_class.items():
        if len(members) < 2:
            raise DataError(
                f"Class {label} of {images.root} has one image, so that none can be held out: give it more."
            )
        members.sort(key=lambda index: hashlib.sha256(f"{seed}/{images.names[index]}".encode()).digest())
        held_out.update(members[: max(1, round(share * len(members)))])
    kept = [index for index in range(len(images.names)) if index not in held_out]
    return Split(pick(images, kept), pick(images, sorted(held_out)))


def subset(images: ImageList, count: int, seed: int = SEED) -> ImageList:
    """Return `count` images, or all if there are fewer, chosen by a hash of seed and name."""
    order = sorted(
        range(len(images.names)),
        key=lambda index: hashlib.sha256(f"{seed}/{images.names[index]}".encode()).digest(),
    )
    return pick(images, sorted(order[:count]))


def pick(images: ImageList, indices: list[int]) -> ImageList:
    """Return the images at `indices`."""
    return ImageList(
        tuple(images.names[index] for index in indices),
        tuple(images.labels[index] for index in indices),
        images.root,
    )
