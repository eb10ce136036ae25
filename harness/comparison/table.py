"""The tables in the shape of the published ones, as text, Markdown and CSV."""

import csv
import io
from collections.abc import Iterator, Sequence

from harness.comparison import findings
from harness.comparison.document import Accuracy, Cell, Comparison, Variant, count_threads
from harness.comparison.published import ROWS, SOURCE
from harness.measurement.round import METRICS
from harness.mlperf.scenario import Scenario
from harness.report.table import Table, aligned, as_markdown, escaped

_MISSED, _SPEED_ONLY = "*", "†"
_NOTHING = "-"


def tables(comparisons: list[Comparison]) -> list[Table]:
    """Return one table a scenario: a row per machine and number of threads, a column per variant."""
    names = [variant.name for variant in comparisons[0].variants]
    found = []
    for scenario, metric in METRICS.items():
        rows = [
            _row(comparison, scenario, threads, label)
            for comparison, threads, label in labelled(comparisons)
            if scenario in comparison.scenarios
        ]
        if rows:
            marks = [_marks(name, comparisons) for name in names]
            header = ("", *(f"{name}{mark}" for name, mark in zip(names, marks, strict=True)), "boost")
            what = f"{metric.title}, {metric.name} in {metric.unit}"
            found.append(Table(what, header, tuple(rows)))
    return found


def accuracy_table(comparisons: list[Comparison]) -> Table | None:
    """Return the accuracies, a row per variant; None when none was measured."""
    rows, metrics = [], set()
    for comparison in comparisons:
        for variant in comparison.variants:
            if variant.accuracy is not None:
                score = variant.accuracy
                metrics.add(score.metric)
                top1 = f"{100 * score.fraction:.{_accuracy_digits(score)}f} %"
                of = f"{score.total:,}" if score.good is None else f"{score.good:,} of {score.total:,}"
                machine = (comparison.source,) if len(comparisons) > 1 else ()
                rows.append((variant.name, *machine, top1, of, _target(variant)))
    if not rows:
        return None
    machine = ("measured in",) if len(comparisons) > 1 else ()
    metric = metrics.pop()
    of = "right" if metric == "top-1" else "images"
    return Table("Accuracy", ("", *machine, metric, of, "target"), tuple(rows))


def published_tables() -> list[Table]:
    """Return the published tables, whose boost is the searched model against 8 and 32 bits."""
    header = ("", "ResNet-50 32-bit", "ResNet-50 8-bit", "searched", "boost")
    latencies, rates = [], []
    for row in ROWS:
        latencies.append((row.hardware, *(f"{value:g}" for value in row.latency_ms), row.latency_boost))
        rates.append((row.hardware, *(f"{value:g}" for value in row.images_per_second), row.rate_boost))
    return [
        Table(f"Single-Stream, latency in ms ({SOURCE})", header, tuple(latencies)),
        Table(f"Offline, images/s ({SOURCE})", header, tuple(rates)),
    ]


def notes(comparisons: list[Comparison]) -> list[str]:
    """Return what must be read with the tables."""
    found = _boost_notes(comparisons)
    if any(findings.UNSURE in boost.text for one in comparisons for boost in findings.boosts(one)):
        found.append(f"{findings.UNSURE} the interval of this ratio includes 1: no difference can be told.")
    speed_only: dict[str, list[str]] = {}
    for comparison in comparisons:
        for variant in comparison.variants:
            names = speed_only.setdefault(variant.no_accuracy, [])
            if variant.speed_only and not variant.not_run and variant.name not in names:
                names.append(variant.name)
    found += [
        f"{_SPEED_ONLY} {reason} ({', '.join(names)})." for reason, names in speed_only.items() if names
    ]
    looks = [one.settings.looks for one in comparisons if one.settings.look > 1]
    if looks:
        counts = "; ".join(", ".join(map(str, one)) for one in dict.fromkeys(looks))
        found.append(
            f"Looked at after {counts} rounds: the intervals of ratios are wider than those of one look, so "
            "that 95 % holds for all looks together."
        )
    seen: set[str] = set()
    for comparison in comparisons:
        for variant in comparison.variants:
            for note in _variant_notes(variant):
                if note not in seen:
                    seen.add(note)
                    found.append(note)
    rounds = sorted({comparison.settings.rounds for comparison in comparisons})
    seconds = sorted({comparison.settings.duration_s for comparison in comparisons})
    found.append(
        f"Geometric means over {_list(rounds)} rounds of {_list(seconds)} s, each a LoadGen test of its own; "
        f"not official MLPerf results."
    )
    return found


