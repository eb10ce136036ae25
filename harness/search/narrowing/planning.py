"""Which channels go: the order in which they would, and how many of them, by what is measured."""

from typing import Any

import numpy as np

from harness import files, typed
from harness.console import note
from harness.errors import HarnessError
from harness.machine import system
from harness.profiling import operations
from harness.profiling.int8 import quantized_card
from harness.profiling.stopwatch import Beside
from harness.search.narrowing import origin, widths
from harness.search.narrowing.channels import Channels
from harness.search.narrowing.document import Narrowed, Width
from harness.search.narrowing.importance import importance
from harness.search.narrowing.lessons import Lessons
from harness.search.narrowing.request import Setting
from harness.training.data import loaders

_WIDE, _NARROW = 16, 8
"""Channels that kernels compute at a time, with AVX-512 and without."""


def planned(setting: Setting, channels: Channels, order: list[widths.Removal]) -> Narrowed:
    """Choose how many channels stay, by the measured speed of the narrowed networks."""
    target = setting.request.target_speedup

    def make() -> dict[str, Any]:
        beside = Beside(setting.card, setting.conditions)
        tried: dict[str, float] = {}

        def speedup(units: int) -> float:
            twin = origin.built(setting.card)
            Channels(twin).cut(widths.kept(channels, order[:units]))
            with files.staging(setting.request.out, "candidate") as folder:
                made = origin.written(setting.card, twin, folder / "candidate.xml")
                found = 1 / beside.ratio(made)
            tried[str(units)] = found
            note(f"Without {units} of {len(order)} units of channels: {found:.3f} times as fast.")
            return found

        best = widths.fewest(len(order), target, speedup)
        if best is None:
            raise HarnessError(
                f"No narrowing of '{setting.card.name}' is {target:g} times as fast here: without every "
                f"channel that can go it is {max(tried.values()):.2f} times as fast; lower --target-speedup, "
                "or begin with a faster network."
            )
        left = widths.kept(channels, order[: best[0]])
        groups = [
            Width(one.name, one.width, one.size * sum(bool(left[bundle[0]]) for bundle in one.bundles))
            for one in channels.groups
        ]
        values: dict[str, Any] = typed.unstructure(Narrowed(*best, tried, tuple(groups)))
        return values

    return typed.structure(setting.parts.kept("widths", make, speedup=target), Narrowed)


def order(setting: Setting, channels: Channels, lessons: Lessons) -> list[widths.Removal]:
    """Return the units of channels in the order in which they go."""
    conditions, parts = setting.conditions, setting.parts
    times = parts.kept("times", lambda: operations.times_us(quantized_card(setting.card), conditions))
    workers = loaders(lessons.plain, lessons.ranks)
    worth = parts.kept(
        "importance",
        lambda: [one.tolist() for one in importance(channels, lessons.plain, lessons.ranks, workers)],
    )
    multiple = _WIDE if "avx512f" in (system.describe().isa or ()) else _NARROW
    return widths.order(
        channels.groups, [np.array(one) for one in worth], widths.loads(channels, times), multiple
    )
