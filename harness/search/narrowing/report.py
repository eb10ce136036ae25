"""What a narrowing found, for a terminal."""

from collections.abc import Iterator
from pathlib import Path

from harness.report.table import Table, aligned
from harness.search.narrowing.document import Narrowing


def text(found: Narrowing, folder: Path) -> str:
    """Return the models' accuracies, what they differ by, and where they lie."""
    return "\n\n".join(
        [aligned(_models(found)), "\n".join(_sentences(found)), f"models and figures: {folder}"]
    )


def _models(found: Narrowing) -> Table:
    rows = tuple(
        (name, f"{100 * one.good / one.total:.2f} %", f"{one.good} of {one.total}")
        for name, one in found.models.items()
    )
    return Table("Top-1 through LoadGen", ("MODEL", "TOP-1", "RIGHT"), rows)


def _sentences(found: Narrowing) -> Iterator[str]:
    before, after = found.macs
    widths = found.narrowed.widths
    changed = sum(one.after < one.before for one in widths)
    yield (
        f"{changed} of {len(widths)} groups of channels are narrower; {after / before:.0%} of the "
        f"multiply-accumulates are left. In INT8 that was {found.narrowed.speedup:.2f} times as fast when "
        "the widths were chosen."
    )
    held_out = found.held_out
    error = (held_out.before * (1 - held_out.before) / held_out.images) ** 0.5
    yield (
        f"On the {held_out.images:,} held-out images (standard error about {100 * error:.1f} points): "
        f"{100 * held_out.before:.2f} % before, {100 * held_out.cut:.2f} % without the channels, "
        f"{100 * held_out.distilled:.2f} % after learning from {found.learned:,} images, "
        f"{100 * held_out.int8:.2f} % in INT8."
    )
    if held_out.distilled < held_out.cut:
        yield "Learning did not help, and the weights before it were kept: give more images to learn from."
    yield from found.speedups
    yield from found.accuracies
