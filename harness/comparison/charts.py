"""The charts of the report, each a self-contained SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison import published
from harness.comparison.document import Cell, Comparison, count_threads
from harness.comparison.findings import figure_text
from harness.comparison.table import labelled
from harness.measurement.round import METRICS
from harness.mlperf.scenario import Scenario
from harness.report import svg
from harness.report.svg import WIDTH, element, line, text, title

COLOURS = 8
"""The style sheet has as many colours for variants."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 12, 44
_MARKED = {"50.00": "p50", "90.00": "p90", "99.00": "p99", "99.90": "p99.9"}
_BAR, _ROW = 12, 34
_LETTER, _LINE = 6.4, 14
"""About the width of a letter and the height of a line."""
_LABEL_LETTERS = 66
"""As many as fit into the width of a chart."""


@dataclass(frozen=True)
class Bar:
    """One bar with what stands above it."""

    label: str
    value: float
    class_: str
    low: float | None = None
    high: float | None = None


def colour(comparison: Comparison, name: str) -> str:
    """Return the style class of a variant."""
    return f"v{[variant.name for variant in comparison.variants].index(name) % COLOURS}"


def latencies(comparison: Comparison, scenario: Scenario, threads: int) -> str | None:
    """Return the latency distributions; None where none was measured.

    The upright axis is stretched towards 100 % so that the tail can be seen (after HdrHistogram): at
    -log10(1 - q) for the quantile q. Points are percentiles in LoadGen's logs, geometric means over rounds.
    """
    curves = [
        (cell, points)
        for cell in _cells(comparison, scenario, threads)
        if METRICS[scenario].percentile and (points := _percentiles(cell))
    ]
    if not curves:
        return None
    height = 300
    values = [value for _, points in curves for _, value in points]
    x = svg.logarithmic(min(values), max(values), _LEFT, WIDTH - _RIGHT)
    bottom, top = height - _BOTTOM, _TOP

    def y(quantile: float) -> float:
        return bottom + math.log10(1 - quantile) / 3 * (bottom - top)

    parts = [line(_LEFT, y(0), WIDTH - _RIGHT, y(0), "axis"), text(_LEFT - 6, y(0) + 4, "min", "end")]
    for percentile, name in _MARKED.items():
        place = y(float(percentile) / 100)
        parts += [
            line(_LEFT, place, WIDTH - _RIGHT, place, "grid"),
            text(_LEFT - 6, place + 4, name, "end"),
        ]
    parts += _x_axis(x, bottom, top, f"{METRICS[scenario].name.split()[-1]} in ms, logarithmic")
    for cell, points in curves:
        kind = colour(comparison, cell.variant)
        path = " ".join(f"{x.place(value):.1f},{y(quantile):.1f}" for quantile, value in points)
        parts.append(element("polyline", points=path, class_=f"curve {kind}"))
        for quantile, value in points:
            what = "min" if quantile == 0 else f"p{100 * quantile:g}"
            parts.append(
                element(
                    "circle",
                    title(f"{cell.variant} {what}: {value:.3g} ms"),
                    cx=x.place(value), cy=y(quantile), r=3, class_=f"dot {kind}",
                )
            )  # fmt: skip
    where = f"{METRICS[scenario].title}, {count_threads(threads)}"
    return svg.drawing(height, f"Latency distribution, {where}", parts)


def throughputs(comparison: Comparison, threads: int) -> str | None:
    """Return the Offline throughputs as bars with 95 % intervals; None where none was measured."""
    bars = []
    for cell in _cells(comparison, Scenario.OFFLINE, threads):
        if found := cell.interval():
            label = f"{cell.variant}: {figure_text(found.center)} images/s"
            kind = colour(comparison, cell.variant)
            bars.append(Bar(label, found.center, kind, found.low, found.high))
    if not bars:
        return None
    return _bars(bars, "images/s", f"Offline throughput, {count_threads(threads)}")


