"""The result document of one scenario (result.json): what it holds, how it is read, when it is good."""

import json
from pathlib import Path
from typing import Any

from harness.backend import kernels
from harness.errors import OutputError
from harness.loadgen.settings import in_words
from harness.measurement import advice
from harness.mlperf.log import Performance
from harness.mlperf.scenario import Scenario

FILE_NAME = "result.json"
FORMAT = 1


def read(path: Path) -> dict[str, Any]:
    """Read a result document.

    Raises:
        OutputError: it is damaged, or of another format version.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot read the result {path} ({error}): run the scenario again.") from error
    form = document.get("format") if isinstance(document, dict) else None
    if isinstance(form, int) and form > FORMAT:
        raise OutputError(f"{path} has format {form}, newer than this harness knows: update the harness.")
    if form != FORMAT:
        raise OutputError(f"{path} is not a result of format {FORMAT}: run the scenario again.")
    return document


def is_good(document: dict[str, Any]) -> bool:
    """Return whether every test in the document is valid and no accuracy target is missed."""
    performance, accuracy = document["performance"], document["accuracy"]
    if performance is not None and not performance["valid"]:
        return False
    return accuracy is None or (not accuracy["errors"] and accuracy["passed"] is not False)


def performance_section(
    measured: Performance,
    told: advice.Told,
    official: list[str],
    energy: dict[str, Any] | None = None,
    noise: dict[str, Any] | None = None,
    known_answers: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document's `performance` part.

    Args:
        measured: what LoadGen logged; latencies are of whole queries.
        told: what LoadGen was told in user.conf.
        official: why the test is not official.
        energy: joules during the test and the domains that they are of; None where nothing can be read.
        noise: what disturbed the test (harness.machine.noise).
        known_answers: what was checked of the answers (harness.loadgen.known_answers).
    """
    facts = measured.scenario.facts
    latencies = {
        name: getattr(measured, f"latency_{name}_ns") for name in ("min", "mean", "p50", "p90", "p99", "max")
    }
    section: dict[str, Any] = {
        "valid": measured.valid,
        "validity": measured.validity,
        "invalid_reasons": list(measured.invalid_reasons),
        "errors": list(measured.errors),
        "advice": advice.of_performance(measured, told),
        "score": {
            "name": facts.score_name.format(percentile=_percentile(measured.latency_percentile)),
            "unit": facts.score_unit,
            "lower_is_better": facts.is_latency,
            "value": measured.score,
        },
        "query_count": measured.query_count,
        "sample_count": measured.sample_count,
        "duration_ns": measured.duration_ns,
        "latency_ns": None if measured.scenario is Scenario.OFFLINE else latencies,
        "latency_percentile": measured.latency_percentile,
        "latency_bound_ns": measured.latency_bound_ns,
        "late_queries": measured.late_queries,
        "early_stopping_latency_ns": measured.early_stopping_latency_ns,
        "samples_per_second": measured.samples_per_second,
        "scheduled_samples_per_second": measured.scheduled_samples_per_second,
        "estimate": dict(told.estimate),
        "not_official_because": official,
    }
    if energy is not None:
        per_sample = energy["joules"] / measured.sample_count
        section["energy"] = {**energy, "joules_per_sample": per_sample, "official": False}
    if noise is not None:
        section["noise"] = noise
    if known_answers is not None:
        section["known_answers"] = known_answers
    return section


def summary(document: dict[str, Any], folder: Path) -> str:
    """Return what a person wants to know, in a few lines."""
    model = document["model"]
    lines = [
        f"{model['name']}, {document['scenario']}, {document['precision']['computed']} on "
        f"{document['machine']['cpu_model']}"
    ]
    if model["note"]:
        lines.append(f"  {model['note']}")
    lines += _mixture_lines(document["precision"]["kernels"])
    if tuned := document.get("tuning"):
        lines.append(f"  tuned: {in_words(tuned['settings']) or 'the default'} ({tuned['created']})")
    if document["performance"] is not None:
        lines += _performance_lines(document["performance"])
    if document["accuracy"] is not None:
        lines += _accuracy_lines(document["accuracy"])
    if document["not_official_because"]:
        lines.append(f"  not official: {'; '.join(document['not_official_because'])}")
    lines.append(f"  files: {folder}")
    return "\n".join(lines)


def _mixture_lines(counts: dict[str, int]) -> list[str]:
    """Return what a model that is quantized in part should be known for; nothing for any other."""
    int8, whole = kernels.int8_count(counts), sum(counts.values())
    if int8 in (0, whole):
        return []
    return [
        f"  {int8} of {whole} convolutions and matrix products compute in 8 bits (more: `harness explain`)"
    ]


def _percentile(per_cent: float | None) -> str:
    """Return a percentile's name, such as p99 or p99.9."""
    return "" if per_cent is None else f"p{per_cent:g}"


def _performance_lines(performance: dict[str, Any]) -> list[str]:
    score, latency_ns = performance["score"], performance["latency_ns"]
    lines = []
    if not score["lower_is_better"]:
        lines.append(
            f"  {performance['validity']}: {score['value']:.2f} samples/s "
            f"({performance['sample_count']} samples)"
        )
    if latency_ns is not None:
        ms = {name: value / 1e6 for name, value in latency_ns.items()}
        start = f"{performance['validity']}: " if score["lower_is_better"] else ""
        bound_ns = performance["latency_bound_ns"]
        # Older results do not say; it is the rules' unless a user.conf changed it.
        bounded = _percentile(performance.get("latency_percentile", 99))
        bound = "" if bound_ns is None else f", bound of {bounded} {bound_ns / 1e6:g} ms"
        lines.append(
            f"  {start}latency p50 {ms['p50']:.3f} ms, p90 {ms['p90']:.3f} ms, p99 {ms['p99']:.3f} ms{bound} "
            f"({performance['query_count']} queries)"
        )
    if score["lower_is_better"] and score["value"] is not None:
        lines.append(f"  MLPerf's score, the {score['name']}: {score['value'] / 1e6:.3f} ms")
    if "energy" in performance:
        energy = performance["energy"]
        domains = ", ".join(energy["domains"])
        lines.append(f"  energy, unofficial: {energy['joules_per_sample']:.3g} J a sample ({domains})")
    lines += [f"  {sentence}" for sentence in performance["advice"]]
    lines += [f"  LoadGen error: {error}" for error in performance["errors"]]
    return lines


def _accuracy_lines(accuracy: dict[str, Any]) -> list[str]:
    lines = [f"  {accuracy['text']}"]
    for verdict in accuracy["verdicts"]:
        lines.append(f"  {verdict['text']} [{verdict['rule']}]")
        lines += [f"  {verdict['advice']}"] if verdict["advice"] else []
    lines += [f"  LoadGen error: {error}" for error in accuracy["errors"]]
    return lines
