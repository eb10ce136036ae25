"""Where an image lies in a sample: how its pixels and the model's correspond."""

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

    def to_image(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return boxes of the model, [count, 4] as xmin, ymin, xmax, ymax, in pixels of the image, likewise.

        What lies outside the image stays there.
        """
        return (boxes - self._offset) / self._scale

    def to_model(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return boxes of the image in pixels of the model, the inverse of `to_image`."""
        return boxes * self._scale + self._offset

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y] * 2)

    @property
    def _offset(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top] * 2)
