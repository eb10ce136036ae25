"""The split of the training images: most to learn from, some held out to judge candidates by."""

import hashlib
from dataclasses import dataclass

from harness.dataset.images import ImageList
from harness.errors import DataError

SHARE = 0.1
SEED = 1


@dataclass(frozen=True)
class Split:
    """Two parts of one list of training images; the test images are in neither."""

    learned: ImageList
    held_out: ImageList


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
