"""Imports point one way, from room to room and within each, and each native library has its doors."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness.task
from harness.mlperf import log
from harness.mlperf.rules import SEEDS
from harness.mlperf.scenario import Scenario
from harness.task import TASKS

PACKAGE = Path(__file__).parents[1] / "harness"

# A module imports only from rows above its own; neighbours in a row do not know each other.
ROWS = {
    "": [
        {"console", "errors"},
        {"resources"},
        {"files", "typed"},
        {"report", "machine", "process"},
        {"mlperf"},
        {"dataset"},
        {"task"},
        {"model"},
        {"endpoint"},
        {"backend"},
        {"loadgen", "profiling"},
        {"training", "doctor"},
        {"measurement"},
        {"run", "explain", "serving"},
        {"comparison", "submission", "tuner"},
        {"search", "quickstart", "frontier", "results", "fleet"},
        {"commands"},
        {"cli"},
        {"__main__"},
    ],
    "report": [{"style", "svg", "table"}, {"html", "scatter"}],
    "machine": [
        {"packages", "procfs"},
        {"energy", "hardware", "host", "noise", "price", "system"},
        {"identity"},
    ],
    "process": [{"cluster", "native_stderr", "signals", "undisturbed", "workers"}, {"child"}],
    "mlperf": [
        {"benchmark", "early_stopping", "names", "scenario"},
        {"conf_syntax", "log", "rules"},
        {"calendar", "conf"},
    ],
    "dataset": [
        {"drawing", "drawn_set", "form", "image_file", "label_file", "pixels", "placement"},
        {"class_folders", "coco", "recipe", "sample_file"},
        {"builtin", "images", "manifest", "scenes"},
        {"sources"},
        {"preparation"},
        {"store"},
    ],
    "task": [{"average_precision", "boxes", "logged", "scoring"}, {"classification", "detection"}],
    "model": [
        {"hashing", "layers", "licence", "onnx_file", "torch_layers"},
        {"blocks", "card_parts", "download"},
        {"architecture"},
        {"card_rules"},
        {"card"},
        {"nodes"},
        {"detector", "efficientnet", "resnet", "twin"},
        {"builders"},
        {"file", "zoo"},
        {"hub"},
    ],
    "backend": [
        {"calibration_list", "folding", "fusing", "kernels", "macs", "ports", "settings"},
        {"decoders", "labels"},
        {"detections"},
        {"answers"},
        {"graph"},
        {"accuracy_control", "deployment", "labelling", "served"},
        {"calibration"},
    ],
    "endpoint": [{"address", "contract", "host"}, {"wire"}, {"grpc_wire", "http_wire"}, {"meeting"}],
    "loadgen": [
        {"qsl", "settings"},
        {"job", "sut"},
        {"known_answers", "rate"},
        {"subject"},
        {"proof", "served"},
        {"drive", "probe"},
        {"origin"},
        {"work"},
    ],
    "loadgen/sut": [{"lane"}, {"boxes"}, {"offline", "server", "stream"}],
    "profiling": [{"chains", "conditions", "int8", "loops"}, {"stopwatch", "peak"}, {"operations"}],
    "training": [
        {"detector", "muon", "network", "precision", "ranks", "settings", "trivial"},
        {"data"},
        {"evaluation", "export", "norms"},
        {"averaging", "teacher"},
        {"loop"},
        {"session"},
    ],
    "measurement": [
        {"advice", "data", "demands", "drawn", "order", "round", "statistics", "tuned"},
        {"outlook", "plan"},
        {"probing", "test"},
        {"series"},
    ],
    "run": [{"document"}, {"network", "result", "summary"}, {"folder"}, {"measuring"}, {"session"}],
    "explain": [
        {"benchmark_app", "clocks"},
        {"document", "ways"},
        {"page"},
        {"output"},
        {"session"},
        {"served"},
    ],
    "explain/served": [{"document"}, {"page", "ways"}, {"session"}],
    "comparison": [
        {"document", "published", "variants"},
        {"findings", "measuring"},
        {"session", "table"},
        {"charts", "costs"},
        {"page"},
        {"output"},
        {"merge"},
    ],
    "submission": [
        {"archive", "official", "results", "verdict"},
        {
            "accuracy_text",
            "agreement",
            "description",
            "documentation",
            "housekeeping",
            "inference",
            "paperwork",
            "run_settings",
        },
        {"logs"},
        {"compliance", "truncation"},
        {"audit", "eligibility", "scenario_folder"},
        {"check"},
        {"tree"},
        {"submit"},
    ],
    "serving": [
        {"programs"},
        {"layout"},
        {"mlserver", "ovms", "triton"},
        {"kserve", "triton_python"},
        {"formats", "repository"},
        {"session"},
    ],
    "serving/programs": [{"mlserver_runtime", "triton_model"}],
    "tuner": [{"candidates", "halving", "report"}, {"budget"}, {"session"}],
    "fleet": [{"luggage", "parcel"}, {"duty", "member"}, {"home", "order"}, {"session"}, {"table"}],
    "frontier": [
        {"catalogue", "entrants", "race", "speed"},
        {"answering", "request"},
        {"document"},
        {"report", "session"},
    ],
    "results": [{"columns", "output"}, {"own", "submitted"}, {"table"}],
    "search": [
        {"decision", "parts", "pictures", "space", "split"},
        {"latency", "request"},
        {"accuracy", "document"},
        {"strategy"},
        {"forecast", "selection", "sentences", "verdict"},
        {"result", "tools"},
        {"narrowing", "report", "session"},
    ],
    "search/accuracy": [
        {"inheritance", "trainer"},
        {"estimator", "stem"},
        {"material", "weighing"},
        {"crew", "team"},
    ],
    "search/latency": [{"learning", "terms", "validation"}, {"prediction"}, {"table"}],
    "search/narrowing": [
        {"channels", "document", "origin", "request"},
        {"importance", "lessons", "report", "widths"},
        {"planning"},
        {"session"},
    ],
    "search/selection": [{"control", "deployment", "trainings"}, {"models"}, {"contest"}],
    "search/space": [{"ranges"}, {"revisions"}, {"baseline"}],
    "search/strategy": [{"front"}, {"problem"}, {"climbing"}, {"scouting"}],
    "commands": [
        {"lazy", "options"},
        {"endpoint_options"},
        {
            "check",
            "compare",
            "compliance",
            "doctor",
            "explain",
            "export",
            "fleet",
            "frontier",
            "model",
            "prepare",
            "quantize",
            "quickstart",
            "results",
            "run",
            "search",
            "submit",
            "train",
            "tune",
        },
    ],
    "commands/fleet": [{"words"}, {"merge", "run", "status"}],
    "commands/search": [{"images", "latency", "narrow", "profile", "report", "run"}],
}
# Rooms, or single modules, that may import a library.
DOORS = {
    "openvino": {"backend", "loadgen/sut", "model", "profiling", "serving/programs"},
    "nncf": {"backend"},
    "mlperf_loadgen": {"loadgen"},
    "grpc": {"endpoint"},
    "tritonclient": {"endpoint"},
    "click": {"cli", "commands"},
    "pandas": {"results"},
    "pyarrow": {"results"},
    "torch": {"model", "training", "search"},
    "ray": {"process/cluster"},
}


def rooms() -> Iterator[str]:
    """Yield every package, the outermost as ''."""
    for path in sorted(PACKAGE.rglob("__init__.py")):
        yield path.parent.relative_to(PACKAGE).as_posix().removeprefix(".")


def modules(room: str) -> Iterator[str]:
    """Yield a room's modules, and the rooms within it."""
    for path in (PACKAGE / room).iterdir():
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists():
            yield path.stem


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Return the syntax tree of a module, node by node."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} has a relative import: name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def row_of(module: str, room: str) -> int:
    found = [number for number, row in enumerate(ROWS[room]) if module in row]
    assert len(found) == 1, f"add '{module}' to one row of '{room}'"
    return found[0]


