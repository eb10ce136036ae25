"""The system description that a submission needs: read from the machine, completed by the submitter."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.machine import hardware, identity, system
from harness.machine.hardware import Hardware
from harness.machine.system import Cache, Machine
from harness.mlperf.rules import NETWORK_KEY, STATUSES, SYSTEM_POWER, Round
from harness.submission.verdict import refusal

_FIXED = ("division", "submitter", "system_type")
_SAME_MACHINE = (*identity.HARDWARE, "hypervisor")
_HINTS = {
    "status": '"available"    # or "preview", "rdi"',
    "system_name": '"the name of the machine or of the cloud instance"',
    "cooling": '"air"',
    "host_memory_configuration": '"8 x 32 GB DDR5-4800"',
    "host_networking": '"10 Gbit/s Ethernet"',
    "host_network_card_count": '"1"',
    "host_storage_type": '"NVMe SSD"',
    "host_storage_capacity": '"1 TB"',
}
_WATTS = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?")


def describe(
    machine: Machine,
    made_for: Round,
    fixed: Mapping[str, str],
    overrides: Mapping[str, str],
    parts: Hardware | None = None,
    system: str | None = None,
) -> dict[str, str]:
    """Return the system's JSON.

    Args:
        machine: the machine of the results.
        made_for: the round, which says what fields there are.
        fixed: division, submitter and system_type.
        overrides: what the submitter states (see `read_overrides`).
        parts: the rest of the same machine's hardware; None when it is another machine.
        system: its name, where the results are of several.

    Raises:
        HarnessError: names every field that could not be read from the machine and was not stated.
    """
    found = {**_detected(machine, parts), **_no_accelerator(), **overrides, **fixed}
    missing = [
        key for key in made_for.system_fields if not found.get(key) and key in made_for.filled_system_fields
    ]
    if missing:
        named, table = ("", "") if system is None else (f"{system}: ", f"[{json.dumps(system)}]\n")
        template = table + "\n".join(f"{key} = {_HINTS.get(key, '...')}" for key in missing)
        raise HarnessError(
            f"{named}The machine does not tell {len(missing)} fields of its description: "
            f"{', '.join(missing)}. State them in a file and give it with --system-description FILE, such "
            f"as:\n{template}"
        )
    if found["status"] not in STATUSES:
        raise HarnessError(f"The status '{found['status']}' is not known: give one of {', '.join(STATUSES)}.")
    described = {key: found.get(key) or "" for key in made_for.system_fields}
    return described | {key: value for key, value in found.items() if key not in described and value}


def read_overrides(path: Path, made_for: Round, systems: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read the fields that a submitter states, from a TOML file; return system -> fields.

    What stands in a table [system] is for that system alone, and beats what stands above all tables.

    Raises:
        HarnessError: the file cannot be read, or lists every key that is unknown, fixed or of the wrong kind.
    """
    systems = tuple(systems)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"Cannot read the system description {path} ({error}): check the path.") from error
    except tomllib.TOMLDecodeError as error:
        raise HarnessError(f"{path} is not valid TOML ({error}): correct that line.") from error
    common = {key: value for key, value in document.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    reasons = [
        f"[{name}] is no system of these results.{did_you_mean(name, systems)}"
        for name in tables
        if name not in systems
    ]
    for fields in (common, *tables.values()):
        reasons += _faults_of(fields, made_for)
    if reasons:
        raise refusal(f"The system description {path} cannot be used", reasons)
    # The integer 0 counts as empty in the checker, the text "0" does not.
    return {
        name: {key: str(value) for key, value in (common | tables.get(name, {})).items()} for name in systems
    }


def _faults_of(fields: Mapping[str, Any], made_for: Round) -> list[str]:
    """Return what is wrong with the keys and values that a submitter states."""
    known = (*made_for.system_fields, *made_for.power_fields)
    reasons = []
    for key, value in fields.items():
        if key in _FIXED:
            reasons.append(f"'{key}' comes from the command line: remove it.")
        elif key == NETWORK_KEY:
            reasons.append(
                f"'{key}' demands the fields of the network division, whatever its value: remove it."
            )
        elif key not in known:
            reasons.append(f"'{key}' is not a field.{did_you_mean(key, known)}")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            reasons.append(f"'{key}' must be a text or a number, not {value!r}.")
        elif key == SYSTEM_POWER and not _WATTS.fullmatch(str(value)):
            reasons.append(f"'{key}' must be a number of watts, not {value!r}.")
    return reasons


def parts_of(machine: Machine) -> Hardware | None:
    """Return this machine's parts, if it is the one that the results were made on."""
    same = not identity.unlike(machine, system.describe(), _SAME_MACHINE)
    return hardware.describe() if same else None


def _detected(machine: Machine, parts: Hardware | None) -> dict[str, str | None]:
    sockets, cores = machine.sockets, machine.physical_cores
    versions = {name: value for name, value in machine.versions.items() if value}
    frequency = machine.max_frequency_hz
    kernel = machine.kernel
    os_name = machine.operating_system
    return {
        "number_of_nodes": "1",
        "host_processor_model_name": machine.cpu_model,
        "host_processors_per_node": None if sockets is None else str(sockets),
        "host_processor_core_count": str(cores // sockets) if sockets and cores else None,
        "host_processor_frequency": f"{frequency / 1e9:.2f} GHz (highest)" if frequency else None,
        "host_processor_caches": _caches(machine.caches or ()),
        "host_memory_capacity": _memory_capacity(machine, parts),
        # LoadGen and the system under test are one process.
        "host_networking_topology": "N/A",
        "framework": f"OpenVINO {versions['openvino']}" if "openvino" in versions else None,
        "operating_system": f"{os_name} (kernel {kernel})" if os_name and kernel else os_name,
        "other_software_stack": ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in versions.items() if name != "openvino"
        ),
        "hw_notes": _hardware_notes(machine),
        **({} if parts is None else _from_parts(parts)),
    }


def _from_parts(parts: Hardware) -> dict[str, str | None]:
    total = sum(disk.size_bytes for disk in parts.disks)
    return {
        "system_name": parts.product,
        "host_memory_configuration": hardware.memory_text(parts.memory_modules) or None,
        "host_storage_capacity": f"{total / 1e9:.0f} GB" if total else None,
        "host_storage_type": ", ".join(sorted({disk.kind for disk in parts.disks})) or None,
        "host_networking": ", ".join(sorted(set(parts.networks))) or None,
        "host_network_card_count": str(len(parts.networks)) if parts.networks else None,
    }


def _no_accelerator() -> dict[str, str]:
    return {
        "accelerators_per_node": "0",
        "accelerator_model_name": "N/A",
        "accelerator_memory_capacity": "N/A",
        "accelerator_memory_configuration": "N/A",
        "accelerator_host_interconnect": "N/A",
        "accelerator_interconnect": "N/A",
        "accelerator_interconnect_topology": "N/A",
        "accelerator_frequency": "N/A",
        "accelerator_on-chip_memories": "N/A",
    }


def _memory_capacity(machine: Machine, parts: Hardware | None) -> str | None:
    if parts is not None and parts.memory_modules:
        return f"{sum(size for size, _ in parts.memory_modules) >> 30} GiB"
    memory = machine.memory_bytes
    return f"{memory / 2**30:.1f} GiB usable" if memory else None


def _caches(caches: Sequence[Cache]) -> str:
    names = {"Data": "d", "Instruction": "i", "Unified": ""}
    return ", ".join(
        f"{cache.count} x L{cache.level}{names.get(cache.kind, '')} {_size(cache.size_bytes)}"
        for cache in caches
    )


def _size(count: int) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"


def _hardware_notes(machine: Machine) -> str:
    notes = []
    if machine.hypervisor:
        maker = machine.virtualization
        notes.append(f"virtual machine ({maker})" if maker else "virtual machine")
    usable, present = machine.usable_cpus, machine.cpus_present
    if present and usable < present:
        notes.append(f"the test may use {usable} of {present} logical CPUs")
    if machine.quota_cores is not None:
        notes.append(f"a control group's quota leaves it the time of {machine.quota_cores:g} CPUs")
    return "; ".join(notes)