def _boost_notes(comparisons: list[Comparison]) -> list[str]:
    """Say what the boost is about, of each machine where they differ: not each can run every variant."""
    subjects = [(one, subject) for one in comparisons if (subject := findings.boost_subject(one))]
    differ = len({subject for _, subject in subjects}) > 1
    wheres = [f" of {one.machine_name} ({one.source})" if differ else "" for one, _ in subjects]
    notes = [
        f"boost{where}: {subject} against the other variants that reach their accuracy target, smallest to "
        f"largest."
        for where, (_, subject) in zip(wheres, subjects, strict=True)
    ]
    return list(dict.fromkeys(notes))


def sentences(comparison: Comparison) -> list[str]:
    """Return the answers: speed-ups, accuracy, noise, faults."""
    found = [f"{speedup.text}." for speedup in findings.speedups(comparison)]
    found += [findings.accuracy_text(comparison, pair) for pair in comparison.accuracy_pairs]
    found += _settings(comparison)
    found += comparison.remarks
    found += [f"{fault}" for fault in comparison.faults]
    return found


def text(comparisons: list[Comparison]) -> str:
    """Return all there is to say at a terminal."""
    shown = [aligned(table) for table in tables(comparisons)]
    if accuracies := accuracy_table(comparisons):
        shown.append(aligned(accuracies))
    shown.append("\n".join(notes(comparisons)))
    for comparison in comparisons:
        lines = sentences(comparison)
        if len(comparisons) > 1:
            lines = [f"{comparison.source}:", *(f"  {line}" for line in lines)]
        shown.append("\n".join(lines))
    return "\n\n".join(filter(None, shown))


def markdown(comparisons: list[Comparison]) -> str:
    """Return the tables, their notes and the answers as Markdown."""
    parts = [as_markdown(table) for table in tables(comparisons)]
    if accuracies := accuracy_table(comparisons):
        parts.append(as_markdown(accuracies))
    parts.append("\n".join(f"- {escaped(note)}" for note in notes(comparisons)))
    for comparison in comparisons:
        title = f"### {comparison.source}\n\n" if len(comparisons) > 1 else ""
        parts.append(title + "\n".join(f"- {escaped(line)}" for line in sentences(comparison)))
    parts += [as_markdown(table) for table in published_tables()]
    parts.append(
        "The published latencies are means or medians, ours are 90th percentiles; "
        "other machines, other images, other software."
    )
    return "\n\n".join(parts) + "\n"


