"""The system description: detected, completed, never invented."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sample_comparison import MACHINE as OTHER

from harness.errors import HarnessError
from harness.machine import hardware, system
from harness.machine.hardware import Disk, Hardware
from harness.machine.system import Cache
from harness.mlperf.rules import find_round
from harness.submission import description

V6_1 = find_round("v6.1")
FIXED = {"division": "open", "submitter": "Us", "system_type": "edge"}
MACHINE = replace(
    OTHER,
    cpu_model="Intel(R) Xeon(R) Gold 6448Y",
    sockets=2,
    physical_cores=64,
    cpus_present=128,
    cpus_allowed=64,
    caches=(Cache(1, "Data", 49_152, 64), Cache(3, "Unified", 62_914_560, 2)),
    max_frequency_hz=4_100_000_000,
    memory_bytes=540_000_000_000,
    operating_system="Ubuntu 24.04",
    kernel="6.8.0",
    hypervisor=False,
    versions={"python": "3.12.3", "openvino": "2026.4.1", "mlcommons_loadgen": "6.0.17", "nncf": None},
)
PARTS = Hardware(
    product="Maker Model",
    disks=(Disk("NVMe SSD", 1_920_000_000_000), Disk("NVMe SSD", 1_920_000_000_000)),
    networks=("Ethernet 25 Gbit/s", "Ethernet 25 Gbit/s"),
    memory_modules=((64 << 30, "DDR5 4800 MT/s"),) * 8,
)


def read(path: Path) -> dict[str, str]:
    """Read what a file states of one system."""
    return description.read_overrides(path, V6_1, ["here"])["here"]


STATED = {"status": "available", "cooling": "air"}


def test_what_the_machine_tells_is_filled_in() -> None:
    made = description.describe(MACHINE, V6_1, FIXED, STATED, PARTS)
    assert list(made)[: len(V6_1.system_fields)] == list(V6_1.system_fields)
    assert made["host_processors_per_node"] == "2"
    assert made["host_processor_core_count"] == "32"
    assert made["host_processor_frequency"] == "4.10 GHz (highest)"
    assert made["host_processor_caches"] == "64 x L1d 48 KiB, 2 x L3 60 MiB"
    assert made["host_memory_capacity"] == "512 GiB"
    assert made["host_memory_configuration"] == "8 x 64 GiB DDR5 4800 MT/s"
    assert made["host_storage_capacity"] == "3840 GB"
    assert made["host_storage_type"] == "NVMe SSD"
    assert made["host_networking"] == "Ethernet 25 Gbit/s"
    assert made["host_network_card_count"] == "2"
    assert made["system_name"] == "Maker Model"
    assert made["framework"] == "OpenVINO 2026.4.1"
    assert "mlcommons loadgen 6.0.17" in made["other_software_stack"]
    assert "nncf" not in made["other_software_stack"]
    assert made["hw_notes"] == "the test may use 64 of 128 logical CPUs"


def test_no_accelerator_is_said_as_the_checker_wants_it() -> None:
    made = description.describe(MACHINE, V6_1, FIXED, STATED, PARTS)
    assert made["accelerators_per_node"] == "0"
    assert made["accelerator_model_name"] == "N/A"
    assert "is_network" not in made


def test_all_that_is_missing_is_asked_for_at_once() -> None:
    with pytest.raises(HarnessError) as caught:
        description.describe(MACHINE, V6_1, FIXED, {})
    said = str(caught.value)
    missing = [
        "status", "system_name", "host_memory_configuration", "host_storage_capacity",
        "host_storage_type", "host_networking", "host_network_card_count", "cooling",
    ]  # fmt: skip
    assert f"does not tell {len(missing)} fields of its description: {', '.join(missing)}." in said
    assert 'cooling = "air"' in said


def test_the_template_in_the_error_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        description.describe(MACHINE, V6_1, FIXED, {})
    path = tmp_path / "system.toml"
    path.write_text(str(caught.value).split("such as:\n")[1])
    made = description.describe(MACHINE, V6_1, FIXED, read(path))
    assert made["status"] == "available"


def test_the_submitters_word_beats_the_machines(tmp_path: Path) -> None:
    path = tmp_path / "system.toml"
    path.write_text(
        'system_name = "Ours"\naccelerators_per_node = 0\n"accelerator_on-chip_memories" = "none"\n'
    )
    stated = read(path) | STATED
    made = description.describe(MACHINE, V6_1, FIXED, stated, PARTS)
    assert made["system_name"] == "Ours"
    assert made["accelerators_per_node"] == "0"
    assert made["accelerator_on-chip_memories"] == "none"


def test_every_fault_of_the_file_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "system.toml"
    path.write_text('colling = "air"\ndivision = "open"\nis_network = "false"\nhw_notes = ["a"]\n')
    with pytest.raises(HarnessError) as caught:
        read(path)
    said = str(caught.value)
    assert "'colling' is not a field. Did you mean 'cooling'?" in said
    assert "'division' comes from the command line" in said
    assert "'is_network' demands the fields of the network division" in said
    assert "'hw_notes' must be a text or a number, not ['a']" in said


@pytest.mark.parametrize("text", [None, "cooling = \n", "\udcff"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "system.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HarnessError, match=r"system\.toml") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(HarnessError, match="status 'soon' is not known: give one of available, preview, rdi"):
        description.describe(MACHINE, V6_1, FIXED, STATED | {"status": "soon"}, PARTS)


def test_the_parts_of_another_machine_are_not_taken() -> None:
    here = system.describe()
    assert description.parts_of(here) is not None
    assert description.parts_of(replace(here, cpu_model="another")) is None


def _memory_device(size: int, extended: int, kind: int, speed: int) -> bytes:
    entry = bytearray(0x28)
    entry[0:4] = bytes([17, len(entry), 1, 0])
    entry[0x0C:0x0E] = size.to_bytes(2, "little")
    entry[0x12] = kind
    entry[0x15:0x17] = speed.to_bytes(2, "little")
    entry[0x1C:0x20] = extended.to_bytes(4, "little")
    return bytes(entry) + b"DIMM A1\0\0"


def test_disks_network_cards_and_memory_are_read_from_sys(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    write("class/dmi/id/sys_vendor", "Maker")
    write("class/dmi/id/product_name", "Model 7")
    write("block/nvme0n1/size", "1000")
    write("block/nvme0n1/device/model", "x")
    write("block/sda/size", "2000")
    write("block/sda/queue/rotational", "1")
    write("block/sda/device/model", "x")
    write("block/sdb/size", "3000")
    write("block/sdb/removable", "1")
    write("block/sdb/device/model", "x")
    write("block/loop0/size", "4000")
    write("class/net/eth0/type", "1")
    write("class/net/eth0/speed", "10000")
    write("class/net/eth0/device/vendor", "x")
    write("class/net/lo/type", "772")
    other = bytes([1, 4, 0, 0]) + b"\0\0"
    modules = _memory_device(0x7FFF, 65_536, 0x22, 4800) + _memory_device(0, 0, 0x22, 0)
    table = tmp_path / "sys/firmware/dmi/tables/DMI"
    table.parent.mkdir(parents=True)
    table.write_bytes(other + modules)
    found = hardware.describe(tmp_path)
    assert found.product == "Maker Model 7"
    assert found.disks == (Disk("NVMe SSD", 512_000), Disk("HDD", 1_024_000))
    assert found.networks == ("Ethernet 10 Gbit/s",)
    assert hardware.memory_text(found.memory_modules) == "1 x 64 GiB DDR5 4800 MT/s"


def test_a_machine_that_tells_nothing_is_described_by_nothing(tmp_path: Path) -> None:
    assert hardware.describe(tmp_path) == Hardware(None, (), (), ())


def test_this_machine_can_be_described() -> None:
    machine = system.describe()
    try:
        description.describe(machine, V6_1, FIXED, {}, description.parts_of(machine))
    except HarnessError as error:
        asked = re.findall(r"^(\S+) = ", str(error), re.MULTILINE)
        assert {"status", "cooling"} <= set(asked)
