"""Damages to the documents that the harness writes and reads again, and what becomes of them."""

import copy
import json
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

_CUTS = (0.0, 0.3, 0.9)
_WHOLE = ("null", "[]", "{}", "3", '"x"', "[1]", '{"format": 1}', "\x00", "[" * 100_000)
"""What may stand in the place of a whole document."""
_VALUES = (None, "x", -1, {}, [], True)
_REMOVED = object()


def mutants(document: Any, every: int = 1) -> Iterator[Any]:
    """Yield the document with a key removed, or with another value, for each of its keys.

    Of lists only the first item counts; of all that, each `every`-th is yielded.
    """
    for path, value in islice(product(_paths_in(document), (_REMOVED, *_VALUES)), 0, None, every):
        mutant = copy.deepcopy(document)
        table = mutant
        for key in path[:-1]:
            table = table[key]
        if value is _REMOVED:
            del table[path[-1]]
        else:
            table[path[-1]] = value
        yield mutant


def damaged(text: str, every: int = 1) -> Iterator[str]:
    """Yield the texts of a damaged JSON document: cut, another as a whole, or with one wrong value."""
    yield from (text[: int(share * len(text))] for share in _CUTS)
    yield from _WHOLE
    yield from map(json.dumps, mutants(json.loads(text), every))


def refusals(path: Path, read: Callable[[], Any], every: int = 1) -> tuple[int, int]:
    """Damage a document, and return how many damages were refused, and how many not.

    What is refused is refused in one sentence; any other error is the test's. Of the single wrong values each
    `every`-th is tried.
    """
    text = path.read_text(encoding="utf-8")
    refused = readable = 0
    for mutant in damaged(text, every):
        path.write_text(mutant, encoding="utf-8")
        if said := refusal(read):
            assert "\n" not in said, said
            assert said.endswith("."), said
            refused += 1
        else:
            readable += 1
    path.write_text(text, encoding="utf-8")
    assert refusal(read) == ""
    return refused, readable


def refusal(call: Callable[[], Any]) -> str:
    """Return the message of the error that a user may cause, or an empty text."""
    try:
        call()
    except HarnessError as error:
        return str(error)
    return ""


def _paths_in(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every key of a document, of lists only the first item's."""
    items = values.items() if isinstance(values, dict) else enumerate(values[:1])
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _paths_in(inner, (*path, key))
