"""What the latency table measures: blocks, stems and heads, each as the difference of two networks."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.model.architecture import STEMS, Architecture, Stage
from harness.model.blocks import ACTIVATIONS, KINDS, Block
from harness.search.space.revisions import Space, block

_CLASSES = 16
"""Of the networks that blocks are measured in: few, so that the classifier does not drown a block."""
_PLAIN = Block(16)
"""Stands before the block that is measured, wherever a block would."""
_CHAIN = 3
"""Blocks of one shape are measured so many in a row, for they are short."""


@dataclass(frozen=True)
class Entry:
    """`count` blocks (or one stem, or one head) that `whole` has and `prefix` has not."""

    whole: Architecture
    prefix: Architecture | None
    """None: `whole` is the entry, as with stems, which hold the fixed costs of an inference."""
    count: int = 1

    @property
    def networks(self) -> tuple[Architecture, ...]:
        return (self.whole,) if self.prefix is None else (self.prefix, self.whole)


def blocks(space: Space, count: int, seed: int) -> list[Entry]:
    """Return entries that cover the space's blocks: `count` of each input size, stage and place in it.

    Options of a decision are drawn equally often (Latin hypercube), so that rare ones have their share.
    """
    source = random.Random(seed)
    found: list[Entry] = []
    for size in space.sizes:
        stages = space.ranges.stages(len(space.baseline.stages))[-1]
        for number in range(stages):
            # Between the ends, an early stride only makes stages as large as those after them.
            is_end = number in (0, stages - 1)
            for early in _strides(space) if is_end else _strides(space)[:1]:
                found += _first(space, size, number, early, count, source)
                if space.ranges.depths(len(space.likened(number + 1).blocks))[-1] > 1:
                    found += _later(space, size, number, early, count, source)
    return list(dict.fromkeys(found))


def stems(space: Space) -> dict[tuple[int, str, int], Entry]:
    """Return the entries of all stems by input size, name and width."""
    return {
        (size, stem, width): Entry(Architecture(_CLASSES, size, stem, width), None)
        for size in space.sizes
        for stem in space.stems
        for width in space.ranges.widths(space.baseline.stem_width)
    }


def heads(space: Space) -> dict[tuple[int, int], Entry]:
    """Return what the classes that blocks were measured without cost, by image size and some features."""
    found = {}
    for size in space.sizes:
        for count in space.ranges.stages(len(space.baseline.stages)):
            for early in _strides(space):
                last = stage_sizes(space, size)[count - 1 + early]
                for width in space.ranges.anchors(space.likened(count).width):
                    few = Architecture(_CLASSES, last, "3x3", width)
                    found[last, width] = Entry(replace(few, classes=space.baseline.classes), few)
    return found


def stage_sizes(space: Space, size: int) -> list[int]:
    """Return the size of the images in each stage, and in one more: where the first stage halves them, too,
    those in stage n are as in stage n + 1."""
    found = [STEMS[space.baseline.stem].shrunk(size)]
    for _ in range(space.ranges.stages(len(space.baseline.stages))[-1]):
        found.append((found[-1] - 1) // 2 + 1)
    return found


def last_size(space: Space, architecture: Architecture) -> int:
    """Return the size of the images whose means the classifier takes."""
    places = len(architecture.stages) - 1 + architecture.early_stride
    return stage_sizes(space, architecture.size)[places]


def _strides(space: Space) -> tuple[bool, ...]:
    """Return whether the first stage may halve the image."""
    return (False, True) if space.ranges.early_stride else (space.baseline.early_stride,)


def _first(
    space: Space, size: int, number: int, early: bool, count: int, source: random.Random
) -> Iterator[Entry]:
    sizes, ranges = stage_sizes(space, size), space.ranges
    before = space.likened(number).width if number else space.baseline.stem_width
    options = _options(space, number) | {"into": ranges.anchors(before)}
    for choice in _cover(options, count, source):
        into = choice["into"]
        stage = Stage(choice["width"], (_block(choice),))
        if number == 0:
            prefix = Architecture(_CLASSES, sizes[0], "3x3", into)
        else:
            inner = sizes[number - 1 + early]
            prefix = Architecture(_CLASSES, inner, "3x3", into, (Stage(into, (_PLAIN,)),))
        halves = number == 0 and early
        whole = replace(prefix, stages=(*prefix.stages, stage), early_stride=halves)
        yield Entry(whole.canonical, prefix)


def _later(
    space: Space, size: int, number: int, early: bool, count: int, source: random.Random
) -> Iterator[Entry]:
    inner = stage_sizes(space, size)[number + early]
    for choice in _cover(_options(space, number), count, source):
        width = choice["width"]
        prefix = Architecture(_CLASSES, inner, "3x3", width, (Stage(width, (_PLAIN,)),))
        chain = Stage(width, (_PLAIN, *[_block(choice)] * _CHAIN))
        yield Entry(replace(prefix, stages=(chain,)).canonical, prefix, _CHAIN)


def _options(space: Space, number: int) -> dict[str, Sequence[Any]]:
    return {
        "width": space.ranges.anchors(space.likened(number + 1).width),
        "kind": tuple(KINDS),
        "ratio": space.ranges.ratios,
        "activation": ACTIVATIONS,
        "squeeze_excite": (False, True) if space.offers_squeeze_excite(number + 1) else (False,),
        **({"form": forms} if len(forms := space.forms_of(number + 1)) > 1 else {}),
    }


def _cover(options: dict[str, Sequence[Any]], count: int, source: random.Random) -> Iterator[dict[str, Any]]:
    columns = {}
    for name, values in options.items():
        repeated = [values[place % len(values)] for place in range(count)]
        source.shuffle(repeated)
        columns[name] = repeated
    for row in range(count):
        yield {name: column[row] for name, column in columns.items()}


def _block(choice: dict[str, Any]) -> Block:
    return block(**{name: value for name, value in choice.items() if name != "into"})
