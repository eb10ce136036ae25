"""Results of a detector that waits, from real LoadGen logs of official length (fixtures/make_logs.py)."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import openvino as ov

from harness import __version__
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.machine import system
from harness.measurement.advice import Told
from harness.mlperf import conf, log
from harness.mlperf.scenario import parse_scenario
from harness.model import file as model_file
from harness.model.card import DetectionOutput, InputSpec, read_card
from harness.run import result
from harness.run.document import AccuracySection, Data, Model, Precision, RunResult, Settings
from harness.run.measuring import performance_section
from harness.submission import audit
from harness.task import detection
from harness.task.average_precision import Truth

FIXTURES = Path(__file__).parents[1] / "fixtures"
LOGS = FIXTURES / "official-yolo"
EVERY = 5
"""One image in so many shows something that the detector does not see."""
CARD = """
name = "spotter"
benchmark = "yolo"
task = "detection"
description = "a detector that waits"
[file]
path = "spotter.xml"
[input]
size = 16
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "linear"
fit = "letterbox"
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
decoder = "yolo"
classes = 80
class_map = "coco80to91"
score_threshold = 0.001
iou_threshold = 0.7
max_detections = 300
"""


def truth_of(found: list[Any]) -> Truth:
    """Return boxes in images of 200 x 100 pixels, of which the detector finds those in most images."""
    width, height = 200, 100
    images = [
        {"id": 3 * index + 5, "file_name": f"{index}.jpg", "width": width, "height": height}
        for index in range(len(found))
    ]
    boxes: list[dict[str, Any]] = []
    for image, rows in zip(images, found, strict=True):
        for index, top, left, bottom, right, _, kind in rows.tolist():
            moved = 0.0 if index % EVERY else 0.3
            box = [(left + moved) * width, top * height, (right - left) * width, (bottom - top) * height]
            boxes.append(
                {"id": len(boxes) + 1, "image_id": image["id"], "category_id": int(kind), "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": kind, "name": str(kind)} for kind in sorted({box["category_id"] for box in boxes})]
    document = {"images": images, "annotations": boxes, "categories": categories}
    return Truth(document, tuple(image["id"] for image in images))


def write_results(home: Path, model: ov.Model, found: list[Any], scenarios: tuple[str, ...]) -> Path:
    """Write what `harness run --official` and `harness compliance` leave; return the card of the model."""
    card_path = home / "spotter.toml"
    card_path.write_text(CARD)
    ov.save_model(model, home / "spotter.xml")
    card, truth = read_card(card_path), truth_of(found)
    described = Model(card.name, model_file.sha256(card), "", None, card.input, card.output)
    for scenario in scenarios:
        folder = home / "results" / "this-machine" / card.name / scenario
        (folder / "performance").mkdir(parents=True)
        shutil.copytree(LOGS / scenario / "performance", folder / "performance" / "run_1")
        logs = home / f"accuracy-{scenario}"
        logs.mkdir()
        script = str(FIXTURES / "make_logs.py")
        subprocess.run([sys.executable, script, "--one", "yolo", scenario, "accuracy", str(logs)], check=True)
        shutil.copytree(logs, folder / "accuracy", ignore=shutil.ignore_patterns("*.conf", "*trace*"))
        (folder / "user.conf").write_bytes((logs / "user.conf").read_bytes())
        _write_document(folder, scenario, described, truth)
        _write_audit(folder, scenario, truth, home / f"audit-{scenario}")
    return card_path


def _write_document(folder: Path, scenario: str, model: Model, truth: Truth) -> None:
    chosen = parse_scenario(scenario)
    key = chosen.facts.estimate_key
    estimate = conf.read_user_conf(folder / "user.conf", "yolo").values(chosen)[key]
    score = detection.score(folder / "accuracy" / log.ACCURACY_LOG, truth, len(truth))
    (folder / "accuracy" / log.ACCURACY_TEXT).write_text(score.text + "\n")
    measured = log.read_performance(folder / "performance" / "run_1" / log.DETAIL_LOG)
    assert isinstance(model.output, DetectionOutput)
    assert isinstance(model.input, InputSpec)
    found = RunResult(
        harness=__version__,
        created="2026-11-28T09:00:00+00:00",
        benchmark="yolo",
        scenario=chosen,
        model=model,
        data=Data("coco", len(truth), model.input.recipe, "0" * 64, "0" * 64),
        settings=Settings.of(RunSettings(chosen, threads=2, official=True), None),
        tuning=None,
        precision=Precision("f32", "f32", {}, {}),
        probe=Estimate(1.0, 1, 1),
        machine=system.describe(),
        not_official_because=(),
        performance=performance_section(measured, Told({key: estimate}), ()),
        accuracy=AccuracySection(score.text, len(truth), score.fraction, (), (), None, map50=score.map50),
    )
    result.write(folder / result.FILE_NAME, found)


def _write_audit(folder: Path, scenario: str, truth: Truth, logs: Path) -> None:
    shutil.copytree(LOGS / scenario / "TEST01", logs)
    for packed in logs.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    outcome = audit.verify("TEST01", folder, logs, detection, truth)
    assert outcome.passed, outcome.fault
    audit.keep("TEST01", folder, logs, outcome)
