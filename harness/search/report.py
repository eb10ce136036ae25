"""What a search found, told: a page, and tables for a terminal."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from harness import files, typed
from harness.comparison import charts
from harness.comparison.findings import figure_text
from harness.comparison.output import REPORT as COMPARED
from harness.measurement.round import METRICS
from harness.mlperf.scenario import Scenario
from harness.report import html, scatter, table
from harness.report.scatter import Mark
from harness.report.table import Table
from harness.search import pictures, result
from harness.search.decision import SEARCHED, UNIFORM
from harness.search.document import Scouts, SearchResult, TimedNetwork
from harness.search.sentences import sentences

FILE_NAME = "report.html"

_SEEN = (
    "Measured latency and accuracy of the networks that were looked at, after that look, on held-out "
    "training images. Orange: what somebody would think of; blue: what the search chose after them; large: "
    "the shortlist."
)
_DECISION = (
    "Measured latency and accuracy on held-out training images. Blue: after the brief training; green: "
    "INT8 after training to the end; orange: uniform scalings, likewise. The line is what must be kept."
)
_AGREEMENT = (
    "Orange: random networks that the table has not seen; blue: those that were looked at, before the table "
    "had learned from any. On the dashed line both are equal."
)
_EXPECTATIONS = (
    "What the estimator expects of each network that was looked at, having learned from all others, against "
    "the accuracy seen."
)
_ARCHITECTURES = "A bar a block, as wide as its middle; all of a stage on one scale."


def write(out: Path) -> Path:
    """Write OUT/report.html from what the search left in OUT, and return its path.

    Raises:
        OutputError: the search did not go through, or the folder cannot be written.
    """
    outcome = result.read(out)
    path = out / FILE_NAME
    files.write_text(path, html.document("Architecture search", list(_body(outcome)), charts.COLOURS))
    return path


def text(out: Path) -> str:
    """Return the report for a terminal.

    Raises:
        OutputError: the search did not go through.
    """
    outcome = result.read(out)
    parts = [table.aligned(one) for one in _tables(outcome)]
    parts.append("\n".join(sentences(outcome)))
    parts.append(f"report: {out / FILE_NAME}")
    return "\n\n".join(parts)


def _body(outcome: SearchResult) -> Iterator[str]:
    request = outcome.request
    machine = outcome.machine
    where = machine.cpu_model or machine.architecture
    yield f"<h1>A search from {escape(request.baseline.name)}</h1>"
    conditions = request.conditions
    yield (
        f'<p class="quiet">{escape(outcome.created[:10])}, {escape(str(where))}, {conditions.threads} '
        f"thread(s), for {escape(conditions.scenario)}; not an official MLPerf result</p>"
    )
    found = _tables(outcome)
    yield html.table(found[0])
    yield html.items(list(sentences(outcome)))
    yield f'<p><a href="{outcome.comparison}/{COMPARED}">All rounds and their logs</a></p>'
    yield "<h2>What was found</h2>"
    named = [
        ("baseline", request.space.baseline),
        (SEARCHED, outcome.searched.architecture),
    ]
    scouts = outcome.estimator.scouts
    yield pictures.legend()
    yield '<div class="charts">'
    yield html.figure("Baseline and searched", pictures.architectures(named), _ARCHITECTURES)
    if scouts is not None:
        yield html.figure("What was looked at", _seen(outcome, scouts), _SEEN)
    yield html.figure("Decision", _decision(outcome), _DECISION)
    yield html.figure("Predicted and measured latency", _agreement(outcome), _AGREEMENT)
    if scouts is not None:
        yield html.figure("Expected and seen accuracy", _expectations(scouts), _EXPECTATIONS)
    yield "</div>"
    for one in found[1:]:
        yield html.table(one)
    yield "<h2>How it was done</h2>"
    yield html.pairs(list(_facts(outcome)))


def _tables(outcome: SearchResult) -> list[Table]:
    return [_test(outcome), _shortlist(outcome), _costs(outcome)]


def _test(outcome: SearchResult) -> Table:
    test = outcome.test
    scenarios = list(test.units)
    rows = []
    for name, row in test.models.items():
        figures = [_center(row.figures[one]) for one in scenarios]
        accuracy = "-" if row.accuracy is None else f"{100 * row.accuracy:.2f} %"
        passed = {True: "reached", False: "missed", None: "none"}[row.passed]
        rows.append((name, *figures, accuracy, passed))
    units = [f"{METRICS[Scenario(one)].title}, {test.units[one]}" for one in scenarios]
    return Table("On the test images, through LoadGen", ("", *units, "top-1", "target"), tuple(rows))


def _shortlist(outcome: SearchResult) -> Table:
    rows = []
    for one in outcome.shortlist:
        trained = outcome.trained.get(one.key)
        final = "-" if trained is None else f"{100 * trained.accuracy:.2f} %"
        error = f"{100 * (one.latency_ms / one.measured_ms - 1):+.1f} %"
        name = f"{one.key} {SEARCHED if one.key == outcome.searched.key else ''}".strip()
        rows.append(
            (
                name,
                figure_text(one.latency_ms),
                figure_text(one.measured_ms),
                error,
                _share(one.kernels.int8_share),
                "-" if one.look is None else f"{100 * one.look:.2f} %",
                f"{100 * one.brief:.2f} %",
                final,
            )
        )
    header = ("", "predicted ms", "measured ms", "error", "INT8 share", "look", "brief", "final INT8")
    return Table("Shortlist; accuracies on held-out training images", header, tuple(rows))


def _costs(outcome: SearchResult) -> Table:
    groups: dict[str, float] = {}
    for part, seconds in outcome.seconds.items():
        group = part.partition("-")[0]
        groups[group] = groups.get(group, 0.0) + seconds
    rows = [(_COSTS.get(group, group), f"{seconds / 60:.1f}") for group, seconds in groups.items()]
    rows.append(("together", f"{sum(groups.values()) / 60:.1f}"))
    return Table("Minutes", ("", "minutes"), tuple(rows))


_COSTS = {
    "usual": "measuring the baseline's latency",
    "int8": "comparing the baseline with its INT8 twin",
    "thoughts": "measuring what somebody would think of",
    "scouts": "finding and measuring what is looked at",
    "latencies": "measuring what was looked at",
    "front": "measuring the front",
    "look": "looks",
    "brief": "brief training",
    "bar": "measuring the baseline's accuracy",
    "final": "training to the end, with quantization",
    "seed": "training pick and control from further seeds, with quantization",
    "verdict": "asking pick and control of each seed about the test images",
    "converged": "random networks trained to the end",
    "uniform": "finding the uniform scalings",
    "baseline": "quantizing the baseline",
    "comparison": "LoadGen tests",
}


def _center(figure: tuple[float, float, float] | None) -> str:
    return "-" if figure is None else figure_text(figure[0])


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _facts(outcome: SearchResult) -> Iterator[tuple[str, str]]:
    request = outcome.request
    yield "command", request.command
    yield "space", f"{request.space.key}, sizes {', '.join(map(str, request.space.sizes))} px"
    yield "baseline", f"{request.baseline.name} (SHA-256 {request.baseline.sha256[:12]})"
    images = request.images
    yield "images", f"{images.learned:,} to learn from, {images.held_out:,} held out to decide by"
    yield "latency table", f"{outcome.table.file} (SHA-256 {outcome.table.sha256[:12]})"
    yield "estimator", outcome.estimator.name
    yield "initial weights of candidates", request.initial_weights
    yield "seed", str(request.seed)
    yield (
        "conditions",
        ", ".join(
            f"{key} {value}"
            for key, value in typed.unstructure(request.conditions).items()
            if not isinstance(value, list)
        ),
    )
    yield (
        "versions",
        ", ".join(f"{name} {found}" for name, found in outcome.machine.versions.items() if found),
    )


def _seen(outcome: SearchResult, scouts: Scouts) -> str:
    chosen = {one.key for one in outcome.shortlist}
    marks = []
    for place, one in enumerate(scouts.seen):
        ms = one.latency_ms if one.measured_ms is None else one.measured_ms
        top1, kind = 100 * one.accuracy, "v1" if place < scouts.thoughts else "v0"
        radius = 5 if one.key in chosen else 2.5
        marks.append(Mark(ms, top1, _tip(one.key, ms, top1), kind, radius=radius))
    return scatter.points(marks, "measured ms, logarithmic", "top-1 in %", "What was looked at")


def _decision(outcome: SearchResult) -> str:
    marks = []
    for one in outcome.shortlist:
        ms = one.measured_ms
        marks.append(Mark(ms, 100 * one.brief, _tip(one.key, ms, 100 * one.brief), "v0"))
        if (trained := outcome.trained.get(one.key)) is not None:
            final = 100 * trained.accuracy
            name = SEARCHED if one.key == outcome.searched.key else ""
            marks.append(Mark(ms, final, _tip(one.key, ms, final), "v2", name, 5))
    for control in outcome.controls:
        ms, key = control.measured_ms, control.key
        name = UNIFORM if key == outcome.uniform.key else ""
        for top1, label in ((control.brief, ""), (control.held_out, name)):
            if top1 is not None:
                marks.append(Mark(ms, 100 * top1, _tip(key, ms, 100 * top1), "v1", label))
    least = 100 * outcome.bar.least
    return scatter.points(marks, "measured ms, logarithmic", "top-1 in %", "Decision", least)


def _agreement(outcome: SearchResult) -> str:
    seen = outcome.estimator.scouts.seen if outcome.estimator.scouts else ()
    looked_at = [
        TimedNetwork(one.key, one.measured_ms, one.latency_ms) for one in seen if one.measured_ms is not None
    ]
    pairs = [(one, "v1") for one in outcome.table.held_out] + [(one, "v0") for one in looked_at]
    marks = [
        Mark(
            one.measured_ms,
            one.predicted_ms,
            f"{one.key}: predicted {one.predicted_ms:.3g} ms, measured {one.measured_ms:.3g} ms",
            kind,
            radius=3.0,
        )
        for one, kind in pairs
    ]
    return scatter.agreement(
        marks,
        "measured ms, logarithmic",
        "predicted ms",
        "Predicted and measured latency",
        logarithmic=True,
    )


def _expectations(scouts: Scouts) -> str:
    marks = [
        Mark(
            100 * one.accuracy,
            100 * one.predicted,
            f"{one.key}: expected {100 * one.predicted:.1f} %, seen {100 * one.accuracy:.1f} %",
            "v0",
            radius=3.0,
        )
        for one in scouts.seen
    ]
    return scatter.agreement(
        marks, "seen top-1, %", "expected, %", "Expected and seen accuracy", logarithmic=False
    )


def _tip(key: str, latency_ms: float, value: float) -> str:
    return f"{key}: {latency_ms:.3g} ms, {value:.4g}"
