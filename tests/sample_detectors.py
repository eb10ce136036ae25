"""Detectors with real weights: the cards in the documentation, beside the files in the shared data."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "own-detector.md"
CARDS = {
    re.findall(r'^name = "(.*)"$', text, re.MULTILINE)[0]: text
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
}
"""By name."""


def write_card(folder: Path, name: str, models: Path, *changes: tuple[str, str]) -> Path:
    """Write the card of a detector whose file lies in `models`, with texts of it replaced."""
    text = CARDS[name].replace('path = "', f'path = "{models}/')
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path
