"""What disturbed a measurement: the counters of the kernel before, during and after it.

What a kernel or a container hides is None, and no remark is made of it.
"""

import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from harness.machine import procfs

# Shares of the CPUs' time, and of the highest frequency, from which on a number is worth a remark.
_MOST_STOLEN = 0.01
_MOST_TAKEN = 0.05
_MOST_SLOWER = 0.05
_MOST_SPREAD = 0.05

# Fields of the line `cpu` in /proc/stat, proc(5): user nice system idle iowait irq softirq steal.
_BUSY = (0, 1, 2, 5, 6)
_STEAL = 7
_FIELDS = 8


@dataclass(frozen=True)
class Noise:
    """What went on around one measurement."""

    wall_s: float
    cpus: int | None
    """CPUs that /proc/stat counts."""
    steal_share: float | None
    """Share of the time that CPUs had work to do which the hypervisor gave to others."""
    other_cpus: float | None
    """CPUs kept busy, on average, by processes other than ours."""
    throttled_count: int | None
    """Periods in which the control group's quota stopped us."""
    throttled_s: float | None
    """Of all CPUs together: those that stood still at the same time add up."""
    swapped_pages: int | None
    """Pages swapped in or out, machine-wide."""
    frequency_hz: float | None
    """Of the fastest CPU, mean over the samples taken: those that are idle say nothing."""


@dataclass(frozen=True)
class _Reading:
    wall_s: float
    own_cpu_s: float
    cpus: int | None
    ticks: tuple[int, ...] | None
    throttled: dict[Path, tuple[int, float]]
    swapped_pages: int | None


class Watch:
    """Watches the machine from its making to `stop`; `sample` is to be called now and then between."""

    def __init__(
        self,
        root: Path = procfs.HOST,
        clock: Callable[[], float] = time.monotonic,
        own_cpu: Callable[[], float] | None = None,
    ) -> None:
        """Start watching.

        Args:
            root: where /proc and /sys lie.
            clock: seconds.
            own_cpu: CPU seconds used so far by this process, the children that it has waited for, and those
                that `count_as_own` was told of.
        """
        self._root = root
        self._clock = clock
        self._own_cpu = own_cpu or _own_cpu_s
        self._frequencies: list[float] = []
        self._before = self._read()

    def sample(self) -> None:
        """Note the CPUs' present frequency."""
        present = [
            int(text) * 1000
            for folder in (self._root / procfs.CPUS).glob("cpu[0-9]*")
            if (text := procfs.text(folder / "cpufreq/scaling_cur_freq")) and text.isdigit()
        ]
        if present:
            self._frequencies.append(max(present))

    def stop(self) -> Noise:
        """Return what went on; our children must have been waited for."""
        before, after = self._before, self._read()
        wall_s = after.wall_s - before.wall_s
        steal = other = None
        if before.ticks and after.ticks and after.cpus:
            ticks = [late - early for early, late in zip(before.ticks, after.ticks, strict=True)]
            if (total := sum(ticks)) > 0:
                used = sum(ticks[field] for field in _BUSY)
                # Only a CPU that has work to do can be robbed of its time.
                wanted = used + ticks[_STEAL]
                steal = max(0.0, ticks[_STEAL] / wanted) if wanted > 0 else 0.0
                busy = used / total * after.cpus
                own = (after.own_cpu_s - before.own_cpu_s) / wall_s if wall_s > 0 else 0.0
                other = max(0.0, busy - own)
        throttled_count, throttled_s = max(
            (
                (count - before.throttled[group][0], seconds - before.throttled[group][1])
                for group, (count, seconds) in after.throttled.items()
                if group in before.throttled
            ),
            default=(None, None),
        )
        swapped = None
        if before.swapped_pages is not None and after.swapped_pages is not None:
            swapped = after.swapped_pages - before.swapped_pages
        frequency = statistics.fmean(self._frequencies) if self._frequencies else None
        return Noise(wall_s, after.cpus, steal, other, throttled_count, throttled_s, swapped, frequency)

    def _read(self) -> _Reading:
        stat = procfs.text(self._root / "proc/stat") or ""
        return _Reading(
            wall_s=self._clock(),
            own_cpu_s=self._own_cpu(),
            cpus=len(re.findall(r"^cpu\d+ ", stat, re.MULTILINE)) or None,
            ticks=_ticks(stat),
            throttled=_throttled(self._root),
            swapped_pages=_swapped(procfs.text(self._root / "proc/vmstat") or ""),
        )


