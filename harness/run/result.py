"""result.json: how the result of a run is read, whichever version wrote it, and written."""

from pathlib import Path
from typing import Any, TypeVar

from harness import files, typed
from harness.dataset.recipe import Recipe
from harness.errors import OutputError
from harness.machine import identity
from harness.measurement.tuned import Key
from harness.mlperf.scenario import Scenario
from harness.model.card import InputSpec, OutputSpec
from harness.run.document import Identity, RunResult

FILE_NAME = "result.json"
FORMAT = 1

_Kind = TypeVar("_Kind", RunResult, Identity)

LATER: dict[str, dict[str, Any]] = {
    "settings": dict.fromkeys(("pinning", "smt", "core_type")),
    "machine": dict(identity.LATER),
}
"""Keys of format 1 that its first results lack."""
_WITH_DEFAULTS = {
    "model.input": InputSpec,
    "model.output": OutputSpec,
    "data.recipe": Recipe,
    "tuning.key": Key,
}
"""Tables whose classes say what an older result, which lacks a key, means."""
_PERCENTILES: dict[str, int] = {Scenario.SINGLE_STREAM: 90, Scenario.MULTI_STREAM: 99, Scenario.SERVER: 99}
"""What a result that does not say its percentile is of: the rules'."""


class Damaged(OutputError):
    """A result that cannot be read; `fault` says why, and the message what to do as well."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"{fault}: repeat its `harness run` with --replace, which runs its tests again.")
        self.fault = fault


def read(path: Path) -> RunResult:
    """Read a result, of any version up to this one.

    Raises:
        Damaged: it cannot be read, or is not one.
        OutputError: a newer harness wrote it.
    """
    return structured(load(path), path)


def load(path: Path) -> dict[str, Any]:
    """Return the values in a result.json.

    Raises:
        Damaged: they cannot be read, or are no table.
    """
    try:
        values = files.read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise _no_result(path)
    return values


def structured(values: dict[str, Any], path: Path) -> RunResult:
    """Return the result that `load` found in `path`.

    Raises:
        Damaged: it is none.
        OutputError: a newer harness wrote it.
    """
    form = values.get("format")
    if type(form) is int and form > FORMAT:
        raise OutputError(f"{path} has format {form}, newer than this harness knows: update the harness.")
    if type(form) is not int or form != FORMAT:
        raise _no_result(path)
    try:
        return _structure(values, RunResult)
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Damaged:
    return Damaged(f"The result {path} is damaged ({error})")


def _no_result(path: Path) -> Damaged:
    return Damaged(f"{path} is not a result of format {FORMAT}")


def read_identity(path: Path) -> Identity:
    """Read what `write_identity` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    return _structure(files.read_json(path), Identity)


def write(path: Path, found: RunResult) -> None:
    """Write a result, atomically."""
    files.write_json(path, to_dict(found))


def write_identity(path: Path, identity: Identity) -> None:
    """Write what a test is true of, atomically."""
    files.write_json(path, _readable(typed.unstructure(identity), identity))


def to_dict(found: RunResult) -> dict[str, Any]:
    """Return what result.json holds, as JSON values."""
    values = _readable(typed.unstructure(found), found.identity)
    return {"format": FORMAT, **values, "official": found.official}


def _readable(values: dict[str, Any], identity: Identity) -> dict[str, Any]:
    """Return the values with what others would have to compute, and without what says nothing."""
    model, data, machine = identity.model, identity.data, identity.machine
    return values | {
        "model": values["model"] | {"input": typed.unstructure(model.input.to_dict())},
        "data": values["data"] | {"recipe": typed.unstructure(data.recipe.to_dict())},
        "machine": values["machine"] | {"usable_cpus": machine.usable_cpus},
    }


def _structure(document: Any, kind: type[_Kind]) -> _Kind:
    return typed.structure(_upgraded(document) if isinstance(document, dict) else document, kind)


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the keys that its version did not know, as it means them."""
    document = {"tuning": None, **document}
    for name, later in LATER.items():
        if isinstance(document.get(name), dict):
            document[name] = later | document[name]
    for names, kind in _WITH_DEFAULTS.items():
        outer, inner = names.split(".")
        table = document.get(outer)
        if isinstance(table, dict) and isinstance(table.get(inner), dict):
            document[outer] = table | {inner: typed.defaults(kind) | table[inner]}
    performance = document.get("performance")
    if isinstance(performance, dict):
        percentile = _PERCENTILES.get(str(document.get("scenario")))
        document["performance"] = {"latency_percentile": percentile, **performance}
    return document
