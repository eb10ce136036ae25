"""TrivialAugment: of fourteen operations one at random, at a random strength.

(Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021: its wide
ranges and 31 strengths.)
"""

from collections.abc import Callable

import cv2
import numpy as np

from harness.dataset.image_file import Pixels

_STRENGTHS = 31
_FILL = (128, 128, 128)
_SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def augment(pixels: Pixels, which: float, strength: float, sign: float) -> Pixels:
    """Return `pixels`, u8 [height, width, 3] RGB, after one operation.

    Args:
        pixels: the image.
        which: of the operations, by a number from 0 to less than 1.
        strength: from 0, which changes nothing, to less than 1, which changes most; two operations have none.
        sign: less than 0.5 turns the direction, of operations that have one.
    """
    operation = OPERATIONS[int(which * len(OPERATIONS))]
    share = int(strength * _STRENGTHS) / (_STRENGTHS - 1)
    return operation(pixels, share, -1.0 if sign < 0.5 else 1.0)


def _same(pixels: Pixels, share: float, sign: float) -> Pixels:
    return pixels


def _sheared(pixels: Pixels, share: float, sign: float) -> Pixels:
    slope = 0.99 * sign * share
    return _warped(pixels, [[1, slope, -slope * _middle(pixels)[0]], [0, 1, 0]])


def _sheared_down(pixels: Pixels, share: float, sign: float) -> Pixels:
    slope = 0.99 * sign * share
    return _warped(pixels, [[1, 0, 0], [slope, 1, -slope * _middle(pixels)[1]]])


def _moved(pixels: Pixels, share: float, sign: float) -> Pixels:
    return _warped(pixels, [[1, 0, 32 * sign * share], [0, 1, 0]])


def _moved_down(pixels: Pixels, share: float, sign: float) -> Pixels:
    return _warped(pixels, [[1, 0, 0], [0, 1, 32 * sign * share]])


def _turned(pixels: Pixels, share: float, sign: float) -> Pixels:
    y, x = _middle(pixels)
    return _warped(pixels, cv2.getRotationMatrix2D((x, y), 135 * sign * share, 1.0))


def _brighter(pixels: Pixels, share: float, sign: float) -> Pixels:
    return _blended(pixels, np.zeros_like(pixels), share, sign)


def _more_colourful(pixels: Pixels, share: float, sign: float) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return _blended(pixels, cv2.merge([grey, grey, grey]), share, sign)


def _more_contrast(pixels: Pixels, share: float, sign: float) -> Pixels:
    mean = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean()
    return _blended(pixels, np.full_like(pixels, round(mean)), share, sign)


def _sharper(pixels: Pixels, share: float, sign: float) -> Pixels:
    return _blended(pixels, cv2.filter2D(pixels, -1, _SMOOTHING), share, sign)


def _posterized(pixels: Pixels, share: float, sign: float) -> Pixels:
    lost_bits = round(6 * share)
    return pixels & np.uint8(0xFF << lost_bits & 0xFF)


def _solarized(pixels: Pixels, share: float, sign: float) -> Pixels:
    return np.where(pixels >= 255 * (1 - share), 255 - pixels, pixels)


def _stretched(pixels: Pixels, share: float, sign: float) -> Pixels:
    """Let each channel reach from 0 to 255, where it has two values."""
    low = pixels.min((0, 1)).astype(np.float32)
    high = pixels.max((0, 1)).astype(np.float32)
    factor = np.where(high > low, 255 / np.maximum(high - low, 1), 1)
    return np.clip((pixels - np.where(high > low, low, 0)) * factor, 0, 255).astype(np.uint8)


def _equalized(pixels: Pixels, share: float, sign: float) -> Pixels:
    equal: Pixels = cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(pixels)])
    return equal


OPERATIONS: tuple[Callable[[Pixels, float, float], Pixels], ...] = (
    _same,
    _sheared,
    _sheared_down,
    _moved,
    _moved_down,
    _turned,
    _brighter,
    _more_colourful,
    _more_contrast,
    _sharper,
    _posterized,
    _solarized,
    _stretched,
    _equalized,
)
"""Pixels, share of the greatest strength, 1.0 or -1.0 for the direction -> pixels."""


def _warped(pixels: Pixels, matrix: object) -> Pixels:
    height, width = pixels.shape[:2]
    warped: Pixels = cv2.warpAffine(
        pixels, np.asarray(matrix, np.float64), (width, height), borderValue=_FILL
    )
    return warped


def _middle(pixels: Pixels) -> tuple[float, float]:
    return (pixels.shape[0] - 1) / 2, (pixels.shape[1] - 1) / 2


def _blended(pixels: Pixels, other: Pixels, share: float, sign: float) -> Pixels:
    factor = 1 + 0.99 * sign * share
    blended: Pixels = cv2.addWeighted(pixels, factor, other, 1 - factor, 0)
    return blended
