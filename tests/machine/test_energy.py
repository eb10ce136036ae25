"""The energy counters, on made-up powercap trees."""

from pathlib import Path

import pytest
from sample_comparison import QUIET

from harness import typed
from harness.machine.energy import open_meter
from harness.measurement.advice import Told
from harness.measurement.test import Taken
from harness.mlperf import log
from harness.run import measuring

GOLDEN = Path(__file__).parents[1] / "golden"
RANGE_UJ = 262_143_328_850


def domain(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    counter = path / "energy_uj"
    counter.write_text(f"{energy_uj}\n")
    return counter


def test_packages_are_added_up(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    meter = open_meter(tmp_path)
    assert meter is not None
    assert meter.domains == ["package-0", "package-1"]
    assert meter.read_joules() == 0
    first.write_text("3500000\n")
    second.write_text("6000000\n")
    assert meter.read_joules() == pytest.approx(3.5)
    first.write_text("4500000\n")
    assert meter.read_joules() == pytest.approx(4.5)


def test_a_meter_can_start_anew(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    meter = open_meter(tmp_path)
    assert meter is not None
    counter.write_text("9000000\n")
    meter.start_anew()
    assert meter.read_joules() == 0
    counter.write_text("9500000\n")
    assert meter.read_joules() == pytest.approx(0.5)


def test_a_counter_that_wraps_goes_on_counting(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 1_000_000)
    meter = open_meter(tmp_path)
    assert meter is not None
    for _ in range(3):
        counter.write_text("1999999\n")
        assert meter.read_joules() is not None
        counter.write_text(f"{RANGE_UJ - 1_000_000}\n")
        joules = meter.read_joules()
    assert joules == pytest.approx(3 * (RANGE_UJ + 1) / 1e6)
    counter.write_text("1999999\n")
    assert meter.read_joules() == pytest.approx(joules + 3)


def test_parts_of_a_package_and_what_contains_it_do_not_count_twice(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    domain(tmp_path, "intel-rapl:0:0", "core", 0)
    domain(tmp_path, "intel-rapl:0:1", "dram", 0)
    domain(tmp_path, "intel-rapl:1", "psys", 0)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    (tmp_path / "intel-rapl").mkdir()
    for counter in tmp_path.rglob("energy_uj"):
        counter.write_text("7000000\n")
    meter = open_meter(tmp_path)
    assert meter is not None
    for counter in tmp_path.rglob("energy_uj"):
        counter.write_text("8000000\n")
    assert meter.domains == ["package-0"]
    assert meter.read_joules() == pytest.approx(1)


@pytest.mark.parametrize("fault", ["no tree", "no package", "unreadable", "no number"])
def test_what_cannot_be_read_is_absent_and_not_zero(tmp_path: Path, fault: str) -> None:
    if fault == "no package":
        domain(tmp_path, "intel-rapl:0", "psys", 0)
    if fault == "unreadable":
        domain(tmp_path, "intel-rapl:0", "package-0", 0)
        counter = domain(tmp_path, "intel-rapl:1", "package-1", 0)
        counter.unlink()
        counter.mkdir()
    if fault == "no number":
        domain(tmp_path, "intel-rapl:0", "package-0", 0).write_text("\n")
    assert open_meter(tmp_path / "none" if fault == "no tree" else tmp_path) is None


def test_a_counter_that_vanishes_leaves_no_result(tmp_path: Path) -> None:
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = open_meter(tmp_path)
    assert meter is not None
    counter.unlink()
    assert meter.read_joules() is None
    counter.write_text("5000000\n")
    assert meter.read_joules() is None


def test_energy_stands_in_the_document_only_where_it_was_read() -> None:
    measured = log.read_performance(GOLDEN / "offline_detail.txt")
    without = measuring.performance_section(measured, Told({"target_qps": 1.0}), [])
    assert "energy" not in typed.unstructure(without)
    energy = {"joules": 66.0, "domains": ["package-0"]}
    section = measuring.performance_section(measured, Told({"target_qps": 1.0}), [], Taken(QUIET, energy, {}))
    assert typed.unstructure(section)["energy"] == {
        "joules": 66.0,
        "domains": ["package-0"],
        "joules_per_sample": 0.2,
        "official": False,
    }
