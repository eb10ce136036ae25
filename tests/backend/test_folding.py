"""Constants are computed before OpenVINO compiles, but for weights that its 8-bit kernels need packed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.backend import folding, graph, kernels
from harness.backend.settings import CompileSettings

CHANNELS = 32
# CPUs with VNNI would quantize what is multiplied with packed weights.
F32 = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
SETTINGS = CompileSettings("LATENCY", streams=1)


def packed(shape: tuple[int, ...], kind: Any = np.int8, zero: int | None = None) -> Any:
    """Return weights that are unpacked in the graph, each output channel with a scale of its own."""
    random = np.random.default_rng(0)
    info = np.iinfo(kind)
    weights = ops.convert(
        ops.constant(random.integers(info.min, info.max + 1, shape).astype(kind)), np.float32
    )
    if zero is not None:
        weights = ops.subtract(weights, ops.convert(ops.constant(np.array(zero, kind)), np.float32))
    scale = random.uniform(0.001, 0.01, (shape[0], *(1 for _ in shape[1:]))).astype(np.float32)
    return ops.multiply(weights, ops.constant(scale))


def convolution(value: Any, **options: Any) -> Any:
    return ops.convolution(value, packed((8, CHANNELS, 3, 3), **options), [1, 1], [0, 0], [0, 0], [1, 1])


def depthwise(value: Any, **options: Any) -> Any:
    weights = ops.reshape(packed((CHANNELS, 1, 3, 3), **options), np.array([CHANNELS, 1, 1, 3, 3]), False)
    return ops.group_convolution(value, weights, [1, 1], [0, 0], [0, 0], [1, 1])


def product(value: Any, **options: Any) -> Any:
    flat = ops.reshape(value, np.array([1, -1]), False)
    return ops.matmul(flat, packed((10, CHANNELS * 64), **options), False, True)


LAYERS = [convolution, depthwise, product]


def as_it_is(value: Any) -> Any:
    return value


def fake_quantized(value: Any) -> Any:
    return ops.fake_quantize(value, np.float32(0), np.float32(4), np.float32(0), np.float32(4), 256)


def quantized_and_back(value: Any) -> Any:
    """Quantize and dequantize, as an ONNX file with QDQ pairs is read."""
    whole = ops.convert(
        ops.fake_quantize(value, np.float32(-2), np.float32(2), np.float32(0), np.float32(255), 256), np.uint8
    )
    back = ops.subtract(ops.convert(whole, np.float32), ops.convert(ops.constant(np.uint8(128)), np.float32))
    return ops.multiply(back, np.float32(4 / 255))


def moved(value: Any) -> Any:
    parts = ops.split(ops.max_pool(value, [1, 1], [1, 1], [0, 0], [0, 0], [1, 1]).output(0), 1, 2).outputs()
    return ops.transpose(ops.concat(list(parts), 1), np.array([0, 1, 3, 2]))


def model_of(layer: Callable[..., Any], before: Callable[[Any], Any] = as_it_is, **options: Any) -> ov.Model:
    image = ops.parameter([1, CHANNELS, 8, 8], np.float32)
    return ov.Model([ops.result(layer(before(image), **options))], [image], "packed")


def kinds_of(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def answer(compiled: Any) -> Any:
    shape = list(compiled.input(0).shape)
    return np.array(compiled([np.random.default_rng(1).uniform(0, 4, shape).astype(np.float32)])[0])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("before", [as_it_is, lambda value: ops.add(fake_quantized(value), value)])
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, None), (np.int8, 3), (np.uint8, 128), (np.int16, None)])
def test_weights_of_floating_point_layers_are_unpacked_before_openvino_compiles(
    layer: Any, before: Any, kind: Any, zero: int | None
) -> None:
    model = model_of(layer, before, kind=kind, zero=zero)
    made = folding.folded(model)
    assert "Convert" in kinds_of(model), "the model that was given stays as it was"
    assert not {"Convert", "Subtract", "Multiply"} & set(kinds_of(made))
    compiled = graph.compile_model(model, SETTINGS)
    assert set(compiled.kernels) == {"f32"}
    np.testing.assert_allclose(
        answer(compiled.model), answer(ov.Core().compile_model(model, "CPU", F32)), rtol=1e-4, atol=1e-3
    )


def test_weights_in_half_precision_are_unpacked_too() -> None:
    image = ops.parameter([1, CHANNELS, 8, 8], np.float32)
    weights = ops.convert(ops.constant(np.ones((8, CHANNELS, 3, 3), np.float16)), np.float32)
    model = ov.Model([ops.convolution(image, weights, [1, 1], [0, 0], [0, 0], [1, 1])], [image])
    assert "Convert" not in kinds_of(folding.folded(model))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "before", [fake_quantized, quantized_and_back, lambda value: moved(fake_quantized(value))]
)
@pytest.mark.parametrize("zero", [None, 0])
def test_layers_that_openvino_computes_in_8_bits_still_are(layer: Any, before: Any, zero: int | None) -> None:
    model = model_of(layer, before, zero=zero)
    plain = kernels.layers(ov.Core().compile_model(model, "CPU", F32))
    compiled = graph.compile_model(model, SETTINGS)
    found = [
        (one.type, one.exec_type, one.precision) for one in kernels.layers(compiled.model) if one.computes
    ]
    assert found == [(one.type, one.exec_type, one.precision) for one in plain if one.computes]
    assert all(kernel.endswith("I8") for _, kernel, _ in found)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 5), (np.uint8, 128), (np.uint8, None)])
def test_weights_that_no_8_bit_kernel_takes_are_unpacked_though_the_input_is_quantized(
    layer: Any, kind: Any, zero: int | None
) -> None:
    model = model_of(layer, fake_quantized, kind=kind, zero=zero)
    plain = kernels.layers(ov.Core().compile_model(model, "CPU", F32))
    assert not any(one.exec_type.endswith("I8") for one in plain if one.computes)
    assert "Convert" not in kinds_of(folding.folded(model))


def test_a_floating_point_model_stays_one_whose_input_is_scaled_by_a_quantizer() -> None:
    pixels = ops.parameter([1, CHANNELS, 12, 12], np.uint8)
    scaled = ops.fake_quantize(ops.convert(pixels, np.float32), *map(np.float32, (0, 255, -1, 1)), 256)
    value = scaled
    for _ in range(3):
        value = ops.relu(depthwise(value))
    model = ov.Model([ops.result(value)], [pixels], "scaled")
    assert "Convert" not in kinds_of(folding.folded(model))[2:]
    assert graph.compile_model(model, SETTINGS).kernels == {"f32": 3}


def int8_kernels(compiled: Any) -> int:
    return sum(one.computes and one.exec_type.endswith("I8") for one in kernels.layers(compiled))


def test_a_real_quantized_model_keeps_its_8_bit_kernels_and_unpacks_all_else(shared_data: Path) -> None:
    model = ov.Core().read_model(shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite")
    plain = int8_kernels(ov.Core().compile_model(model, "CPU", F32))
    compiled = graph.compile_model(model, SETTINGS)
    assert int8_kernels(compiled.model) == plain > 0
    assert compiled.kernels["f32"] == 53 - plain


def test_a_real_floating_point_model_with_packed_weights_computes_in_floating_point(
    shared_data: Path,
) -> None:
    model = ov.Core().read_model(shared_data / "models" / "mobilenet_v2_fp32.xml")
    assert graph.compile_model(model, SETTINGS).kernels == {"f32": 53}
