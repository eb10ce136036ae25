"""Typed documents: JSON or TOML values become frozen dataclasses; what does not fit is told by its key.

A number is no text and true is no number: nothing is turned into what it is not.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, mapping_structure_factory, override

from harness.errors import did_you_mean

Scalar = int | bool | str | None
"""The value of a setting."""

LEFT_OUT = MappingProxyType({"left_out": True})
"""Metadata of a field whose key is missing where it has its default."""

ELSEWHERE = MappingProxyType({"elsewhere": True})
"""Metadata of a field that no TOML file holds."""

_Kind = TypeVar("_Kind")
_Hook = Callable[[Any, Any], Any]
_LONGEST = 60


class Misfit(ValueError):
    """Values that are not a document of their kind."""

    def __init__(self, fault: str, key: str = "") -> None:
        super().__init__(f"'{key}' {fault}" if key else fault)
        self.fault = fault
        self.key = key
        """Such as 'input.mean[1]'; empty where the whole document is meant."""

    def below(self, path: str) -> "Misfit":
        """Return the same of a document that stands at `path` of another."""
        return Misfit(self.fault, f"{path}.{self.key}".strip("."))

    def told_of(self, file: Path) -> str:
        """Return in a sentence what is wrong in a file that a person wrote."""
        return f"'{self.key}' in {file} {self.fault}."


class Missing(Misfit):
    """A key that must be there and is not."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__("is missing", key)
        self._what = what

    def below(self, path: str) -> "Missing":
        return Missing(self._what, f"{path}.{self.key}".strip("."))

    def told_of(self, file: Path) -> str:
        return f"The {self._what} '{self.key}' is missing in {file}: add it."


class Unknown(Misfit):
    """A key that the class does not know."""

    def __init__(self, known: tuple[str, ...], key: str) -> None:
        super().__init__("is not known", key)
        self._known = known

    def below(self, path: str) -> "Unknown":
        return Unknown(self._known, f"{path}.{self.key}".strip("."))

    def told_of(self, file: Path) -> str:
        near = did_you_mean(self.key.rpartition(".")[2], self._known)
        return f"Unknown key '{self.key}' in {file}.{near}"


def structure(values: Any, kind: type[_Kind]) -> _Kind:
    """Return the dataclass `kind` that JSON values describe, which a program wrote.

    Every key must be there, whether its field has a default or not. Keys that a class does not know are
    passed over, so that a document of the same format with more of them is still read.

    Raises:
        Misfit: a key is missing, or its value is of another type or refused by its class.
    """
    found: _Kind = _located(partial(_DOCUMENTS.structure, values, kind))
    return found


def structure_toml(values: Any, kind: type[_Kind], **chosen: type) -> _Kind:
    """Return the dataclass `kind` that the values of a TOML file describe, which a person wrote.

    Keys may be missing where there is a default, or where a value may be None; a key that a class does not
    know is refused. `chosen` has the class of a field that may be of several.

    Raises:
        Misfit: a key is missing or unknown, or its value is of another type or refused by its class.
    """
    read = _reader(kind, **chosen)  # type: ignore[arg-type]
    found: _Kind = _located(partial(read, values, kind))
    return found


def unstructure(document: Any) -> Any:
    """Return the JSON values that `structure` makes the same document of."""
    return _DOCUMENTS.unstructure(document)


def defaults(kind: type) -> dict[str, Any]:
    """Return what the fields of a dataclass mean where a document of an older version has no key for them."""
    return {item.name: item.default for item in fields(kind) if item.default is not MISSING}


def _located(read: Callable[[], Any]) -> Any:
    """Return what `read` does; its first fault is told by its key."""
    try:
        return read()
    except (BaseValidationError, ValueError) as error:
        raise _first(error) from error


def _first(error: Exception) -> Misfit:
    path = ""
    while isinstance(error, BaseValidationError):
        noted, others = error.group_exceptions()  # type: ignore[attr-defined]
        if not noted:
            error = others[0]
            continue
        error, note = noted[0]
        step = getattr(note, "name", None) or note.index
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    fault = error if isinstance(error, Misfit) else Misfit(str(error))
    return fault.below(path.removeprefix("."))


def _must_be(words: str, value: Any) -> Misfit:
    shown = repr(value)
    if len(shown) >= _LONGEST:
        shown = "one of so many digits" if type(value) is int else type(value).__name__
    return Misfit(f"must be {words}, not {shown}")


def _only(kinds: tuple[type, ...], words: str) -> _Hook:
    """Return the reader of a plain value, which is kept as it is."""

    def read(value: Any, _: Any) -> Any:
        if type(value) not in kinds or (float in kinds and not _is_finite(value)):
            raise _must_be(words, value)
        return value

    return read


