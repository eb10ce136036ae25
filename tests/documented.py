"""The keys of a typed document, with the words that its classes have for them."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def keys_of(kind: type, prefix: str = "", *, deep: bool = True) -> list[tuple[str, str]]:
    """Return dotted key and meaning of every field, where it goes `deep` those of inner tables, too."""
    words, hints = _docstrings(kind), get_type_hints(kind)
    found: list[tuple[str, str]] = []
    for item in fields(kind):
        key = f"{prefix}{item.name}"
        found.append((key, " ".join(words.get(item.name, "").split())))
        for inner in _inner(hints[item.name]) if deep else ():
            keys = keys_of(inner, f"{key}[]." if _is_list(hints[item.name]) else f"{key}.")
            found += [entry for entry in keys if entry[0] not in dict(found)]
    return found


def rows(kind: type, *, deep: bool = True) -> list[str]:
    """Return the rows of the documentation's table."""
    return [f"| `{key}` | {meaning} |" for key, meaning in keys_of(kind, deep=deep)]


def _inner(hint: Any) -> list[type]:
    """Return the dataclasses in a type such as X, X | None, X | Y or tuple[X, ...]."""
    if is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    if get_origin(hint) in (Union, UnionType, tuple):
        return [kind for part in get_args(hint) for kind in _inner(part)]
    return []


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(get_origin(one) is tuple for one in get_args(hint))


def _docstrings(kind: type) -> dict[str, str]:
    """Return the text below each field, of the class and those that it extends."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for one, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[one.target.id] = str(after.value.value)
    return found
