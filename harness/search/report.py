"""What a search found, told: a page, and tables for a terminal."""

import math
import statistics
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.comparison import charts
from harness.comparison.findings import figure_text
from harness.comparison.output import REPORT as COMPARED
from harness.measurement.round import METRICS
from harness.mlperf.scenario import Scenario
from harness.model.architecture import Architecture
from harness.report import html, scatter, table
from harness.report.scatter import Mark
from harness.report.table import Table
from harness.search import pictures, result
from harness.search.accuracy.estimator import agreement, kendall
from harness.search.decision import SEARCHED, UNIFORM, Bar

FILE_NAME = "report.html"

_FRONT = (
    "Measured latency and the estimator's score, which only ranks. Blue: the front that the search found; "
    "large: the shortlist; orange: baseline and uniform scalings, whose latency is predicted."
)
_DECISION = (
    "Measured latency and accuracy on held-out training images. Blue: after the brief fine-tuning; green: "
    "INT8 after training to the end; orange: uniform scalings, likewise. The line is what must be kept."
)
_AGREEMENT = (
    "Orange: random networks that the table has not seen; blue: the front. On the dashed line both are equal."
)
_EXPECTATIONS = (
    "Scouts, networks looked at before the search: what the estimator expects of each, having learned from "
    "all others, against the accuracy seen."
)
_ARCHITECTURES = "A bar a block, as wide as its middle; all of a stage on one scale."
_SIGNIFICANT = 0.05
_CURE = "repeat the `harness search run`, which keeps what is finished"


def write(out: Path) -> Path:
    """Write OUT/report.html from what the search left in OUT, and return its path.

    Raises:
        OutputError: the search did not go through, or the folder cannot be written.
    """
    outcome = result.read(out)
    path = out / FILE_NAME
    with typed.read_by_key(out / result.FILE_NAME, _CURE):
        body = list(_body(outcome))
    files.write_text(path, html.document("Architecture search", body, charts.COLOURS))
    return path


def text(out: Path) -> str:
    """Return the report for a terminal.

    Raises:
        OutputError: the search did not go through.
    """
    outcome = result.read(out)
    with typed.read_by_key(out / result.FILE_NAME, _CURE):
        parts = [table.aligned(one) for one in _tables(outcome)]
        parts.append("\n".join(_sentences(outcome)))
    parts.append(f"report: {out / FILE_NAME}")
    return "\n\n".join(parts)


def _body(outcome: dict[str, Any]) -> Iterator[str]:
    request = outcome["request"]
    machine = outcome["machine"]
    where = machine["cpu_model"] or machine["architecture"]
    yield f"<h1>A search from {escape(request['baseline']['name'])}</h1>"
    conditions = request["conditions"]
    yield (
        f'<p class="quiet">{escape(outcome["created"][:10])}, {escape(str(where))}, {conditions["threads"]} '
        f"thread(s), for {escape(conditions['scenario'])}; not an official MLPerf result</p>"
    )
    found = _tables(outcome)
    yield html.table(found[0])
    yield html.items(list(_sentences(outcome)))
    yield f'<p><a href="{outcome["comparison"]}/{COMPARED}">All rounds and their logs</a></p>'
    yield "<h2>What was found</h2>"
    named = [
        ("baseline", Architecture.from_dict(request["space"]["baseline"])),
        (SEARCHED, Architecture.from_dict(outcome[SEARCHED]["architecture"])),
    ]
    yield pictures.legend()
    yield '<div class="charts">'
    yield html.figure("Baseline and searched", pictures.architectures(named), _ARCHITECTURES)
    yield html.figure("Front of the search", _front(outcome), _FRONT)
    yield html.figure("Decision", _decision(outcome), _DECISION)
    yield html.figure("Predicted and measured latency", _agreement(outcome), _AGREEMENT)
    if outcome["estimator"]["scouts"] is not None:
        yield html.figure("Expected and seen accuracy", _expectations(outcome), _EXPECTATIONS)
    yield "</div>"
    for one in found[1:]:
        yield html.table(one)
    yield "<h2>How it was done</h2>"
    yield html.pairs(list(_facts(outcome)))


