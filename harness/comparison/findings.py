"""What follows from the rounds: speed-ups, the boost, what became of the accuracy, each in words too."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import task
from harness.comparison.document import AccuracyPair, Cell, Comparison, count_threads
from harness.loadgen.settings import in_words
from harness.measurement import statistics
from harness.measurement.round import METRICS
from harness.measurement.statistics import Interval, Outcome
from harness.mlperf.scenario import Scenario

UNSURE = "~"
SIGNIFICANCE = 1 - statistics.CONFIDENCE


@dataclass(frozen=True)
class Speedup:
    """How many times faster one variant is than another, in one scenario on one number of threads."""

    scenario: Scenario
    threads: int
    variant: str
    against: str
    interval: Interval | None
    """None with fewer than two rounds that are valid for both."""
    rounds_needed: int | None
    """When undecided: rounds, all told, that would probably tell; None when no practical number would."""
    speed_only: bool
    text: str

    @property
    def outcome(self) -> Outcome:
        return Outcome.UNDECIDED if self.interval is None else self.interval.outcome


@dataclass(frozen=True)
class Boost:
    """The subject against every other variant that counts: the least and the greatest ratio of means."""

    scenario: Scenario
    threads: int
    variant: str
    low: float
    high: float
    low_sure: bool
    """Whether the interval of the least ratio excludes 1."""
    high_sure: bool
    speed_only: bool

    @property
    def text(self) -> str:
        """Return the boost as the published table has it, such as '3.3 - 11.8x'; '~' marks a ratio that
        cannot be told from 1."""
        low, high = _boost_text(self.low, self.low_sure), _boost_text(self.high, self.high_sure)
        return f"{high}x" if low == high else f"{low} - {high}x"


def _boost_text(ratio: float, sure: bool) -> str:
    return _close(ratio, _decimals_beside_1(ratio, 2)) if sure else UNSURE + ratio_text(ratio)


def derived(comparison: Comparison) -> dict[str, Any]:
    """Return what compare.json holds besides the measurements, as JSON values."""
    cells = [
        {
            "scenario": cell.scenario,
            "threads": cell.threads,
            "variant": cell.variant,
            "metric": METRICS[cell.scenario].name,
            "unit": METRICS[cell.scenario].unit,
            "values": cell.values(),
            "interval": None if (found := cell.interval()) is None else asdict(found),
        }
        for cell in comparison.cells
    ]
    return {
        "figures": cells,
        "speedups": [asdict(entry) | {"outcome": entry.outcome} for entry in speedups(comparison)],
        "boosts": [asdict(entry) | {"text": entry.text} for entry in boosts(comparison)],
        "accuracy_texts": [accuracy_text(comparison, pair) for pair in comparison.accuracy_pairs],
    }


def speedups(comparison: Comparison) -> list[Speedup]:
    """Return every variant against the baseline, and the boost's subject against the others."""
    pairs = [
        (variant.name, comparison.baseline)
        for variant in comparison.variants
        if variant.name != comparison.baseline
    ]
    subject = boost_subject(comparison)
    if subject is not None:
        pairs += [
            (subject, variant.name)
            for variant in comparison.variants
            if variant.name not in (subject, comparison.baseline) and variant.counts
        ]
    found = []
    for scenario in comparison.scenarios:
        for threads in comparison.threads:
            for one, other in pairs:
                first = comparison.cell(scenario, threads, one)
                second = comparison.cell(scenario, threads, other)
                if first is not None and second is not None:
                    found.append(speedup(comparison, first, second))
    return found


def boost_subject(comparison: Comparison) -> str | None:
    """Return the variant that the boost is about: the last that counts and is not the baseline."""
    names = [variant.name for variant in comparison.variants if variant.counts]
    return next((name for name in reversed(names) if name != comparison.baseline), None)


