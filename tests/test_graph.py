"""Folding the preprocessing and the answer into the graph, and the precision it is computed in."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness import graph, system
from harness.card import Card, FileSpec, InputSpec, OutputSpec
from harness.errors import ModelError
from harness.settings import CompileSettings

SIZE, CLASSES = 12, 7

RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.standard_normal((CLASSES, 3, 3, 3)).astype(np.float32)


def card(**changes: Any) -> Card:
    values: dict[str, Any] = {
        "size": SIZE, "layout": "NCHW", "element_type": "f32", "channels": "RGB", "resize": "area",
        "crop_fraction": 0.875, "mean": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375),
    }  # fmt: skip
    output = changes.pop("output", OutputSpec("logits", CLASSES))
    return Card("net", "resnet50", FileSpec(path="x"), InputSpec(**{**values, **changes}), output)


def network(
    layout: str = "NCHW", element_type: str = "f32", batch: int | None = 1, kind: str = "logits"
) -> ov.Model:
    dimension = -1 if batch is None else batch
    shape = [dimension, 3, SIZE, SIZE] if layout == "NCHW" else [dimension, SIZE, SIZE, 3]
    image = ops.parameter(
        ov.PartialShape(shape), ov.Type(getattr(np, {"f32": "float32", "u8": "uint8"}[element_type]))
    )
    value = ops.convert(image, np.float32) if element_type == "u8" else image
    if layout == "NHWC":
        value = ops.transpose(value, np.array([0, 3, 1, 2]))
    value = ops.relu(ops.convolution(value, WEIGHTS, [1, 1], [0, 0], [0, 0], [1, 1]))
    value = ops.reduce_mean(value, np.array([2, 3]), False)
    if batch is not None:
        # As converters spell it: the batch of 1 is part of the pattern.
        value = ops.reshape(value, np.array([batch, CLASSES]), False)
    if kind == "label":
        top = ops.topk(value, np.int32(1), 1, "max", "value")
        value = ops.convert(top.output(1), np.int64)
    return ov.Model([ops.result(value)], [image], "net")


def pixels(count: int = 4) -> Any:
    return RANDOM.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def infer(model: ov.Model, values: Any) -> Any:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([values])[0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (58.395, 57.12, 57.375)])
def test_the_folded_graph_equals_the_float_pipeline(layout: str, channels: str, scale: Any) -> None:
    described = card(layout=layout, channels=channels, scale=scale)
    images = pixels()
    for image in images:
        separate = infer(network(layout), graph.model_input(image[None], described))
        folded = infer(graph.fold_input(network(layout), described), image[None])
        assert np.abs(separate - folded).max() <= 1e-3


def test_the_float_pipeline_is_the_textbook_one() -> None:
    image = pixels(1)
    described = card(channels="BGR", mean=(1.0, 2.0, 3.0), scale=(2.0, 4.0, 8.0))
    value = graph.model_input(image, described)
    expected = np.empty((1, 3, SIZE, SIZE), np.float32)
    for channel, (source, mean, scale) in enumerate([(2, 1.0, 2.0), (1, 2.0, 4.0), (0, 3.0, 8.0)]):
        expected[0, channel] = (image[0, :, :, source].astype(np.float32) - mean) / scale
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("batch", [None, 1])
def test_a_batch_gives_the_labels_of_single_images(batch: int | None) -> None:
    images = pixels(5)
    one = graph.deployed(network(batch=batch), card())
    five = graph.deployed(network(batch=batch), card(), batch=5)
    singles = [float(infer(one, image[None])[0]) for image in images]
    assert infer(five, images).tolist() == singles


def test_labels_are_the_class_plus_the_offset() -> None:
    image = pixels(1)
    plain = infer(graph.deployed(network(), card()), image)
    shifted = infer(graph.deployed(network(), card(output=OutputSpec("logits", CLASSES, -1))), image)
    assert shifted.dtype == np.float32
    assert shifted.tolist() == [plain[0] - 1]


def test_a_label_output_is_passed_through() -> None:
    image = pixels(1)
    described = card(output=OutputSpec("label", CLASSES))
    labels = infer(graph.deployed(network(kind="label"), described), image)
    assert labels.tolist() == infer(graph.deployed(network(), card()), image).tolist()


def test_a_tie_goes_to_the_lowest_class_as_in_argmax() -> None:
    image = ops.parameter([1, SIZE, SIZE, 3], np.uint8)
    zero = ops.multiply(
        ops.reduce_mean(ops.convert(image, np.float32), np.array([1, 2, 3]), False), np.float32(0)
    )
    scores = np.zeros((1, 1001), np.float32)
    scores[0, [400, 3, 900]] = 0.5
    model = ov.Model(
        [ops.result(ops.add(ops.reshape(zero, np.array([1, 1]), False), scores))], [image], "tie"
    )
    described = card(
        layout="NHWC", element_type="u8", mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0),
        output=OutputSpec("probabilities", 1001),
    )  # fmt: skip
    assert infer(graph.deployed(model, described), pixels(1)).tolist() == [3.0]


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (network(), {"layout": "NHWC"}, "has the shape [1,3,12,12], but its card says NHWC at 12 px"),
        (network(), {"size": 24}, "but its card says NCHW at 24 px: correct input.layout or input.size"),
        (network(element_type="u8"), {}, "has the element type u8, but its card says f32"),
        (network(), {"output": OutputSpec("logits", 1001)}, "logits with 1001 classes need 1001 value(s)"),
        (network(), {"output": OutputSpec("label", CLASSES)}, "need 1 value(s) a sample"),
        (network(), {"output": OutputSpec("logits", CLASSES, tensor="no")}, "has no output 'no'"),
        (network(), {"tensor": "no"}, "one image input is needed; correct input.tensor"),
    ],
)
def test_a_card_that_contradicts_its_model_is_refused(model: ov.Model, changes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        graph.deployed(model, card(**changes))


def test_of_several_outputs_the_card_must_name_one() -> None:
    model = network()
    source = model.output(0).node.input_value(0)
    source.set_names({"scores"})
    extra = ops.softmax(source, 1)
    extra.output(0).set_names({"softmax"})
    two = ov.Model([ops.result(source), ops.result(extra)], model.get_parameters(), "two")
    with pytest.raises(ModelError, match="has several outputs"):
        graph.deployed(two, card())
    named = card(output=OutputSpec("probabilities", CLASSES, tensor="softmax"))
    assert infer(graph.deployed(two, named), pixels(1)).shape == (1,)


def test_f32_is_never_computed_in_bf16() -> None:
    compiled = graph.compile_model(graph.deployed(network(), card()), CompileSettings("LATENCY"))
    assert compiled.precision == "f32"
    assert set(compiled.kernels) == {"f32"}
    assert compiled.properties["INFERENCE_PRECISION_HINT"] == "f32"


def test_bf16_is_a_variant_of_its_own_where_the_cpu_has_it() -> None:
    model = graph.deployed(network(), card())
    if not graph.has_bf16():
        with pytest.raises(ModelError, match="OpenVINO computes no BF16 on this CPU"):
            graph.compile_model(model, CompileSettings("LATENCY", precision="bf16"))
        return
    compiled = graph.compile_model(model, CompileSettings("LATENCY", precision="bf16"))
    assert compiled.precision == "bf16"


def test_the_original_model_is_left_as_it_was() -> None:
    model = network()
    graph.deployed(model, card(), batch=4)
    assert list(model.input(0).shape) == [1, 3, SIZE, SIZE]
    assert list(model.output(0).shape) == [1, CLASSES]


def test_the_real_model_folded_equals_its_float_pipeline_on_real_images(shared_data: Path) -> None:
    from harness.resnet import build, seeded_state

    described = replace(card(size=224), output=OutputSpec("logits", 1000))
    model = build(seeded_state(0), 224)
    plain = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    folded = ov.Core().compile_model(
        graph.fold_input(model, described), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for path in sorted((shared_data / "imagenet-sample").glob("*.JPEG"))[:4]:
        image = described.input.recipe.apply(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))[None]
        expected = plain([graph.model_input(image, described)])[0]
        assert np.abs(folded([image])[0] - expected).max() <= 1e-3 * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize(("is_under_quota", "asked", "pinned"), [(True, None, False), (True, True, True)])
def test_nothing_is_pinned_under_a_quota_unless_asked_for(
    is_under_quota: bool, asked: bool | None, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "is_under_quota", lambda: is_under_quota)
    model = graph.deployed(network(), card())
    compiled = graph.compile_model(model, CompileSettings("LATENCY", pinning=asked))
    assert compiled.model.get_property("ENABLE_CPU_PINNING") is pinned


RANGES = [
    ([0.0], [6.0], [0.0], [6.0]),
    ([0.0], [255.0], [-1.0], [0.9921875]),
    ([-1.0, -2.0, -4.0], [1.0, 2.0, 4.0], [-1.0, -2.0, -4.0], [1.0, 2.0, 4.0]),
]


def spread(low: float, high: float) -> Any:
    """Return an image of three channels that each go from `low` to `high`."""
    return np.tile(np.linspace(low, high, 400, dtype=np.float32), 3).reshape(1, 3, 20, 20)


@pytest.mark.parametrize("ranges", RANGES)
def test_a_quantizer_that_is_taken_out_still_clips_and_scales_but_no_longer_rounds(ranges: Any) -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    low, high, new_low, new_high = (np.array(limit, np.float32).reshape(1, -1, 1, 1) for limit in ranges)
    model = ov.Model([ops.result(ops.fake_quantize(image, low, high, new_low, new_high, 256))], [image])
    values = spread(ranges[0][-1] - 1, ranges[1][-1] + 1)
    before = infer(model, values)
    assert graph.unquantize(model) == 1
    after = infer(model, values)
    assert not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
    step = (new_high - new_low) / 255
    assert (np.abs(after - before) <= 0.5001 * step).all()
    expected = new_low + (np.clip(values, low, high) - low) / (high - low) * (new_high - new_low)
    np.testing.assert_allclose(after, expected, atol=1e-4)


def test_between_quantizing_and_scaling_back_nothing_is_rounded_but_a_whole_output_is() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    limits = [np.float32(limit) for limit in (0, 6, 0, 255)]
    whole = ops.convert(ops.fake_quantize(image, *limits, 256), np.uint8)
    back = ops.multiply(ops.subtract(ops.convert(whole, np.float32), np.float32(10)), np.float32(6 / 255))
    model = ov.Model([ops.result(back), ops.result(whole)], [image])
    values = spread(-1, 7)
    compiled = ov.Core().compile_model(model, "CPU")
    rounded = compiled.infer_new_request([values])[1]
    assert graph.unquantize(model) == 1
    exact, still = ov.Core().compile_model(model, "CPU").infer_new_request([values]).values()
    np.testing.assert_allclose(exact, np.clip(values, 0, 6) - 10 * 6 / 255, atol=1e-5)
    assert still.dtype == np.uint8
    assert (np.abs(still.astype(int) - rounded) <= 1).all()
    assert (still == rounded).mean() > 0.99


def test_a_quantizer_of_pixels_stays_as_it_rounds_nothing() -> None:
    pixels = ops.parameter([1, 8, 8, 3], np.uint8)
    value = ops.transpose(ops.convert(pixels, np.float32), np.array([0, 3, 1, 2]))
    model = ov.Model(
        [ops.result(ops.fake_quantize(value, *(np.float32(limit) for limit in (0, 255, -1, 1)), 256))],
        [pixels],
    )
    assert graph.unquantize(model) == 0
    assert "FakeQuantize" in {node.get_type_name() for node in model.get_ops()}


def test_a_quantizer_whose_range_is_computed_is_refused() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    highest = ops.reduce_max(image, np.array([0, 1, 2, 3]), True)
    low = np.zeros((1, 1, 1, 1), np.float32)
    model = ov.Model([ops.result(ops.fake_quantize(image, low, highest, low, highest, 256))], [image])
    with pytest.raises(ModelError, match="is not constant: give the model that was quantized, instead"):
        graph.unquantize(model)
