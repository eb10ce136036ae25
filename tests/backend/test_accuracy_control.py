"""Layers are given back to floating point until a model keeps its accuracy, here its mAP."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from sample_detectors import CELLS, SIZE, Spotter, make_spotter

from harness.backend import answers, folding, graph
from harness.backend.calibration import CalibrationSettings, quantize
from harness.backend.settings import CompileSettings
from harness.model import file as model_file
from harness.model.card import Card, read_card, write_card
from harness.task import task_of

LOUD = 300.0
"""A weight, beside which nothing is left of those that count in 8 bits."""


def fragile_model() -> ov.Model:
    """Return a spotter of two convolutions; the second has a large weight for what is always zero."""
    side = SIZE // CELLS
    pixels = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="pixels")
    first = np.concatenate([np.eye(3), np.full((1, 3), -1)]).astype(np.float32).reshape(4, 3, 1, 1)
    strides, none = [side, side], [0, 0]
    colours = ops.relu(_convolution(pixels, first, [1, 1], none, "sound"))
    means = np.zeros((3, 4, side, side), np.float32)
    means[range(3), range(3)] = 1 / side**2
    means[:, 3] = LOUD
    seen = ops.relu(_convolution(colours, means, strides, none, "fragile"))
    scores = ops.reshape(seen, np.array([1, 3, CELLS**2]), False)
    down, across = np.divmod(np.arange(CELLS**2), CELLS)
    boxes = np.stack([(across + 0.5) * side, (down + 0.5) * side, *[np.full(CELLS**2, side)] * 2])
    answer = ops.concat([ops.constant(boxes[None].astype(np.float32)), scores], 1)
    return ov.Model([ops.result(answer)], [pixels], "fragile")


def _convolution(
    value: ov.Node, weights: np.ndarray, strides: list[int], none: list[int], name: str
) -> ov.Node:
    made = ops.convolution(value, ops.constant(weights), strides, none, none, [1, 1])
    made.set_friendly_name(name)
    return made


def fragile(folder: Path) -> Spotter:
    one = make_spotter(folder, count=18)
    ov.save_model(fragile_model(), folder / "fragile.xml", compress_to_fp16=False)
    card = one.card
    given = replace(card.input, layout="NCHW", element_type="f32", scale=(255.0,) * 3)
    write_card(
        replace(card, name="fragile", file=replace(card.file, path="fragile.xml"), input=given),
        folder / "fragile.toml",
    )
    return Spotter(folder / "fragile.toml", one.store)


def map_of(card: Card, one: Spotter) -> float:
    end, task = answers.end_of(card), task_of(card)
    deployed = graph.deployed(model_file.read(card), card)
    request = graph.compile_model(deployed, CompileSettings("LATENCY")).model.create_infer_request()
    samples, read = one.store.samples(card.input.recipe), end.reader(one.store)
    found = []
    for index in range(one.store.count):
        outputs = list(request.infer([samples[index : index + 1]]).values())
        found += [read(each, index) for each in end.split(outputs)]
    return task.rates(found, task.truth(one.store))[0]


def test_a_detector_gets_back_the_layers_that_cost_it_its_map(tmp_path: Path) -> None:
    one = fragile(tmp_path)
    used = range(0, 18, 3)
    plain, record = quantize(one.card, one.store, used, CalibrationSettings(), tmp_path / "plain.xml")
    assert record["accuracy_control"] is None
    kept, record = quantize(
        one.card, one.store, used, CalibrationSettings(max_drop=0.01), tmp_path / "kept.xml"
    )
    assert map_of(one.card, one) > 0.9
    assert map_of(plain, one) < 0.5
    assert map_of(kept, one) > map_of(one.card, one) - 0.01
    control = record["accuracy_control"]
    assert folding.floating_point_layers(model_file.read(plain)) == []
    assert "fragile" in control["given_back"]
    assert (control["validation_count"], control["max_drop"]) == (12, 0.01)
    assert control["floating_point"] > 0.9
    assert read_card(tmp_path / "kept.toml") == kept