def boosts(comparison: Comparison) -> list[Boost]:
    """Return the boost of each scenario and number of threads in which it can be told."""
    subject = boost_subject(comparison)
    if subject is None:
        return []
    others = [variant for variant in comparison.variants if variant.counts and variant.name != subject]
    speed_only = comparison.variant(subject).speed_only or any(variant.speed_only for variant in others)
    found = []
    for scenario in comparison.scenarios:
        for threads in comparison.threads:
            mine = comparison.cell(scenario, threads, subject)
            theirs = [comparison.cell(scenario, threads, variant.name) for variant in others]
            ratios = [
                ratio
                for cell in theirs
                if mine
                and cell
                and (ratio := paired_speedup(mine, cell, comparison.settings.look)[0]) is not None
            ]
            if ratios:
                ratios.sort(key=lambda ratio: ratio.center)
                low, high = ratios[0], ratios[-1]
                low_sure, high_sure = (ratio.outcome is not Outcome.UNDECIDED for ratio in (low, high))
                found.append(
                    Boost(
                        scenario, threads, subject, low.center, high.center, low_sure, high_sure, speed_only
                    )
                )
    return found


def paired_speedup(subject: Cell, reference: Cell, look: int = 0) -> tuple[Interval | None, list[float]]:
    """Return how many times faster the subject is, and the ratio of each round that is valid for both.

    The interval is that of the look at the rounds, see statistics.level.
    """
    one, other = subject.values(), reference.values()
    common = sorted(one.keys() & other.keys())
    if METRICS[subject.scenario].lower_is_better:
        one, other = other, one
    ratios = [one[number] / other[number] for number in common]
    return (statistics.interval(ratios, statistics.level(look)) if len(ratios) > 1 else None), ratios


def tuning_remarks(cells: Sequence[Cell]) -> Iterator[str]:
    """Say where some variants ran with a tuning and others without: that compares more than the models."""
    for scenario, threads in dict.fromkeys((cell.scenario, cell.threads) for cell in cells):
        here = [cell for cell in cells if (cell.scenario, cell.threads) == (scenario, threads)]
        tuned = [cell.variant for cell in here if cell.tuning is not None]
        bare = [cell.variant for cell in here if cell.tuning is None]
        if tuned and bare:
            yield (
                f"{METRICS[scenario].title}, {count_threads(threads)}: {', '.join(tuned)} ran as `harness "
                f"tune` found best, {', '.join(bare)} did not: tune all of them, or compare with --no-tuning."
            )


def settings_text(comparison: Comparison, cell: Cell) -> str:
    """Say what a cell of a comparison ran with."""
    if not cell.settings:
        return "not recorded"
    source = "not tuned" if cell.tuning is None else f"tuned {cell.tuning.created}"
    return f"{in_words(cell.settings, served=comparison.variant(cell.variant).is_served)} ({source})"


def accuracy_text(comparison: Comparison, pair: AccuracyPair) -> str:
    """Say what became of the accuracy, and whether chance would do the same."""
    start = f"{pair.variant} against {pair.against}"
    if pair.lost is None or pair.gained is None or pair.p_value is None:
        assert pair.difference is not None
        assert pair.low is not None
        assert pair.high is not None
        assert pair.agreement is not None
        sure, interval = pair.low > 0 or pair.high < 0, points_text(pair.low, pair.high)
        return (
            f"{start}: {100 * pair.difference:+.2f} points mAP ({interval}, a bootstrap over {pair.count:,} "
            f"images); {100 * pair.agreement:.1f} % of an image's boxes stayed on average: {_told(sure)}."
        )
    points = 100 * (pair.gained - pair.lost) / pair.count
    changes = (
        f"{pair.changed:,} of {pair.count:,} answers changed, {pair.lost:,} right ones became wrong and "
        f"{pair.gained:,} wrong ones right (McNemar's exact test: p = {_p_text(pair.p_value)})"
    )
    told = _told(pair.p_value < SIGNIFICANCE)
    interval = points_text(*task.difference(pair.lost, pair.gained, pair.count))
    return f"{start}: {points:+.2f} points top-1 ({interval}); {changes}: {told}."


def points_text(low: float, high: float) -> str:
    """Return the 95 % interval of a difference of accuracies, which are fractions, in percentage points."""
    return f"95 % {100 * low:+.2f} to {100 * high:+.2f}"


def _told(sure: bool) -> str:
    return "a difference that chance would hardly make" if sure else "no difference can be told"


def ratio_text(ratio: float) -> str:
    """Return a ratio with two decimals below ten and one above."""
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}"


