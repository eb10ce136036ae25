"""Detectors through LoadGen: boxes of any number, also none, and their mAP."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from conftest import BRIEF_S
from openvino import opset13 as ops
from sample_detectors import Spotter, make_spotter, write_card

from harness.backend import answers, graph
from harness.backend.calibration import CalibrationSettings, quantize
from harness.backend.settings import CompileSettings
from harness.dataset import coco
from harness.dataset.store import Store, prepare
from harness.errors import DataError, RunFailed
from harness.loadgen import drive, work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.measurement.data import open_for
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card, read_card
from harness.run import session
from harness.task import TASKS, PairedBoxes, average_precision


@pytest.fixture(scope="module")
def spotter(tmp_path_factory: pytest.TempPathFactory) -> Spotter:
    return make_spotter(tmp_path_factory.mktemp("spotter"), missed=2)


def accuracy_of(one: Spotter, scenario: Scenario, out: Path, **settings: Any) -> tuple[Any, Path]:
    chosen = RunSettings(scenario, threads=2, duration_s=BRIEF_S, **settings)
    document, folder = session.run(
        session.Request(one.card, one.store.path, chosen, (Mode.ACCURACY,), out, system="here")
    )
    return document.accuracy, folder


@pytest.mark.parametrize(
    ("scenario", "settings"),
    [
        (Scenario.SINGLE_STREAM, {}),
        (Scenario.MULTI_STREAM, {"batch": 3, "streams": 2}),
        (Scenario.OFFLINE, {"batch": 5, "streams": 2}),
    ],
)
def test_boxes_are_scored_in_every_scenario(
    spotter: Spotter, tmp_path: Path, scenario: Scenario, settings: dict[str, int]
) -> None:
    section, folder = accuracy_of(spotter, scenario, tmp_path, **settings)
    # Two of 24 boxes are too dark: recall 1 in one category, 7/8 or 6/8 in the others.
    assert 0.8 < section.accuracy < 0.95
    assert section.text == f"mAP={100 * section.accuracy:.3f}%"
    assert (section.total, section.good) == (24, None)
    assert section.map50 == pytest.approx(section.accuracy)
    assert section.known_answers["checked_after_the_test"]
    assert [verdict.rule for verdict in section.verdicts] == [
        "the card's target", "MLPerf yolo-95, Closed division", "MLPerf yolo-99, Closed division",
    ]  # fmt: skip
    found = TASKS["detection"].answers(folder / "accuracy" / log.ACCURACY_LOG, 24)
    assert sum(not len(answer) for answer in found) >= 8
    assert (folder / "accuracy" / "accuracy.txt").read_text() == section.text + "\n"


def shifted(backend: Backend, *, by: float) -> dict[str, Any]:
    """Perform the job's test; the first compilation finds each box farther to the right."""
    right, wrong = backend.compile, []

    def compile_model(settings: RunSettings, size: int) -> graph.Compiled:
        if wrong:
            return right(settings, size)
        wrong.append(size)
        model = backend.deployed(size).clone()
        rows = model.output(0).node.input_value(0)
        moved = ops.add(rows, np.array([[0, 0, by, 0, by, 0]], np.float32))
        results = [moved, *(port.node.input_value(0) for port in model.outputs[1:])]
        model = ov.Model([ops.result(one) for one in results], model.get_parameters(), "shifted")
        return graph.compile_model(model, settings.compile_settings)

    backend.compile = compile_model  # type: ignore[method-assign,assignment]
    return drive.perform(backend)


@pytest.mark.parametrize(("by", "compilations"), [(0.1, 1), (3.0, 2)])
def test_boxes_of_a_wrong_compilation_are_found(
    spotter: Spotter, tmp_path: Path, by: float, compilations: int
) -> None:
    (tmp_path / "user.conf").write_text(conf.render_user_conf("yolo", Scenario.OFFLINE, target_qps=100.0))
    settings = RunSettings(Scenario.OFFLINE, threads=2, streams=2, duration_s=BRIEF_S).with_defaults()
    job = Job(spotter.card, spotter.store.path, settings, tmp_path, Mode.PERFORMANCE, tmp_path / "user.conf")
    done = work.run(job, work=partial(shifted, by=by))
    assert done["known_answers"]["compilations"] == compilations


