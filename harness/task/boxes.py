"""Boxes of two answers to the same image, held against each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """What was found in one image; all arrays are of one length."""

    kinds: NDArray[Any]
    """Classes or categories."""
    scores: NDArray[np.float32]
    corners: NDArray[np.float32]
    """f32 [boxes, 4]: both coordinates of a corner, then of the one opposite."""

    def __len__(self) -> int:
        return len(self.kinds)


def intersection_over_union(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each other one, [len(one), len(other)]."""
    first, second = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=2)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=2) for boxes in (first, second)]
    union = areas[0] + areas[1] - common
    found: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def are_same(
    one: Boxes, other: Boxes, *, overlap: float, score: float = np.inf
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes of each answer have a partner of the same kind in the other one.

    Args:
        one: an answer.
        other: another answer to the same image.
        overlap: least intersection over union of partners.
        score: largest difference of their scores.
    """
    pairs = (
        (one.kinds[:, None] == other.kinds[None])
        & (np.abs(one.scores[:, None] - other.scores[None]) <= score)
        & (intersection_over_union(one.corners, other.corners) >= overlap)
    )
    return pairs.any(axis=1), pairs.any(axis=0)
