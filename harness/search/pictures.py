"""The pictures of a search's report, each a self-contained SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.architecture import Architecture, Block
from harness.report import svg
from harness.report.svg import WIDTH, element, line, text, title

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 12, 44
_HEIGHT = 300
_ROW = 17
_GAP = 16
_KIND_COLOURS = {"dense": "v0", "group16": "v1", "group32": "v2", "dw3": "v3", "dw5": "v4"}


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


def scatter(marks: Sequence[Mark], x_name: str, y_name: str, label: str, bar: float | None = None) -> str:
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
    for mark in marks:
        across, up = x.place(mark.x), y.place(mark.y)
        parts.append(
            element("circle", title(mark.label), cx=across, cy=up, r=mark.radius, class_=f"dot {mark.class_}")
        )
        if mark.name:
            late = across > WIDTH * 0.7
            parts.append(text(across + (-8 if late else 8), up - 7, mark.name, "end" if late else "start"))
    return svg.drawing(_HEIGHT, label, parts)


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


def architectures(named: Sequence[tuple[str, Architecture]]) -> str:
    """Return networks side by side, a bar a block: as wide as its middle, coloured by its kind.

    All share one scale within a stage, so that a narrower block is seen to be narrower.
    """
    column = (WIDTH - _GAP * (len(named) - 1)) / len(named)
    stages = max(len(network.stages) for _, network in named)
    widest = [
        max(block.mid for _, network in named for block in network.stages[number].blocks)
        for number in range(stages)
    ]
    depths = [max(len(network.stages[number].blocks) for _, network in named) for number in range(stages)]
    parts, height = [], 0.0
    for place, (name, network) in enumerate(named):
        left, y = place * (column + _GAP), 14.0
        parts.append(text(left, y, name, class_="label"))
        y += _ROW
        parts.append(
            text(left, y, f"{network.size} px, stem {network.stem}, {network.stem_width}", class_="quiet")
        )
        for number, stage in enumerate(network.stages):
            y += _ROW + 5
            parts.append(text(left, y, f"stage {number + 1}: width {stage.width}", class_="quiet"))
            for row in range(depths[number]):
                y += _ROW
                if row < len(stage.blocks):
                    parts += _bar(stage.blocks[row], left, y, 0.4 * column / widest[number])
        height = max(height, y)
    return svg.drawing(height + 8, " and ".join(name for name, _ in named), parts)


def legend() -> str:
    """Return the key to the colours of blocks, as HTML."""
    entries = "".join(
        f'<li><span class="{colour}"></span>{kind}</li>' for kind, colour in _KIND_COLOURS.items()
    )
    return f'<ul class="key">{entries}</ul>'


def block_text(block: Block) -> str:
    """Return a block in a few words, such as 'group16 48 hswish SE'."""
    words = [block.kind, str(block.mid)]
    words += [block.activation] if block.activation != "relu" else []
    words += ["SE"] if block.squeeze_excite else []
    return " ".join(words)


def _bar(block: Block, left: float, y: float, scale: float) -> list[str]:
    width = max(2.0, block.mid * scale)
    class_ = f"bar {_KIND_COLOURS[block.kind]}"
    return [
        element("rect", title(block_text(block)), x=left, y=y - 10, width=width, height=11, class_=class_),
        text(left + width + 5, y, block_text(block)),
    ]


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
