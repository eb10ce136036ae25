"""Costs follow from throughput and price, savings from the speed-ups, with their intervals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_comparison import MACHINE, comparison, variant

from harness.comparison import costs, findings, output
from harness.machine import system
from harness.machine.price import Price
from harness.mlperf.scenario import Scenario

KIND = system.slug(MACHINE)
PRICES = {KIND: Price(3.6, "EUR")}


def test_a_saving_is_the_speedup_seen_as_costs() -> None:
    found = comparison()
    bill = costs.bill([found], PRICES)
    assert {one.scenario for one in bill.costs} == {str(Scenario.OFFLINE)}
    speedups = {
        one.variant: one.interval
        for one in findings.speedups(found)
        if one.scenario is Scenario.OFFLINE and one.against == found.baseline
    }
    assert speedups
    for one in bill.costs:
        assert one.of_million == pytest.approx(1000 / one.samples_per_second)
        if one.variant == found.baseline:
            assert one.saving is None
            continue
        ratio = speedups[one.variant]
        assert one.saving.center == pytest.approx(1 - 1 / ratio.center)
        assert (one.saving.low, one.saving.high) == pytest.approx((1 - 1 / ratio.low, 1 - 1 / ratio.high))
        assert one.saving.is_sure is (ratio.low > 1 or ratio.high < 1)


def test_a_machine_is_paid_whole_and_a_kind_without_a_price_is_named() -> None:
    dear = replace(MACHINE, cpu_model="Dear CPU 1")
    bill = costs.bill([comparison(source="a"), comparison(source="b", machine=dear)], PRICES)
    assert {one.price.per_hour for one in bill.costs} == {3.6}
    notes = " ".join(bill.notes)
    assert f"No price is given for machines of the kind {system.slug(dear)}" in notes
    assert "the price is the whole machine's, of which 1 of 2 cores computed" in notes


def test_of_several_machines_the_cheapest_is_held_against_the_baseline_on_each() -> None:
    other = replace(MACHINE, cpu_model="Cheap CPU 1")
    prices = PRICES | {system.slug(other): Price(1.8, "EUR")}
    bill = costs.bill([comparison(source="a"), comparison(source="b", machine=other)], prices)
    cheapest = min(bill.costs, key=lambda one: one.of_million)
    assert "Cheap CPU" in cheapest.machine
    told = bill.notes[-1]
    assert told.startswith(f"The cheapest is {cheapest.variant} on {cheapest.machine}")
    for one in bill.costs:
        if one.variant == comparison().baseline:
            percent = 100 * (1 - cheapest.of_million / one.of_million)
            assert f"{percent:.1f} % less than {one.variant} on {one.machine}" in told


def test_what_has_no_throughput_has_no_cost() -> None:
    found = comparison()
    latencies = tuple(cell for cell in found.cells if cell.scenario is Scenario.SINGLE_STREAM)
    bill = costs.bill([replace(found, cells=latencies)], PRICES)
    assert not bill.costs
    assert "Nothing has a cost" in bill.notes[-1]
    assert costs.text(bill) == "\n".join(bill.notes)


def test_a_variant_that_misses_its_target_saves_nothing(tmp_path: Path) -> None:
    found = comparison()
    missed = tuple(
        variant("int8", 700, passed=False) if one.name == "int8" else one for one in found.variants
    )
    bill = costs.bill([replace(found, variants=missed)], PRICES)
    assert {one.variant for one in bill.costs if one.saving is None} == {found.baseline, "int8"}


def test_costs_stand_in_all_files_of_a_comparison(tmp_path: Path) -> None:
    found = comparison()
    bill = costs.bill([found], PRICES)
    output.write([found], tmp_path, bill)
    assert json.loads((tmp_path / "compare.json").read_text())["costs"] == bill.to_dict()
    for name in (output.MARKDOWN, output.REPORT):
        assert "Cost, Offline, in EUR" in (tmp_path / name).read_text()
    assert "Cost, Offline, in EUR" in output.text([found], bill)
    output.write([found], tmp_path)
    assert "costs" not in json.loads((tmp_path / "compare.json").read_text())
