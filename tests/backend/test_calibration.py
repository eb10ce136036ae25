"""Quantization: which images, what is recorded, and that INT8 is faster and as good on real images."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from conftest import CLASSES, Oracle, grey_of, write_images
from model.test_card import MOBILENET
from openvino import opset13 as ops

from harness import files
from harness.backend import accuracy_control, calibration, calibration_list, graph
from harness.backend.calibration import CalibrationSettings
from harness.backend.calibration_list import NOT_OFFICIAL
from harness.backend.settings import CompileSettings
from harness.dataset.images import find_images
from harness.dataset.store import Store, prepare
from harness.errors import DataError, HarnessError, ModelError, OutputError
from harness.machine import system
from harness.model import file as model_file
from harness.model.card import Card, read_card
from harness.model.card_parts import FileSpec


def test_calibration_images_are_spread_over_the_whole_store(oracle: Oracle) -> None:
    indices = calibration_list.choose(oracle.store, 6, None)
    assert [index // 10 for index in indices] == [0, 1, 2, 3, 4, 5]
    assert calibration_list.choose(oracle.store, 6, None) == indices
    # The store goes round ten classes, and every tenth image would be of one.
    assert len({index % 10 for index in indices}) > 3
    assert calibration_list.choose(oracle.store, None, None) == list(range(60))


@pytest.mark.parametrize("count", [0, 61])
def test_more_samples_than_the_store_holds_are_refused(oracle: Oracle, count: int) -> None:
    with pytest.raises(DataError, match=f"--samples {count} cannot be drawn .*: give 1 to 60"):
        calibration_list.choose(oracle.store, count, None)


def test_a_list_chooses_its_images_in_its_order_and_a_second_column_is_ignored(
    oracle: Oracle, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("image_00007.png 0\nimage_00003.png 1\n")
    assert calibration_list.choose(oracle.store, None, listed) == [7, 3]


def test_mlperfs_list_finds_imagenet_under_other_file_names_and_is_recorded_as_such(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n01440764/ILSVRC2012_val_{number:08d}_n01440764.jpeg" for number in range(1, 61)]
    store = replace(oracle.store, names=tuple(names))
    listed = tmp_path / "list.txt"
    listed.write_text("ILSVRC2012_val_00000008.JPEG\nILSVRC2012_val_00000004.JPEG\n")
    indices = calibration_list.choose(store, None, listed)
    assert indices == [7, 3]
    digest = calibration_list.list_digest(listed.read_text().split())
    monkeypatch.setattr(calibration_list, "official_list", lambda names: list(names))
    record = calibration._record(oracle.card, store, indices, CalibrationSettings(), 0, None)
    assert record["list"]["official"] == listed.read_text().split()
    assert record["list"]["sha256"] == digest
    assert record["list"]["names"] == [names[7], names[3]]


@pytest.mark.parametrize(
    ("names", "line", "place"),
    [
        (("dog/1.jpg", "cat/2.jpg"), "bird/1.jpg", None),
        (("dog/1.jpg", "cat/1.jpg"), "1.jpg", None),
        (("1.jpg", "a/1.jpg"), "1.jpg", 0),
        (("dog/1.jpg", "cat/2.jpg"), "2.jpg", 1),
        (("dog/1.jpg", "golden retriever/1.jpg"), "golden retriever/1.jpg", 1),
        (("dog/1.jpg", "cat/1.jpg"), "train/cat/1.jpg 3", 1),
        (("a/dog/1.jpg", "b/dog/1.jpg"), "dog/1.jpg", None),
        (("val/ILSVRC2012_val_00000001.JPEG",), "n01/ILSVRC2012_val_00000001.JPEG 65", 0),
    ],
)
def test_a_list_finds_the_images_that_it_names_and_no_others(
    oracle: Oracle, tmp_path: Path, names: tuple[str, ...], line: str, place: int | None
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{line}\n")
    store = replace(oracle.store, names=names)
    if place is None:
        with pytest.raises(DataError, match=f"first {line}"):
            calibration_list.choose(store, None, listed)
    else:
        assert calibration_list.choose(store, None, listed) == [place]


def test_a_list_with_images_that_the_store_lacks_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("image_00007.png\nabsent.png\n")
    with pytest.raises(
        DataError, match=r"1 of the 2 images in .*list.txt are not in .*, first absent.png: name"
    ):
        calibration_list.choose(oracle.store, None, listed)


def test_mlperfs_lists_are_recognised_by_their_digest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 501)]
    assert calibration_list.official_list(names) is None
    official = "7662247d1d9407d6cb564268f64c5a4a6cf9f1a34fd2e6cdc3b94dcf278b3dc9"
    monkeypatch.setattr(calibration_list, "list_digest", lambda _: official)
    assert calibration_list.official_list(names) == (
        "MLPerf ImageNet calibration option 1 (cal_image_list_option_1.txt)"
    )


def convolutional_oracle(folder: Path, oracle: Oracle) -> Card:
    """Write a model with a convolution to quantize, which tells greys like the oracle."""
    pixels = ops.parameter([1, 16, 16, 3], np.uint8, name="pixels")
    value = ops.transpose(
        ops.divide(ops.convert(pixels, np.float32), np.float32(255)), np.array([0, 3, 1, 2])
    )
    weights = np.random.default_rng(0).uniform(0.05, 0.15, (16, 3, 3, 3)).astype(np.float32)
    value = ops.relu(ops.convolution(value, weights, [1, 1], [0, 0], [0, 0], [1, 1]))
    value = ops.reduce_mean(value, np.array([1, 2, 3]), False)
    # The model is linear in the grey: logits 2 c g - c^2 are highest for the centre c nearest to g.
    gain = float(weights.sum(axis=(1, 2, 3)).mean())
    centres = np.array([[(20 * label + 10) / 255 * gain for label in range(CLASSES)]], np.float32)
    logits = ops.subtract(ops.multiply(ops.reshape(value, np.array([-1, 1]), False), 2 * centres), centres**2)
    ov.save_model(ov.Model([ops.result(logits)], [pixels]), folder / "net.xml", compress_to_fp16=False)
    (folder / "net.toml").write_text(oracle.card_path.read_text().replace("oracle", "net"))
    return read_card(folder / "net.toml")


def test_quantization_writes_the_model_its_card_and_the_record(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    out = tmp_path / "made" / "net-int8.xml"
    made, record = calibration.quantize(card, oracle.store, [0, 1, 2, 3], CalibrationSettings(), out)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "net-int8.bin",
        "net-int8.calibration.json",
        "net-int8.toml",
        "net-int8.xml",
    ]
    assert read_card(out.with_suffix(".toml")) == made
    assert made.name == "net-int8"
    assert made.accuracy == card.accuracy
    record_path = out.with_suffix(".calibration.json")
    assert json.loads(record_path.read_text()) == record
    assert made.quantization["record_sha256"] == files.sha256_file(record_path)
    assert record["list"]["names"] == [f"image_{index:05d}.png" for index in range(4)]
    assert record["list"]["official"] == NOT_OFFICIAL
    assert record["model"]["sha256"] == model_file.sha256(card)
    compiled = graph.compile_model(graph.deployed(model_file.read(made), made), CompileSettings("LATENCY"))
    assert "FakeQuantize" in {node.get_type_name() for node in model_file.read(made).get_ops()}
    assert compiled.kernels


def test_accuracy_control_keeps_the_drop_and_validates_on_other_images(
    oracle: Oracle, tmp_path: Path
) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    settings = CalibrationSettings(max_drop=0.05)
    used = range(2, 22)
    made, record = calibration.quantize(card, oracle.store, list(used), settings, tmp_path / "q.xml")
    control = record["accuracy_control"]
    assert control["validation_count"] == 40
    # The oracle is wrong about the first two of the store.
    assert control["floating_point"] == 38 / 40
    held_out = [index for index in range(60) if index not in used]
    good = sum(label_of(made, oracle.store, index) == oracle.store.labels[index] for index in held_out)
    assert good / 40 >= control["floating_point"] - 0.05


def test_accuracy_control_takes_a_model_of_a_free_batch(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    model = model_file.read(card)
    model.reshape({model.input(0): [-1, *model.input(0).shape[1:]]})
    (tmp_path / "free").mkdir()
    ov.save_model(model, tmp_path / "free" / "free.xml", compress_to_fp16=False)
    free = replace(card, name="free", folder=tmp_path / "free", file=FileSpec(path="free.xml"))
    assert model_file.read(free).input(0).partial_shape.is_dynamic
    settings = CalibrationSettings(max_drop=0.05)
    _, record = calibration.quantize(free, oracle.store, list(range(20)), settings, tmp_path / "q.xml")
    assert record["accuracy_control"]["validation_count"] == 40


def test_nncf_is_told_the_true_hits_of_whichever_images_it_asks_for(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    told = {}

    def ranks_layers(model: ov.Model, _: Any, held_out: Any, accuracy: Any, **settings: Any) -> ov.Model:
        compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for places in ([0], [1, 2, 37], [5, 17], None):
            told[str(places)] = accuracy(compiled, held_out.get_data(places))
        compiled([next(iter(held_out.get_inference_data([17])))])
        return model

    with calibration._nncf("a model") as nncf:
        monkeypatch.setattr(nncf, "quantize_with_accuracy_control", ranks_layers)
    settings = CalibrationSettings(max_drop=0.05)
    _, record = calibration.quantize(card, oracle.store, range(2, 22), settings, tmp_path / "q.xml")
    # Held out are 0 and 1, which the oracle is wrong about, and 22 to 59.
    assert told == {
        "[0]": (0.0, [0.0]),
        "[1, 2, 37]": (2 / 3, [0.0, 1.0, 1.0]),
        "[5, 17]": (1.0, [1.0, 1.0]),
        "None": (38 / 40, [0.0, 0.0, *[1.0] * 38]),
    }
    assert record["accuracy_control"]["floating_point"] == 38 / 40


def test_the_drop_is_measured_on_all_classes_of_a_store_that_is_sorted_by_class(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [index // 6 for index in range(60)]
    write_images(tmp_path / "images", labels, labels)
    card = convolutional_oracle(tmp_path, oracle)
    images = find_images(tmp_path / "images", CLASSES)
    store = prepare(images, card.input.recipe, tmp_path / "store", "custom")
    judged: list[int] = []

    def looks(model: ov.Model, _: Any, held_out: Any, accuracy: Any, **settings: Any) -> ov.Model:
        judged.extend(int(store.labels[index]) for index, _ in held_out.get_data())
        accuracy(ov.compile_model(model, "CPU"), held_out.get_data())
        return model

    with calibration._nncf("a model") as nncf:
        monkeypatch.setattr(nncf, "quantize_with_accuracy_control", looks)
    monkeypatch.setattr(accuracy_control, "VALIDATION_SAMPLES", CLASSES)
    settings = CalibrationSettings(max_drop=0.05)
    _, record = calibration.quantize(card, store, range(0, 60, 6), settings, tmp_path / "q.xml")
    assert judged == list(range(CLASSES))
    assert record["accuracy_control"]["validation_count"] == CLASSES


def label_of(card: Card, store: Store, index: int) -> int:
    pixels = store.samples(card.input.recipe)[index : index + 1]
    compiled = ov.Core().compile_model(graph.deployed(model_file.read(card), card), "CPU")
    return int(compiled([pixels])[0][0, 0])


@pytest.mark.parametrize(
    ("indices", "settings", "out", "error", "message"),
    [
        ([0], CalibrationSettings(), "net.onnx", OutputError, "must end in .xml"),
        ([0], CalibrationSettings(), "net.xml", OutputError, "exists already"),
        (
            range(60),
            CalibrationSettings(max_drop=0.1),
            "q.xml",
            DataError,
            "none is left to measure the drop",
        ),
    ],
)
def test_requests_that_cannot_be_carried_out_leave_nothing_behind(
    oracle: Oracle,
    tmp_path: Path,
    indices: list[int],
    settings: CalibrationSettings,
    out: str,
    error: type[HarnessError],
    message: str,
) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        calibration.quantize(card, oracle.store, indices, settings, tmp_path / out)
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_came_quantized_is_quantized_anew_for_this_cpu(
    shared_data: Path, mobilenet: tuple[Card, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its weights have a zero of their own, so that OpenVINO computes nearly all of it in floating point.
    shutil.copy(shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite", tmp_path)
    (tmp_path / "card.toml").write_text(MOBILENET)
    card = read_card(tmp_path / "card.toml")
    _, store = mobilenet
    chosen = calibration_list.choose(store, 60, None)
    made, record = calibration.quantize(card, store, chosen, CalibrationSettings(), tmp_path / "int8.xml")
    assert record["replaced_quantizers"] == 66
    assert f"The 66 quantizers that {card.name} brings along give way to NNCF's." in capsys.readouterr().err
    came, _, right_before = on_one_core(card, store)
    anew, _, right = on_one_core(made, store)
    assert came.kernels["f32"] > 40
    assert set(anew.kernels) <= {"u8", "i8"}
    assert right >= right_before - 0.015


def on_one_core(card: Card, store: Store) -> tuple[graph.Compiled, Any, float]:
    """Return the compiled model, a request of it, and the share of the store's images that it gets right."""
    compiled = graph.compile_model(
        graph.deployed(model_file.read(card), card), CompileSettings("LATENCY", threads=1)
    )
    request, samples = compiled.model.create_infer_request(), store.samples(card.input.recipe)
    labels = [int(request.infer([samples[index : index + 1]])[0][0, 0]) for index in range(store.count)]
    return compiled, request, float(np.mean(labels == store.labels))