def _is_finite(value: float) -> bool:
    """Return whether a number is one that a float holds."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


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
        _require_table(values)
        if missing := [name for name in required if name not in values]:
            raise Misfit(f"has no '{missing[0]}'")
        return inner(values, kind)

    return read


def _table(kind: Any, converter: Converter, **chosen: type) -> _Hook:
    hints = get_type_hints(kind) | chosen
    known = {item.name: item for item in fields(kind) if not item.metadata.get("elsewhere")}
    hooks = {name: override(struct_hook=_hook(converter, of)) for name, of in chosen.items()}
    inner = make_dict_structure_fn(kind, converter, **hooks)  # type: ignore[arg-type]
    # There may be no default for what may be None, where keys without one follow.
    optional = {name for name in known if NoneType in get_args(hints[name])}
    nothing = {name: None for name in optional if not _has_default(known[name])}

    def read(values: Any, _: Any) -> Any:
        _require_table(values)
        for key in values:
            if key not in known:
                raise Unknown(tuple(known), key)
        for name, item in known.items():
            if name not in values and name not in optional and not _has_default(item):
                raise Missing("table" if is_dataclass(hints[name]) else "key", name)
        return inner({**nothing, **values}, kind)

    return read


def _hook(converter: Converter, kind: type) -> _Hook:
    return lambda values, _: converter.structure(values, kind)


def _has_default(item: "Field[Any]") -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _require_table(values: Any) -> None:
    if not isinstance(values, dict):
        raise _must_be("a table", values)


def _written(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    left_out = {
        item.name: override(omit_if_default=True) for item in fields(kind) if item.metadata.get("left_out")
    }
    return make_dict_unstructure_fn(kind, converter, **left_out)  # type: ignore[arg-type]


def _tuple(kind: Any, converter: Converter) -> _Hook:
    parts = get_args(kind)
    count = None if parts[-1] is Ellipsis else len(parts)
    words = "a list" if count is None else f"a list of {count}"
    words += " numbers" if float in parts else ""

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, list) or count not in (None, len(values)):
            raise _must_be(words, values)
        if count is None:
            return tuple(converter.structure(values, list[parts[0]]))  # type: ignore[valid-type]
        return tuple(converter.structure(value, part) for value, part in zip(values, parts, strict=True))

    return read


def _mapping(kind: Any, converter: Converter) -> _Hook:
    inner = mapping_structure_factory(kind, converter, structure_to=dict)

    def read(values: Any, _: Any) -> Any:
        _require_table(values)
        return inner(values, kind)

    return read


def _either(kind: Any, converter: Converter) -> _Hook:
    """Return the reader of one of several kinds; a table is of the class that has most of its keys."""
    options = [option for option in get_args(kind) if option is not NoneType]
    tables = {option: {item.name for item in fields(option)} for option in options if is_dataclass(option)}
    lists = [option for option in options if _is_tuple(option)]

    def read(values: Any, _: Any) -> Any:
        fit: Any
        if values is None and len(options) < len(get_args(kind)):
            return None
        if isinstance(values, dict) and tables:
            fit = max(tables, key=lambda option: len(tables[option] & values.keys()))
        else:
            fit = lists[0] if isinstance(values, list) and lists else options[0]
        return converter.structure(values, fit)

    return read


def _plain(converter: Converter) -> _Hook:
    """Return the reader of a free value that can be written again as TOML and as JSON, so no date."""

    def read(value: Any, _: Any) -> Any:
        if isinstance(value, dict):
            return converter.structure(value, dict[str, Any])
        if isinstance(value, list):
            return [read(inner, _) for inner in value]
        if not isinstance(value, str | bool | int | float):
            raise _must_be("a text, a number, true or false", value)
        return value

    return read


def _is_either(kind: Any) -> bool:
    return isinstance(kind, UnionType) and kind != Scalar and len({*get_args(kind)} - {NoneType}) > 1


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
    made.register_structure_hook_factory(_is_tuple, _tuple)
    made.register_structure_hook_factory(_is_mapping, _mapping)
    made.register_structure_hook_factory(_is_either, _either)
    return made


def _documents() -> Converter:
    made = _converter()
    made.register_structure_hook_factory(is_dataclass, _dataclass)
    made.register_unstructure_hook_factory(is_dataclass, _written)
    return made


@cache
def _reader(kind: type, **chosen: type) -> _Hook:
    made = _converter()
    number = _only((int, float), "a number")
    made.register_structure_hook(float, lambda value, of: float(number(value, of)))
    made.register_structure_hook_func(lambda of: of is Any, _plain(made))
    made.register_structure_hook_factory(is_dataclass, _table)
    return _table(kind, made, **chosen)


_DOCUMENTS = _documents()
