"""Values as TOML writes them."""

import json
import re
from typing import Any


def pairs(table: dict[str, Any]) -> list[str]:
    """Return a line "key = value" for each entry that is not None."""
    return [f"{_key(key)} = {value_text(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else value_text(key)


def value_text(value: Any) -> str:
    """Return the value as TOML; TypeError for what a card cannot hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(pairs(value)) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are a subset of those in TOML basic strings.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if type(value) in (int, float):
        return repr(value)
    raise TypeError(f"a card cannot hold {value!r}")
