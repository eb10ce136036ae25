"""The pictures of a search's report, each a self-contained SVG."""

from collections.abc import Sequence

from harness.model.architecture import Architecture
from harness.model.blocks import Block
from harness.report import svg
from harness.report.svg import WIDTH, element, text, title

_ROW = 17
_GAP = 16
_KIND_COLOURS = {"dense": "v0", "group16": "v1", "group32": "v2", "dw3": "v3", "dw5": "v4"}


def architectures(named: Sequence[tuple[str, Architecture]]) -> str:
    """Return networks side by side, a bar a block: as wide as its middle, coloured by its kind.

    All share one scale within a stage, so that a narrower block is seen to be narrower.
    """
    column = (WIDTH - _GAP * (len(named) - 1)) / len(named)
    stages = max(len(network.stages) for _, network in named)
    widest = [
        max(block.mid for _, network in named for block in network.stages[number].blocks)
        for number in range(stages)
    ]
    depths = [max(len(network.stages[number].blocks) for _, network in named) for number in range(stages)]
    parts, height = [], 0.0
    for place, (name, network) in enumerate(named):
        left, y = place * (column + _GAP), 14.0
        parts.append(text(left, y, name, class_="label"))
        y += _ROW
        parts.append(
            text(left, y, f"{network.size} px, stem {network.stem}, {network.stem_width}", class_="quiet")
        )
        for number, stage in enumerate(network.stages):
            y += _ROW + 5
            parts.append(text(left, y, f"stage {number + 1}: width {stage.width}", class_="quiet"))
            for row in range(depths[number]):
                y += _ROW
                if row < len(stage.blocks):
                    parts += _bar(stage.blocks[row], left, y, 0.4 * column / widest[number])
        height = max(height, y)
    return svg.drawing(height + 8, " and ".join(name for name, _ in named), parts)


def legend() -> str:
    """Return the key to the colours of blocks, as HTML."""
    entries = "".join(
        f'<li><span class="{colour}"></span>{kind}</li>' for kind, colour in _KIND_COLOURS.items()
    )
    return f'<ul class="key">{entries}</ul>'


def block_text(block: Block) -> str:
    """Return a block in a few words, such as 'group16 48 hswish SE'."""
    words = [block.kind, str(block.mid)]
    words += [block.activation] if block.activation != "relu" else []
    words += ["SE"] if block.squeeze_excite else []
    return " ".join(words)


def _bar(block: Block, left: float, y: float, scale: float) -> list[str]:
    width = max(2.0, block.mid * scale)
    class_ = f"bar {_KIND_COLOURS[block.kind]}"
    return [
        element("rect", title(block_text(block)), x=left, y=y - 10, width=width, height=11, class_=class_),
        text(left + width + 5, y, block_text(block)),
    ]
