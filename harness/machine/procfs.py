"""Reading what the kernel tells in /proc and /sys; what it hides is None."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

HOST = Path("/")
CPUS = "sys/devices/system/cpu"

_V1_MOUNTS = {"cpu": ("cpu", "cpu,cpuacct", "cpuacct,cpu"), "memory": ("memory",)}


def text(path: Path) -> str | None:
    """Return the text of a file without white space around it; None when it is empty or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except (OSError, ValueError):
        return None


def control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and its ancestors, version 1 or 2.

    Args:
        root: "/" or a copy of it.
        controller: "cpu" or "memory".
    """
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for mount in _V1_MOUNTS[controller] if controllers else ("", "unified"):
            for group in (inner, *inner.parents):
                yield root / "sys/fs/cgroup" / mount / group