def figure_text(value: float) -> str:
    """Return a latency or throughput with three significant digits, four from 1000 on."""
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def speedup(comparison: Comparison, subject: Cell, reference: Cell) -> Speedup:
    """Return how many times faster one cell is than another of its scenario and threads."""
    look = comparison.settings.look
    found, ratios = paired_speedup(subject, reference, look)
    needed = None
    if found is not None and found.outcome is Outcome.UNDECIDED:
        # It would be another look.
        needed = statistics.rounds_needed(ratios, statistics.level(look and look + 1))
        # An interval may include 1 where the t interval does not quite.
        needed = None if needed is None else max(needed, found.count + 1)
    speed_only = any(comparison.variant(cell.variant).speed_only for cell in (subject, reference))
    where = f"{METRICS[subject.scenario].title}, {count_threads(subject.threads)}"
    text = f"{where}: {_verdict(subject.variant, reference.variant, found, needed)}"
    return Speedup(
        subject.scenario,
        subject.threads,
        subject.variant,
        reference.variant,
        found,
        needed,
        speed_only,
        f"{text} (speed only)" if speed_only else text,
    )


def _verdict(one: str, other: str, found: Interval | None, needed: int | None) -> str:
    if found is None:
        return f"{one} against {other}: too few valid rounds for an interval"
    center, low, high = _as_stated(found)
    digits = _digits(found)
    interval = f"95 % interval {_close(low, digits)} - {_close(high, digits)}, {found.count} rounds"
    if found.outcome is not Outcome.UNDECIDED:
        return f"{one} is {_close(center)}x {found.outcome} than {other} ({interval})"
    if needed is None:
        more = f"even {statistics.MOST_ROUNDS:,} rounds would not tell"
    else:
        count = needed - found.count
        more = (
            f"about {count} more round{'' if count == 1 else 's'} would probably tell, if a difference of "
            f"{_size(center)} is real"
        )
    return f"{one} cannot be told from {other}: {_close(center)}x ({interval}); {more}"


def short_text(speedup: Speedup) -> str:
    """Return a speed-up's verdict in a few words, such as '1.71x faster (1.30 - 2.03)'."""
    found = speedup.interval
    if found is None:
        return "too few valid rounds"
    center, low, high = _as_stated(found)
    digits = _digits(found)
    text = f"{_close(center)}x {found.outcome} ({_close(low, digits)} - {_close(high, digits)})"
    if speedup.rounds_needed is not None:
        text += f", {speedup.rounds_needed} rounds would probably tell"
    return text


def gain_text(found: Interval) -> str:
    """Return a gain with its interval for a table's cell, such as '1.71x (1.30-2.03)'."""
    digits = _digits(found, 2)
    interval = f"{_close(found.low, digits)}-{_close(found.high, digits)}"
    return f"{UNSURE * (found.outcome is Outcome.UNDECIDED)}{ratio_text(found.center)}x ({interval})"


def _as_stated(found: Interval) -> tuple[float, float, float]:
    """Return center, low and high of how many times faster, or slower where it is."""
    if found.outcome is Outcome.SLOWER:
        return 1 / found.center, 1 / found.high, 1 / found.low
    return found.center, found.low, found.high


def _digits(found: Interval, least: int = 3) -> int:
    """Return the decimals with which an interval that excludes 1 shows that it does."""
    if found.outcome is Outcome.UNDECIDED:
        return least
    return _decimals_beside_1(found.low if found.outcome is Outcome.FASTER else found.high, least)


def _decimals_beside_1(ratio: float, least: int) -> int:
    """Return the decimals with which a ratio does not look like 1."""
    return decimals(least, lambda digits: round(ratio, digits) != 1)


def decimals(least: int, tell: Callable[[int], bool]) -> int:
    """Return the least number of decimals, from `least` to 8, that tell what a figure is to tell; or 8."""
    return next(filter(tell, range(least, 8)), 8)


def _close(ratio: float, digits: int = 3) -> str:
    """Return a ratio with the digits that tell it from 1."""
    return f"{ratio:.{digits}f}" if 0.9 < ratio < 1.1 else ratio_text(ratio)


def _size(ratio: float) -> str:
    return f"{100 * abs(ratio - 1):.2g} %"


def _p_text(p_value: float) -> str:
    if p_value < 0.001:
        return f"{max(p_value, 1e-300):.0e}"
    text = f"{p_value:.2g}"
    # On which side of it decides the verdict.
    return text if text != f"{SIGNIFICANCE:g}" else f"{p_value:.3g}"
