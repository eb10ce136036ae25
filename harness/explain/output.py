"""The files of an explanation: explain.json and a page that needs no network."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from harness import files
from harness.errors import OutputError
from harness.explain.document import FILE_NAME

PAGE_NAME = "explain.html"
_WIDTH = 130
_CSS = "body { margin: 1rem; } pre { overflow-x: auto; font-size: 13px; line-height: 1.35; }"


def require_new(out: Path) -> None:
    """Refuse a folder that holds an explanation already, or cannot be written.

    Raises:
        OutputError: it does, or it cannot.
    """
    if (out / FILE_NAME).exists():
        raise OutputError(f"{out} holds an explanation already: choose another --out, or delete it.")
    files.make_writable_folder(out)


def write(document: dict[str, Any], page: RenderableType, out: Path) -> None:
    """Write explain.json and explain.html into the folder, from an explanation's document and page."""
    files.write_json(out / FILE_NAME, json.loads(json.dumps(document)))
    console = Console(width=_WIDTH, record=True, file=io.StringIO(), highlight=False)
    console.print(page)
    made = console.export_html(inline_styles=True)
    head = f'<meta name="viewport" content="width=device-width">\n<style>{_CSS}</style>\n</head>'
    files.write_text(out / PAGE_NAME, made.replace("</head>", head, 1))
