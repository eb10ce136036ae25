"""An explanation for the terminal: the ways side by side, the split as bars, the layers, the peak."""

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.backend import kernels
from harness.explain.document import PARTS, Explanation, Way

_BAR = 30
_TOP = 12
_TITLES = {
    "bare": "bare infer() loop",
    "pool": "async pool (AsyncInferQueue)",
    "benchmark_app": "benchmark_app",
    "loadgen": "LoadGen through the harness",
}
_MEANINGS = {
    "compute": "the model itself: infer() less its call",
    "answers": "the graph's end: the best label, or decoding and suppressing boxes",
    "dispatch": "infer() on an empty model, and handing over the answers",
    "copying": "handing samples over",
    "queueing": "LoadGen's time less ours: waiting",
}


def text(found: Explanation, width: int = 110) -> str:
    """Return the page as plain text."""
    return plain(page(found), width)


def plain(shown: RenderableType, width: int = 110) -> str:
    """Return what a rich console would show as plain text."""
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(shown)
    return capture.get().rstrip()


def page(found: Explanation) -> RenderableType:
    """Return the page for a rich console."""
    return Group(*_parts(found))


def _parts(found: Explanation) -> Iterator[RenderableType]:
    settings = found.settings
    yield Text(
        f"{found.model['name']}, {found.scenario}, {found.computed} on {found.machine['cpu_model']}: "
        f"{count(settings['threads'], 'thread')}, {count(settings['streams'], 'stream')}, "
        f"batch {settings['batch']}"
    )
    yield from (Text(), _ways(found))
    yield from (Text(), Text("LoadGen's time in parts:"), _split(found))
    yield from (Text(), Text(_layers_title(found)), _layers(found))
    yield from (Text(), *_peaks(found))
    remarks = [way.missing for way in found.ways if way.missing] + list(found.remarks)
    if remarks:
        yield from (Text(), *(Text(f"- {remark}") for remark in remarks))


def _layers_title(found: Explanation) -> str:
    whole_us, share = kernels.total_us(found.layers), kernels.int8_share(found.layers)
    shown = "" if share is None else f" {100 * share:.1f} % of the time of convolutions and products is INT8."
    return (
        f"The slowest of {len(found.layers)} layers, by their own clocks: {whole_us / 1e3:.3f} ms an "
        f"inference at one at a time, in whole µs cut off, over {found.profiled_inferences} of them.{shown}"
    )


def _ways(found: Explanation) -> Table:
    what = "p50 latency" if found.is_latency else "a sample on a stream"
    table = grid()
    for name in (
        f"median (range) of {found.settings['rounds']} rounds",
        f"{what}, ms",
        "less the bare loop, µs",
    ):
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    if not found.is_latency:
        table.add_column("samples/s", justify="right")
    bare = found.way("bare")
    for way in found.ways:
        if way.median_ns is None:
            table.add_row(_TITLES[way.name], "not measured")
            continue
        rate = [] if found.is_latency else [f"{found.streams * 1e9 / way.median_ns:.1f}"]
        low, high = min(way.figures_ns) / 1e6, max(way.figures_ns) / 1e6
        figure = f"{way.median_ns / 1e6:.3f} ({low:.3f} to {high:.3f})"
        table.add_row(_TITLES[way.name], figure, _extra(way, bare), *rate)
    return table


def _extra(way: Way, bare: Way) -> str:
    extra = way.over_ns(bare)
    if way is bare or extra is None:
        return ""
    low, middle, high = extra
    return f"{middle / 1e3:+.1f} ({low / 1e3:+.1f} to {high / 1e3:+.1f})"


def _split(found: Explanation) -> Table:
    table = grid()
    for name in ("", "µs", "share", "", "what it is"):
        table.add_column(name, justify="right" if name in ("µs", "share") else "left")
    values = {part: found.part_ns(part) for part in PARTS}
    whole = sum(values.values())
    for part, value in values.items():
        note = _MEANINGS[part]
        if part == "copying":
            note += f"; a copy of cached pixels takes {found.copy_ns / 1e3:.1f} µs"
        table.add_row(part, f"{value / 1e3:.1f}", f"{100 * value / whole:.1f} %", bar(value / whole), note)
    loadgen_ns = found.way("loadgen").median_ns or whole
    off = f"sum of the medians; LoadGen's own median is {loadgen_ns / 1e3:.1f} µs"
    table.add_row("sum", f"{whole / 1e3:.1f}", "", "", off)
    return table


def _layers(found: Explanation) -> Table:
    whole_us = kernels.total_us(found.layers)
    table = grid()
    for name in ("layer", "type", "kernel", "precision", "µs", "share", ""):
        table.add_column(name, justify="right" if name in ("µs", "share") else "left", overflow="fold")
    slowest = sorted(found.layers, key=lambda layer: -(layer.time_us or 0.0))
    for layer in slowest[:_TOP]:
        part = (layer.time_us or 0.0) / whole_us if whole_us else 0.0
        table.add_row(
            layer.name, layer.type, layer.exec_type, layer.precision,
            f"{layer.time_us or 0:.0f}", f"{100 * part:.1f} %", bar(part, _BAR // 2),
        )  # fmt: skip
    return table


def _peaks(found: Explanation) -> Iterator[RenderableType]:
    achieved = found.gmacs_per_second
    if achieved is None:
        return
    yield Text(
        f"{found.macs_per_sample / 1e6:.1f} million multiply-accumulates a sample: "
        f"{achieved:.1f} GMAC/s in the bare loop."
    )
    for peak in found.peaks:
        channels, size, kernel = peak.shape
        yield Text(
            f"  {100 * achieved / peak.gmacs_per_second:5.1f} % of the measured {peak.kind} peak of "
            f"{peak.gmacs_per_second:.1f} GMAC/s ({channels} channels, {size}x{size}, {kernel}x{kernel}: "
            f"{peak.exec_type})"
        )


def bar(share: float, width: int = _BAR) -> str:
    """Return a bar of eighths of blocks for a share of 0 to 1; a negative share has none."""
    eighths = max(0, min(width * 8, round(share * width * 8)))
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def grid() -> Table:
    """Return a table without lines."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def count(number: int, word: str) -> str:
    """Return such as "1 thread" or "2 threads"."""
    return f"{number} {word}{'' if number == 1 else 's'}"
