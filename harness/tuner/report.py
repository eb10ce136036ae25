"""What came of a tuning, in figures and words."""

from collections.abc import Sequence
from typing import Any

from harness.loadgen.settings import RunSettings, in_words
from harness.measurement import statistics
from harness.measurement.round import METRICS, Round
from harness.measurement.statistics import Interval, Outcome
from harness.measurement.tuned import Tuning
from harness.mlperf.scenario import Scenario


def metric(scenario: Scenario) -> dict[str, Any]:
    """Return the figure that a scenario is tuned for: name, unit, lower_is_better."""
    if scenario in METRICS:
        of = METRICS[scenario]
        return {"name": of.name, "unit": of.unit, "lower_is_better": of.lower_is_better}
    return {"name": "highest rate", "unit": "images/s", "lower_is_better": False}


def value(scenario: Scenario, entry: Round) -> float:
    """Return the figure in the metric's unit: ms or images/s."""
    if scenario.facts.is_latency:
        percentile = METRICS[scenario].percentile
        assert percentile is not None
        return entry.latencies_ns[percentile] / 1e6
    assert entry.samples_per_second is not None
    return entry.samples_per_second


def speed(scenario: Scenario, entry: Round) -> float:
    """Return a figure that grows with speed."""
    figure = value(scenario, entry)
    return 1 / figure if scenario.facts.is_latency else figure


def verdict(
    scenario: Scenario,
    winner: RunSettings | None,
    ratio: Interval | None,
    pairs: Sequence[tuple[Round, Round]],
) -> str:
    """Say what the re-check came to.

    Args:
        scenario: what was tuned for.
        winner: the best candidate; None when none could be measured.
        ratio: how many times faster than the default it is; None with fewer than two rounds.
        pairs: the rounds, default first.
    """
    if winner is None:
        return "the default stays, as nothing else could be measured"
    words = winner.words
    if ratio is None:
        return f"too few valid rounds to re-check {words}: the default stays"
    found = metric(scenario)
    before, after = (
        statistics.interval([value(scenario, entry) for entry in side]).center
        for side in zip(*pairs, strict=True)
    )
    figures = f"{found['name']} {after:.4g} against {before:.4g} {found['unit']}"
    interval = f"95 % interval {ratio.low:.3f} - {ratio.high:.3f}, {ratio.count} rounds"
    if ratio.outcome is Outcome.FASTER:
        return f"{words}: {ratio.center:.3f}x faster than the default ({interval}; {figures})"
    how = "slower" if ratio.outcome is Outcome.SLOWER else "not surely faster"
    return (
        f"the default stays, as the best candidate, {words}, was {how}: {ratio.center:.3f}x ({interval}; "
        f"{figures})"
    )


def summary(found: list[Tuning]) -> str:
    """Return what a person wants to know."""
    lines = []
    for one in found:
        details = one.details
        lines += [
            f"{one.model}, {one.key.scenario}, {one.key.endpoint or one.key.precision}: {one.text}",
            f"  {one.verdict}",
            f"  {details['candidates']} candidates in {len(details['trials'])} tests; default: "
            f"{in_words(details['default'], served=one.is_served)}",
            *(f"  {remark}" for remark in details["remarks"]),
            f"  file: {one.path}",
        ]
    return "\n".join(lines)
