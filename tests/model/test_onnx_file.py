"""The files that an ONNX model keeps its weights in."""

from pathlib import Path

import numpy as np
import pytest

from harness.model.onnx_file import external_files
from model.sample_onnx import external, message, node, tensor_attribute, write_numbers, write_sum


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch"])
def test_weights_in_another_file_are_found_wherever_the_model_holds_them(place: str, tmp_path: Path) -> None:
    import openvino as ov

    write_sum(tmp_path / "sum.onnx", "parts/all of.it", place)
    assert external_files(tmp_path / "sum.onnx") == [tmp_path / "parts" / "all of.it"]
    write_numbers(tmp_path / "parts" / "all of.it", 3)
    compiled = ov.Core().compile_model(tmp_path / "sum.onnx", "CPU")
    assert compiled([np.array([[0, 1, 2, 3]], np.float32)])[0].tolist() == [[3, 4, 5, 6]]


def test_weights_of_functions_and_sparse_tensors_are_found_each_file_once(tmp_path: Path) -> None:
    tensors = [external(str(number), 1, name) for number, name in enumerate("cabac")]
    function = message({7: [node("Constant", [], "w", {"value": tensor_attribute(tensors[0])})]})
    sparse = message({1: tensors[1], 2: tensors[2], 3: 4})
    graph = message({5: tensors[3:], 15: [sparse]})
    (tmp_path / "a.onnx").write_bytes(message({1: 8, 7: graph, 25: [function]}))
    assert external_files(tmp_path / "a.onnx") == [tmp_path / name for name in "abc"]


def test_a_tensor_that_lies_in_the_file_needs_no_other(tmp_path: Path) -> None:
    entry = message({1: "location", 2: "nowhere"})
    inside = message({1: 1, 2: 1, 8: "w", 9: b"\x00\x00\x80\x3f", 13: [entry]})
    (tmp_path / "a.onnx").write_bytes(message({1: 8, 7: message({5: [inside]})}))
    assert external_files(tmp_path / "a.onnx") == []


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x3a", b"\x3a\xff\xff", b"\x3a\x7f\x2a"])
def test_what_is_no_onnx_file_names_no_other(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    assert external_files(tmp_path / "a.onnx") == []


def test_a_file_that_was_cut_names_no_other(tmp_path: Path) -> None:
    write_sum(tmp_path / "sum.onnx", "weights")
    whole = (tmp_path / "sum.onnx").read_bytes()
    for size in range(len(whole) - 10):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        assert external_files(tmp_path / "cut.onnx") == []
