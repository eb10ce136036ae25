"""The layers as OpenVINO runs them: kernels, precisions and times."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.backend import graph, kernels
from harness.backend.kernels import Layer
from harness.backend.settings import CompileSettings

SIZE, CHANNELS = 32, 32
SETTINGS = CompileSettings("LATENCY", threads=1)


def convolution(value: ov.Node, quantized: bool, name: str) -> ov.Node:
    weights = np.random.default_rng(1).integers(-9, 10, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8)
    if not quantized:
        kernel = ops.constant(weights.astype(np.float32) * np.float32(0.01))
    else:
        low, high = np.float32(0), np.float32(2.55)
        value = ops.fake_quantize(value, low, high, low, high, 256)
        kernel = ops.multiply(ops.convert(ops.constant(weights), np.float32), np.float32(0.01))
    return ops.relu(ops.convolution(value, kernel, [1, 1], [1, 1], [1, 1], [1, 1], name=name))


def mixed() -> ov.Model:
    """Return two convolutions in INT8 and one that was left in f32."""
    image = ops.parameter([1, CHANNELS, SIZE, SIZE], np.float32)
    value = convolution(convolution(image, True, "first"), True, "second")
    return ov.Model([ops.result(convolution(value, False, "wide"))], [image], "mixed")


def image() -> ov.Tensor:
    return ov.Tensor(np.random.default_rng(2).random((1, CHANNELS, SIZE, SIZE), np.float32))


def layer(type: str = "Convolution", kernel: str = "brgconv_avx512_I8", precision: str = "u8",
          time_us: float | None = 10.0) -> Layer:  # fmt: skip
    return Layer("one", type, kernel, precision, time_us)


def test_a_layer_left_in_f32_is_named_and_takes_its_share_of_the_time() -> None:
    compiled = graph.compile_model(mixed(), SETTINGS, profile=True)
    found = kernels.profiled(compiled.model, [image()], 50)
    computing = {layer.name: layer for layer in found if layer.computes}
    assert len(computing) == 3
    (wide,) = kernels.left_wide(found)
    assert "wide" in wide.name
    assert wide.precision == "f32"
    share = kernels.int8_share(found)
    assert share is not None
    assert 0 < share < 1
    assert share == pytest.approx(1 - wide.time_us / kernels.total_us(computing.values()))  # type: ignore[operator]
    assert compiled.kernels == {"u8": 2, "f32": 1}
    assert compiled.precision == "int8"


def test_the_layers_times_add_up_to_no_more_than_the_inferences_took() -> None:
    import time

    compiled = graph.compile_model(mixed(), SETTINGS, profile=True)
    start_ns = time.perf_counter_ns()
    found = kernels.profiled(compiled.model, [image()], 200)
    whole_us = (time.perf_counter_ns() - start_ns) / 200 / 1e3
    assert 0 < kernels.total_us(found) <= whole_us


def test_without_a_profile_there_are_layers_and_no_times() -> None:
    compiled = graph.compile_model(mixed(), SETTINGS)
    found = kernels.layers(compiled.model)
    assert [layer.time_us for layer in found if layer.computes] == [None] * 3
    assert not any(layer.type in ("Const", "Input", "Output") for layer in found)
    assert kernels.int8_share(found) is None


@pytest.mark.parametrize(
    ("kernel", "slow"),
    [
        ("ref_f32", True), ("ref_any_i32", True), ("gemm_avx512_f32", True), ("jit_gemm_f32", True),
        ("brgemm_avx512_I8", False), ("gemm_mlas_f32", False), ("gemm_acl_f32", False),
        ("brgconv_avx512_1x1_f32", False),
        ("reorder_brgemm_f32", False), ("jit_avx512_amx_I8", False),
    ],
)  # fmt: skip
def test_reference_and_plain_gemm_kernels_are_fallbacks_and_the_tuned_ones_are_not(
    kernel: str, slow: bool
) -> None:
    assert layer(kernel=kernel).falls_back is slow


@pytest.mark.parametrize(
    ("kernel", "stated", "computed"),
    [
        ("brgconv_avx2_f32", "f16", "f32"), ("brgemm_avx2_f32", "i8", "f32"), ("jit_f16", "f32", "f16"),
        ("brgconv_avx512_amx_1x1_bf16", "bf16", "bf16"), ("brgconv_avx512_I8", "u8", "u8"),
        ("brgconv_avx512_i8", "i8", "i8"), ("brgconv_avx512_I8", "f32", "i8"), ("ref_any", "f32", "f32"),
        ("unknown", "i8", "i8"),
    ],
)  # fmt: skip
def test_the_precision_is_the_kernels_not_that_of_stored_weights(
    kernel: str, stated: str, computed: str
) -> None:
    assert kernels.computed_in(kernel, stated) == computed


def test_a_model_stored_in_f16_computes_in_what_its_kernels_do(tmp_path: Path) -> None:
    value = image = ops.parameter([1, CHANNELS, SIZE, SIZE], np.float32)
    for name in ("first", "second"):
        value = convolution(value, False, name)
    model = ov.Model([ops.result(value)], [image])
    ov.save_model(model, tmp_path / "stored.xml")  # in f16, as it does unless told otherwise
    for hint in ("f32", *(["bf16"] if graph.has_bf16() else [])):
        config = {"INFERENCE_PRECISION_HINT": hint}
        compiled = ov.Core().compile_model(tmp_path / "stored.xml", "CPU", config)
        assert kernels.precisions(kernels.layers(compiled)) == {hint: 2}


def test_signed_and_unsigned_bytes_are_one_precision() -> None:
    assert kernels.dominant({"f32": 20, "u8": 17, "i8": 16}, "f32") == "int8"
    assert kernels.dominant({"f32": 20, "u8": 9, "bf16": 3}, "f32") == "f32"
    assert kernels.dominant({}, "bf16") == "bf16"
    assert kernels.precisions([layer(precision="i8"), layer(precision="u8")]) == {"i8": 1, "u8": 1}


def test_only_convolutions_and_products_count_for_the_share_of_int8() -> None:
    found = [layer(), layer(precision="f32", time_us=30.0), layer("Reorder", "jit_uni_I8", time_us=500.0)]
    assert kernels.int8_share(found) == 0.25
    assert kernels.precisions(found) == {"u8": 1, "f32": 1}
    assert kernels.fallbacks([layer(kernel="ref_f32", time_us=1.0), layer(kernel="ref_f32")])[0].time_us == 10
