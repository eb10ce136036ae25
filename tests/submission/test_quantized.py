"""Quantized models: what Closed allows, and the calibration document."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from conftest import oracle_model

from harness import files
from harness.backend.calibration_list import NOT_OFFICIAL
from harness.errors import HarnessError
from harness.model import file as model_file
from harness.model.card import CARD_NAME, FileSpec, find_card, write_card
from harness.run import result
from harness.submission import compliance, documentation
from harness.submission.eligibility import calibration_record
from harness.submission.results import collect

from .conftest import Results

LIST = "MLPerf ImageNet calibration option 1 (cal_image_list_option_1.txt)"


def record(**changes: Any) -> dict[str, Any]:
    """Return a calibration record as `harness quantize` writes it."""
    return {
        "format": 1,
        "model": {"name": "resnet50-mlperf", "sha256": model_file.sha256(find_card("resnet50-mlperf"))},
        "algorithm": "NNCF post-training quantization",
        "preset": "mixed",
        "bias_correction": "fast",
        "accuracy_control": None,
        "data": {
            "dataset": "imagenet",
            "recipe": {"size": 224, "resize": "area", "crop_fraction": 0.875},
            "pixels_sha256": "0" * 64,
        },
        "list": {"official": LIST, "count": 500, "sha256": "1" * 64, "names": []},
        "versions": {"nncf": "3.4.0", "openvino": "2026.4.1"},
        **changes,
    }


def quantized(results: Results, folder: Path, written: dict[str, Any]) -> Results:
    """Return the results as those of a quantized model with this calibration record."""
    folder.mkdir()
    ov.save_model(oracle_model(), folder / "int8.xml")
    files.write_json(folder / "int8.calibration.json", written)
    card = replace(
        find_card("resnet50-mlperf"),
        name="resnet50-mlperf-int8",
        file=FileSpec(path="int8.xml"),
        quantization={
            "record": "int8.calibration.json",
            "record_sha256": files.sha256_file(folder / "int8.calibration.json"),
            "original": "resnet50-mlperf",
            "original_sha256": written["model"]["sha256"],
            "list": written["list"]["official"],
        },
        folder=folder,
    )
    write_card(card, folder / "int8.toml")
    facts = {"name": card.name, "sha256": model_file.sha256(card), "quantization": card.quantization}
    for path in sorted(results.folder.rglob("result.json")):
        results.edit(path.parent.name, lambda document: document["model"].update(facts))
        for test in path.parent.glob("TEST*"):
            result.write_identity(test / compliance.TESTED, result.read(path).identity)
    old = results.scenario("Offline").parent
    old.rename(old.with_name(card.name))
    return Results(results.folder, folder / "int8.toml", results.description)


def test_closed_takes_the_reference_quantized_with_mlperfs_list(
    closed_results: Results, tmp_path: Path
) -> None:
    results = quantized(closed_results, tmp_path / "model", record())
    results.submit(tmp_path / "tree", "closed")
    home = tmp_path / "tree" / "closed" / "Us"
    text = (home / "documentation" / "calibration.md").read_text()
    assert "## resnet50-mlperf-int8" in text
    assert f"collected on 500 images of 'imagenet': {LIST}" in text
    measurements = json.loads(next(home.rglob("Offline/measurements.json")).read_text())
    assert measurements["weight_data_types"] == "int8"
    assert measurements["starting_weights_filename"] == "resnet50_v1.onnx"
    assert measurements["input_data_types"] == "uint8"
    assert {path.name for path in (home / "src" / "resnet50").iterdir()} == {
        "card.toml",
        "int8.bin",
        "int8.calibration.json",
        "int8.xml",
    }


@pytest.mark.parametrize(
    ("original", "said"),
    [
        ("resnet50-torchvision", "resnet50-0676ba61.pth"),
        ("resnet50-seeded", "resnet50-seeded"),
        ("one-of-ones-own", "one-of-ones-own"),
    ],
)
def test_the_starting_weights_are_the_originals_file_where_its_name_is_known(
    closed_results: Results, original: str, said: str
) -> None:
    found, _ = collect(closed_results.folder)
    card = replace(find_card("resnet50-mlperf"), quantization={"original": original})
    assert documentation.measurements(found[0], card)["starting_weights_filename"] == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "list": {
                    "official": NOT_OFFICIAL,
                    "count": 500,
                    "sha256": "1" * 64,
                    "names": [],
                }
            },
            "was not calibrated on one of MLPerf's lists",
        ),
        (
            {"model": {"name": "resnet50-mlperf", "sha256": "2" * 64}},
            "was quantized from another file than that of resnet50-mlperf",
        ),
    ],
)
def test_closed_refuses_another_calibration(
    closed_results: Results, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    results = quantized(closed_results, tmp_path / "model", record(**changes))
    with pytest.raises(HarnessError) as caught:
        results.submit(tmp_path / "tree", "closed")
    assert said in str(caught.value)


def test_a_card_that_names_no_calibration_record_is_refused() -> None:
    card = replace(find_card("resnet50-mlperf"), quantization={"original": "resnet50-mlperf"})
    with pytest.raises(HarnessError, match=r"names no calibration record .*: quantize the model with"):
        calibration_record(card)


def test_a_changed_calibration_record_is_refused(closed_results: Results, tmp_path: Path) -> None:
    results = quantized(closed_results, tmp_path / "model", record())
    path = tmp_path / "model" / "int8.calibration.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(HarnessError, match="was changed: quantize the model again"):
        results.submit(tmp_path / "tree", "closed")


CONTROL = {"max_drop": 0.005, "validation_count": 5000, "floating_point": 0.7646}


def test_closed_takes_no_model_whose_layers_were_chosen_by_images_outside_the_list(
    closed_results: Results, tmp_path: Path
) -> None:
    results = quantized(closed_results, tmp_path / "model", record(accuracy_control=CONTROL))
    with pytest.raises(HarnessError, match="made with --max-drop, which chose its layers by images outside"):
        results.submit(tmp_path / "tree", "closed")


def test_open_takes_a_model_that_somebody_else_quantized_and_says_so(
    open_results: Results, tmp_path: Path
) -> None:
    table = {"method": "trained with it", "record": {"epochs": 3}}
    card = replace(find_card(str(open_results.card)), quantization=table)
    copy = model_file.copied(card, card.name, tmp_path / "model")
    for path in open_results.folder.rglob("result.json"):
        open_results.edit(path.parent.name, lambda document: document["model"].update(quantization=table))
    open_results.submit(tmp_path / "tree", models=[str(copy.folder / CARD_NAME)])
    home = tmp_path / "tree" / "open" / "Us"
    before = "uantized to int8 before the harness was given it"
    text = (home / "documentation" / "calibration.md").read_text()
    assert f"Q{before}, which knows nothing of its calibration." in text
    stated = json.loads(next(home.rglob("Offline/measurements.json")).read_text())
    assert stated["weight_data_types"] == "int8"
    assert stated["weight_transformations"].startswith(f"q{before}; ")
    assert find_card(str(home / "src" / card.name / CARD_NAME)).quantization == table


def test_accuracy_control_and_model_type_are_documented(closed_results: Results) -> None:
    written = record(accuracy_control=CONTROL, model_type="transformer")
    text = documentation.calibration({"resnet50-mlperf-int8": written}, ())
    assert "the accuracy on 5000 held-out images was within 0.005 of the original's 0.7646" in text
    assert "NNCF's model type is 'transformer'." in text
