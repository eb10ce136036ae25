"""Imports point one way, and each native library has its doors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness"

# A module imports only from rows above its own; neighbours in a row do not know each other.
ROWS = [
    {"errors", "signals", "workers"},
    {"files", "resources", "console", "scenario", "recipe", "benchmark", "architecture"},
    {"conf_syntax", "download", "sample_file", "drawing", "noise", "published", "kernels"},
    {"card", "conf", "dataset", "system", "log", "settings", "energy"},
    {"manifest", "accuracy", "job", "resnet", "builtin", "qsl", "reasons"},
    {"store", "model_file", "graph", "result"},
    {"sut", "calibration", "training", "backend", "held", "tuning"},
    {"rate", "plan"},
    {"loadgen", "probe"},
    {"child"},
    {"measurement"},
    {"run"},
    {"submission", "comparison", "explain"},
    {"search"},
    {"quickstart", "doctor", "tuner"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
DOORS = {
    "openvino": {"graph", "sut", "calibration", "model_file", "resnet", "training", "search", "explain"},
    "nncf": {"calibration"},
    "mlperf_loadgen": {"loadgen"},
    "click": {"cli", "commands"},
    "torch": {"model_file", "training", "search"},
    "optuna": {"search"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def row_of(module: str) -> int:
    rows = [number for number, row in enumerate(ROWS) if module in row]
    assert len(rows) == 1, f"add '{module}' to one row"
    return rows[0]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_imports_point_one_way(module: str, path: Path) -> None:
    if module == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "harness" or len(parts) < 2 or parts[1] in (module, "__version__"):
            continue
        known = parts[1] if any(parts[1] in row for row in ROWS) else None
        assert known is not None, f"{path.name} imports {name}, which is in no row"
        assert row_of(known) < row_of(module), f"{path.name} must not import {name}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_native_libraries_are_entered_by_their_doors(module: str, path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        assert module in DOORS.get(library, {module}), f"{path.name} imports {library}"