def pareto(comparison: Comparison, threads: int) -> str | None:
    """Return accuracy over Single-Stream latency; None where no variant has both."""
    points = []
    for cell in _cells(comparison, Scenario.SINGLE_STREAM, threads):
        variant = comparison.variant(cell.variant)
        found = cell.interval()
        if variant.accuracy is not None and found is not None:
            points.append((variant, found, 100 * variant.accuracy.fraction))
    if not points:
        return None
    height = 300
    bottom, top = height - _BOTTOM, _TOP
    scores = [score for _, _, score in points]
    margin = max(0.25 * (max(scores) - min(scores)), 0.5)
    x = svg.logarithmic(
        min(found.low for _, found, _ in points),
        max(found.high for _, found, _ in points),
        _LEFT + 10,
        WIDTH - _RIGHT - 10,
    )
    y = svg.linear(max(0, min(scores) - margin), min(100, max(scores) + margin), bottom, top)
    parts = [line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")]
    for tick in y.ticks:
        place = y.place(tick)
        parts += [
            line(_LEFT, place, WIDTH - _RIGHT, place, "grid"),
            text(_LEFT - 6, place + 4, f"{tick:.4g}", "end"),
        ]
    parts += _x_axis(x, bottom, top, "p90 latency in ms, logarithmic")
    front = _front([(found.center, score) for _, found, score in points])
    path = " ".join(f"{x.place(latency):.1f},{y.place(score):.1f}" for latency, score in front)
    parts.append(element("polyline", points=path, class_="front"))
    marks = [(x.place(found.center), y.place(score)) for _, found, score in points]
    taken = [(across - 7, up - 7, across + 7, up + 7) for across, up in marks]
    for (variant, found, score), (across, up) in zip(points, marks, strict=True):
        kind = colour(comparison, variant.name)
        parts.append(line(x.place(found.low), up, x.place(found.high), up, f"whisker {kind}"))
        hollow = " hollow" if variant.misses_target else ""
        what = f"{variant.name}: {found.center:.3g} ms, {score:.2f} %"
        parts.append(element("circle", title(what), cx=across, cy=up, r=6, class_=f"dot {kind}{hollow}"))
    for (variant, _, _), (across, up) in zip(points, marks, strict=True):
        name = f"{variant.name} *" if variant.misses_target else variant.name
        box = _free_box(across, up, _LETTER * len(name), bottom, taken)
        taken.append(box)
        parts.append(text(box[0], box[3] - 3, name, class_="label"))
    return svg.drawing(height, f"Accuracy over latency, {count_threads(threads)}", parts)


def per_core(comparisons: list[Comparison]) -> str | None:
    """Return Offline images/s per core of these runs, then of the published results, round by round.

    None where nothing is like them: images of another task and size are no match for ImageNet's.
    """
    ours = []
    for comparison, threads, label in labelled([one for one in comparisons if one.is_like_the_published]):
        for cell in _cells(comparison, Scenario.OFFLINE, threads):
            if (found := cell.interval()) and not comparison.variant(cell.variant).is_served:
                cores = min(threads, comparison.machine.usable_cores or threads)
                kind = colour(comparison, cell.variant)
                ours.append(Bar(f"{cell.variant} on {label}", found.center / cores, kind))
    if not ours:
        return None
    theirs = [Bar(_published_label(one), one.per_core, "published") for one in published.cpu_results()]
    bars = [
        Bar(_cut(f"{figure_text(bar.value)}  {bar.label}"), bar.value, bar.class_)
        for bar in [*sorted(ours, key=lambda bar: -bar.value), *theirs]
    ]
    return _bars(bars, "images/s per core", "Offline images per second and core", row=27, bar=8)


def _cells(comparison: Comparison, scenario: Scenario, threads: int) -> list[Cell]:
    found = [comparison.cell(scenario, threads, variant.name) for variant in comparison.variants]
    return [cell for cell in found if cell is not None]


def _percentiles(cell: Cell) -> list[tuple[float, float]]:
    """Return quantile and latency in ms, geometric means over the valid rounds."""
    rounds = [entry.latencies_ns for entry in cell.rounds if entry.valid]
    if not rounds:
        return []
    names = [name for name in rounds[0] if name not in ("max", "mean")]
    means = {
        name: math.exp(sum(math.log(entry[name]) for entry in rounds) / len(rounds)) / 1e6 for name in names
    }
    return sorted((0.0 if name == "min" else float(name) / 100, mean) for name, mean in means.items())


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the stair of points that no other is better than in both respects."""
    corners: list[tuple[float, float]] = []
    for latency, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not corners:
            corners.append((latency, score))
        elif score > corners[-1][1]:
            corners += [(latency, corners[-1][1]), (latency, score)]
    return corners


_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _free_box(across: float, up: float, width: float, bottom: float, taken: Sequence[_Box]) -> _Box:
    """Return the nearest place for a name beside a point that covers nothing else, if there is one."""
    places = []
    for distance in range(8, 80, 8):
        for top in (up - distance - _LINE, up + distance):
            for left in (across + 4, across - width / 2, across - width - 4):
                places.append((left, top, left + width, top + _LINE))
    inside = [box for box in places if box[0] > 2 and box[2] < WIDTH and box[1] > 0 and box[3] < bottom]
    free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
    return (free or inside or places)[0]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _x_axis(axis: svg.Axis, bottom: float, top: float, name: str) -> list[str]:
    parts = [text(WIDTH - _RIGHT, bottom + 36, name, "end", "quiet")]
    for tick in axis.ticks:
        place = axis.place(tick)
        parts += [
            line(place, top, place, bottom, "grid"),
            text(place, bottom + 17, svg.tick_text(tick), "middle"),
        ]
    return parts


def _bars(bars: Sequence[Bar], unit: str, label: str, row: int = _ROW, bar: int = _BAR) -> str:
    most = max(entry.high or entry.value for entry in bars)
    axis = svg.linear(0, most * 1.02, 2, WIDTH - _RIGHT)
    bottom = row * len(bars) + 4
    parts = _x_axis(axis, bottom, 0, unit)
    for number, entry in enumerate(bars):
        start = number * row + 14
        middle = start + 4 + bar / 2
        parts += [
            element(
                "rect",
                title(entry.label),
                x=2, y=start + 4, width=axis.place(entry.value) - 2, height=bar, class_=f"bar {entry.class_}",
            ),
            text(2, start, entry.label, class_="label"),
        ]  # fmt: skip
        if entry.low is not None and entry.high is not None:
            low, high = axis.place(entry.low), axis.place(entry.high)
            parts.append(line(low, middle, high, middle, "interval"))
            parts += [line(end, middle - 5, end, middle + 5, "interval") for end in (low, high)]
    parts.append(line(2, 0, 2, bottom, "axis"))
    return svg.drawing(bottom + _BOTTOM, label, parts)


def _published_label(one: published.CpuResult) -> str:
    """Return what a bar is of; an Open model is another one, so its accuracy stands beside it."""
    accuracy = "" if one.division == "closed" or one.top1_percent is None else f", {one.top1_percent:.2f} %"
    cores = f"{one.cores} core{'' if one.cores == 1 else 's'}"
    return (
        f"{'* ' if one.note else ''}{one.round} {one.division}{accuracy}, {one.submitter}: "
        f"{_short(one.processor)}, {cores}, {one.framework}"
    )


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1].rstrip(' ,;')}…"


def _short(processor: str) -> str:
    """Return a processor's name without what every name has."""
    for noise in ("(R)", "(TM)", " CPU", "Intel ", " @ 1.40GHz"):
        processor = processor.replace(noise, "")
    return processor.split(" @")[0]
