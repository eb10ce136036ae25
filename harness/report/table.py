"""Tables as text for a terminal and as Markdown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of texts, the first column to the left and the others to the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def aligned(table: Table) -> str:
    """Return the table as text for a terminal."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.header))]
    shown = []
    for line in lines:
        first, *rest = line
        cells = [first.ljust(widths[0])]
        cells += [item.rjust(width) for item, width in zip(rest, widths[1:], strict=True)]
        shown.append("  ".join(cells).rstrip())
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, shown[0], rule, *shown[1:]])


def as_markdown(table: Table) -> str:
    lines = [f"**{escaped(table.title)}**", "", piped(table.header)]
    lines.append("| --- |" + " ---: |" * (len(table.header) - 1))
    return "\n".join([*lines, *map(piped, table.rows)])


def piped(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
