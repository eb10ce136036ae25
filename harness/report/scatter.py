"""Points over two axes, each picture a self-contained SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report import svg
from harness.report.svg import WIDTH, element, line, text, title

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 12, 44
_HEIGHT = 300
_CHARACTER, _LINE_HEIGHT = 7, 13
"""About how wide and high a name's characters are."""


@dataclass(frozen=True)
class Mark:
    """A point of a chart."""

    x: float
    y: float
    label: str
    """What a pointer over it shows."""
    class_: str
    name: str = ""
    """Written beside it."""
    radius: float = 4


def points(marks: Sequence[Mark], x_name: str, y_name: str, label: str, bar: float | None = None) -> str:
    """Return points over a logarithmic x; `bar` is a height that is drawn across.

    Raises:
        ValueError: there are no points.
    """
    heights = [mark.y for mark in marks] + ([] if bar is None else [bar])
    margin = 0.08 * (max(heights) - min(heights)) or 1.0
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    x = svg.logarithmic(
        min(mark.x for mark in marks), max(mark.x for mark in marks), _LEFT + 6, WIDTH - _RIGHT - 6
    )
    y = svg.linear(min(heights) - margin, max(heights) + margin, bottom, top)
    parts = _frame(x, y, x_name, y_name)
    if bar is not None:
        parts.append(line(_LEFT, y.place(bar), WIDTH - _RIGHT, y.place(bar), "interval"))
    taken: list[tuple[float, float, float]] = []
    for mark in marks:
        across, up = x.place(mark.x), y.place(mark.y)
        parts.append(
            element("circle", title(mark.label), cx=across, cy=up, r=mark.radius, class_=f"dot {mark.class_}")
        )
        if mark.name:
            late = across > WIDTH * 0.7
            start = across - 8 - _CHARACTER * len(mark.name) if late else across + 8
            height = _free(start, start + _CHARACTER * len(mark.name), up, taken)
            parts.append(text(across + (-8 if late else 8), height, mark.name, "end" if late else "start"))
    return svg.drawing(_HEIGHT, label, parts)


def _free(start: float, end: float, up: float, taken: list[tuple[float, float, float]]) -> float:
    """Return the height above or below a point where a name from `start` to `end` covers none in `taken`."""

    def crowd(height: float) -> int:
        return sum(
            first < end and start < last and abs(height - at) < _LINE_HEIGHT for first, last, at in taken
        )

    height = min((up - 7, up + 7 + _LINE_HEIGHT / 2), key=crowd)
    taken.append((start, end, height))
    return height


def agreement(marks: Sequence[Mark], x_name: str, y_name: str, label: str, *, logarithmic: bool) -> str:
    """Return points with the line where both of their values are equal, on alike axes."""
    values = [value for mark in marks for value in (mark.x, mark.y)]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    axis, reach = (svg.logarithmic, 0.0) if logarithmic else (svg.linear, margin)
    x = axis(low - reach, high + reach, _LEFT + 6, WIDTH - _RIGHT - 6)
    y = axis(low - reach, high + reach, _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(x, y, x_name, y_name)
    parts.append(line(x.place(low), y.place(low), x.place(high), y.place(high), "front"))
    for mark in marks:
        spot = {"cx": x.place(mark.x), "cy": y.place(mark.y), "r": mark.radius}
        parts.append(element("circle", title(mark.label), class_=f"dot {mark.class_}", **spot))
    return svg.drawing(_HEIGHT, label, parts)


def _frame(x: svg.Axis, y: svg.Axis, x_name: str, y_name: str) -> list[str]:
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    parts = [
        line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis"),
        text(WIDTH - _RIGHT, bottom + 36, x_name, "end", "quiet"),
        text(_LEFT, bottom + 36, f"upwards: {y_name}", "start", "quiet"),
    ]
    for tick in x.ticks:
        place = x.place(tick)
        parts += [
            line(place, top, place, bottom, "grid"),
            text(place, bottom + 17, svg.tick_text(tick), "middle"),
        ]
    for tick in y.ticks:
        place = y.place(tick)
        parts += [
            line(_LEFT, place, WIDTH - _RIGHT, place, "grid"),
            text(_LEFT - 6, place + 4, svg.tick_text(tick), "end"),
        ]
    return parts
