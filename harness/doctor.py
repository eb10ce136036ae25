"""Is this machine, and what is installed on it, fit for a measurement?"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.dataset.store import open_store
from harness.errors import HarnessError
from harness.files import format_bytes
from harness.machine import system
from harness.machine.packages import RECORDED
from harness.mlperf import calendar
from harness.mlperf.rules import find_round, rounds_of_loadgen
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, read_card, shipped_cards

_LOADGEN = next(package for package in RECORDED if package.module == "mlperf_loadgen")
_HOST = Path("/")
_ENOUGH_MEMORY_BYTES = 4_000_000_000
_BUSY_SHARE = 0.25

_X86_NAMES = ("x86_64", "AMD64")
_X86 = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX": ("amx_tile",),
}
"""What a fast x86 CPU has; any of the flags tells. BF16 has words of its own."""

GOOD, NOTE, WRONG = "good", "note", "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    state: str
    """GOOD; NOTE: worth knowing; WRONG: results would be worse or not count."""
    detail: str
    cure: str = ""
    """The one thing to do, where something is wrong."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(store: Path | None = None, root: Path = _HOST) -> list[Finding]:
    """Look at the machine, the installed versions, the models and the store, if one is named.

    Args:
        store: a store to open and judge.
        root: where /proc, /sys and /etc lie.
    """
    machine = system.describe(root)
    findings = [*_machine(machine, root), *_load(machine, root), *_versions(machine), *_models()]
    return findings if store is None else [*findings, _store(store)]


def _machine(machine: system.Machine, root: Path) -> Iterator[Finding]:
    yield Finding("CPU", GOOD, f"{machine.cpu_model or 'unknown model'}, {machine.architecture}")
    yield _instructions(machine, _computes_bf16() if root == _HOST else None)
    present = machine.cpus_present
    quota = machine.quota_cores
    if present is not None and (quota is not None or machine.usable_cpus < present):
        limit = f"a quota of {quota:g} CPUs" if quota is not None else "the affinity mask"
        yield Finding(
            "CPUs allowed",
            NOTE,
            f"{machine.usable_cpus} of the {present} present, by {limit}: threads are held to that",
        )
    else:
        yield Finding("CPUs allowed", GOOD, f"{machine.usable_cpus}, all that are present")
    fast = machine.performance_cpus_allowed
    slow = machine.efficiency_cpus if fast is None else machine.cpus_allowed - fast
    if slow:
        yield Finding("Cores", NOTE, f"{slow} of them are efficiency cores, which are slower")
    yield _governor(machine)
    if machine.turbo is None:
        yield Finding("Turbo", NOTE, "cannot be read here")
    elif machine.turbo:
        yield Finding("Turbo", NOTE, "on: short runs may be faster than long ones")
    else:
        yield Finding("Turbo", GOOD, "off")
    if machine.hypervisor:
        yield Finding(
            "Virtual machine", NOTE, "neighbours may take time from it: compare in alternating rounds"
        )
    yield from _memory(machine, system.memory_limit_bytes(root))


def _computes_bf16() -> bool:
    from harness.backend import graph  # loads OpenVINO, without which --help is quick

    return graph.has_bf16()


def _governor(machine: system.Machine) -> Finding:
    subject, governor = "Frequency governor", machine.governor
    if governor is None:
        return Finding(subject, NOTE, "cannot be read here: whoever owns the machine sets it")
    if governor == "performance":
        return Finding(subject, GOOD, governor)
    cure = "run `cpupower frequency-set -g performance` as root"
    return Finding(subject, WRONG, f"'{governor}' lets the clock wander", cure)


def _memory(machine: system.Machine, limit: int | None) -> Iterator[Finding]:
    present = machine.memory_bytes
    if present is None:
        return
    memory, detail, cure = present, format_bytes(present), "use a machine with"
    # Version 1 writes "no limit" as a number larger than any machine.
    if limit is not None and limit < present:
        memory, cure = limit, "let the container have"
        detail = f"{format_bytes(limit)} of {detail}, by the limit of the control group"
    if memory >= _ENOUGH_MEMORY_BYTES:
        yield Finding("Memory", GOOD if memory == present else NOTE, detail)
    else:
        yield Finding("Memory", WRONG, detail, f"{cure} {format_bytes(_ENOUGH_MEMORY_BYTES)} or more")


