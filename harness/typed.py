"""Typed documents: JSON values become frozen dataclasses and go back; what does not fit is told by its key.

A number is no text and true is no number: nothing is turned into what it is not. Every key must be there,
whether its field has a default or not; keys that a class does not know are passed over, so that a document
of the same format with more of them is still read.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

from cattrs import ClassValidationError, Converter, IterableValidationError, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, mapping_structure_factory, override

from harness.errors import OutputError

Scalar = int | bool | str | None
"""The value of a setting."""

LEFT_OUT = MappingProxyType({"left_out": True})
"""Metadata of a field whose key is missing where it has its default."""

_Kind = TypeVar("_Kind")
_Hook = Callable[[Any, Any], Any]
_LONGEST = 60


class Misfit(ValueError):
    """Values that are not a document of its kind; the text says which key, and what is wrong with it."""


def structure(values: Any, kind: type[_Kind]) -> _Kind:
    """Return the dataclass `kind` that JSON values describe.

    Raises:
        Misfit: a key is missing, or its value is of another type or refused by its class.
    """
    try:
        return _CONVERTER.structure(values, kind)
    except (ClassValidationError, IterableValidationError, ValueError) as error:
        raise Misfit(_told(error)) from error


@contextmanager
def read_by_key(path: Path, cure: str) -> Iterator[None]:
    """Let a document that has no class be read by key inside, for a page; what does not fit is damage.

    Args:
        path: the document's.
        cure: what to do about it.

    Raises:
        OutputError: a key is missing, or its value is of another type.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise OutputError(f"{path} is damaged ({error!r}): {cure}.") from error


def defaults(kind: Any) -> dict[str, Any]:
    """Return the values that a dataclass has where none are given, as an older document means them."""
    return {item.name: item.default for item in fields(kind) if item.default is not MISSING}


def unstructure(document: Any) -> Any:
    """Return the JSON values that `structure` makes the same document of."""
    return _CONVERTER.unstructure(document)


def _told(error: Exception) -> str:
    """Return the first fault: its key, and what is wrong with it."""
    text, _, path = transform_error(error, "", _fault)[0].rpartition(" @ ")
    key = path.removeprefix(".")
    return f"'{key}' {text}" if key else text


def _fault(error: BaseException, _: type | None) -> str:
    return str(error)


def _must_be(words: str, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(f"must be {words}, not {shown if len(shown) < _LONGEST else type(value).__name__}")


def _only(kinds: tuple[type, ...], words: str) -> _Hook:
    """Return the reader of a plain value, which is kept as it is."""

    def read(value: Any, _: Any) -> Any:
        if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
            raise _must_be(words, value)
        return value

    return read


def _text(value: Any, kind: type[str]) -> str:
    """Read a text, or one of those that an enumeration names."""
    if not isinstance(value, str):
        raise _must_be("a text", value)
    if issubclass(kind, Enum) and value not in list(kind):
        raise _must_be(f"one of {', '.join(kind)}", value)
    return kind(value)


def _dataclass(kind: Any, converter: Converter) -> _Hook:
    inner = make_dict_structure_fn(kind, converter)
    required = [item.name for item in fields(kind) if not item.metadata.get("left_out")]

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, dict):
            raise _must_be("a table", values)
        if missing := [name for name in required if name not in values]:
            raise ValueError(f"has no '{missing[0]}'")
        return inner(values, kind)

    return read


def _written(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    left_out = {
        item.name: override(omit_if_default=True) for item in fields(kind) if item.metadata.get("left_out")
    }
    return make_dict_unstructure_fn(kind, converter, **left_out)  # type: ignore[arg-type]


def _tuple(kind: Any, converter: Converter) -> _Hook:
    parts = get_args(kind)

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, list):
            raise _must_be("a list", values)
        if parts[-1] is Ellipsis:
            return tuple(converter.structure(values, list[parts[0]]))  # type: ignore[valid-type]
        if len(values) != len(parts):
            raise _must_be(f"a list of {len(parts)}", values)
        return tuple(converter.structure(value, part) for value, part in zip(values, parts, strict=True))

    return read


def _mapping(kind: Any, converter: Converter) -> _Hook:
    inner = mapping_structure_factory(kind, converter, structure_to=dict)

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, dict):
            raise _must_be("a table", values)
        return inner(values, kind)

    return read


def _is_tuple(kind: Any) -> bool:
    return isinstance(origin := get_origin(kind), type) and issubclass(origin, tuple)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _converter() -> Converter:
    made = Converter(unstruct_collection_overrides={tuple: list})
    made.register_structure_hook(bool, _only((bool,), "true or false"))
    made.register_structure_hook(int, _only((int,), "a whole number"))
    made.register_structure_hook(float, _only((int, float), "a number"))
    made.register_structure_hook(str, _text)
    made.register_structure_hook(Path, lambda value, _: Path(_text(value, str)))
    scalars = _only((int, bool, str, type(None)), "a whole number, true, false, a text or null")
    made.register_structure_hook(Scalar, scalars)
    made.register_unstructure_hook(Path, str)
    made.register_structure_hook_factory(is_dataclass, _dataclass)
    made.register_unstructure_hook_factory(is_dataclass, _written)
    made.register_structure_hook_factory(_is_tuple, _tuple)
    made.register_structure_hook_factory(_is_mapping, _mapping)
    return made


_CONVERTER = _converter()