def test_a_model_that_was_made_here_is_not_quantized_again(oracle: Oracle, tmp_path: Path) -> None:
    made = replace(oracle.card, quantization={"original": "oracle", "original_sha256": "cd"})
    with pytest.raises(HarnessError, match="already: give the one that it was made from, oracle"):
        calibration.quantize(made, oracle.store, [0], CalibrationSettings(), tmp_path / "int8.xml")
    assert list(tmp_path.iterdir()) == []
    # Facts of one's own are no reason.
    own = replace(oracle.card, quantization={"method": "trained with it"})
    _, record = calibration.quantize(own, oracle.store, [0], CalibrationSettings(), tmp_path / "int8.xml")
    assert record["replaced_quantizers"] == 0


def quantized_elsewhere(card: Card, folder: Path, how: str) -> Card:
    """Return the card of a model that NNCF, or an export of quantizing and scaling back, has quantized."""
    model = model_file.read(card)
    (pixels,) = model.get_parameters()
    if how == "nncf":
        images = [np.full((1, 16, 16, 3), grey_of(label), np.uint8) for label in range(CLASSES)]
        model = calibration.quantize_uncorrected(model, images)
    else:
        whole = [node for node in model.get_ordered_ops() if node.get_type_name() == "Relu"]
        for node in whole:
            targets = list(node.output(0).get_target_inputs())
            rounded = ops.fake_quantize(node, *map(np.float32, (0, 6, 0, 255)), 256)
            back = ops.multiply(ops.convert(ops.convert(rounded, np.uint8), np.float32), np.float32(6 / 255))
            for target in targets:
                target.replace_source_output(back.output(0))
        model = ov.Model(model.get_results(), [pixels])
    ov.save_model(model, folder / "elsewhere.xml", compress_to_fp16=False)
    return replace(card, file=replace(card.file, path="elsewhere.xml"))


