"""Imports point one way, and each native library has its doors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness"

# A module imports only from rows above its own; neighbours in a row do not know each other.
ROWS = [
    {"errors", "signals", "workers", "console"},
    {"files", "resources", "scenario", "recipe", "benchmark", "architecture"},
    {"conf_syntax", "download", "sample_file", "drawing", "noise", "published", "kernels"},
    {"card", "conf", "dataset", "system", "log", "settings", "energy"},
    {"manifest", "accuracy", "job", "nodes", "builtin", "qsl", "reasons"},
    {"efficientnet", "resnet"},
    {"builders"},
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
SEARCH_ROWS = [
    {"space", "split", "parts", "front", "decision", "pictures", "deployment"},
    {"baseline", "study", "control", "latency", "accuracy"},
    {"strategy", "request"},
    {"climbing", "tunings"},
    {"scouting", "searching", "contest"},
    {"result"},
    {"report", "session"},
]
DOORS = {
    "openvino": {"graph", "sut", "calibration", "model_file", "resnet", "training", "search", "explain"},
    "nncf": {"calibration"},
    "mlperf_loadgen": {"loadgen"},
    "click": {"cli", "commands"},
    "torch": {"model_file", "training", "search"},
    "optuna": {"search"},
}


def modules(folder: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the modules and packages of a package, each with a file of it."""
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        yield path.relative_to(PACKAGE / folder).parts[0].removesuffix(".py"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def row_of(module: str, rows: list[set[str]]) -> int:
    found = [number for number, row in enumerate(rows) if module in row]
    assert len(found) == 1, f"add '{module}' to one row"
    return found[0]


def require_one_way(module: str, path: Path, package: str, rows: list[set[str]]) -> None:
    for name in imports(path):
        if not name.startswith(f"{package}."):
            continue
        known = name.removeprefix(f"{package}.").partition(".")[0]
        if known in (module, "__version__"):
            continue
        assert any(known in row for row in rows), f"{path.name} imports {name}, which is in no row"
        assert row_of(known, rows) < row_of(module, rows), f"{path.name} must not import {name}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_imports_point_one_way(module: str, path: Path) -> None:
    if module != "__init__":
        require_one_way(module, path, "harness", ROWS)


@pytest.mark.parametrize(
    ("module", "path"), list(modules("search")), ids=lambda value: getattr(value, "stem", value)
)
def test_imports_within_the_search_point_one_way(module: str, path: Path) -> None:
    if module != "__init__":
        require_one_way(module, path, "harness.search", SEARCH_ROWS)


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_native_libraries_are_entered_by_their_doors(module: str, path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        assert module in DOORS.get(library, {module}), f"{path.name} imports {library}"
