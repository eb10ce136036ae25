"""Results and trees made from real LoadGen logs of official length (see tests/fixtures/make_logs.py)."""

import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import openvino as ov
import pytest

from harness import __version__
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.measurement.advice import Told
from harness.mlperf import conf, log
from harness.mlperf.scenario import parse_scenario
from harness.model import file as model_file
from harness.model.card import InputSpec, OutputSpec, find_card, read_card
from harness.run import result
from harness.run.document import AccuracySection, Data, Model, Precision, RunResult, Settings
from harness.run.measuring import performance_section
from harness.submission import audit, compliance, eligibility
from harness.submission.submit import Outcome, Request, submit
from harness.task import classification

from . import yolo

FIXTURES = Path(__file__).parents[1] / "fixtures"
OFFICIAL = FIXTURES / "official"
SCENARIOS = ("SingleStream", "MultiStream", "Offline")
SAMPLES = 50_000
GOOD = 38_000
"""How many samples the waiting model answers rightly: 76 %, above the target of Closed."""

DESCRIPTION = """
status = "available"
system_name = "a machine under test"
cooling = "air"
host_memory_configuration = "2 x 16 GB DDR5-4800"
host_storage_capacity = "1 TB"
host_storage_type = "NVMe SSD"
host_networking = "10 Gbit/s Ethernet"
host_network_card_count = 1
"""
CARD = """
name = "{name}"
benchmark = "resnet50"
description = "a model that waits"
[file]
path = "{file}"
[input]
size = 16
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "none"
crop_fraction = 1.0
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
kind = "logits"
classes = 1000
"""
INPUT = InputSpec(16, "NHWC", "u8", "RGB", "none", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
OUTPUT = OutputSpec("logits", 1000)


def _make_logs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_logs", FIXTURES / "make_logs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_logs = _make_logs()


@dataclass(frozen=True)
class Results:
    """A folder of results, and what `harness submit` needs beside it."""

    folder: Path
    card: Path | None
    description: Path

    def scenario(self, name: str) -> Path:
        return next(self.folder.glob(f"*/*/{name}"))

    def edit(self, scenario: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a result.json."""
        path = self.scenario(scenario) / result.FILE_NAME
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    def submit(self, root: Path, division: str = "open", **changes: Any) -> Outcome:
        request = {
            "results": [self.folder],
            "submitter": "Us",
            "divisions": [division],
            "system_type": "edge",
            "out": root,
            "system_description": self.description,
            "models": () if self.card is None else (str(self.card),),
        }
        return submit(Request(**{**request, **changes}))


@pytest.fixture(scope="session")
def labels() -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return labels of which the waiting model hits GOOD."""
    right = make_logs.answers().astype(np.int64)
    return np.where(np.arange(SAMPLES) < GOOD, right, (right + 1) % 1000)


@pytest.fixture(scope="session")
def accuracy_logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return scenario -> logs of a real accuracy run over 50,000 samples."""
    folders = {name: tmp_path_factory.mktemp(f"accuracy-{name}") for name in SCENARIOS}
    script = str(FIXTURES / "make_logs.py")
    running = [
        subprocess.Popen([sys.executable, script, "--one", "resnet50", name, "accuracy", str(folder)])
        for name, folder in folders.items()
    ]
    assert [process.wait() for process in running] == [0] * len(running)
    return folders


def write_scenario(
    folder: Path, scenario: str, model: Mapping[str, Any], dataset: str, logs: Path, labels: Any
) -> None:
    """Write a scenario's folder as `harness run --official` leaves it."""
    run = folder / "performance" / "run_1"
    shutil.copytree(OFFICIAL / scenario / "performance", run)
    shutil.copytree(logs, folder / "accuracy", ignore=shutil.ignore_patterns("*.conf", "*trace*"))
    (folder / "user.conf").write_text(make_logs.USER_CONF[scenario])
    score = classification.score(folder / "accuracy" / "mlperf_log_accuracy.json", labels, SAMPLES)
    (folder / "accuracy" / "accuracy.txt").write_text(score.text + "\n")
    measured = log.read_performance(run / "mlperf_log_detail.txt")
    chosen = parse_scenario(scenario)
    key = chosen.facts.estimate_key
    estimate = conf.read_user_conf(folder / "user.conf", "resnet50").values(chosen)[key]
    found = RunResult(
        harness=__version__,
        created="2026-11-21T09:00:00+00:00",
        benchmark="resnet50",
        scenario=chosen,
        model=Model(**{"note": "", "quantization": None, "input": INPUT, "output": OUTPUT, **model}),
        data=Data(dataset, SAMPLES, INPUT.recipe, "0" * 64, "0" * 64),
        settings=Settings.of(RunSettings(chosen, threads=2, official=True), None),
        tuning=None,
        precision=Precision("f32", "f32", {}, {}),
        probe=Estimate(1.0, 1, 1),
        machine=system.describe(),
        not_official_because=()
        if dataset == "imagenet"
        else (f"'{dataset}' is not the data set of an MLPerf benchmark",),
        performance=performance_section(measured, Told({key: estimate}), ()),
        accuracy=AccuracySection(score.text, score.total, score.fraction, (), (), None, good=score.good),
    )
    result.write(folder / result.FILE_NAME, found)


def write_audits(folder: Path, scenario: str, labels: Any, scratch: Path) -> None:
    """Write TEST01 and TEST04 as `harness compliance` leaves them."""
    for test in ("TEST01", "TEST04"):
        logs = scratch / test
        shutil.copytree(OFFICIAL / scenario / test, logs)
        for packed in logs.glob("*.gz"):
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
        outcome = audit.verify(test, folder, logs, classification, labels)
        assert outcome.passed, outcome.fault
        audit.keep(test, folder, logs, outcome)


def _write_results(
    target: Path, model: str, sha256: str, dataset: str, logs: Mapping[str, Path], labels: Any
) -> None:
    for scenario in SCENARIOS:
        folder = target / "this-machine" / model / scenario
        folder.mkdir(parents=True)
        write_scenario(folder, scenario, {"name": model, "sha256": sha256}, dataset, logs[scenario], labels)


@pytest.fixture(scope="session")
def _open_results(
    tmp_path_factory: pytest.TempPathFactory, accuracy_logs: dict[str, Path], labels: Any
) -> Results:
    from conftest import oracle_model

    home = tmp_path_factory.mktemp("open")
    ov.save_model(oracle_model(), home / "waiting.xml")
    card = home / "waiting.toml"
    card.write_text(CARD.format(name="waiting", file="waiting.xml"))
    digest = model_file.sha256(read_card(card))
    _write_results(home / "results", "waiting", digest, "builtin", accuracy_logs, labels)
    (home / "system.toml").write_text(DESCRIPTION)
    return Results(home / "results", card, home / "system.toml")


@pytest.fixture(scope="session")
def _closed_results(
    tmp_path_factory: pytest.TempPathFactory, accuracy_logs: dict[str, Path], labels: Any
) -> Results:
    home = tmp_path_factory.mktemp("closed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home / "cache"))
        card = find_card("resnet50-mlperf")
        path = model_file.locate(card)
        assert path is not None
        path.parent.mkdir(parents=True)
        path.write_bytes(b"stands for MLPerf's model")
        digest = model_file.sha256(card)
    _write_results(home / "results", card.name, digest, "imagenet", accuracy_logs, labels)
    for scenario in SCENARIOS:
        folder = home / "results" / "this-machine" / card.name / scenario
        write_audits(folder, scenario, labels, tmp_path_factory.mktemp(f"audits-{scenario}"))
    (home / "system.toml").write_text(DESCRIPTION)
    return Results(home / "results", None, home / "system.toml")


@pytest.fixture(scope="session")
def _yolo_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    from conftest import oracle_model

    home = tmp_path_factory.mktemp("yolo")
    card = yolo.write_results(home, oracle_model(), make_logs.boxes(), SCENARIOS)
    (home / "system.toml").write_text(DESCRIPTION)
    return Results(home / "results", card, home / "system.toml")


@pytest.fixture
def yolo_results(_yolo_results: Results, tmp_path: Path) -> Results:
    """Return three official scenarios of a detector, to change at will."""
    folder = tmp_path / "results"
    shutil.copytree(_yolo_results.folder, folder)
    return Results(folder, _yolo_results.card, _yolo_results.description)


@pytest.fixture
def open_results(_open_results: Results, tmp_path: Path) -> Results:
    """Return three official scenarios of a custom model on a custom data set, to change at will."""
    folder = tmp_path / "results"
    shutil.copytree(_open_results.folder, folder)
    return Results(folder, _open_results.card, _open_results.description)


@pytest.fixture
def closed_results(_closed_results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Return what Closed demands of MLPerf's own model, to change at will."""
    monkeypatch.setenv("HARNESS_CACHE", str(_closed_results.folder.parent / "cache"))
    folder = tmp_path / "results"
    shutil.copytree(_closed_results.folder, folder)
    return Results(folder, None, _closed_results.description)


@pytest.fixture(scope="session")
def _trees(
    _open_results: Results,
    _closed_results: Results,
    _yolo_results: Results,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    _open_results.submit(root / "open")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(_closed_results.folder.parent / "cache"))
        _closed_results.submit(root / "closed", "closed")
        _submit_several(_open_results, _closed_results, root)
    _yolo_results.submit(root / "yolo")
    with pytest.MonkeyPatch.context() as patch:
        # YOLO11l is for members of MLCommons only, so that no card here is Closed's.
        patch.setattr(eligibility, "closed_model", lambda card, references: iter(()))
        _yolo_results.submit(root / "yolo-closed", "closed")
    return {path.name: path for path in root.iterdir() if path.is_dir()}


def _submit_several(open_results: Results, closed_results: Results, root: Path) -> None:
    """Write trees of two systems, of one measured scenario, and of both divisions."""
    with tempfile.TemporaryDirectory() as scratch:
        copied = Results(Path(scratch), None, closed_results.description)
        shutil.copytree(closed_results.folder, copied.folder, dirs_exist_ok=True)
        add_system(copied, "that-machine")
        copied.submit(root / "systems", "closed")
        shutil.rmtree(copied.folder / "that-machine")
        for name in ("MultiStream", "Offline"):
            shutil.rmtree(copied.scenario(name))
        copied.submit(root / "inferred", "closed", inferred=True)
    open_results.submit(
        root / "both",
        divisions=["closed", "open"],
        results=[closed_results.folder, open_results.folder],
    )


def add_system(results: Results, name: str) -> Path:
    """Put the same results there once more, as those of another system with another kind of CPU."""
    target = Path(shutil.copytree(results.folder / "this-machine", results.folder / name))
    for name in (result.FILE_NAME, compliance.TESTED):
        for path in target.rglob(name):
            document = json.loads(path.read_text())
            document["machine"]["cpu_model"] = "Another CPU"
            document["machine"]["versions"]["openvino"] = "2026.3"
            path.write_text(json.dumps(document))
    return target


@pytest.fixture
def open_tree(_trees: dict[str, Path], tmp_path: Path) -> Path:
    """Return a good Open submission, to break at will."""
    return Path(shutil.copytree(_trees["open"], tmp_path / "open-tree"))


@pytest.fixture
def closed_tree(_trees: dict[str, Path], tmp_path: Path) -> Path:
    """Return a good Closed submission, to break at will."""
    return Path(shutil.copytree(_trees["closed"], tmp_path / "closed-tree"))