def comma_separated(comparisons: list[Comparison]) -> str:
    """Return one line per machine, number of threads, scenario and variant as CSV, with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["machine", "threads", "scenario", "variant", "metric", "unit", "value", "low", "high", "rounds",
         "speedup", "speedup_low", "speedup_high", "against", "outcome", "top1", "target_passed",
         "speed_only", "settings", "logs"]
    )  # fmt: skip
    for comparison in comparisons:
        speedups = {
            (one.scenario, one.threads, one.variant): one
            for one in findings.speedups(comparison)
            if one.against == comparison.baseline
        }
        for cell in comparison.cells:
            found, metric = cell.interval(), METRICS[cell.scenario]
            variant = comparison.variant(cell.variant)
            accuracy = variant.accuracy
            speedup = speedups.get((cell.scenario, cell.threads, cell.variant))
            ratio = speedup and speedup.interval
            writer.writerow(
                [
                    comparison.label(cell.threads),
                    cell.threads,
                    cell.scenario,
                    cell.variant,
                    metric.name,
                    metric.unit,
                    *(
                        (f"{found.center:.6g}", f"{found.low:.6g}", f"{found.high:.6g}")
                        if found
                        else [""] * 3
                    ),
                    len(cell.values()),
                    *(
                        (f"{ratio.center:.6g}", f"{ratio.low:.6g}", f"{ratio.high:.6g}")
                        if ratio
                        else [""] * 3
                    ),
                    speedup.against if speedup else "",
                    speedup.outcome if speedup else "",
                    f"{accuracy.fraction:.6f}" if accuracy else "",
                    "" if accuracy is None or accuracy.passed is None else str(accuracy.passed).lower(),
                    str(variant.speed_only).lower(),
                    findings.settings_text(comparison, cell),
                    _folder(cell),
                ]
            )
    return stream.getvalue()


def labelled(comparisons: list[Comparison]) -> Iterator[tuple[Comparison, int, str]]:
    """Return the rows: comparison, threads and a name that no other row has."""
    rows = [(comparison, threads) for comparison in comparisons for threads in comparison.threads]
    names = [comparison.label(threads) for comparison, threads in rows]
    for (comparison, threads), name in zip(rows, names, strict=True):
        yield comparison, threads, f"{name} ({comparison.source})" if names.count(name) > 1 else name


def _row(comparison: Comparison, scenario: Scenario, threads: int, label: str) -> tuple[str, ...]:
    figures = []
    for variant in comparison.variants:
        cell = comparison.cell(scenario, threads, variant.name)
        found = cell.interval() if cell else None
        figures.append(_NOTHING if found is None else findings.figure_text(found.center))
    boost = next(
        (one for one in findings.boosts(comparison) if (one.scenario, one.threads) == (scenario, threads)),
        None,
    )
    shown = _NOTHING if boost is None else boost.text + (_SPEED_ONLY if boost.speed_only else "")
    return (label, *figures, shown)


def _target(variant: Variant) -> str:
    score = variant.accuracy
    assert score is not None
    if not score.valid:
        return "LoadGen logged an error"
    if score.target is None:
        return "none"
    return f"{100 * score.target:.{_accuracy_digits(score)}f} %: {'reached' if score.passed else 'missed'}"


def _accuracy_digits(score: Accuracy) -> int:
    """Return the decimals of per cent with which an accuracy is on the side of its target that it is on."""
    top1, target = 100 * score.fraction, score.target
    if target is None:
        return 2
    return findings.decimals(
        2, lambda digits: (round(top1, digits) >= round(100 * target, digits)) == score.passed
    )


def _marks(name: str, comparisons: list[Comparison]) -> str:
    variants = [comparison.variant(name) for comparison in comparisons]
    missed = any(variant.misses_target for variant in variants)
    speed_only = any(variant.speed_only and not variant.not_run for variant in variants)
    return (_MISSED if missed else "") + (_SPEED_ONLY if speed_only else "")


def _variant_notes(variant: Variant) -> Iterator[str]:
    if variant.not_run:
        yield f"{variant.name} was not run: {variant.not_run}"
        return
    if variant.misses_target and variant.accuracy is not None:
        reason = variant.accuracy.verdict if variant.accuracy.valid else "LoadGen logged an error"
        yield f"{_MISSED} {variant.name} misses its accuracy target and is left out of the boost ({reason})."
    if variant.calibration:
        yield f"{variant.name}: {variant.calibration}."


def _settings(comparison: Comparison) -> Iterator[str]:
    """Say what each variant ran with."""
    for cell in comparison.cells:
        if cell.settings:
            where = f"{METRICS[cell.scenario].title}, {count_threads(cell.threads)}"
            yield f"{where}: {cell.variant} ran with {findings.settings_text(comparison, cell)}."


def _folder(cell: Cell) -> str:
    return cell.user_conf.rpartition("/")[0]


def _list(values: Sequence[float]) -> str:
    return " or ".join(f"{value:g}" for value in values)