def _tables(outcome: dict[str, Any]) -> list[Table]:
    return [_test(outcome), _shortlist(outcome), _controls(outcome), _costs(outcome)]


def _test(outcome: dict[str, Any]) -> Table:
    test = outcome["test"]
    scenarios = list(test["units"])
    rows = []
    for name, row in test["models"].items():
        figures = ["-" if row[one] is None else figure_text(row[one][0]) for one in scenarios]
        accuracy = "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
        passed = {True: "reached", False: "missed", None: "none"}[row["passed"]]
        rows.append((name, *figures, accuracy, passed))
    units = [f"{METRICS[Scenario(one)].title}, {test['units'][one]}" for one in scenarios]
    return Table("On the test images, through LoadGen", ("", *units, "top-1", "target"), tuple(rows))


def _shortlist(outcome: dict[str, Any]) -> Table:
    rows = []
    for one in outcome["shortlist"]:
        trained = outcome["trained"].get(one["key"])
        final = "-" if trained is None else f"{100 * trained['accuracy']:.2f} %"
        error = f"{100 * (one['latency_ms'] / one['measured_ms'] - 1):+.1f} %"
        name = f"{one['key']} {SEARCHED if one['key'] == outcome[SEARCHED]['key'] else ''}".strip()
        rows.append(
            (
                name,
                figure_text(one["latency_ms"]),
                figure_text(one["measured_ms"]),
                error,
                _share(one["kernels"]["int8_share"]),
                f"{one['score']:.4g}",
                f"{100 * one['brief']:.2f} %",
                final,
            )
        )
    header = ("", "predicted ms", "measured ms", "error", "INT8 share", "score", "brief", "final INT8")
    return Table("Shortlist; accuracies on held-out training images", header, tuple(rows))


def _controls(outcome: dict[str, Any]) -> Table:
    rows = tuple(
        (
            f"seed {run['seed']}",
            f"{run['trials']:,}",
            f"{run['hypervolume']:.4g}",
            f"{run['random_hypervolume']:.4g}",
            f"{100 * (run['hypervolume'] / run['random_hypervolume'] - 1):+.1f} %"
            if run["random_hypervolume"]
            else "-",
        )
        for run in outcome["search"]["runs"]
    )
    header = ("", "networks tried by each", "search", "random search", "more")
    return Table("Hypervolume at equal budget, ms times score", header, rows)


def _costs(outcome: dict[str, Any]) -> Table:
    groups: dict[str, float] = {}
    for part, seconds in outcome["seconds"].items():
        group = part.partition("-")[0]
        groups[group] = groups.get(group, 0.0) + seconds
    rows = [(_COSTS.get(group, group), f"{seconds / 60:.1f}") for group, seconds in groups.items()]
    rows.append(("together", f"{sum(groups.values()) / 60:.1f}"))
    return Table("Minutes", ("", "minutes"), tuple(rows))


_COSTS = {
    "int8": "comparing the baseline with its INT8 twin",
    "scouts": "finding the scouts",
    "front": "measuring the front",
    "look": "first look, scouts included",
    "brief": "brief fine-tuning",
    "bar": "measuring the baseline's accuracy",
    "final": "training to the end, with quantization",
    "converged": "random networks trained to the end",
    "uniform": "finding the uniform scalings",
    "baseline": "quantizing the baseline",
    "comparison": "LoadGen tests",
}


