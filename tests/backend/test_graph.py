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

from harness.backend import answers, graph
from harness.backend.settings import CompileSettings
from harness.errors import ModelError
from harness.machine import system
from harness.model.card import Card, FileSpec, InputSpec, OutputSpec

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
        ov.PartialShape(shape),
        ov.Type(getattr(np, {"f32": "float32", "f16": "float16", "u8": "uint8"}[element_type])),
    )
    value = image if element_type == "f32" else ops.convert(image, np.float32)
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


def labels(model: ov.Model, values: Any) -> Any:
    """Return the labels that a deployed graph gives: the first number of each row."""
    return infer(model, values)[:, 0]


def own_label(model: ov.Model, described: Card, values: Any) -> int:
    """Return the label that the card's own model gives, as NNCF's accuracy control asks for it."""
    end = answers.end_of(described)
    (row,) = end.split([infer(answers.tail(model, described), infer(model, values))])
    return end.reader(store=None)(row, 0)  # type: ignore[arg-type]


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
    singles = [float(labels(one, image[None])[0]) for image in images]
    assert labels(five, images).tolist() == singles


def test_labels_are_the_class_plus_the_offset() -> None:
    image = pixels(1)
    plain = labels(graph.deployed(network(), card()), image)
    shifted = labels(graph.deployed(network(), card(output=OutputSpec("logits", CLASSES, -1))), image)
    assert shifted.dtype == np.float32
    assert shifted.tolist() == [plain[0] - 1]


