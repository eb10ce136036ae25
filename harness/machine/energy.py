"""Energy of the processor packages, from the counters of Linux's powercap (RAPL: Intel's and AMD's).

Unofficial: MLPerf's own power results need an external meter (MLPerf Power).
"""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

ROOT = Path("/sys/class/powercap")


@dataclass
class _Domain:
    name: str
    counter: Path
    range_uj: int
    """The counter returns to 0 after this value."""
    last_uj: int
    total_uj: int = 0

    def update(self) -> None:
        now_uj = int(self.counter.read_text())
        # The counter may have wrapped once since the last look.
        self.total_uj += (now_uj - self.last_uj) % (self.range_uj + 1)
        self.last_uj = now_uj


class Meter:
    """Adds up what the package domains count from `open_meter` on; look at it more often than they wrap.

    Several threads may.
    """

    def __init__(self, domains: list[_Domain]) -> None:
        self._domains = domains
        self._lock = Lock()

    @property
    def domains(self) -> list[str]:
        return [domain.name for domain in self._domains]

    def read_joules(self) -> float | None:
        """Return the energy so far; None from the moment on that a counter cannot be read."""
        with self._lock:
            try:
                for domain in self._domains:
                    domain.update()
            except (OSError, ValueError):
                self._domains = []
            return sum(domain.total_uj for domain in self._domains) / 1e6 if self._domains else None

    def start_anew(self) -> None:
        """Count from now on."""
        self.read_joules()
        with self._lock:
            for domain in self._domains:
                domain.total_uj = 0


def open_meter(root: Path = ROOT) -> Meter | None:
    """Return a meter of all processor packages, or None unless every one can be read.

    Counted are the domains named 'package-N' (kernel: Documentation/power/powercap), each once, though
    intel-rapl and intel-rapl-mmio may both show it; their parts (core, uncore) and 'psys', which contains
    them, would count twice. The counters are commonly readable by root alone.
    """
    domains: dict[str, _Domain] = {}
    try:
        for folder in sorted(root.glob("*-rapl*:*")):
            name = (folder / "name").read_text().strip()
            if name.startswith("package") and name not in domains:
                counter = folder / "energy_uj"
                limit = int((folder / "max_energy_range_uj").read_text())
                domains[name] = _Domain(name, counter, limit, int(counter.read_text()))
    except (OSError, ValueError):
        return None
    return Meter(list(domains.values())) if domains else None