def _sentences(outcome: dict[str, Any]) -> Iterator[str]:
    bar = Bar(*(outcome["bar"][name] for name in ("baseline", "max_drop", "images")))
    picked, rival = outcome[SEARCHED], outcome[UNIFORM]
    keeps = "does not keep"
    if picked["held_out"] >= bar.least:
        margin = "more" if picked["held_out"] >= bar.safe else "less"
        keeps = f"keeps, by {margin} than a standard error,"
    yield (
        f"Chosen: {picked['key']}, {figure_text(picked['measured_ms'])} ms where the baseline in INT8 takes "
        f"{figure_text(outcome['baseline_ms'])} ms; {100 * picked['held_out']:.2f} % in INT8 on held-out "
        f"training images, which {keeps} the {100 * bar.least:.2f} % that were needed "
        f"(the baseline's {100 * bar.baseline:.2f} % less {100 * bar.max_drop:g} % of it)."
    )
    if picked["measured_ms"] > outcome.get("wanted_ms", math.inf):
        yield (
            f"The wanted latency of {figure_text(outcome['wanted_ms'])} ms is missed: no point of the front "
            "that is predicted to keep it keeps it when measured."
        )
    if not outcome["request"]["images"]["held_out_unseen"]:
        yield (
            "The held-out images are part of --train, which the baseline has probably learned from: its own "
            "accuracy on them flatters, and the bar is rather too high (--held-out mends that)."
        )
    yield (
        f"Control: the uniform scaling {rival['key']}, {figure_text(rival['measured_ms'])} ms, trained the "
        f"same way, has {100 * rival['held_out']:.2f} % on the same {bar.images:,} images. An accuracy on "
        f"so many has a standard error of {100 * bar.standard_error:.2f} points."
    )
    yield _rivals(outcome)
    speeds = outcome["test"]["searched_over_uniform"]
    yield from (
        one["text"]
        for one in outcome["test"]["speedups"]
        if one["variant"] == SEARCHED and one["against"] != UNIFORM
    )
    yield from (one["text"] for one in speeds.values())
    yield from outcome["test"]["accuracies"]
    pair = outcome["test"]["searched_against_uniform"]
    if pair is not None:
        yield (
            f"{SEARCHED} against {UNIFORM} on {pair['count']:,} test images: {pair['points']:+.2f} points "
            f"(McNemar's exact test: p = {pair['p_value']:.2g}). "
            f"{_verdict(pair, speeds.get(outcome['request']['conditions']['scenario']))}"
        )
    yield from _wide(outcome)
    table = outcome["table"]
    if table.get("validation"):
        proof = table["validation"]
        yield (
            f"Latency table on {proof['networks']} unseen networks: mean error {100 * proof['mape']:.1f} %, "
            f"bias {100 * proof['bias']:+.1f} %, Kendall's tau {proof['tau']:.3f} (calibrated MACs: "
            f"{100 * proof['macs_mape']:.1f} %, {proof['macs_tau']:.3f})."
        )
    front = outcome["front"]
    errors = [abs(one["latency_ms"] / one["measured_ms"] - 1) for one in front]
    ranked = kendall([one["latency_ms"] for one in front], [one["measured_ms"] for one in front])
    yield (
        f"On the {len(front)} points of the front, measured end to end: mean error "
        f"{100 * statistics.fmean(errors):.1f} %, largest {100 * max(errors):.1f} %, "
        f"Kendall's tau {ranked:.3f}."
    )
    yield from _scouted(outcome)
    yield from _first_look(outcome)
    yield from _trust(outcome)


def _verdict(pair: dict[str, Any], speed: dict[str, Any] | None) -> str:
    """Say which of the two to take, as far as the test images and the objective's speed tell."""
    _, low, high = (speed and speed["ratio"]) or (1.0, 0.0, math.inf)
    faster = SEARCHED if low > 1 else UNIFORM if high < 1 else None
    better = None
    if pair["p_value"] <= _SIGNIFICANT:
        better = SEARCHED if pair["points"] > 0 else UNIFORM
    if better is None and faster is None:
        return f"That shows no difference, nor do their speeds: {UNIFORM} is the plainer one."
    if better is None:
        return f"That shows no difference, but {faster} is faster: take it."
    if faster in (None, better):
        return f"Take {better}."
    return f"{better} is more accurate and {faster} faster: choose by what matters more."


