"""Mutants of the documents: descriptions of systems and measurements, mappings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.mlperf.rules import find_round

from ..broken_tree import ABSENT, Tree
from .changes import Change, Named

_VALUES: tuple[tuple[str, Any], ...] = (
    ("is missing", ABSENT),
    ("is empty", ""),
    ("is null", None),
    ("is a number", 7),
    ("is an object", {"x": "y"}),
    ("is a list", ["x"]),
)


# What the checkers lower, or join with other texts; and one that they do not touch.
_JOINED = (
    *("division", "submitter", "status", "system_type", "system_name", "host_processor_model_name"),
    *("accelerator_model_name", "framework", "operating_system", "hw_notes", "sw_notes", "cooling"),
)


def _set(path: Callable[[Tree], Path], key: str, value: Any) -> Change:
    return lambda tree: tree.set(path(tree), **{key: value})


def _system(tree: Tree) -> Path:
    return tree.system


def _measured(tree: Tree) -> Path:
    return tree.scenario() / "measurements.json"


def _descriptions() -> Named:
    for key in find_round("v6.1").system_fields:
        for what, value in _VALUES if key in _JOINED else _VALUES[:2]:
            yield "offline", f"the field {key} {what}", _set(_system, key, value)
    for key, value in (
        *(("status", "Available"), ("status", "available "), ("status", "soon"), ("status", ["available"])),
        *(("division", "Open"), ("division", "closed"), ("division", ["open"])),
        *(("submitter", "us"), ("submitter", "Them"), ("submitter", ["Us"]), ("submitter", " Us")),
        *(("system_type", "Edge"), ("system_type", "edge, datacenter"), ("system_type", ["edge"])),
        *(("system_type", "datacenter"), ("system_type", "edge,datacenter"), ("system_type", "server")),
        *(("number_of_nodes", "two"), ("number_of_nodes", "1.5"), ("number_of_nodes", "")),
        *(("number_of_nodes", 1), ("number_of_nodes", 2), ("accelerators_per_node", 0)),
        *(
            ("accelerators_per_node", "N/A"),
            ("accelerators_per_node", "²"),
            ("accelerators_per_node", "none"),
        ),
        *(("is_network", "true"), ("is_network", "false"), ("is_network", ""), ("is_network", False)),
        *(("is_network", None), ("is_network", 0), ("is_network", ["x"]), ("another_key", "x")),
        *(("system_power_only", "true"), ("host_processors_per_node", 2), ("host_processor_core_count", 56)),
    ):
        yield "offline", f"the field {key} is {value!r}", _set(_system, key, value)
    for kind in ("datacenter", "edge,datacenter", "datacenter,edge"):
        yield "closed", f"the system type is {kind}", _set(_system, "system_type", kind)
    yield "closed", "is_network is true in Closed", _set(_system, "is_network", "true")
    yield (
        "offline",
        "both notes are null",
        lambda tree: tree.set(tree.system, hw_notes=None, sw_notes=None),
    )
    yield (
        "offline",
        "hw_notes is null and sw_notes empty",
        lambda tree: tree.set(tree.system, hw_notes=None, sw_notes=""),
    )
    yield (
        "offline",
        "the submitter's folder and field are a number",
        lambda tree: (tree.set(tree.system, submitter=123), tree.rename(tree.home, "123")),
    )


def _measurements() -> Named:
    for key in find_round("v6.1").measurement_fields:
        for what, value in _VALUES:
            yield "offline", f"measurements.json's {key} {what}", _set(_measured, key, value)
    yield "offline", "measurements.json has another key", _set(_measured, "another_key", 1)


_DOCUMENTS: tuple[tuple[str, bytes], ...] = (
    *(("null", b"null"), ("a list", b"[]"), ("a text", b'"x"'), ("a number", b"1"), ("true", b"true")),
    *(
        ("an empty object", b"{}"),
        ("empty", b""),
        ("cut", b'{"status": "avail'),
        ("no text", b"\xff\xfe\x00"),
    ),
    *(("two documents", b"{}{}"), ("nested too deeply", b"[" * 100_000), ("false", b"false"), ("0", b"0")),
)


def _documents() -> Named:
    def put(path: Callable[[Tree], Path], content: bytes) -> Change:
        return lambda tree: tree.write(path(tree), content)

    def marked(path: Callable[[Tree], Path]) -> Change:
        return lambda tree: tree.change(path(tree), lambda data: b"\xef\xbb\xbf" + data)

    def mapping(tree: Tree) -> Path:
        return tree.home / "model_mapping.json"

    for name, path in (
        ("the description", _system),
        ("measurements.json", _measured),
        ("model_mapping.json", mapping),
    ):
        for what, content in _DOCUMENTS:
            yield "offline", f"{name} holds {what}", put(path, content)
        yield "offline", f"{name} begins with a byte order mark", marked(path)
    for what in ("null", "cut"):
        content = dict(_DOCUMENTS)[what]
        yield "closed", f"model_mapping.json holds {what}", put(mapping, content)
    for what, content in (
        *(("good", b"My System:\n- Description: x\n  Min PSUs Needed: 1\n"), ("empty", b"")),
        *(("an open bracket", b"a: [1, 2"), ("a tab", b"a:\n\t- b"), ("an unknown tag", b"a: !x 1")),
        *(
            ("two documents", b"a: 1\n---\nb: 2\n"),
            ("no text", b"\xff\xfe\x00"),
            ("no date", b"a: 2026-13-45"),
        ),
        *(("a list as a key", b"? [a]\n: b\n"), ("an unknown alias", b"a: *b"), ("null", b"null")),
        *(("an object in Python", b"!!python/object:os.system {}"), ("a control character", b"a: \x01")),
    ):
        yield (
            "offline",
            f"the power description is {what}",
            put(lambda tree: tree.system.with_name("this-machine_power.yaml"), content),
        )
    yield (
        "offline",
        "the power description is a folder",
        lambda tree: tree.write(tree.system.with_name("this-machine_power.yaml") / "x", "x"),
    )
    yield (
        "offline",
        "the power description is another system's",
        put(lambda tree: tree.system.with_name("other_power.yaml"), b"a: 1"),
    )


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _descriptions()
    yield from _measurements()
    yield from _documents()