def _instructions(machine: system.Machine, has_bf16: bool | None) -> Finding:
    """Tell the instructions; `has_bf16` is whether OpenVINO computes in BF16, None where none can ask it."""
    flags = machine.isa
    if flags is None:
        return Finding("Instructions", NOTE, "cannot be read on this system")
    names = ", ".join(flags) or "none of those that matter"
    if not any(flag in flags for flag in system.INT8_DOT):
        detail = f"{names}: no 8-bit dot products (VNNI, AMX), so INT8 gains less here"
        return Finding("Instructions", NOTE, detail)
    if has_bf16 is None:
        has_bf16 = any(flag in flags for flag in system.BF16)
    bf16 = "" if has_bf16 else "; OpenVINO computes no BF16 here, so that variant cannot be run"
    missing = [name for name, any_of in _X86.items() if not any(flag in flags for flag in any_of)]
    without = f"; without {', '.join(missing)}" if machine.architecture in _X86_NAMES and missing else ""
    return Finding("Instructions", GOOD, names + without + bf16)


def _load(machine: system.Machine, root: Path) -> Iterator[Finding]:
    try:
        load = float((root / "proc" / "loadavg").read_text().split()[0])
    except OSError:
        return
    if load > _BUSY_SHARE * (machine.cpus_present or machine.usable_cpus):
        yield Finding(
            "Load", WRONG, f"{load:g} on average in the last minute: others compute here, too",
            "stop them, or wait, before you measure",
        )  # fmt: skip
    else:
        yield Finding("Load", GOOD, f"{load:g} on average in the last minute")


def _versions(machine: system.Machine) -> Iterator[Finding]:
    for package in RECORDED:
        name, tested = package.key, package.tested
        found = machine.versions.get(name)
        if found is None:
            yield Finding(name, WRONG, "is not installed", "run `pip install .` again")
        elif found != tested:
            yield Finding(name, NOTE, f"{found}; tested with {tested}")
        else:
            yield Finding(name, GOOD, found)
    loadgen = machine.versions.get(_LOADGEN.key)
    rounds = rounds_of_loadgen(loadgen) if loadgen else []
    if rounds:
        made_for = find_round(rounds[0])
        yield Finding(
            "MLPerf round",
            NOTE if calendar.has_ended(made_for) else GOOD,
            f"runs with this LoadGen belong to {made_for.name}; {calendar.outlook(made_for).rstrip('.')}",
        )
    else:
        yield Finding(
            "MLPerf round", WRONG, f"LoadGen {loadgen} belongs to no round that is known here",
            f"run `pip install {_LOADGEN.name}=={_LOADGEN.tested}`",
        )  # fmt: skip


def _models() -> Iterator[Finding]:
    for name, path in shipped_cards().items():
        card = read_card(path)
        state = model_file.state(card)
        if state == model_file.NOT_FETCHED:
            yield Finding(f"model {name}", NOTE, f"not fetched: `harness model fetch {name}` gets it")
        elif state == model_file.NOT_INSTALLED:
            cure = f"`pip install {card.file.package}` brings it"
            yield Finding(f"model {name}", NOTE, f"not installed: {cure}")
        else:
            note = f"; {SPEED_ONLY}" if card.speed_only else ""
            yield Finding(f"model {name}", GOOD, f"{state}{note}")


def _store(path: Path) -> Finding:
    try:
        store = open_store(path)
        for entry in store.recipes.values():
            store.require_sound(entry.recipe)
    except HarnessError as error:
        return Finding("store", WRONG, str(error), "make it with `harness prepare`")
    facts = f"{path}: {store.count:,} images of {store.dataset}, {', '.join(store.recipes)}"
    faults = store.submittable_faults()
    if store.warnings:
        faults.append(f"{len(store.warnings):,} of its images decode with a warning")
    return Finding("store", NOTE if faults else GOOD, "; ".join([facts, *faults]))


def is_fit(findings: list[Finding]) -> bool:
    """Return whether nothing is wrong."""
    return not any(finding.state == WRONG for finding in findings)
