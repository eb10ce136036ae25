"""What a system description asks beyond harness.machine.system: storage, network cards, memory modules."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness.machine import procfs

_SECTOR_BYTES = 512
_ETHERNET = "1"
_INFINIBAND = "32"
# SMBIOS 3.7, 7.18.2: memory device types.
_MEMORY_TYPES = {
    0x18: "DDR3",
    0x1A: "DDR4",
    0x1B: "LPDDR",
    0x1C: "LPDDR2",
    0x1D: "LPDDR3",
    0x1E: "LPDDR4",
    0x22: "DDR5",
    0x23: "LPDDR5",
}
_MEMORY_DEVICE = 17
_SIZE_ELSEWHERE = 0x7FFF


@dataclass(frozen=True)
class Disk:
    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Hardware:
    """Parts of a machine; empty where nothing could be read."""

    product: str | None
    """Maker and name of the machine, from its firmware."""
    disks: tuple[Disk, ...]
    networks: tuple[str, ...]
    """One entry per network card, such as 'Ethernet 10 Gbit/s'."""
    memory_modules: tuple[tuple[int, str], ...]
    """Size in bytes and type of each, such as 'DDR5 4800 MT/s'; readable only for root."""


def describe(root: Path = procfs.HOST) -> Hardware:
    """Describe this machine's parts, or those of the machine whose /sys lies under `root`."""
    names = [procfs.text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return Hardware(
        product=" ".join(filter(None, names)) or None,
        disks=tuple(_disks(root)),
        networks=tuple(_networks(root)),
        memory_modules=tuple(_memory_modules(root)),
    )


def memory_text(modules: tuple[tuple[int, str], ...]) -> str:
    """Return modules as '8 x 32 GiB DDR5 4800 MT/s'."""
    counts = Counter(modules)
    return ", ".join(f"{count} x {size >> 30} GiB {kind}" for (size, kind), count in sorted(counts.items()))


def _disks(root: Path) -> list[Disk]:
    found = []
    for block in sorted((root / "sys/block").glob("*")):
        size = procfs.text(block / "size") or "0"
        # Without a device behind it, it is a loop, a RAM disk or a combination of others.
        if not (block / "device").exists() or not size.isdigit() or int(size) == 0:
            continue
        if procfs.text(block / "removable") == "1":
            continue
        found.append(Disk(_disk_kind(block), int(size) * _SECTOR_BYTES))
    return found


def _disk_kind(block: Path) -> str:
    if block.name.startswith("nvme"):
        return "NVMe SSD"
    if re.match(r"vd[a-z]|xvd", block.name):
        return "virtual disk"
    if block.name.startswith("mmcblk"):
        return "eMMC or SD card"
    return "HDD" if procfs.text(block / "queue/rotational") == "1" else "SSD"


def _networks(root: Path) -> list[str]:
    found = []
    for card in sorted((root / "sys/class/net").glob("*")):
        if not (card / "device").exists():
            continue
        kind = {_ETHERNET: "Ethernet", _INFINIBAND: "InfiniBand"}.get(
            procfs.text(card / "type") or "", "network"
        )
        if (card / "wireless").exists():
            kind = "Wi-Fi"
        speed = procfs.text(card / "speed") or ""
        mbits = int(speed) if speed.isdigit() else 0
        found.append(f"{kind} {mbits / 1000:g} Gbit/s" if mbits else kind)
    return found


def _memory_modules(root: Path) -> list[tuple[int, str]]:
    """Read the memory devices of the SMBIOS table (SMBIOS 3.7, 7.18)."""
    try:
        table = (root / "sys/firmware/dmi/tables/DMI").read_bytes()
    except OSError:
        return []
    modules = []
    start = 0
    while start + 4 <= len(table):
        kind, length = table[start], table[start + 1]
        if length < 4:
            break
        entry = table[start : start + length]
        if kind == _MEMORY_DEVICE and length >= 0x17:
            size_bytes = _module_bytes(entry)
            name = _MEMORY_TYPES.get(entry[0x12])
            speed = int.from_bytes(entry[0x15:0x17], "little")
            if size_bytes and name:
                modules.append((size_bytes, f"{name} {speed} MT/s" if speed else name))
        # The entry's texts follow it, up to two zero bytes.
        end = table.find(b"\0\0", start + length)
        if end < 0:
            break
        start = end + 2
    return modules


def _module_bytes(entry: bytes) -> int:
    size = int.from_bytes(entry[0x0C:0x0E], "little")
    if size == _SIZE_ELSEWHERE and len(entry) >= 0x20:
        return (int.from_bytes(entry[0x1C:0x20], "little") & 0x7FFFFFFF) << 20
    if size in (0, 0xFFFF):
        return 0
    return (size & 0x7FFF) << 10 if size & 0x8000 else size << 20
