"""What a million samples cost: on each machine that has a price, with each variant."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.comparison import findings, table
from harness.comparison.document import Cell, Comparison
from harness.machine import system
from harness.machine.price import Price, Prices
from harness.measurement.round import METRICS
from harness.measurement.statistics import Interval
from harness.report.table import Table, aligned, as_markdown, escaped

_NOTHING = "-"


@dataclass(frozen=True)
class Saving:
    """The share that one variant's cost is below that of the baseline, on the same machine, as fractions."""

    center: float
    low: float
    high: float
    """With `low` the 95 % interval; it is that of the speed-up, seen as costs."""

    @property
    def is_sure(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def text(self) -> str:
        percents = [f"{100 * value:.1f}" for value in (self.center, self.low, self.high)]
        unsure = "" if self.is_sure else findings.UNSURE
        return f"{unsure}{percents[0]} % ({percents[1]} to {percents[2]})"


@dataclass(frozen=True)
class Cost:
    """What one variant's work costs on one machine with a price."""

    machine: str
    """With the number of threads, as in the other tables."""
    threads: int
    scenario: str
    variant: str
    samples_per_second: float
    samples_per_second_per_core: float | None
    price: Price
    saving: Saving | None
    """None for the baseline, and where an accuracy target is missed or rounds are too few."""
    misses_target: bool

    @property
    def of_million(self) -> float:
        return self.price.of_million(self.samples_per_second)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON values."""
        return {
            **{name: getattr(self, name) for name in ("machine", "threads", "scenario", "variant")},
            "samples_per_second": self.samples_per_second,
            "samples_per_second_per_core": self.samples_per_second_per_core,
            **self.price.facts(self.samples_per_second),
            "saving": None if self.saving is None else asdict(self.saving),
        }


@dataclass(frozen=True)
class Bill:
    """The costs of all rows, and what is to be said of them."""

    costs: tuple[Cost, ...]
    notes: tuple[str, ...]

    def table(self) -> Table | None:
        """Return a row for each variant on each machine; None where nothing has a cost."""
        if not self.costs:
            return None
        rows = tuple(
            (
                one.machine,
                one.variant,
                findings.figure_text(one.samples_per_second),
                _figure(one.samples_per_second_per_core),
                f"{one.price.per_hour:g}",
                f"{one.of_million:.4g}",
                one.saving.text if one.saving else _NOTHING,
            )
            for one in self.costs
        )
        header = ("", "variant", "images/s", "a core", "an hour", "a million images", "saving")
        return Table(f"Cost, {self.costs[0].scenario}, in {self.costs[0].price.currency}", header, rows)

    def to_dict(self) -> list[dict[str, Any]]:
        return [one.to_dict() for one in self.costs]


def bill(comparisons: Sequence[Comparison], prices: Prices) -> Bill:
    """Return what throughput costs on the machines whose kind has a price.

    A machine is paid whole, also where fewer threads computed than it has cores.
    """
    found: list[Cost] = []
    notes: list[str] = []
    for comparison, threads, label in table.labelled(list(comparisons)):
        kind = system.slug(comparison.machine)
        if kind not in prices:
            notes.append(f"No price is given for machines of the kind {kind}, such as {label}.")
            continue
        found += _costs(comparison, threads, label, prices[kind])
        cores, computed = comparison.machine.usable_cores, comparison.machine.cores_of(threads)
        if cores and computed and computed < cores:
            notes.append(
                f"{label}: the price is the whole machine's, of which {computed} of {cores} cores computed."
            )
    if not found:
        wanted = " and ".join(sorted(kind for kind in prices))
        notes.append(
            f"Nothing has a cost: prices are given for {wanted}, and costs are of throughput, which "
            f"{' and '.join(_throughputs())} measures."
        )
    return Bill(tuple(found), (*dict.fromkeys(notes), *_answers(found, comparisons)))


def _throughputs() -> list[str]:
    return [str(scenario) for scenario, metric in METRICS.items() if not metric.lower_is_better]


def _costs(comparison: Comparison, threads: int, label: str, price: Price) -> list[Cost]:
    cells = [
        cell for cell in comparison.cells if cell.threads == threads and str(cell.scenario) in _throughputs()
    ]
    baseline = next((cell for cell in cells if cell.variant == comparison.baseline), None)
    cores = comparison.machine.cores_of(threads)
    found = []
    for cell in cells:
        rate, variant = cell.interval(), comparison.variant(cell.variant)
        if rate is None or variant.is_served:
            continue
        misses = variant.misses_target
        saving = None
        if baseline is not None and cell is not baseline and not misses:
            saving = _saving(cell, baseline, comparison.settings.look)
        per_core = rate.center / cores if cores else None
        found.append(
            Cost(
                label, threads, str(cell.scenario), cell.variant, rate.center, per_core, price, saving, misses
            )
        )
    return found


def _saving(cell: Cell, baseline: Cell, look: int) -> Saving | None:
    """Return what is saved: on one machine costs are in inverse proportion to speeds."""
    ratio: Interval | None = findings.paired_speedup(cell, baseline, look)[0]
    if ratio is None:
        return None
    return Saving(1 - 1 / ratio.center, 1 - 1 / ratio.low, 1 - 1 / ratio.high)


def _answers(found: Sequence[Cost], comparisons: Sequence[Comparison]) -> list[str]:
    """Say what is cheapest of all, and what that saves against the baseline on each machine."""
    counted = [one for one in found if not one.misses_target]
    baselines = [one for one in counted if one.variant == comparisons[0].baseline]
    if not counted or len({one.machine for one in found}) < 2:
        return []
    best = min(counted, key=lambda one: one.of_million)
    less = [
        f"{100 * (1 - best.of_million / one.of_million):.1f} % less than {one.variant} on {one.machine}"
        for one in baselines
        if one is not best
    ]
    return [
        f"The cheapest is {best.variant} on {best.machine}, {best.of_million:.4g} {best.price.currency} a "
        f"million images{''.join(f', {text}' for text in less)}; costs of two machines can be compared only "
        f"if both were quiet."
    ]


def _figure(value: float | None) -> str:
    return _NOTHING if value is None else findings.figure_text(value)


def text(found: Bill) -> str:
    """Return all there is to say at a terminal."""
    shown = found.table()
    return "\n".join([*([aligned(shown)] if shown else []), *found.notes])


def markdown(found: Bill) -> str:
    """Return the same as Markdown."""
    shown = found.table()
    notes = "\n".join(f"- {escaped(note)}" for note in found.notes)
    return "\n\n".join(filter(None, [as_markdown(shown) if shown else "", notes])) + "\n"
