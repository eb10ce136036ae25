"""What a search measures with, and how these are made."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness import files
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.profiling import operations, stopwatch
from harness.profiling.conditions import Conditions
from harness.search.latency import table as tables
from harness.search.request import Setting
from harness.search.selection.contest import Measure


@dataclass(frozen=True)
class Predictor:
    """A latency model and what it rests on."""

    predict_ms: Callable[[Architecture], float]
    facts: dict[str, Any]
    """JSON values; "sha256" names the model, "validation" says how good it is."""
    refit: Callable[[Sequence[tuple[Architecture, float]]], Callable[[Architecture], float]] | None = None
    """From networks and their measured ms to a model that has learned from them, too."""

    def level_ms(self, reference: Architecture) -> float:
        """Return what the space's reference takes in the milliseconds of the model."""
        found: float = self.facts.get("reference_ms") or self.predict_ms(reference)
        return found

    @property
    def measuring_s(self) -> float:
        """How long a network is measured here, as building the table took it."""
        minutes, networks = (self.facts.get(name) for name in ("minutes", "networks"))
        return 60 * minutes / networks if minutes and networks else tables.MEASURING_S


@dataclass(frozen=True)
class Tools:
    """What a search measures with; tests put cheaper ones in place."""

    predictor: Callable[[Setting], Predictor]
    measure: Measure
    kernels: Callable[[Architecture, Conditions], dict[str, Any]]
    """Which kernels a network runs in; see profile.Kernels.to_dict."""
    int8_gain: Callable[[Card, Architecture, Conditions], float]
    """How much faster the baseline is in INT8; see timing.int8_gain."""


def build_table(setting: Setting) -> Predictor:
    """Return the latency table that was given, or else the search's own.

    That is a copy of the one for this case in the cache, which is built if need be.

    Raises:
        HarnessError: the table is of another machine, space or version, is not good enough, or the machine is
            too busy, or not the one, to measure one.
        OutputError: the search's folder cannot be written.
    """
    space, conditions, own = setting.space, setting.conditions, setting.path("table.json")
    path = setting.request.table or own
    if setting.request.table is None and not own.exists():
        path = tables.usual_path(space, conditions)
        # What is not good enough stays in the cache alone, where the next call adds to it.
        if not tables.obtain(space, conditions, path).validation.faults:
            with files.replacing(own) as temporary:
                shutil.copyfile(path, temporary)
            path = own
    table = tables.load(path, space, conditions)
    return Predictor(
        table.predict_ms,
        {
            **table.summary(),
            "file": str(path),
            "sha256": files.sha256_file(path),
            "held_out": [
                {"key": network.key, "measured_ms": measured_ms, "predicted_ms": table.predict_ms(network)}
                for network, measured_ms in table.held_out
            ],
        },
        lambda measured: tables.Refitted(table, tuple(measured)).predict_ms,
    )


def find_kernels(architecture: Architecture, conditions: Conditions) -> dict[str, Any]:
    """Return which kernels OpenVINO chooses for a network in INT8."""
    return operations.kernels_of(architecture, conditions).to_dict()


TOOLS = Tools(build_table, stopwatch.measure_ms, find_kernels, stopwatch.int8_gain)