def _rivals(outcome: dict[str, Any]) -> str:
    finished = sum(one["held_out"] is not None for one in outcome["controls"])
    found = "; ".join(
        f"{'-'.join(map(str, one['depths']))} blocks, {figure_text(one['measured_ms'])} ms, "
        f"{100 * one['brief']:.2f} %"
        + ("" if one["held_out"] is None else f", in the end {100 * one['held_out']:.2f} %")
        for one in outcome["controls"]
    )
    return (
        f"It is the best of {finished} uniform scalings that were trained to the end, as many as were "
        f"candidates if there are so many, those first that lead after the brief fine-tuning: {found}."
    )


def _first_look(outcome: dict[str, Any]) -> Iterator[str]:
    looks = {one["key"]: one["accuracy"] for one in outcome["looks"]}
    if not looks:
        return
    shortlist, front = outcome["shortlist"], {one["key"] for one in outcome["front"]}
    others = sum(one["key"] not in front for one in shortlist)
    tau = kendall([looks[one["key"]] for one in shortlist], [one["brief"] for one in shortlist])
    images = min(outcome["request"]["effort"]["look_images"], outcome["request"]["images"]["learned"])
    yield (
        f"First look: {len(looks)} networks of the front, those behind it and the scouts, fine-tuned on "
        f"{images:,} images; {others} of the {len(shortlist)} in the "
        f"shortlist are not of the front. Kendall's tau of their looks with the brief fine-tuning: {tau:.2f}."
    )


def _scouted(outcome: dict[str, Any]) -> Iterator[str]:
    """Say how far what was seen before the search agrees with the estimator, before and after it learned."""
    scouts = outcome["estimator"]["scouts"]
    if scouts is None:
        return
    taus = ", ".join(f"{name} {tau:.2f}" for name, tau in scouts["taus"].items())
    times = sorted(one["latency_ms"] for one in scouts["seen"])
    yield (
        f"Scouts: {len(times)} networks of {figure_text(times[0])} to {figure_text(times[-1])} ms, as "
        "predicted, looked at before the search. "
        f"Kendall's tau with their accuracies: {taus}, where each is predicted from the others alone."
    )


