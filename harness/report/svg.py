"""Drawing SVG by hand: small pieces of text, coloured by the page's own style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

WIDTH = 440
"""Of every chart, in units that a phone shows at about three quarters of a pixel."""


def element(name: str, *inner: str, **attributes: object) -> str:
    """Return an element; `class_` gives class, and other underscores become hyphens."""
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_number(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(inner)
    return f"<{name}{pairs}>{body}</{name}>" if body else f"<{name}{pairs}/>"


def text(x: float, y: float, content: str, anchor: str = "start", class_: str | None = None) -> str:
    return element("text", escape(content), x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def title(content: str) -> str:
    """Return what a pointer over the element shows."""
    return element("title", escape(content))


def drawing(height: float, label: str, parts: Sequence[str]) -> str:
    """Return a whole drawing; `label` is what a screen reader says."""
    return element(
        "svg", title(label), *parts, viewBox=f"0 0 {WIDTH} {_number(height)}", role="img", aria_label=label
    )


@dataclass(frozen=True)
class Axis:
    """Maps values to places along a line, with ticks."""

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def linear(low: float, high: float, start: float, end: float, count: int = 5) -> Axis:
    """Return a linear axis from `low` to `high` with about `count` round ticks."""
    step = _round_step((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(step * k for k in range(first, math.floor(high / step + 1e-9) + 1))
    return Axis(lambda value: start + (value - low) / (high - low) * (end - start), ticks)


def logarithmic(low: float, high: float, start: float, end: float) -> Axis:
    """Return a logarithmic axis that reaches a little beyond `low` and `high`, with ticks at 1, 2, 5."""
    reach = (high / low) ** 0.06 if high > low else 1.1
    bottom, top = math.log(low / reach), math.log(high * reach)
    decades = range(math.floor(math.log10(low / reach)), math.ceil(math.log10(high * reach)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(k / 10 for k in range(10, 100))):
        ticks = tuple(
            tick
            for decade in decades
            for step in steps
            if bottom <= math.log(tick := step * 10**decade) <= top
        )
        if len(ticks) >= 3:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 7)]
    return Axis(lambda value: start + (math.log(value) - bottom) / (top - bottom) * (end - start), ticks)


def tick_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _round_step(step: float) -> float:
    power = math.pow(10, math.floor(math.log10(step)))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