@pytest.mark.parametrize("room", list(rooms()))
def test_imports_point_one_way_within_a_room(room: str) -> None:
    prefix = ".".join(("harness", *room.split("/"))).rstrip(".") + "."
    there = set(modules(room))
    for path in sorted((PACKAGE / room).rglob("*.py")):
        module = path.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        for name in imports(path):
            known = name.removeprefix(prefix).partition(".")[0]
            # What is left are constants of a room's own __init__.
            if name.startswith(prefix) and known in there - {module}:
                where = f"{path.relative_to(PACKAGE)} must not import {name}"
                assert module == "__init__" or row_of(known, room) < row_of(module, room), where


@pytest.mark.parametrize("room", list(rooms()))
def test_every_module_stands_in_one_row_of_its_room(room: str) -> None:
    rows = [module for row in ROWS[room] for module in row]
    assert sorted(rows) == sorted(modules(room))


@pytest.mark.parametrize("library", DOORS)
def test_a_native_library_is_entered_by_its_doors(library: str) -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if any(name.split(".")[0] == library for name in imports(path)):
            place = path.relative_to(PACKAGE).with_suffix("").as_posix()
            assert any(f"{place}/".startswith(f"{door}/") for door in DOORS[library]), f"{place}: {library}"


# Training is of classifiers; backend has OpenVINO's part of each task.
KNOW_A_TASK = ("task/", "backend/", "training/")
HANDLE_ANSWERS = ("read_accuracy", "make_slot", "QuerySampleResponse")


def test_only_a_task_knows_how_its_answers_are_written() -> None:
    tasks = {f"harness.task.{module}" for module in modules("task")}
    for path in sorted(PACKAGE.rglob("*.py")):
        place, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        if place.startswith(KNOW_A_TASK):
            continue
        known = [name for name in imports(path) if name in tasks or name.rpartition(".")[0] in tasks]
        assert not known, f"{place} imports {known}: ask harness.task.task_of(card)"
        constants = [node.value for node in nodes(path) if isinstance(node, ast.Constant)]
        assert not {"f4", "<f4", "float32"} & {one for one in constants if isinstance(one, str)}, place
        if any(name in text for name in HANDLE_ANSWERS):
            assert 4 not in [one for one in constants if type(one) is int], f"{place} counts bytes"
            assert "frombuffer" not in text, f"{place} reads an answer"


# Built-in sets are of a task each, and a card that says nothing is for classification.
NAME_A_TASK = ("model/card.py", "quickstart.py", "commands/quickstart.py")


def test_no_code_asks_which_task_it_is() -> None:
    names = {task.upper(): task for task in TASKS}
    assert vars(harness.task).items() >= names.items()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(("task/", "mlperf/")) or place == "dataset/form.py":
            continue
        written = {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
        assert not written & set(TASKS), f"{place}: ask for the task's FORM"
        named = {f"harness.task.{name}" for name in names} & set(imports(path))
        assert not named or place in NAME_A_TASK, f"{place}: ask for the task's FORM"


WORDS_OF_MLPERF = {
    *map(str, Scenario),
    *SEEDS,
    log.DETAIL_LOG,
    log.SUMMARY_LOG,
    log.ACCURACY_LOG,
    log.TRACE_LOG,
}


def test_the_words_of_mlperf_stand_in_its_room_alone() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if not place.startswith("mlperf/"):
            written = {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
            assert not written & WORDS_OF_MLPERF, place
