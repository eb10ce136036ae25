"""The machine that a result belongs to; what cannot be read is None, and nothing is guessed."""

import math
import os
import platform
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.machine import procfs
from harness.machine.packages import RECORDED

_ISA = (
    *("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
INT8_DOT = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets with products of 8-bit numbers, any of which makes INT8 fast."""
BF16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instruction sets that compute in BF16."""
_MEMORY = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Of control groups of version 2 and 1: the limit, what is taken, and how names in memory.stat begin."""
# "CPU implementer" of Arm's MIDR_EL1 register.
_ARM_VENDORS = {
    0x41: "ARM",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x51: "Qualcomm",
    0xC0: "Ampere",
}


@dataclass(frozen=True)
class Cache:
    """All caches of one level, kind and size."""

    level: int
    kind: str
    """'Data', 'Instruction' or 'Unified'."""
    size_bytes: int
    count: int


@dataclass(frozen=True)
class Machine:
    """Hardware, operating system and versions, as far as they can be read."""

    architecture: str
    cpu_model: str | None
    """Name of the CPU, which in virtual machines may be that of several generations."""
    cpu_signature: str | None
    """Family, model and stepping of an x86 CPU, such as '6-207-2'."""
    cpu_vendor: str | None
    sockets: int | None
    physical_cores: int | None
    cpus_present: int | None
    """Logical CPUs that the kernel knows of and that are switched on."""
    cpus_allowed: int
    """Logical CPUs in this process's affinity mask."""
    cores_allowed: int | None
    """Physical cores that these are on."""
    performance_cpus_allowed: int | None
    """Logical CPUs on P cores in the affinity mask, on Intel hybrids only."""
    cpu_quota_cores: float | None
    """Limit of the control group, in CPUs; None when there is none."""
    performance_cpus: int | None
    """Logical CPUs on P cores, on Intel hybrids only."""
    efficiency_cpus: int | None
    """Logical CPUs on E cores, on Intel hybrids only."""
    smt: bool | None
    isa: tuple[str, ...] | None
    """The instruction sets present of those that decide the speed of inference."""
    caches: tuple[Cache, ...] | None
    max_frequency_hz: int | None
    governor: str | None
    frequency_driver: str | None
    turbo: bool | None
    numa_nodes: int | None
    memory_bytes: int | None
    operating_system: str | None
    kernel: str | None
    hypervisor: bool | None
    """Whether the CPU says that it is a virtual one."""
    virtualization: str | None
    """Maker and product of the virtual machine, where firmware names them."""
    versions: dict[str, str | None]

    @property
    def usable_cpus(self) -> int:
        return _usable(self.cpus_allowed, self.cpu_quota_cores)

    @property
    def usable_cores(self) -> int | None:
        """Physical cores that were allowed; where an older document does not say, all there are."""
        return self.cores_allowed or self.physical_cores

    def cores_of(self, threads: int | None) -> int | None:
        """Return the physical cores that so many threads, None if all, can keep busy."""
        return min(filter(None, (threads, self.usable_cores)), default=None)

    @property
    def quota_cores(self) -> float | None:
        """The control group's quota where it is less than the CPUs that were allowed; else None."""
        return _binding(self.cpus_allowed, self.cpu_quota_cores)

    @property
    def is_under_quota(self) -> bool:
        """Whether a control group's quota is less than the CPUs that this process may run on."""
        return self.quota_cores is not None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"usable_cpus": self.usable_cpus}


@dataclass(frozen=True)
class Allowance:
    """What this process may keep busy, by its affinity mask and its control group's quota."""

    cpus: int
    """Logical CPUs; the quota counts, rounded up."""
    cores: int
    """Physical cores among them; as many as `cpus` where cores have one thread, or nothing says otherwise."""
    performance_cpus: int | None
    """Logical CPUs on P cores; None where there is one type of core only."""
    whole: bool
    """Whether the quota leaves us the whole mask. If not, others run on the same CPUs."""


def describe(root: Path = procfs.HOST) -> Machine:
    """Describe this machine, or the one whose /proc, /sys and /etc lie under `root`."""
    host = root == procfs.HOST
    info = _cpuinfo(root)
    flags = info.get("flags") or info.get("Features")
    topology = [folder / "topology" for folder in _cpu_folders(root)]
    sockets = _distinct(topology, "physical_package_id")
    smt = procfs.text(root / procfs.CPUS / "smt/active")
    present = _cpu_list(procfs.text(root / procfs.CPUS / "online")) or _cpu_list(
        procfs.text(root / procfs.CPUS / "present")
    )
    frequencies = [int(text) for text in _texts(root, "cpufreq/cpuinfo_max_freq") if text.isdigit()]
    hypervisor = None if flags is None or "Features" in info else "hypervisor" in flags.split()
    return Machine(
        architecture=platform.machine(),
        cpu_model=_cpu_model(info) or ((platform.processor() or None) if host else None),
        cpu_signature=_cpu_signature(info),
        cpu_vendor=info.get("vendor_id") or _arm_vendor(info),
        sockets=len(sockets) or None,
        physical_cores=_cores(topology),
        cpus_present=present or (os.cpu_count() if host else None),
        cpus_allowed=_cpus_allowed(),
        cores_allowed=_cores_allowed(root),
        performance_cpus_allowed=_performance_cpus_allowed(root),
        cpu_quota_cores=_cpu_quota(root),
        performance_cpus=_cpu_list(procfs.text(root / "sys/devices/cpu_core/cpus")),
        efficiency_cpus=_cpu_list(procfs.text(root / "sys/devices/cpu_atom/cpus")),
        smt=None if smt is None else smt == "1",
        isa=None if flags is None else tuple(flag for flag in _ISA if flag in flags.split()),
        caches=_caches(root),
        max_frequency_hz=max(frequencies) * 1000 if frequencies else None,
        governor=", ".join(sorted(set(_texts(root, "cpufreq/scaling_governor")))) or None,
        frequency_driver=", ".join(sorted(set(_texts(root, "cpufreq/scaling_driver")))) or None,
        turbo=_turbo(root),
        numa_nodes=len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        memory_bytes=_memory(root),
        operating_system=_operating_system(root) or (platform.platform() if host else None),
        kernel=procfs.text(root / "proc/sys/kernel/osrelease") or (platform.release() if host else None),
        hypervisor=hypervisor,
        virtualization=_virtualization(root) if hypervisor else None,
        versions=_versions(),
    )


def usable_cpus(root: Path = procfs.HOST) -> int:
    """Return how many CPUs this process can keep busy: its affinity, or its control group's quota if less."""
    return _usable(_cpus_allowed(), _cpu_quota(root))


def is_under_quota(root: Path = procfs.HOST) -> bool:
    """Return whether a control group's quota is less than the CPUs that this process may run on."""
    return _binding(_cpus_allowed(), _cpu_quota(root)) is not None


def default_pinning(root: Path = procfs.HOST) -> bool | None:
    """Return what to tell OpenVINO of pinning where nobody says: nothing (None), or not to, under a quota.

    OpenVINO (2026.4) knows no quota and would pin to the first of all CPUs, which others use as well: a
    thread that is pinned cannot give way to them.
    """
    return False if is_under_quota(root) else None


def allowance(root: Path = procfs.HOST) -> Allowance:
    """Return what this process may keep busy."""
    allowed = _cpus_allowed()
    quota = _cpu_quota(root)
    cpus = _usable(allowed, quota)
    fast = _performance_cpus_allowed(root)
    performance = min(fast, cpus) if fast and fast < allowed else None
    return Allowance(
        cpus, min(_cores_allowed(root) or cpus, cpus), performance, _binding(allowed, quota) is None
    )


def memory_limit_bytes(root: Path = procfs.HOST) -> int | None:
    """Return the tightest memory limit among this process's control group and its ancestors, v1 or v2."""
    return min((limit for limit, _ in _memory_limits(root)), default=None)


def free_memory_bytes(root: Path = procfs.HOST) -> int | None:
    """Return the memory that processes can take without swapping; None where the kernel does not tell."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", procfs.text(root / "proc/meminfo") or "", re.MULTILINE)
    known = [max(0, limit - taken) for limit, taken in _memory_limits(root)]
    return min(known + ([int(found[1]) * 1024] if found else []), default=None)


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield each control group's limit, and what its processes have taken and cannot give back, in bytes."""
    for group in procfs.control_groups(root, "memory"):
        for limit_name, taken_name, start in _MEMORY:
            limit, taken = (procfs.text(group / name) or "" for name in (limit_name, taken_name))
            if limit.isdigit():
                stat = procfs.text(group / "memory.stat") or ""
                # Like MemAvailable: the kernel drops cached files before anything is swapped.
                cached = map(int, re.findall(rf"^{start}(?:in)?active_file (\d+)$", stat, re.MULTILINE))
                yield int(limit), max(0, int(taken) - sum(cached)) if taken.isdigit() else 0


def slug(machine: Machine) -> str:
    """Return a short name for a folder, such as 'amd-epyc-2c': letters, digits and '-'."""
    name = machine.cpu_model or machine.cpu_vendor or machine.architecture
    name = re.sub(r"\((R|TM|C)\)|@.*|\b\d+-Core\b|\b(CPU|Processor)\b", " ", name, flags=re.IGNORECASE)
    words = re.findall(r"[a-z0-9]+", name.lower())
    cores = min(machine.usable_cpus, machine.cores_allowed or machine.usable_cpus)
    return "-".join([*words[:8], f"{cores}c"])


def _usable(allowed: int, quota_cores: float | None) -> int:
    return allowed if quota_cores is None else max(1, min(allowed, math.ceil(quota_cores)))


def _binding(allowed: int, quota_cores: float | None) -> float | None:
    """Return a quota that takes a part of the CPUs allowed, be it less than one; None where none does."""
    return quota_cores if quota_cores is not None and quota_cores < allowed else None


def _cpus_allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mask() -> set[int]:
    """Return the CPUs of this process's affinity mask, by number; none where there are no masks."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _cores_allowed(root: Path) -> int | None:
    return _cores([root / procfs.CPUS / f"cpu{number}" / "topology" for number in _mask()])


def _cores(topology: list[Path]) -> int | None:
    """Return how many physical cores the CPUs with these folders are on."""
    return len(_distinct(topology, "core_cpus_list") or _distinct(topology, "thread_siblings_list")) or None


def _performance_cpus_allowed(root: Path) -> int | None:
    fast, slow = (
        _cpu_numbers(procfs.text(root / f"sys/devices/cpu_{kind}/cpus")) for kind in ("core", "atom")
    )
    return len(_mask() & fast) if fast and slow else None


def _cpu_quota(root: Path) -> float | None:
    """Return the tightest CPU quota among this process's control group and its ancestors, v1 or v2."""
    quotas = [_group_quota(group) for group in procfs.control_groups(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _group_quota(group: Path) -> float | None:
    words = (procfs.text(group / "cpu.max") or "").split()
    if not words:
        words = [procfs.text(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    if len(words) != 2 or not all(word.isdigit() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def _cpuinfo(root: Path) -> dict[str, str]:
    """Return the keys of the first CPU in /proc/cpuinfo."""
    first = (procfs.text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _cpu_model(info: dict[str, str]) -> str | None:
    if "model name" in info:
        return info["model name"]
    vendor = _arm_vendor(info)
    return f"{vendor} part {info['CPU part']}" if vendor and "CPU part" in info else None


def _cpu_signature(info: dict[str, str]) -> str | None:
    numbers = [info.get(key) for key in ("cpu family", "model", "stepping")]
    known = [number for number in numbers if number is not None]
    return "-".join(known) if len(known) == len(numbers) else None


def _arm_vendor(info: dict[str, str]) -> str | None:
    code = info.get("CPU implementer", "")
    return (
        _ARM_VENDORS.get(int(code, 16), f"implementer {code}") if re.fullmatch("0x[0-9a-f]+", code) else None
    )


def _cpu_folders(root: Path) -> Iterator[Path]:
    return (root / procfs.CPUS).glob("cpu[0-9]*")


def _texts(root: Path, name: str) -> list[str]:
    return [text for folder in _cpu_folders(root) if (text := procfs.text(folder / name))]


def _distinct(folders: list[Path], name: str) -> set[str]:
    return {text for folder in folders if (text := procfs.text(folder / name)) is not None}


def _caches(root: Path) -> tuple[Cache, ...] | None:
    instances = set()
    for index in (root / procfs.CPUS).glob("cpu[0-9]*/cache/index[0-9]*"):
        level, kind, size, shared = (
            procfs.text(index / name) for name in ("level", "type", "size", "shared_cpu_list")
        )
        found = re.fullmatch(r"(\d+)([KMG])", size or "")
        if level and kind and shared and found:
            size_bytes = int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]]
            instances.add((int(level), kind, size_bytes, shared))
    counts = Counter(instance[:3] for instance in instances)
    return tuple(Cache(*what, count) for what, count in sorted(counts.items())) or None


def _turbo(root: Path) -> bool | None:
    no_turbo = procfs.text(root / procfs.CPUS / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = procfs.text(root / procfs.CPUS / "cpufreq/boost")
    return None if boost is None else boost == "1"


def _memory(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB$", procfs.text(root / "proc/meminfo") or "", re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    if root != procfs.HOST or not hasattr(os, "sysconf"):
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _operating_system(root: Path) -> str | None:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', procfs.text(root / "etc/os-release") or "", re.MULTILINE)
    return found[1] if found else None


def _virtualization(root: Path) -> str | None:
    names = [procfs.text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(filter(None, names)) or procfs.text(root / "sys/hypervisor/type")


def _versions() -> dict[str, str | None]:
    found = {package.key: package.installed() for package in RECORDED}
    return {"python": platform.python_version(), **found}


def _cpu_list(text: str | None) -> int | None:
    """Return how many CPUs a kernel list such as '0-3,8' names."""
    return len(_cpu_numbers(text)) or None


def _cpu_numbers(text: str | None) -> set[int]:
    """Return the CPUs that a kernel list such as '0-3,8' names."""
    if text is None or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return set()
    ranges = (part.partition("-") for part in text.split(","))
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}
