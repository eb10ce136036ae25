"""report.html: one page that needs no network, for screen, phone and paper."""

from collections.abc import Iterator
from datetime import datetime
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from harness.comparison import charts, findings, table
from harness.comparison.costs import Bill
from harness.comparison.document import Cell, Comparison, count_threads
from harness.files import format_bytes
from harness.measurement.round import METRICS
from harness.mlperf import log
from harness.report import html
from harness.report.table import Table

_COUNTERS = {
    "steal_share": "steal time",
    "other_cpus": "other load",
    "throttled_count": "throttling",
    "swapped_pages": "swapping",
    "frequency_hz": "frequency",
}
_LATENCIES = (
    "Points are the percentiles in LoadGen's logs (p50, p80, p90, p95, p97, p99, p99.9), geometric means "
    "over the rounds; the lines only join them. Upwards the axis is stretched towards 100 %."
)
_PER_CORE = (
    "After the published Figure 1. Grey: MLPerf Inference, round by round, ResNet-50 v1.5 (closed) or the "
    "submitter's own model (open, with its top-1 where that is known), on all cores of the CPUs named, by "
    "the core counts as submitted (*: these are virtual CPUs or big cores only, or the result is inferred "
    "from Single-Stream). Coloured: this comparison, with the models and on the cores named. Other machines, "
    "years and software: a bar beside another is no like-for-like comparison."
)


def render(comparisons: list[Comparison], bill: Bill | None = None) -> str:
    """Return the whole page, of one comparison or of several that were merged."""
    first = comparisons[0]
    names = ", ".join(variant.name for variant in first.variants)
    where = f"{len(comparisons)} machines" if len(comparisons) > 1 else first.machine_name
    body = [
        f"<h1>{len(first.variants)} variants on {escape(where)}</h1>",
        f'<p class="quiet">{escape(names)}, compared on {escape(_date(first))} through MLPerf LoadGen and '
        f"OpenVINO; not official MLPerf results</p>",
        *(html.table(entry) for entry in table.tables(comparisons)),
        *_accuracy(comparisons),
        html.items(table.notes(comparisons), "quiet"),
        *_costs(bill),
        "<h2>How sure that is</h2>",
        *_answers(comparisons),
        *_charts(comparisons),
        *_published(),
    ]
    for comparison in comparisons:
        body += _details(comparison, len(comparisons) > 1)
    return html.document(names, body, charts.COLOURS)


def _costs(bill: Bill | None) -> Iterator[str]:
    if bill is not None:
        if (shown := bill.table()) is not None:
            yield html.table(shown)
        yield html.items(list(bill.notes), "quiet")


def _answers(comparisons: list[Comparison]) -> Iterator[str]:
    for comparison in comparisons:
        if len(comparisons) > 1:
            yield f"<h3>{escape(comparison.machine_name)}</h3>"
        yield _speedups(comparison)
        yield html.items([findings.accuracy_text(comparison, pair) for pair in comparison.accuracy_pairs])
        yield html.items(comparison.faults, "warn")
        yield html.items(list(comparison.remarks), "warn")


def _speedups(comparison: Comparison) -> str:
    """Return a table of verdicts: a row per pair of variants, a column per scenario and threads."""
    found = findings.speedups(comparison)
    columns = list(dict.fromkeys((one.scenario, one.threads) for one in found))
    texts = {(one.variant, one.against, one.scenario, one.threads): findings.short_text(one) for one in found}
    pairs = dict.fromkeys((one.variant, one.against, one.speed_only) for one in found)
    rows = [
        (
            f"{variant} against {against}{' (speed only)' if speed_only else ''}",
            *(texts.get((variant, against, *column), "") for column in columns),
        )
        for variant, against, speed_only in pairs
    ]
    header = [f"{METRICS[scenario].title}, {count_threads(threads)}" for scenario, threads in columns]
    count = comparison.settings.rounds
    title = f"Speed-ups, with 95 % intervals over {count} rounds; a difference is told when it excludes 1"
    return html.table(Table(title, ("", *header), tuple(rows)), "sentences")


def _accuracy(comparisons: list[Comparison]) -> Iterator[str]:
    if found := table.accuracy_table(comparisons):
        yield html.table(found, "sentences")


def _charts(comparisons: list[Comparison]) -> Iterator[str]:
    yield "<h2>Charts</h2>"
    for comparison in comparisons:
        if len(comparisons) > 1:
            yield f"<h3>{escape(comparison.machine_name)}</h3>"
        yield _key(comparison)
        for threads in comparison.threads:
            yield f'<div class="charts">{"".join(_machine_charts(comparison, threads))}</div>'
    if drawn := charts.per_core(comparisons):
        figure = html.figure("Offline throughput per core", drawn, _PER_CORE, "full")
        yield f'<div class="charts">{figure}</div>'


def _machine_charts(comparison: Comparison, threads: int) -> Iterator[str]:
    where = count_threads(threads)
    for scenario in METRICS:
        if drawn := charts.latencies(comparison, scenario, threads):
            yield html.figure(
                f"{METRICS[scenario].title} latency, {where}",
                drawn,
                _LATENCIES,
            )
    if drawn := charts.pareto(comparison, threads):
        yield html.figure(
            f"Accuracy and latency, {where}",
            drawn,
            "Accuracy in % upwards. Dashed: what no other variant betters in both. Hollow and *: "
            "misses its accuracy target. Variants without an accuracy are not shown.",
        )
    if drawn := charts.throughputs(comparison, threads):
        yield html.figure(
            f"Offline throughput, {where}",
            drawn,
            "Geometric means over the rounds with 95 % bootstrap intervals.",
        )


