"""What a frontier found, for a terminal and as a page: the front, the table, the race, what to do next."""

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from harness import files
from harness.comparison.charts import COLOURS
from harness.comparison.findings import figure_text
from harness.comparison.output import REPORT as COMPARED
from harness.comparison.published import ROWS
from harness.frontier import catalogue, document
from harness.frontier.document import Frontier, Images, Network, Pick, Run
from harness.frontier.race import Fate
from harness.measurement.statistics import Interval
from harness.report import html, scatter
from harness.report.scatter import Mark
from harness.report.table import Table, aligned

FILE_NAME = "report.html"

_PUBLISHED_TOP1 = (("ResNet-50 32-bit", 76.45), ("ResNet-50 8-bit", 76.29), ("searched, 2020", 75.97))
"""Of the published row: the reference, Closed entries with OpenVINO, and the log on one core."""
_FRONT = (
    "Full: top-1 measured here in INT8 on every image, the larger one the pick. Hollow and blue: measured on "
    "the few images after which the network left the race. Hollow and orange: the network was timed here "
    "with random weights, its top-1 is published, of FP32, and not ours. Grey: networks of MLPerf v5.1's "
    "Open division, whose times are TensorFlow Lite's p90 on a Core i9. Named in green: the 2020 result on "
    "one Cascade Lake core."
)


def write(out: Path) -> Path:
    """Write the page beside the document in `out`, and return its path.

    Raises:
        OutputError: there is no document.
    """
    path = out / FILE_NAME
    found = document.read(out)
    files.write_text(path, html.document("Frontier", list(_body(found)), COLOURS))
    return path


def text(out: Path) -> str:
    """Return the report for a terminal.

    Raises:
        OutputError: there is no document.
    """
    found = document.read(out)
    parts = [aligned(one) for one in _tables(found)]
    parts.append("\n".join(_sentences(found, out)))
    parts.append(f"report: {out / FILE_NAME}")
    return "\n\n".join(parts)


def _body(found: Frontier) -> Iterator[str]:
    machine, conditions = found.machine, found.conditions
    yield "<h1>The frontier of ImageNet networks on this CPU</h1>"
    yield (
        f'<p class="quiet">{escape(found.created[:10])}, {escape(str(machine.cpu_model))}, '
        f"{conditions.threads} thread(s), for {escape(conditions.scenario)}; not an official MLPerf "
        "result</p>"
    )
    yield html.items(list(_sentences(found, Path())))
    if found.pick is not None:
        target = f"{found.pick.compared}/{COMPARED}"
        yield f'<p><a href="{escape(target)}">The rounds of LoadGen, and their logs</a></p>'
    if found.timed:
        yield html.figure("Accuracy over latency", _front(found), _FRONT)
    for one in _tables(found):
        yield html.table(one)
    wide = [(row.name, "; ".join(_kernels(row))) for row in found.networks if _kernels(row)]
    if wide:
        yield "<h2>What the compiler did not put into INT8 kernels</h2>"
        yield html.pairs(wide)


def _tables(found: Frontier) -> list[Table]:
    rows = sorted(found.networks, key=_ms)
    header = (
        "", "px", "ms", "x FP32", "x INT8", "not 8 bits", "INT8 top-1 here", "published FP32 top-1", "licence"
    )  # fmt: skip
    tables = [
        Table(
            "Networks in INT8 beside ResNet-50 at 224 px",
            header,
            tuple(_row(row, _images(found)) for row in rows),
        )
    ]
    failed = tuple((row.name, row.failure) for row in rows if row.speed is None)
    if failed:
        tables.append(Table("Not timed", ("", "why"), failed))
    raced = tuple(_race_row(row.name, row.race) for row in rows if row.race is not None)
    if raced:
        tables.append(Table("The race", ("", "known", "of", "95 % interval", "how it ended"), raced))
    return tables


def _ms(row: Network) -> float:
    return row.speed.ms.center if row.speed else math.inf


def _images(found: Frontier) -> int:
    return found.data.count if found.data else 0


def _row(row: Network, images: int) -> tuple[str, ...]:
    published = "-"
    if row.published is not None:
        published = f"{100 * row.published.top1:.2f} % ({row.published.source.split(':')[0]})"
    here = "-" if row.race is None else _top1(row.race, images)
    licence = row.licence or "-"
    if (speed := row.speed) is None:
        return (row.name, str(row.pixels), "not timed", "-", "-", "-", here, published, licence)
    wide = "-" if speed.wide_share is None else f"{100 * speed.wide_share:.0f} %"
    times = map(_interval, (speed.ms, speed.over_f32, speed.over_int8))
    return (row.name, str(row.pixels), *times, wide, here, published, licence)


def _top1(one: Run, images: int) -> str:
    part = "" if one.answered == images else f" of {one.answered:,}"
    return f"{100 * one.top1:.2f} %{part}"