def remarks(series: Mapping[str, Sequence[Noise]], threads: Mapping[str, int] | None = None) -> list[str]:
    """Return, in words and with the number that says so, what disturbed some series of measurements.

    Args:
        series: by name, a measurement a round. Each is judged by its own frequencies: AVX-512, AMX and other
            numbers of threads run at others by design.
        threads: of each series, beside which others' work is judged; None: beside all CPUs.
    """
    noises = list(chain.from_iterable(series.values()))
    found = []
    wall_s = sum(noise.wall_s for noise in noises)
    stolen = _mean(noises, "steal_share")
    if stolen is not None and stolen > _MOST_STOLEN:
        found.append(
            f"The hypervisor gave {100 * stolen:.1f} % of the busy CPUs' time to other machines (steal "
            f"time): measure on a machine of your own or at another hour."
        )
    if remark := _others_remark(series, threads):
        found.append(remark)
    throttled = sum(noise.throttled_count or 0 for noise in noises)
    if throttled:
        seconds = sum(noise.throttled_s or 0 for noise in noises)
        found.append(
            f"The control group's CPU quota stopped us in {throttled} periods, {seconds:.1f} CPU-seconds in "
            f"{wall_s:.0f} s: use fewer threads or a larger quota."
        )
    swapped = sum(noise.swapped_pages or 0 for noise in noises)
    if swapped:
        found.append(f"{swapped} pages were swapped in or out: free some memory.")
    if remark := _frequency_remark(series):
        found.append(remark)
    return found


def without_others(noises: Sequence[Noise]) -> list[Noise]:
    """Return the same for calls to a server on this host, whose work cannot be told from that of others."""
    return [replace(noise, other_cpus=None) for noise in noises]


def _others_remark(series: Mapping[str, Sequence[Noise]], threads: Mapping[str, int] | None) -> str | None:
    """Say where others' work was most beside the CPUs that the tests used."""
    worst, said = _MOST_TAKEN, None
    for name, noises in series.items():
        taken, cpus = _mean(noises, "other_cpus"), max((noise.cpus or 0 for noise in noises), default=0)
        used = cpus if threads is None else threads[name]
        if taken is not None and cpus and taken / used > worst:
            worst = taken / used
            beside = "" if threads is None else f", beside the {used} that {name} used"
            said = (
                f"Other processes kept {taken:.2f} of {cpus} CPUs busy on average{beside}: stop them and "
                "measure again."
            )
    return said


def _frequency_remark(series: Mapping[str, Sequence[Noise]]) -> str | None:
    known_hz = {
        name: [noise.frequency_hz for noise in noises if noise.frequency_hz]
        for name, noises in series.items()
    }
    ranges_hz = {name: (min(found), max(found)) for name, found in known_hz.items() if found}
    worst = min(ranges_hz, key=lambda name: ranges_hz[name][0] / ranges_hz[name][1], default=None)
    if worst is None:
        return None
    low_hz, high_hz = ranges_hz[worst]
    if low_hz >= (1 - _MOST_SLOWER) * high_hz:
        return None
    return (
        f"The CPU's frequency went from {low_hz / 1e9:.2f} to {high_hz / 1e9:.2f} GHz between rounds of "
        f"{worst}: set the governor to performance, and look at the cooling."
    )


def spread_remark(series: Mapping[str, Sequence[float]]) -> str | None:
    """Return a remark when the rounds of a series spread by more than 5 % of their mean."""
    shares = {
        name: statistics.stdev(values) / statistics.fmean(values)
        for name, values in series.items()
        if len(values) > 1
    }
    unstable = [name for name, share in shares.items() if share > _MOST_SPREAD]
    if not unstable:
        return None
    worst = max(unstable, key=lambda name: shares[name])
    return (
        f"{len(unstable)} of {len(series)} results may be unstable: in the worst ({worst}) the standard "
        f"deviation of the rounds is {100 * shares[worst]:.0f} % of the mean; more --rounds help."
    )


def _mean(noises: Sequence[Noise], name: str) -> float | None:
    """Return the mean of a quantity over time, where it is known."""
    known = [noise for noise in noises if getattr(noise, name) is not None and noise.wall_s > 0]
    if not known:
        return None
    total_s = sum(noise.wall_s for noise in known)
    return float(sum(getattr(noise, name) * noise.wall_s for noise in known) / total_s)


def _ticks(stat: str) -> tuple[int, ...] | None:
    """Return the first eight fields of the line of all CPUs; guest time is within user time already."""
    found = re.search(r"^cpu +([\d ]+)$", stat, re.MULTILINE)
    fields = tuple(map(int, found[1].split()[:_FIELDS])) if found else ()
    return fields if len(fields) == _FIELDS else None


def _throttled(root: Path) -> dict[Path, tuple[int, float]]:
    """Return periods and seconds of throttling so far of our control group and its ancestors, v1 or v2."""
    found = {}
    for folder in procfs.control_groups(root, "cpu"):
        counters = _counters(procfs.text(folder / "cpu.stat") or "")
        if "nr_throttled" in counters:
            # Version 1 counts nanoseconds (throttled_time), version 2 microseconds.
            seconds = counters.get("throttled_usec", 0) / 1e6
            seconds = seconds or counters.get("throttled_time", 0) / 1e9
            found[folder] = (counters["nr_throttled"], seconds)
    return found


def _swapped(vmstat: str) -> int | None:
    counters = _counters(vmstat)
    if "pswpin" not in counters or "pswpout" not in counters:
        return None
    return counters["pswpin"] + counters["pswpout"]


def _counters(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}


_elsewhere_s: list[float] = []


def count_as_own(cpu_s: float) -> None:
    """Count CPU seconds of a process that worked for this one, and for whose end another has waited."""
    _elsewhere_s.append(cpu_s)


def _own_cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(_elsewhere_s)
