"""An explanation of an endpoint for the terminal: both ways side by side, and the parts of a call as bars."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.endpoint.host import ON_THIS_HOST
from harness.endpoint.wire import Server
from harness.explain.page import bar, count, grid, plain
from harness.explain.served.document import HERE, PARTS, THERE, ServedExplanation

_TITLES = {HERE: "the model in process", THERE: "through the endpoint"}
_MEANINGS = {
    "client": "LoadGen, handing the sample over, and reading and passing on the answer",
    "wire": "an echo: a call of the same bytes that computes nothing, alone on its connection",
    "queue": "waiting in the server, by its own count",
    "compute": "the model, tensors in and out included, by the server's own count",
    "rest": "what else a call takes: the server's handling of it, and sharing CPUs and connections",
}
_REST_ALONE = "all that the server does, as it gives no statistics: waiting, the model, handling the call"


def text(found: ServedExplanation, width: int = 110) -> str:
    """Return the page as plain text."""
    return plain(page(found), width)


def page(found: ServedExplanation) -> RenderableType:
    """Return the page for a rich console."""
    return Group(*_parts(found))


def _parts(found: ServedExplanation) -> Iterator[RenderableType]:
    server, settings = found.server, found.settings
    named = Server(server.server, server.server_version).words
    version = f", version {server.model_version}" if server.model_version else ""
    calls = f"{count(settings['concurrency'], 'call')} in flight, batch {settings['batch']}"
    yield Text(f"{found.model['name']}, {found.scenario}: {named} at {server.endpoint}{version}, {calls}")
    yield Text(
        f"in process: {found.machine['cpu_model']}, {count(settings['threads'], 'thread')}, "
        f"{count(settings['streams'], 'stream')}, {settings['precision']}"
    )
    if server.is_on_this_host:
        yield Text(ON_THIS_HOST)
    yield from (Text(), _ways(found))
    yield from (Text(), Text(f"{_whole(found)} through the endpoint in parts:"), _split(found))
    if found.remarks:
        yield from (Text(), *(Text(f"- {remark}") for remark in found.remarks))


def _ways(found: ServedExplanation) -> Table:
    table = grid()
    what = "p50 latency, ms" if found.is_latency else "a sample, ms"
    table.add_column(f"median (range) of {found.settings['rounds']} rounds", no_wrap=True)
    for name in (what, "added, µs", "ratio", *([] if found.is_latency else ["samples/s"])):
        table.add_column(name, justify="right", no_wrap=True)
    low_ns, middle_ns, high_ns = found.added_ns
    here_ns = found.way(HERE).median_ns
    for way in found.ways:
        assert way.median_ns is not None
        assert here_ns is not None
        low, high = min(way.figures_ns) / 1e6, max(way.figures_ns) / 1e6
        cells = [f"{way.median_ns / 1e6:.3f} ({low:.3f} to {high:.3f})", "", ""]
        if way.name == THERE:
            cells[1] = f"{middle_ns / 1e3:+.1f} ({low_ns / 1e3:+.1f} to {high_ns / 1e3:+.1f})"
            cells[2] = f"{way.median_ns / here_ns:.2f}"
        if not found.is_latency:
            cells.append(f"{1e9 / way.median_ns:.1f}")
        table.add_row(_TITLES[way.name], *cells)
    return table


def _whole(found: ServedExplanation) -> str:
    return "The p50" if found.is_latency else "A connection's time for a sample"


def _split(found: ServedExplanation) -> Table:
    table = grid()
    for name in ("", "µs", "share", "", "what it is"):
        table.add_column(name, justify="right" if name in ("µs", "share") else "left")
    values = {part: value for part in PARTS if (value := found.part_ns(part)) is not None}
    whole_ns = sum(values.values())
    for part, value_ns in values.items():
        share = value_ns / whole_ns
        meaning = _REST_ALONE if part == "rest" and "compute" not in values else _MEANINGS[part]
        table.add_row(part, f"{value_ns / 1e3:.1f}", f"{100 * share:.1f} %", bar(share), meaning)
    table.add_row("sum", f"{whole_ns / 1e3:.1f}", "", "", "of the medians of the parts")
    return table
