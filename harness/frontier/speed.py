"""How fast networks are in INT8, in rounds that alternate with ResNet-50 in FP32 and INT8."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from harness import files, typed
from harness.backend import graph
from harness.console import note, progress
from harness.errors import OutputError
from harness.machine import system
from harness.measurement.statistics import Interval, interval, speedup
from harness.model import file as model_file
from harness.model.architecture import resnet50
from harness.model.card import find_card
from harness.profiling import operations
from harness.profiling.conditions import Conditions
from harness.profiling.stopwatch import Beside
from harness.typed import LEFT_OUT

ROUNDS = 5
_PATIENCE_S = 20.0
BASELINE = "resnet50-seeded"
"""ResNet-50 at 224 px; its speed does not depend on its random weights."""

FOLDER = "speeds"
"""Holds a file a network."""


@dataclass(frozen=True)
class Speed:
    """What a network's rounds say; times in milliseconds an image."""

    ms: Interval
    over_f32: Interval
    """How many times as fast as ResNet-50 in FP32."""
    over_int8: Interval
    """How many times as fast as ResNet-50 in INT8."""
    wide_share: float | None
    """Of the time of convolutions and matrix products, what is not spent in 8 bits; None: not known."""
    wide: tuple[str, ...]
    """Convolutions and matrix products that are not in 8 bits, with their kernels, the slowest first."""
    fallbacks: tuple[str, ...]
    """Layers in reference or plain gemm kernels, likewise."""
    restless_visits: int = field(default=0, metadata=LEFT_OUT)
    """Of the ten visits, those during which the machine was not quiet for long enough."""


@dataclass(frozen=True)
class Timed:
    """A network and its speed, or why it has none."""

    name: str
    speed: Speed | None
    failure: str
    """Empty where it has one."""


class Stopwatch(Protocol):
    """What measures; `profiling.stopwatch.Beside` is one."""

    @property
    def quiet_ms(self) -> float: ...

    @property
    def restless(self) -> int: ...

    def visits(self, deployed: Any) -> Callable[[], float]: ...


@dataclass(frozen=True)
class Entry:
    """What is to be timed."""

    name: str
    of: str
    """What the time is of: another model of the same name is timed anew."""
    build: Callable[[], Any]
    """Makes the quantized openvino.Model, u8 pixels in and labels out."""


def measure(
    entries: Sequence[Entry],
    conditions: Conditions,
    out: Path,
    *,
    budget_s: float | None = None,
    stopwatch: Stopwatch | None = None,
    baseline: str = BASELINE,
) -> list[Timed]:
    """Time the networks, in their order; what lies in `out` already is not measured again.

    Args:
        entries: the networks.
        conditions: under which.
        out: folder that keeps what was measured.
        budget_s: after which no further network is begun; those left out are missing from what is returned.
        stopwatch: measures beside the baseline in INT8; default: a real one.
        baseline: name of the card of a ResNet-50.

    Raises:
        OutputError: `out` holds times of other conditions.
    """
    folder = files.make_writable_folder(out / FOLDER)
    held = {entry.name: _held(folder / f"{entry.name}.json", entry.of, conditions) for entry in entries}
    done = [found for found in held.values() if found is not None]
    if done:
        note(f"Reused: the times of {len(done)} of {len(entries)} networks in {folder}.")
    left = [entry for entry in entries if held[entry.name] is None]
    if not left:
        return done
    card = find_card(baseline)
    stopwatch = stopwatch or Beside(resnet50(card.output.classes, card.input.size), conditions, _PATIENCE_S)
    wide = stopwatch.visits(graph.deployed(model_file.read(card), card))
    end = None if budget_s is None else monotonic() + budget_s
    with progress("Timing", len(entries)) as bar:
        bar.advance(len(done))
        for number, entry in enumerate(left):
            if end is not None and monotonic() > end:
                note(f"The budget is used up: {len(left) - number} networks were not timed.")
                break
            bar.update(description=f"Timing {entry.name}")
            found = _timed(entry, stopwatch, wide, conditions)
            document = {
                "conditions": _conditions(conditions),
                "of": entry.of,
                "timed": typed.unstructure(found),
            }
            files.write_json(folder / f"{entry.name}.json", document)
            held[entry.name] = found
            bar.advance()
    return [found for found in held.values() if found is not None]


def _timed(entry: Entry, stopwatch: Stopwatch, wide: Callable[[], float], conditions: Conditions) -> Timed:
    try:
        deployed = entry.build()
        visit = stopwatch.visits(deployed)
    except Exception as error:  # whatever torch, timm, NNCF or OpenVINO raise: the network is a row with it
        return Timed(entry.name, None, graph.last_line(error))
    before = stopwatch.restless
    ratios: list[float] = []
    f32_ratios: list[float] = []
    for number in range(ROUNDS):
        takes = [(visit, ratios), (wide, f32_ratios)]
        for take, into in takes if number % 2 == 0 else reversed(takes):
            into.append(take())
    kernels = operations.kernels_of_deployed(deployed, conditions)
    return Timed(
        entry.name,
        Speed(
            ms=interval([one * stopwatch.quiet_ms for one in ratios]),
            over_f32=speedup(f32_ratios, ratios),
            over_int8=interval([1 / one for one in ratios]),
            wide_share=None if kernels.int8_share is None else 1 - kernels.int8_share,
            wide=tuple(f"{one.name} ({one.exec_type})" for one in kernels.wide),
            fallbacks=tuple(f"{one.name} ({one.exec_type})" for one in kernels.fallbacks),
            restless_visits=stopwatch.restless - before,
        ),
        "",
    )


def _held(path: Path, wanted: str, conditions: Conditions) -> Timed | None:
    if not path.exists():
        return None
    try:
        document = files.read_json(path)
        found, of = typed.structure(document["timed"], Timed), document["conditions"]
        is_wanted = document["of"] == wanted
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"Cannot read {path} ({error!r}): delete it, or give another --out.") from error
    asked = _conditions(conditions)
    if of != asked:
        unlike = ", ".join(key for key in dict.fromkeys((*asked, *of)) if asked.get(key) != of.get(key))
        raise OutputError(f"The times in {path.parent} are of another {unlike}: give another --out.")
    return found if is_wanted else None


def _conditions(conditions: Conditions) -> dict[str, Any]:
    """Return what the times depend on, as JSON has it."""
    machine = system.describe()
    values = conditions.to_dict() | {"usable_cpus": machine.usable_cpus}
    if machine.quota_cores is not None:
        values["quota_cores"] = machine.quota_cores
    loaded: dict[str, Any] = json.loads(json.dumps(values))
    return loaded