def _trust(outcome: dict[str, Any]) -> Iterator[str]:
    """Say what the estimator's ranking is worth, as far as that is known."""
    name, shortlist, rows = outcome["estimator"]["name"], outcome["shortlist"], outcome["converged"]
    found = agreement(
        {ranked: [row["scores"][ranked] for row in rows] for ranked in (rows[0]["scores"] if rows else ())},
        [row["accuracies"][0] for row in rows],
        [Architecture.from_dict(row["architecture"]) for row in rows],
        [row["accuracies"][1] for row in rows],
    )
    yield f"Accuracy estimator, {name}: {found.line}."
    briefly = agreement(
        {name: [one["score"] for one in shortlist]},
        [one["brief"] for one in shortlist],
        [Architecture.from_dict(one["architecture"]) for one in shortlist],
    )
    taus = ", ".join(f"{ranked} {tau:.2f}" for ranked, tau in briefly.taus.items())
    yield (
        f"Kendall's tau with the brief fine-tuning of the shortlist's {briefly.networks} networks, which is "
        f"no convergence: {taus}."
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _wide(outcome: dict[str, Any]) -> Iterator[str]:
    """Name the layers of the chosen network that the compiler did not put into INT8 kernels."""
    kernels = {one["key"]: one["kernels"] for one in outcome["shortlist"]}[outcome[SEARCHED]["key"]]
    named = list(dict.fromkeys(layer["name"] for layer in (*kernels["wide"], *kernels["fallbacks"])))
    if named:
        yield f"Not in INT8 kernels of their own in {SEARCHED}: {', '.join(named)}."
    elif kernels["int8_share"] is not None:
        yield f"All convolutions and matrix products of {SEARCHED} run in INT8 kernels; none falls back."


def _facts(outcome: dict[str, Any]) -> Iterator[tuple[str, str]]:
    request = outcome["request"]
    yield "command", request["command"]
    yield "space", f"{request['space']['key']}, sizes {', '.join(map(str, request['space']['sizes']))} px"
    yield "baseline", f"{request['baseline']['name']} (SHA-256 {request['baseline']['sha256'][:12]})"
    images = request["images"]
    yield "images", f"{images['learned']:,} to learn from, {images['held_out']:,} held out to decide by"
    yield "latency table", f"{outcome['table'].get('file', '')} (SHA-256 {outcome['table']['sha256'][:12]})"
    yield "estimator", f"{outcome['estimator']['name']} (SHA-256 {outcome['estimator']['sha256'][:12]})"
    yield "seed", str(request["seed"])
    yield (
        "conditions",
        ", ".join(
            f"{key} {value}" for key, value in request["conditions"].items() if not isinstance(value, list)
        ),
    )
    yield (
        "versions",
        ", ".join(f"{name} {found}" for name, found in outcome["machine"]["versions"].items() if found),
    )


def _front(outcome: dict[str, Any]) -> str:
    chosen = {one["key"] for one in outcome["shortlist"]}
    marks = [
        Mark(one["latency_ms"], one["score"], _tip(one["key"], one["latency_ms"], one["score"]), "v1")
        for one in outcome["search"]["uniform"]
    ]
    for one in outcome["front"]:
        radius = 5 if one["key"] in chosen else 2.5
        tip = _tip(one["key"], one["measured_ms"], one["score"])
        marks.append(Mark(one["measured_ms"], one["score"], tip, "v0", radius=radius))
    return scatter.points(marks, "ms, logarithmic", "score", "Front of the search")


def _decision(outcome: dict[str, Any]) -> str:
    marks = []
    for one in outcome["shortlist"]:
        ms = one["measured_ms"]
        marks.append(Mark(ms, 100 * one["brief"], _tip(one["key"], ms, 100 * one["brief"]), "v0"))
        if (trained := outcome["trained"].get(one["key"])) is not None:
            final = 100 * trained["accuracy"]
            name = SEARCHED if one["key"] == outcome[SEARCHED]["key"] else ""
            marks.append(Mark(ms, final, _tip(one["key"], ms, final), "v2", name, 5))
    for one in outcome["controls"]:
        ms, key = one["measured_ms"], one["key"]
        name = UNIFORM if key == outcome[UNIFORM]["key"] else ""
        for top1, label in ((one["brief"], ""), (one["held_out"], name)):
            if top1 is not None:
                marks.append(Mark(ms, 100 * top1, _tip(key, ms, 100 * top1), "v1", label))
    least = 100 * outcome["bar"]["least"]
    return scatter.points(marks, "measured ms, logarithmic", "top-1 in %", "Decision", least)


def _agreement(outcome: dict[str, Any]) -> str:
    pairs = [(one, "v1", 3.0) for one in outcome["table"].get("held_out", [])]
    pairs += [({**one, "predicted_ms": one["latency_ms"]}, "v0", 3.0) for one in outcome["front"]]
    marks = [
        Mark(
            one["measured_ms"],
            one["predicted_ms"],
            f"{one['key']}: predicted {one['predicted_ms']:.3g} ms, measured {one['measured_ms']:.3g} ms",
            kind,
            radius=radius,
        )
        for one, kind, radius in pairs
    ]
    return scatter.agreement(
        marks,
        "measured ms, logarithmic",
        "predicted ms",
        "Predicted and measured latency",
        logarithmic=True,
    )


def _expectations(outcome: dict[str, Any]) -> str:
    marks = [
        Mark(
            100 * one["accuracy"],
            100 * one["predicted"],
            f"{one['key']}: expected {100 * one['predicted']:.1f} %, seen {100 * one['accuracy']:.1f} %",
            "v0",
            radius=3.0,
        )
        for one in outcome["estimator"]["scouts"]["seen"]
    ]
    return scatter.agreement(
        marks, "seen top-1, %", "expected, %", "Expected and seen accuracy", logarithmic=False
    )


def _tip(key: str, latency_ms: float, value: float) -> str:
    return f"{key}: {latency_ms:.3g} ms, {value:.4g}"