def _published() -> Iterator[str]:
    yield "<h2>Published in 2020</h2>"
    yield from (html.table(entry) for entry in table.published_tables())
    yield (
        '<p class="quiet">Latencies there are means or medians, above they are percentiles; the boost is the '
        "searched model against 8-bit and against 32-bit ResNet-50.</p>"
    )


def _details(comparison: Comparison, several: bool) -> Iterator[str]:
    name = f": {comparison.machine_name} ({comparison.source})" if several else ""
    yield f"<h2>Rounds and logs{escape(name)}</h2>"
    yield _logs(comparison)
    yield "<h2>Machine and settings</h2>"
    yield html.pairs(list(_machine(comparison)))
    yield "<h3>Settings</h3>"
    yield html.pairs(list(_settings(comparison)))
    yield "<h3>Noise</h3>"
    yield html.items(list(comparison.remarks) or ["Nothing out of the ordinary was seen."])
    unseen = _unseen(comparison)
    if unseen:
        yield f'<p class="quiet">Not readable on this machine: {escape(", ".join(unseen))}.</p>'


def _logs(comparison: Comparison) -> str:
    """Return a table of every round's figure, each a link to its log."""
    rows = []
    for cell in comparison.cells:
        metric = METRICS[cell.scenario]
        links = ", ".join(_round_link(comparison, cell, number) for number in range(len(cell.rounds)))
        conf = _link(comparison, cell.user_conf, "user.conf")
        where = f"{escape(cell.variant)}<br>{metric.title}, {count_threads(cell.threads)}"
        rows.append(f"<tr><th>{where}</th><td>{links}<br>{escape(metric.unit)}; {conf}</td></tr>")
    for variant in comparison.variants:
        if variant.accuracy is not None:
            folder = PurePosixPath(variant.accuracy.log)
            links = ", ".join(
                _link(comparison, str(folder / name), name)
                for name in (log.ACCURACY_TEXT, log.ACCURACY_LOG, log.DETAIL_LOG)
            )
            rows.append(f"<tr><th>{escape(variant.name)}<br>accuracy</th><td>{links}</td></tr>")
    return '<table class="words">' + "".join(rows) + "</table>"


def _round_link(comparison: Comparison, cell: Cell, place: int) -> str:
    entry = cell.rounds[place]
    value = cell.values().get(entry.number)
    shown = f"{value:.4g}" if value is not None else "not valid"
    name = log.SUMMARY_LOG if entry.valid else log.DETAIL_LOG
    return _link(comparison, f"{entry.log}/{name}", shown)


def _link(comparison: Comparison, path: str, shown: str) -> str:
    whole = PurePosixPath(comparison.source) / path
    return f'<a href="{quote(str(whole))}">{escape(shown)}</a>'


def _machine(comparison: Comparison) -> Iterator[tuple[str, str]]:
    machine = comparison.machine
    yield "CPU", comparison.machine_name
    quota = "" if machine.quota_cores is None else f", by a quota of {machine.quota_cores:g}"
    yield "CPUs", f"{machine.usable_cpus} usable of {machine.cpus_present or 'unknown'}{quota}"
    if machine.physical_cores:
        yield "cores", f"{machine.physical_cores} physical, {machine.sockets or 'unknown'} socket(s)"
    yield "instructions", ", ".join(machine.isa or ["unknown"])
    if machine.max_frequency_hz:
        yield "highest frequency", f"{machine.max_frequency_hz / 1e9:.2f} GHz"
    if machine.governor:
        yield "governor", machine.governor
    if machine.memory_bytes:
        yield "memory", format_bytes(machine.memory_bytes)
    yield "system", ", ".join(filter(None, [machine.operating_system, machine.kernel]))
    if machine.hypervisor:
        yield "virtual machine", machine.virtualization or "yes"
    versions = machine.versions
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _settings(comparison: Comparison) -> Iterator[tuple[str, str]]:
    settings, data = comparison.settings, comparison.data
    yield "rounds", f"{settings.rounds}, alternating, of at least {settings.duration_s:g} s each"
    yield "baseline", comparison.baseline
    yield "rules", f"MLPerf Inference {settings.mlperf}, durations shortened"
    yield "data", f"{data.dataset}, {data.count:,} images (list {data.list_sha256[:12]})"
    yield "intervals", "95 %, percentile bootstrap over rounds, paired by round, corrected for few rounds"
    for variant in comparison.variants:
        kernels = ", ".join(f"{count} {kind}" for kind, count in (variant.kernels or {}).items())
        facts = [
            f"model {variant.model} (SHA-256 {variant.origin[:12]})",
            f"asked for {variant.precision}",
            f"computed in {variant.computed}" if variant.computed else "",
            f"layers by kernel: {kernels}" if kernels else "",
            variant.calibration,
            variant.no_accuracy,
            f"not run: {variant.not_run}" if variant.not_run else "",
        ]
        yield variant.name, "; ".join(filter(None, facts))
    for cell in comparison.cells:
        where = f"{cell.variant}, {METRICS[cell.scenario].title}, {count_threads(cell.threads)}"
        yield where, findings.settings_text(comparison, cell)
    yield "not official because", "; ".join(comparison.not_official_because)


def _unseen(comparison: Comparison) -> list[str]:
    noises = [entry.noise for cell in comparison.cells for entry in cell.rounds]
    return [name for key, name in _COUNTERS.items() if all(getattr(noise, key) is None for noise in noises)]


def _key(comparison: Comparison) -> str:
    entries = [
        f'<li><span class="{charts.colour(comparison, variant.name)}"></span>{escape(variant.name)}</li>'
        for variant in comparison.variants
    ]
    return f'<ul class="key">{"".join(entries)}</ul>'


def _date(comparison: Comparison) -> str:
    return datetime.fromisoformat(comparison.created).date().isoformat()
