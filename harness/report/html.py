"""Pieces of a page that needs no network: the page itself, tables, lists and figures; all text is escaped."""

from collections.abc import Sequence
from html import escape
from typing import Any

from harness.report.style import CSS, variant_rules
from harness.report.table import Table


def document(title: str, body: Sequence[str], colours: int) -> str:
    """Return a whole page; `colours` is how many variants its style sheet tells apart."""
    style = CSS + variant_rules(colours)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def figure(title: str, drawn: str, caption: str, class_: str = "") -> str:
    kind = f' class="{class_}"' if class_ else ""
    return f"<figure{kind}><h3>{escape(title)}</h3>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def table(entry: Table, class_: str = "") -> str:
    head = "".join(f"<th>{escape(cell).replace('_', '_<wbr>')}</th>" for cell in entry.header)
    cell_kind = ' class="text"' if class_ == "sentences" else ""
    rows = "".join(
        "<tr>" + "".join(f"<td{cell_kind}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in entry.rows
    )
    kind = f' class="{class_}"' if class_ else ""
    return (
        f'<div class="wide"><table{kind}><caption>{escape(entry.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def pairs(entries: list[tuple[str, Any]]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in entries)
    return f'<table class="words">{rows}</table>'


def items(lines: list[str], class_: str = "") -> str:
    if not lines:
        return ""
    kind = f' class="{class_}"' if class_ else ""
    return f"<ul{kind}>" + "".join(f"<li>{escape(entry)}</li>" for entry in lines) + "</ul>"
