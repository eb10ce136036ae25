"""Where images lie in their samples: how their pixels and the model's correspond."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Placement:
    """A pixel of the model = a pixel of the image x scale + offset, on each axis.

    Coordinates are of edges: pixel k reaches from k to k + 1, as in COCO's boxes.
    """

    scale_x: float
    scale_y: float
    left: float
    """Model pixels from the sample's left edge to the image's; negative where the image is cut off."""
    top: float

    def to_model(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return boxes of the image, [count, 4] as xmin, ymin, xmax, ymax, in pixels of the model, likewise.

        `Frames.shares` goes the other way.
        """
        scale = np.array([self.scale_x, self.scale_y] * 2)
        found: npt.NDArray[np.float64] = boxes * scale + np.array([self.left, self.top] * 2)
        return found


class Frames:
    """The placements of many images: they make model pixels shares of an image's sides."""

    def __init__(self, placements: Sequence[Placement], sizes: npt.NDArray[np.int64]) -> None:
        """Take where each image lies, and its width and height in pixels, i64 [count, 2]."""
        scale = np.array([(one.scale_x, one.scale_y) for one in placements]).reshape(-1, 2) * sizes
        offset = np.array([(one.left, one.top) for one in placements]).reshape(-1, 2)
        self._scale = np.tile(1 / scale, 2).astype(np.float32)
        self._offset = np.tile(-offset / scale, 2).astype(np.float32)

    def shares(self, corners: npt.NDArray[np.float32], index: int) -> npt.NDArray[np.float32]:
        """Return boxes in model pixels, f32 [found, 4], as shares of an image's sides, within it."""
        found: npt.NDArray[np.float32] = corners * self._scale[index]
        found += self._offset[index]
        return np.clip(found, 0, 1, out=found)