def test_a_label_output_is_passed_through() -> None:
    image = pixels(1)
    described = card(output=OutputSpec("label", CLASSES))
    found = labels(graph.deployed(network(kind="label"), described), image)
    assert found.tolist() == labels(graph.deployed(network(), card()), image).tolist()


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
    assert labels(graph.deployed(model, described), pixels(1)).tolist() == [3.0]


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (network(), {"layout": "NHWC"}, "has the shape [1,3,12,12], but its card says NHWC at 12 px"),
        (network(), {"size": 24}, "but its card says NCHW at 24 px: correct input.layout or input.size"),
        (network(element_type="u8"), {}, "has the element type u8, but its card says f32"),
        (network(), {"output": OutputSpec("logits", 1001)}, "logits with 1001 classes need 1001 value(s)"),
        (network(), {"output": OutputSpec("label", CLASSES)}, "need 1 value(s) a sample"),
        (network(), {"output": OutputSpec("logits", CLASSES, tensor="no")}, "has no output 'no'"),
        (network(), {"tensor": "no"}, "is called 'Parameter_"),
    ],
)
def test_a_card_that_contradicts_its_model_is_refused(model: ov.Model, changes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        graph.deployed(model, card(**changes))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_model_that_takes_f16_gives_the_labels_of_its_f32_self(layout: str) -> None:
    described = card(layout=layout, channels="BGR", element_type="f16")
    images = pixels(6)
    model = network(layout, "f16")
    wanted = labels(graph.deployed(network(layout), card(layout=layout, channels="BGR"), 6), images)
    assert labels(graph.deployed(model, described, 6), images).tolist() == wanted.tolist()
    values = graph.model_input(images[:1], described)
    assert values.dtype == np.float16
    assert own_label(model, described, values) == wanted[0]


def changed(shape: list[int] | None = None, **ports: Any) -> ov.Model:
    """Return the network with its output in another shape, or with an input of another shape or type."""
    if shape is None:
        image = ops.parameter(ov.PartialShape(ports["input"]), ports.get("type", np.float32))
        return ov.Model([ops.result(ops.relu(image))], [image], "net")
    model = network()
    scores = ops.reshape(model.output(0).node.input_value(0), np.array(shape), False)
    return ov.Model([ops.result(scores)], model.get_parameters(), "net")


@pytest.mark.parametrize("shape", [[CLASSES], [CLASSES, 1], [1, 1, CLASSES, 1], [1, CLASSES]])
def test_an_output_needs_no_batch_at_a_batch_of_one(shape: list[int]) -> None:
    image = pixels(1)
    found = infer(graph.deployed(changed(shape), card()), image)
    assert found.tolist() == infer(graph.deployed(network(), card()), image).tolist()


def test_a_label_without_a_shape_is_taken() -> None:
    image = pixels(1)
    model = network(kind="label")
    label = ops.reshape(model.output(0).node.input_value(0), np.array([], np.int64), False)
    scalar = ov.Model([ops.result(label)], model.get_parameters(), "net")
    described = card(output=OutputSpec("label", CLASSES))
    assert labels(graph.deployed(scalar, described), image) == labels(graph.deployed(model, described), image)


@pytest.mark.parametrize("shape", [[-1], [CLASSES, -1]])
def test_an_output_without_a_batch_is_refused_at_another_batch(shape: list[int]) -> None:
    with pytest.raises(ModelError, match=r"in which a batch of 4 has no place: use --batch 1\.$"):
        graph.deployed(changed(shape), card(), batch=4)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ([1, 1, SIZE, SIZE], np.float32, "grey images, of one channel, are not supported"),
        ([-1, SIZE, SIZE, 1], np.float32, "grey images, of one channel, are not supported"),
        ([1, 4, SIZE, SIZE], np.float32, "channels other than three are not supported"),
        ([1, 3, SIZE, 2 * SIZE], np.float32, "images that are not square are not supported"),
        ([-1, SIZE, 2 * SIZE, 3], np.float32, "images that are not square are not supported"),
        ([1, 3, SIZE], np.float32, "an input that has not four dimensions is not supported"),
        ([1, 3, 4, SIZE, SIZE], np.float32, "an input that has not four dimensions is not supported"),
        (
            [1, 3, SIZE, SIZE],
            np.float64,
            "the element type f64, which is not supported: give a model that takes",
        ),
        (
            [1, 3, SIZE, SIZE],
            np.float16,
            "the element type f16, but its card says f32: correct input.element_",
        ),
    ],
)
def test_inputs_that_no_card_can_describe_are_said_to_be_not_supported(
    shape: list[int], kind: Any, message: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        graph.deployed(changed(input=shape, type=kind), card())
    assert "\n" not in str(caught.value)


def test_models_of_two_inputs_are_said_to_be_not_supported() -> None:
    images = [ops.parameter([1, 3, SIZE, SIZE], np.float32, name=name) for name in ("left", "right")]
    two = ov.Model([ops.result(ops.add(*images))], images, "two")
    for described in (card(), card(tensor="left")):
        with pytest.raises(ModelError, match=r"has 2 inputs \('left', 'right'\), which is not supported"):
            graph.deployed(two, described)


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_row_has_a_nan_where_a_score_is_and_no_other(kind: str, batch: int) -> None:
    """A score is the logarithm of a channel: NaN below 0, -inf at 0."""
    image = ops.parameter(
        [batch, 3, SIZE, SIZE], ov.Type(getattr(np, {"f32": "float32", "f16": "float16"}[kind]))
    )
    value = ops.reduce_mean(image, np.array([2, 3]), False)
    model = ov.Model([ops.result(ops.log(value))], [image], "net")
    described = card(
        element_type=kind,
        mean=(100.0, 100.0, 100.0),
        scale=(1.0, 1.0, 1.0),
        output=OutputSpec("logits", 3, 1),
    )
    deployed = graph.deployed(model, described, batch)
    colours = {
        (120, 130, 110): 2,
        (120, 100, 100): 1,
        (100, 100, 100): 1,
        (120, 130, 90): None,
        (0, 0, 0): None,
    }
    for colour, label in colours.items():
        images = np.full((batch, SIZE, SIZE, 3), (110, 105, 120), np.uint8)
        images[-1] = colour
        rows = infer(deployed, images)
        *others, found = rows[:, 0]
        assert others == [3.0] * (batch - 1)
        assert np.isnan(rows.sum(1)).tolist() == [False] * (batch - 1) + [label is None]
        assert label is None or found == label
        if batch == 1:
            values = graph.model_input(images, described)
            if label is None:
                with pytest.raises(
                    ModelError, match=r"a score that is not a number \(NaN\): check its weights"
                ):
                    own_label(model, described, values)
            else:
                assert own_label(model, described, values) == label


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
    assert infer(graph.deployed(two, named), pixels(1)).shape == (1, 5)


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
    from harness.model.resnet import build, seeded_state

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
    monkeypatch.setattr(system, "is_under_quota", lambda root: is_under_quota)
    model = graph.deployed(network(), card())
    compiled = graph.compile_model(model, CompileSettings("LATENCY", pinning=asked))
    assert compiled.model.get_property("ENABLE_CPU_PINNING") is pinned


RANGES = [
    ([0.0], [6.0], [0.0], [6.0]),
    ([0.0], [255.0], [-1.0], [0.9921875]),
    ([-1.0, -2.0, -4.0], [1.0, 2.0, 4.0], [-1.0, -2.0, -4.0], [1.0, 2.0, 4.0]),
    ([-1.0, 0.0, -4.0], [1.0, 0.0, 4.0], [-127.0, -127.0, -127.0], [127.0, 127.0, 127.0]),
]


def spread(low: float, high: float) -> Any:
    """Return an image of three channels that each go from `low` to `high`."""
    return np.tile(np.linspace(low, high, 400, dtype=np.float32), 3).reshape(1, 3, 20, 20)


def limits(*values: Any) -> list[Any]:
    return [np.array(value, np.float32).reshape(1, -1, 1, 1) for value in values]


def model_of(image: Any, *values: Any, zero: int = 128) -> ov.Model:
    """Return a model of these outputs, the first through a layer that changes nothing, its weights packed."""
    weights = (zero + np.eye(3, dtype=np.uint8)).reshape(3, 3, 1, 1)
    packed = ops.convert(ops.constant(weights), np.float32)
    if zero:
        packed = ops.subtract(packed, np.float32(zero))
    same = ops.convolution(values[0], packed, [1, 1], [0, 0], [0, 0], [1, 1])
    return ov.Model([ops.result(value) for value in (same, *values[1:])], [image])


def kinds_of(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


@pytest.mark.parametrize("ranges", RANGES)
def test_a_quantizer_that_is_taken_out_still_clips_and_scales_but_no_longer_rounds(ranges: Any) -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    low, high, new_low, new_high = limits(*ranges)
    model = model_of(image, ops.fake_quantize(image, low, high, new_low, new_high, 256))
    values = spread(ranges[0][-1] - 1, ranges[1][-1] + 1)
    before = infer(model, values)
    assert graph.unquantize(model) == 1
    after = infer(model, values)
    assert not {"FakeQuantize", "Subtract"} & set(kinds_of(model))
    if (high > low).all():  # OpenVINO makes NaN of a dead channel
        assert (np.abs(after - before) <= 0.5001 * (new_high - new_low) / 255).all()
    width = np.where(high > low, high - low, 1)
    expected = new_low + (np.clip(values, low, high) - low) / width * (new_high - new_low)
    np.testing.assert_allclose(after, np.broadcast_to(expected, after.shape), atol=1e-3)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_between_quantizing_and_scaling_back_nothing_is_rounded_but_a_whole_output_is(kind: Any) -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    whole = ops.convert(ops.fake_quantize(image, *limits(0, 6, 0, 255), 256), np.uint8)
    back = ops.multiply(ops.subtract(ops.convert(whole, kind), kind(10)), kind(6 / 255))
    model = model_of(image, ops.convert(back, np.float32), whole)
    values = spread(-1, 7)
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    rounded = ov.Core().compile_model(model, "CPU", f32).infer_new_request([values])[1]
    assert graph.unquantize(model) == 1
    exact, still = ov.Core().compile_model(model, "CPU", f32).infer_new_request([values]).values()
    np.testing.assert_allclose(
        exact, np.clip(values, 0, 6) - 10 * 6 / 255, atol=1e-5 if kind is np.float32 else 5e-3
    )
    assert still.dtype == np.uint8
    assert (np.abs(still.astype(int) - rounded) <= 1).all()
    assert (still == rounded).mean() > 0.99


def test_quantizers_stay_where_they_round_nothing_or_are_part_of_the_model() -> None:
    pixels = ops.parameter([1, 20, 20, 3], np.uint8)
    value = ops.transpose(ops.convert(pixels, np.float32), np.array([0, 3, 1, 2]))
    of_pixels = ops.fake_quantize(value, *limits(0, 255, -1, 1), 256)
    image = ops.parameter([1, 3, 20, 20], np.float32)
    of_few_levels = ops.fake_quantize(image, *limits(-1, 1, -1, 1), 16)
    before_integers = ops.fake_quantize(image, *limits(0, 6, 0, 255), 256)
    pooled = ops.max_pool(
        ops.convert(before_integers, np.uint8), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit"
    )
    for model in (
        model_of(pixels, of_pixels),
        model_of(image, of_few_levels),
        model_of(image, ops.convert(pooled.output(0), np.float32)),
    ):
        assert graph.unquantize(model) == 0
        assert kinds_of(model).count("FakeQuantize") == 1


def test_quantizers_stay_where_openvino_can_use_the_weights_as_they_are() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    model = model_of(image, ops.fake_quantize(image, *limits(-1, 1, -1, 1), 256), zero=0)
    assert graph.unquantize(model) == 0
    assert "FakeQuantize" in kinds_of(model)


def test_where_the_range_is_kept_nothing_is_left_of_a_quantizer() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    first = ops.fake_quantize(image, *limits(0, 6, 0, 6), 256)
    pooled = ops.max_pool(first, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit").output(0)
    model = model_of(image, ops.fake_quantize(pooled, *limits(0, 6, 0, 6), 256))
    assert graph.unquantize(model) == 2
    assert kinds_of(model).count("Clamp") == 1


def test_what_depends_on_the_batch_still_does_when_weights_are_unpacked() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    rows = ops.gather(ops.shape_of(image), np.array([0]), np.array(0))
    token = ops.broadcast(
        ops.constant(np.ones((1, 3, 20, 20), np.float32)),
        ops.concat([rows, ops.constant(np.array([3, 20, 20]))], 0),
    )
    model = model_of(image, ops.add(image, token))
    graph.unquantize(model)
    model.reshape([4, 3, 20, 20])
    assert infer(model, np.zeros((4, 3, 20, 20), np.float32)).shape == (4, 3, 20, 20)
    assert "Subtract" not in kinds_of(model)


def test_a_quantizer_whose_range_is_computed_or_upside_down_is_refused() -> None:
    image = ops.parameter([1, 3, 20, 20], np.float32)
    highest = ops.reduce_max(image, np.array([0, 1, 2, 3]), True)
    low = np.zeros((1, 1, 1, 1), np.float32)
    model = model_of(image, ops.fake_quantize(image, low, highest, low, highest, 256))
    with pytest.raises(ModelError, match="is not constant: give the model that was quantized"):
        graph.unquantize(model)
    model = model_of(image, ops.fake_quantize(image, *limits(1, -1, 1, -1), 256))
    with pytest.raises(ModelError, match="is upside down: give the model that was quantized"):
        graph.unquantize(model)