@pytest.mark.parametrize("how", ["nncf", "qdq"])
def test_a_model_that_was_quantized_elsewhere_is_recognised_by_its_graph(
    how: str, oracle: Oracle, tmp_path: Path
) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    came = quantized_elsewhere(card, tmp_path, how)
    with pytest.raises(
        HarnessError, match=r"'net' is quantized already, in \d+ places of its graph: give the"
    ):
        calibration.quantize(came, oracle.store, [0, 1], CalibrationSettings(), tmp_path / "int8.xml")
    assert not (tmp_path / "int8.xml").exists()
    assert calibration.stands_for_itself(came)
    assert not calibration.stands_for_itself(card)


def test_a_model_of_another_fixed_batch_is_quantized(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    eight = model_file.read(card)
    eight.reshape([8, 16, 16, 3])
    ov.save_model(eight, tmp_path / "eight.xml", compress_to_fp16=False)
    labels = []
    for path in ("net.xml", "eight.xml"):
        given = replace(card, file=replace(card.file, path=path))
        out = tmp_path / f"int8-{path}"
        made, _ = calibration.quantize(given, oracle.store, range(10), CalibrationSettings(), out)
        labels.append([label_of(made, oracle.store, index) for index in range(10)])
    assert labels[0] == labels[1]


def test_a_model_that_takes_f16_is_quantized(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    inner = model_file.read(card)
    image = ops.parameter([1, 16, 16, 3], np.float16)
    (pixels,) = inner.get_parameters()
    for target in list(pixels.output(0).get_target_inputs()):
        target.replace_source_output(ops.convert(image, np.uint8).output(0))
    half = ov.Model(inner.get_results(), [image])
    ov.save_model(half, tmp_path / "half.xml", compress_to_fp16=False)
    takes = replace(
        card, file=replace(card.file, path="half.xml"), input=replace(card.input, element_type="f16")
    )
    settings = CalibrationSettings(max_drop=0.05)
    made, _ = calibration.quantize(takes, oracle.store, range(30), settings, tmp_path / "int8.xml")
    assert made.input.element_type == "f16"
    assert [label_of(made, oracle.store, index) for index in range(4, 10)] == list(range(4, 10))


def test_a_calibration_image_with_a_score_that_is_nan_is_refused(
    new_oracle: Callable[..., Oracle], tmp_path: Path
) -> None:
    broken = new_oracle(count=20, nan_grey=grey_of(7))
    with pytest.raises(ModelError, match=r"Model 'oracle' gives a score that is not a number \(NaN\)"):
        calibration.quantize(
            broken.card, broken.store, range(10), CalibrationSettings(), tmp_path / "int8.xml"
        )
    assert not (tmp_path / "int8.xml").exists()


def test_what_nncf_raises_is_one_sentence(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    with pytest.raises(
        ModelError, match=r"NNCF \S+ cannot quantize model 'net' \(ValidationError: "
    ) as first:
        calibration.quantize(card, oracle.store, [], CalibrationSettings(), tmp_path / "int8.xml")
    model = model_file.read(card)
    with pytest.raises(ModelError, match=r"cannot quantize .* \(RuntimeError: .*incompatible\)") as second:
        calibration.quantize_uncorrected(model, [np.zeros((1, 8, 8, 3), np.uint8)])
    for caught in (first, second):
        assert "\n" not in str(caught.value)


def test_a_transformer_is_quantized_as_nncf_does_transformers(oracle: Oracle, tmp_path: Path) -> None:
    card = convolutional_oracle(tmp_path, oracle)
    settings = CalibrationSettings(model_type="transformer")
    made, record = calibration.quantize(card, oracle.store, range(10), settings, tmp_path / "int8.xml")
    assert record["model_type"] == "transformer"
    facts = model_file.read(made).get_rt_info(["nncf", "quantization", "model_type"])
    assert facts.astype(str) == "transformer"


def test_two_processes_do_not_make_one_model(oracle: Oracle, tmp_path: Path) -> None:
    with (
        files.locked(tmp_path / ".int8.lock", OutputError("busy")),
        pytest.raises(OutputError, match=r"Another process is at work on .*int8\.xml: wait for it"),
    ):
        calibration.quantize(oracle.card, oracle.store, [0], CalibrationSettings(), tmp_path / "int8.xml")
    assert list(tmp_path.iterdir()) == []


def test_int8_keeps_the_accuracy_on_real_images_and_is_faster_on_one_core(
    mobilenet: tuple[Card, Store], tmp_path: Path
) -> None:
    card, store = mobilenet
    made, _ = calibration.quantize(
        card, store, calibration_list.choose(store, 60, None), CalibrationSettings(), tmp_path / "int8.xml"
    )
    requests, accuracy = {}, {}
    for variant in (card, made):
        compiled, requests[variant.name], accuracy[variant.name] = on_one_core(variant, store)
    assert abs(accuracy[card.name] - accuracy[made.name]) <= 0.010
    assert set(compiled.kernels) <= {"u8", "i8"}
    assert sum(compiled.kernels.values()) == 53  # 17 of them depthwise; the classifier is one
    # Runs of each, as Single-Stream has them: in turns of one they would empty each other's caches. A busy
    # neighbour only ever slows an inference down, so the fastest counts; it may stay busy for some seconds.
    fastest = dict.fromkeys(requests, float("inf"))
    # Without products of 8-bit numbers a CPU gains less.
    least = 1.8 if set(system.INT8_DOT) & set(system.describe().isa or ()) else 1.0
    for turn in range(200):
        for name, request in requests.items():
            for _ in range(30):
                start = time.perf_counter()
                request.infer(share_outputs=True)
                fastest[name] = min(fastest[name], time.perf_counter() - start)
        if turn >= 10 and fastest[card.name] / fastest[made.name] >= least:
            break
    assert fastest[card.name] / fastest[made.name] >= least


def test_what_was_not_quantized_in_the_usual_way_says_so_in_its_name() -> None:
    ways = {
        "": calibration.USUAL,
        "-performance": CalibrationSettings(preset="performance"),
        "-accurate-drop0.01": CalibrationSettings(bias_correction="accurate", max_drop=0.01),
    }
    assert {name: way.suffix for name, way in ways.items()} == {name: name for name in ways}
    record = {"preset": "mixed", "bias_correction": "accurate", "accuracy_control": {"max_drop": 0.01}}
    assert [way.made(record) for way in ways.values()] == [False, False, True]
    assert calibration.USUAL.made(record | {"bias_correction": "fast", "accuracy_control": None})