def test_a_detector_s_score_that_is_nan_fails_the_inference_and_names_the_image(tmp_path: Path) -> None:
    one = make_spotter(tmp_path, nan_red=248 - 20)
    with pytest.raises(RunFailed, match=r"sample \d+ \(0\d\d\.png\): the model gives a score that is not a"):
        accuracy_of(one, Scenario.SINGLE_STREAM, tmp_path / "out")


def test_a_store_must_have_boxes_of_the_card_s_categories(spotter: Spotter, oracle: Any) -> None:
    path = spotter.card_path.with_name("other.toml")
    path.write_text(spotter.card_path.read_text().replace("[3, 1, 7]", "[3, 1, 8]"))
    with pytest.raises(DataError, match=r"7 7\): correct output.class_map"):
        open_for(read_card(path), spotter.store.path)
    with pytest.raises(DataError):
        open_for(spotter.card, oracle.store.path)


REAL = [
    ("nanodet-m", (), 0.28913, 0.45795),
    ("nanodet-m", (('fit = "warp"', 'fit = "letterbox"\nrounding = "round"'),), 0.28741, 0.45976),
    ("nanodet-m", (('fit = "warp"', 'fit = "stretch"'),), 0.28574, 0.46732),
    ("yolox-nano", (), 0.32161, 0.47637),
]
"""mAP and mAP at an overlap of 0.5 on coco-tiny, by code that nobody here wrote."""


def real(shared_data: Path, folder: Path, name: str, *changes: tuple[str, str]) -> Spotter:
    """Return a detector with real weights, and the images of coco-tiny as its card wants them."""
    card_path = write_card(folder, name, shared_data / "models", *changes)
    given = shared_data / "coco-tiny"
    images = coco.find_annotated(
        given / "val2017", coco.read(given / "annotations" / "instances_val2017.json")
    )
    store = prepare(images, read_card(card_path).input.recipe, folder / "store", "coco")
    return Spotter(card_path, store)


def found_by(card: Card, store: Store) -> list[np.ndarray]:
    """Return what a model finds in all images of a store, without LoadGen."""
    end = answers.end_of(card)
    deployed = graph.deployed(model_file.read(card), card)
    request = graph.compile_model(deployed, CompileSettings("LATENCY")).model.create_infer_request()
    samples, read = store.samples(card.input.recipe), end.reader(store)
    found = []
    for index in range(store.count):
        outputs = list(request.infer([samples[index : index + 1]]).values())
        found += [read(each, index) for each in end.split(outputs)]
    return found


@pytest.mark.parametrize(("name", "changes", "overall", "at_half"), REAL[1:3])
def test_real_detectors_reach_the_map_that_independent_code_found(
    shared_data: Path, tmp_path: Path, name: str, changes: Any, overall: float, at_half: float
) -> None:
    one = real(shared_data, tmp_path, name, *changes)
    truth = TASKS["detection"].truth(one.store)
    reached = average_precision.means(average_precision.evaluate(found_by(one.card, one.store), truth))
    assert reached == pytest.approx((overall, at_half), abs=0.0001)


def test_int8_costs_a_detector_at_most_a_point_and_a_half(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YOLOX, whose activations are products that NNCF would quantize."""
    monkeypatch.setattr(average_precision, "_RESAMPLES", 100)
    one = real(shared_data, tmp_path, "yolox-nano")
    made, _ = quantize(one.card, one.store, range(0, 50, 5), CalibrationSettings(), tmp_path / "int8.xml")
    task = TASKS["detection"]
    whole, int8 = found_by(one.card, one.store), found_by(made, one.store)
    compared = task.compare(whole, int8, task.truth(one.store))
    assert isinstance(compared, PairedBoxes)
    assert compared.difference > -0.015
    assert compared.low < compared.difference < compared.high
    assert compared.agreement > 0.75


@pytest.mark.parametrize(
    ("scenario", "number"), [(Scenario.SINGLE_STREAM, 0), (Scenario.OFFLINE, 3)], ids=str
)
def test_real_detectors_reach_it_through_loadgen(
    shared_data: Path, tmp_path: Path, scenario: Scenario, number: int
) -> None:
    name, changes, overall, at_half = REAL[number]
    section, _ = accuracy_of(real(shared_data, tmp_path, name, *changes), scenario, tmp_path / "out")
    assert (section.accuracy, section.map50) == pytest.approx((overall, at_half), abs=0.0005)
