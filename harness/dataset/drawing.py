"""The pictures of the built-in task: a textured shape among clutter, the same to the bit on every machine.

All arithmetic is whole-numbered or a float operation that IEEE 754 rounds exactly, element by element; sums
over arrays, libm and OpenCV's filters are avoided because their last bit differs between machines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPES = ("crescent", "cross", "disc", "pentagon", "ring", "square", "star", "triangle")
FILLS = ("checked", "plain", "striped")

_Plane = NDArray[Any]
"""f32, any number of axes."""

# Rounding to 1/16384 hides the last-bit differences between implementations of cos and sin.
_COS = tuple(round(math.cos(math.tau * step / 360) * 16384) / 16384 for step in range(360))
_SIN = tuple(round(math.sin(math.tau * step / 360) * 16384) / 16384 for step in range(360))


class Dice:
    """Random whole numbers from PCG64's raw words, which NumPy promises never to change."""

    def __init__(self, *seed: int) -> None:
        self._source = np.random.PCG64(np.random.SeedSequence(seed))

    def between(self, low: int, high: int) -> int:
        """Return a number in low..high, both included."""
        return low + int(self._source.random_raw()) % (high - low + 1)

    def noise(self, count: int) -> NDArray[np.uint8]:
        words = self._source.random_raw(-(-count // 8)).astype("<u8", copy=False)
        return words.view(np.uint8)[:count]


def picture(dice: Dice, shape: str, fill: str) -> NDArray[np.uint8]:
    """Return a u8 RGB image (H x W x 3, sides 80 to 130) whose largest object is `shape` filled as `fill`."""
    short = dice.between(80, 100)
    long = short * dice.between(100, 130) // 100
    height, width = (short, long) if dice.between(0, 1) else (long, short)
    unit = short / 1000

    canvas = np.empty((3, height, width), np.float32)
    ground = dice.between(40, 215)
    paint_ground(canvas, dice, ground, unit)
    for _ in range(dice.between(3, 8)):
        _stamp_any(canvas, dice, unit * dice.between(60, 150), unit)
    radius = unit * dice.between(240, 410)
    top = height / 2 + unit * dice.between(-110, 110)
    left = width / 2 + unit * dice.between(-110, 110)
    _stamp(canvas, dice, shape, fill, radius, top, left, far_from(dice, ground), unit)
    for _ in range(dice.between(1, 4)):
        _stamp_any(canvas, dice, unit * dice.between(40, 100), unit)
    return photograph(canvas, dice)


def paint_ground(canvas: _Plane, dice: Dice, luma: int, unit: float) -> None:
    """Paint a background of two colours at random."""
    _, height, width = canvas.shape
    down, across = _grid(height / 2, width / 2, 0, height, 0, width)
    tone = _texture(FILLS[dice.between(0, 2)], down, across, dice, unit * dice.between(90, 400))
    slope = _ramp(down, across, dice, height)
    first = _colour(dice, luma, 40)
    second = _colour(dice, luma + dice.between(-30, 30), 40)
    for plane, one, other in zip(canvas, first, second, strict=True):
        plane[:] = one + (other - one) * tone + slope


def _stamp_any(canvas: _Plane, dice: Dice, radius: float, unit: float) -> None:
    _, height, width = canvas.shape
    shape = SHAPES[dice.between(0, len(SHAPES) - 1)]
    fill = FILLS[dice.between(0, len(FILLS) - 1)]
    top, left = dice.between(0, height), dice.between(0, width)
    _stamp(canvas, dice, shape, fill, radius, top, left, dice.between(0, 255), unit)


def _stamp(
    canvas: _Plane,
    dice: Dice,
    shape: str,
    fill: str,
    radius: float,
    top: float,
    left: float,
    luma: int,
    unit: float,
) -> None:
    """Paint one shape around (top, left), turned, stretched and coloured at random."""
    paint(canvas, dice, Figure.drawn(dice, shape, radius, top, left), fill, luma, unit)


@dataclass(frozen=True)
class Figure:
    """A shape where it lies: lengths in pixels."""

    shape: str
    radius: float
    top: float
    """Of its middle, as is `left`."""
    left: float
    turn: int
    """Degrees."""
    stretch: float

    @classmethod
    def drawn(cls, dice: Dice, shape: str, radius: float, top: float, left: float) -> "Figure":
        """Return a shape that is turned and stretched at random."""
        return cls(shape, radius, top, left, dice.between(0, 359), dice.between(85, 118) / 100)

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the rows, from and to, and the columns of a picture that the shape may touch."""
        reach = 1.5 * self.radius + 2
        rows = max(0, int(self.top - reach)), min(height, int(self.top + reach))
        return *rows, max(0, int(self.left - reach)), min(width, int(self.left + reach))

    def cover(self, height: int, width: int) -> _Plane:
        """Return the share, 0..1, of each pixel in the window that the shape covers."""
        turned, crossed = _rotate(*_grid(self.top, self.left, *self.window(height, width)), self.turn)
        inside = _INSIDE[self.shape](
            turned * (self.stretch / self.radius), crossed * (1 / (self.stretch * self.radius))
        )
        covered: _Plane = np.clip(inside * self.radius + 0.5, 0, 1)
        return covered


def paint(canvas: _Plane, dice: Dice, figure: Figure, fill: str, luma: int, unit: float) -> None:
    """Paint a shape, coloured at random."""
    _, height, width = canvas.shape
    y0, y1, x0, x1 = figure.window(height, width)
    down, across = _grid(figure.top, figure.left, y0, y1, x0, x1)
    tone = _texture(fill, down, across, dice, unit * dice.between(90, 150))
    slope = _ramp(down, across, dice, figure.radius)
    first = _colour(dice, luma, 60)
    second = _colour(dice, far_from(dice, luma), 60)
    alpha = figure.cover(height, width)
    for plane, one, other in zip(canvas[:, y0:y1, x0:x1], first, second, strict=True):
        plane += (one + (other - one) * tone + slope - plane) * alpha


def photograph(canvas: _Plane, dice: Dice) -> NDArray[np.uint8]:
    """Blur, fade and add noise; round to bytes."""
    for _ in range(dice.between(0, 2)):
        canvas[:, 1:-1] = (canvas[:, :-2] + canvas[:, 1:-1] * 2 + canvas[:, 2:]) * 0.25
        canvas[:, :, 1:-1] = (canvas[:, :, :-2] + canvas[:, :, 1:-1] * 2 + canvas[:, :, 2:]) * 0.25
    contrast = dice.between(50, 100) / 100
    grain = dice.between(10, 75) / 128
    offset = 128 * (1 - contrast) + dice.between(-20, 20) - 127.5 * grain
    noise = dice.noise(canvas.size).reshape(canvas.shape)
    canvas *= contrast
    canvas += noise * np.float32(grain)
    canvas += offset
    pixels = np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def far_from(dice: Dice, luma: int) -> int:
    """Return a luma that differs from `luma` by at least 50."""
    return (luma + dice.between(50, 206)) % 256


def _colour(dice: Dice, luma: int, spread: int) -> tuple[int, int, int]:
    return (
        luma + dice.between(-spread, spread),
        luma + dice.between(-spread, spread),
        luma + dice.between(-spread, spread),
    )


def _grid(top: float, left: float, y0: int, y1: int, x0: int, x1: int) -> tuple[_Plane, _Plane]:
    """Return the pixels' distances from (top, left) as a column (down) and a row (across)."""
    down = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(top)
    across = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(left)
    return down, across


def _rotate(down: _Plane, across: _Plane, degrees: int) -> tuple[_Plane, _Plane]:
    cos, sin = _COS[degrees], _SIN[degrees]
    return across * cos + down * sin, down * cos - across * sin


def _ramp(down: _Plane, across: _Plane, dice: Dice, length: float) -> _Plane:
    """Return a slope of light of random direction, up to 30 grey levels per `length` pixels."""
    steepness = dice.between(0, 30) / length
    degrees = dice.between(0, 359)
    return across * (_COS[degrees] * steepness) + down * (_SIN[degrees] * steepness)


def _texture(fill: str, down: _Plane, across: _Plane, dice: Dice, period: float) -> _Plane:
    """Return the share of the second colour, 0..1, of a pattern with the given period in pixels."""
    along, over = _rotate(down, across, dice.between(0, 359))
    phase = dice.between(0, 999) / 1000
    if fill == "plain":
        return np.zeros((1, 1), np.float32)
    if fill == "striped":
        wave = _wave(along * (1 / period) + phase) * (period / 4)
    else:
        share = 1 / (1.4 * period)
        wave = _wave(along * share + phase) * _wave(over * share + phase) * (period / 2)
    second: _Plane = np.clip(wave + 0.5, 0, 1)
    return second


def _wave(phase: _Plane) -> _Plane:
    """Return a triangle wave of period 1 between -1 and 1."""
    wave: _Plane = np.abs(phase - np.floor(phase) - 0.5) * 4 - 1
    return wave


def _half_planes(u: _Plane, v: _Plane, count: int, apothem: float) -> list[_Plane]:
    step = 360 // count
    return [apothem - (u * _COS[turn] + v * _SIN[turn]) for turn in range(0, 360, step)]


def _polygon(count: int, apothem: float) -> Callable[[_Plane, _Plane], _Plane]:
    def inside(u: _Plane, v: _Plane) -> _Plane:
        nearest: _Plane = np.minimum.reduce(_half_planes(u, v, count, apothem))
        return nearest

    return inside


def _star(u: _Plane, v: _Plane) -> _Plane:
    # A point lies in a pentagram when at most one of its five lines leaves it out.
    second: _Plane = np.sort(np.stack(_half_planes(u, v, 5, 0.36)), axis=0)[1]
    return second


def _cross(u: _Plane, v: _Plane) -> _Plane:
    one = np.minimum(1 - np.abs(u), 0.33 - np.abs(v))
    other = np.minimum(0.33 - np.abs(u), 1 - np.abs(v))
    inside: _Plane = np.maximum(one, other)
    return inside


def _length(u: _Plane, v: _Plane) -> _Plane:
    length: _Plane = np.sqrt(u * u + v * v)
    return length


def _disc(u: _Plane, v: _Plane) -> _Plane:
    return 0.9 - _length(u, v)


def _ring(u: _Plane, v: _Plane) -> _Plane:
    length = _length(u, v)
    inside: _Plane = np.minimum(1 - length, length - 0.5)
    return inside


def _crescent(u: _Plane, v: _Plane) -> _Plane:
    inside: _Plane = np.minimum(1 - _length(u, v), _length(u - 0.5, v) - 0.75)
    return inside


_INSIDE: dict[str, Callable[[_Plane, _Plane], _Plane]] = {
    "crescent": _crescent,
    "cross": _cross,
    "disc": _disc,
    "pentagon": _polygon(5, 0.8),
    "ring": _ring,
    "square": _polygon(4, 0.75),
    "star": _star,
    "triangle": _polygon(3, 0.6),
}