def _race_row(name: str, one: Run) -> tuple[str, ...]:
    by = f": {one.by}" if one.by else ""
    interval = f"{100 * one.low:.1f} to {100 * one.high:.1f} %"
    return (name, f"{one.right:,}", f"{one.answered:,}", interval, f"{one.fate}{by}")


def _interval(values: Interval) -> str:
    return f"{figure_text(values.center)} ({figure_text(values.low)} to {figure_text(values.high)})"


def _sentences(found: Frontier, out: Path) -> Iterator[str]:
    raced, pick, data = found.race, found.pick, found.data
    if raced is not None and pick is not None and data is not None:
        yield from _pick(pick, data)
        yield (
            f"The race took {raced.answered:,} inferences where measuring everything would have taken "
            f"{raced.of:,}; {raced.needed:,} of {data.count:,} images had to be known."
        )
        words = f"--model {out / pick.card} --data {data.path}"
        yield f"Next: harness run {words} --scenario {found.conditions.scenario} --out results"
    else:
        fastest = _fastest_published(found)
        if fastest is not None and fastest.speed is not None:
            times = figure_text(fastest.speed.over_f32.center)
            yield (
                f"By published accuracies, which are of FP32 and not ours, {fastest.name} is the fastest "
                f"with {100 * found.target:.2f} %: {times} times as fast as ResNet-50 in FP32."
            )
        yield (
            "No accuracy was measured: give a store of ImageNet with --data, and cards with weights "
            "(`harness model list`)."
        )
    failed = [row.name for row in found.networks if row.speed is None]
    if failed:
        yield f"Could not be timed: {', '.join(failed)}; the table says why."
    restless = [row.name for row in found.timed if row.speed and row.speed.restless_visits]
    if restless:
        yield (
            f"The machine was restless while {len(restless)} of {len(found.timed)} networks were timed "
            "(ResNet-50 beside them was more than 5 % slower than in its quiet moments): their quietest "
            "samples count, and the intervals are wider for it."
        )
    if found.not_timed:
        count = len(found.not_timed)
        yield f"Not timed, as the budget was used up: {count} networks; the same command goes on."


def _pick(pick: Pick, data: Images) -> Iterator[str]:
    top1, error = 100 * pick.top1, 100 * pick.standard_error
    measured = f"{pick.good:,} of {pick.total:,} images ({top1:.2f} %) in INT8, through LoadGen"
    target = 100 * pick.target
    if pick.keeps:
        kept = f"and so keeps {target:.2f} % by a standard error"
        yield f"The pick is {pick.name}: it knows {measured}, {kept}."
    else:
        yield (
            f"Nothing keeps {target:.2f} % by a standard error. The nearest is {pick.name}: it knows "
            f"{measured}, {pick.needed - pick.good:,} images too few."
        )
    yield from (one.text for one in pick.speedups)
    yield f"How {pick.name} was made: {pick.calibration}."
    yield (
        f"{data.count:,} images tell an accuracy to a standard error of {error:.2f} points: networks that "
        f"differ by less than about {3 * error:.1f} points are not told apart by them."
    )


def _fastest_published(found: Frontier) -> Network | None:
    fit = [row for row in found.timed if row.published and row.published.top1 >= found.target]
    return min(fit, key=_ms, default=None)


def _kernels(row: Network) -> list[str]:
    speed = row.speed
    return [] if speed is None else list(dict.fromkeys([*speed.wide, *speed.fallbacks]))


def _front(found: Frontier) -> str:
    marks = [
        Mark(
            float(one.p90_ms or 0),
            100 * one.top1,
            f"{one.tag}: {one.p90_ms} ms there, {100 * one.top1:.2f} %",
            "published",
            radius=2.5,
        )
        for one in catalogue.of_others()
        if one.top1 >= 0.7
    ]
    core = next(row for row in ROWS if row.cores == 1)
    for (name, top1), ms in zip(_PUBLISHED_TOP1, core.latency_ms, strict=True):
        marks.append(Mark(ms, top1, f"{name}: {ms} ms on {core.hardware}, {top1} %", "v7", name))
    picked = found.pick and found.pick.name
    for row in found.timed:
        ms, here = _ms(row), row.race
        if here is not None:
            is_pick = row.name == picked
            top1, left = 100 * here.top1, "" if here.fate is Fate.KEEPS else f", {here.fate}"
            tip = f"{row.name}: {ms:.3g} ms, {top1:.2f} % of {here.answered:,}{left}"
            marks.append(
                Mark(
                    ms,
                    top1,
                    tip,
                    "v2" if is_pick else "v0" if here.answered == _images(found) else "hollow v0",
                    row.name if is_pick else "",
                    6 if is_pick else 4,
                )
            )
        elif row.published is not None:
            top1 = 100 * row.published.top1
            tip = f"{row.name}: {ms:.3g} ms, {top1:.2f} % published"
            marks.append(Mark(ms, top1, tip, "hollow v1", radius=3.5))
    unit = "ms an image, logarithmic"
    return scatter.points(marks, unit, "top-1 in %", "Accuracy over latency", 100 * found.target)
