"""The summary of a run: what a person wants to know, in a few lines."""

from collections.abc import Mapping
from pathlib import Path

from harness.backend import kernels
from harness.endpoint.host import ON_THIS_HOST
from harness.endpoint.wire import Server
from harness.loadgen.settings import in_words
from harness.machine.price import Price
from harness.run.document import AccuracySection, PerformanceSection, RunResult


def summary(found: RunResult, folder: Path, price: Price | None = None) -> str:
    """Return what a person wants to know of the result in `folder`, in a few lines."""
    lines = [
        f"{found.model.name}, {found.scenario}, {found.precision.computed} on {found.machine.cpu_model}",
        *_server_lines(found),
        *([f"  {found.model.note}"] if found.model.note else []),
        *_mixture_lines(found.precision.kernels),
    ]
    if found.tuning is not None:
        words = in_words(found.tuning.settings, served=found.probe.server is not None)
        lines.append(f"  tuned: {words or 'the default'} ({found.tuning.created})")
    if found.performance is not None:
        lines += _performance_lines(found.performance)
        lines += _energy_lines(found)
        lines += _cost_lines(found.performance.samples_per_second, price)
    if found.accuracy is not None:
        lines += _accuracy_lines(found.accuracy)
    if found.not_official_because:
        lines.append(f"  not official: {'; '.join(found.not_official_because)}")
    lines.append(f"  files: {folder}")
    return "\n".join(lines)


def _server_lines(found: RunResult) -> list[str]:
    """Return who answered, where a server did, and how far away it is."""
    server = found.probe.server
    if server is None:
        return []
    named = Server(server.server, server.server_version).words
    version = f", version {server.model_version}" if server.model_version else ""
    calls = found.settings.streams
    lines = [
        f"  served by {named} at {server.endpoint}{version}",
        f"  {calls} call{'' if calls == 1 else 's'} in flight, {in_words({'batch': found.settings.batch})}",
    ]
    return [*lines, f"  {ON_THIS_HOST}"] if server.is_on_this_host else lines


def _mixture_lines(counts: Mapping[str, int]) -> list[str]:
    """Return what a model that is quantized in part should be known for; nothing for any other."""
    int8, whole = kernels.int8_count(counts), sum(counts.values())
    if int8 in (0, whole):
        return []
    return [
        f"  {int8} of {whole} convolutions and matrix products compute in 8 bits (more: `harness explain`)"
    ]


def _performance_lines(performance: PerformanceSection) -> list[str]:
    score, latencies = performance.score, performance.latency_ns
    lines = []
    if not score.lower_is_better:
        reached = "no score" if score.value is None else f"{score.value:.2f} samples/s"
        lines.append(f"  {performance.validity}: {reached} ({performance.sample_count} samples)")
    if latencies is not None:
        start = f"{performance.validity}: " if score.lower_is_better else ""
        bound_ns, percentile = performance.latency_bound_ns, performance.latency_percentile
        bound = "" if bound_ns is None else f", bound of p{percentile:g} {bound_ns / 1e6:g} ms"
        lines.append(
            f"  {start}latency p50 {latencies.p50 / 1e6:.3f} ms, p90 {latencies.p90 / 1e6:.3f} ms, "
            f"p99 {latencies.p99 / 1e6:.3f} ms{bound} ({performance.query_count} queries)"
        )
    if score.lower_is_better and score.value is not None:
        lines.append(f"  MLPerf's score, the {score.name}: {score.value / 1e6:.3f} ms")
    lines += [f"  {sentence}" for sentence in performance.advice]
    lines += [f"  LoadGen error: {error}" for error in performance.errors]
    return lines


def _energy_lines(found: RunResult) -> list[str]:
    energy = found.performance and found.performance.energy
    if not energy or not found.is_of_this_host:
        return []
    domains = ", ".join(energy.domains)
    return [f"  energy, unofficial: {energy.joules_per_sample:.3g} J a sample ({domains})"]


def _cost_lines(samples_per_second: float | None, price: Price | None) -> list[str]:
    if price is None or not samples_per_second:
        return []
    cost = f"{price.of_million(samples_per_second):.4g} {price.currency}"
    return [f"  a million samples cost {cost}, at {price.per_hour:g} {price.currency} an hour"]


def _accuracy_lines(accuracy: AccuracySection) -> list[str]:
    lines = [f"  {accuracy.text}"]
    for judgement in accuracy.verdicts:
        lines.append(f"  {judgement.text} [{judgement.rule}]")
        lines += [f"  {judgement.advice}"] if judgement.advice else []
    lines += [f"  LoadGen error: {error}" for error in accuracy.errors]
    return lines
