"""`harness prepare` from the command line: its outputs, exit codes and one-sentence faults."""

import json
import shlex
import sys

import pytest
from click.testing import CliRunner
from sample_images import write_images

from harness import cli
from harness.dataset.store import open_store

CARD = """
name = "tiny"
benchmark = "resnet50"
[file]
path = "tiny.onnx"
[input]
size = 32
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "area"
crop_fraction = 0.875
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
kind = "probabilities"
classes = 11
label_offset = -1
"""


@pytest.fixture
def harness(tmp_path, monkeypatch, capsys):
    """Return a function that runs `harness prepare` on 40 images and gives (exit code, stdout, stderr)."""
    images = write_images(tmp_path / "images", 40)
    (tmp_path / "tiny.toml").write_text(CARD)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, dataset="imagenet", model="tiny.toml", folder="images"):
        fixed = ["--dataset", dataset, "--images", folder, "--model", model, "--out", "store"]
        monkeypatch.setattr(sys, "argv", ["harness", "prepare", *fixed, *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as ending:
            code = ending.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    run.images = images  # type: ignore[attr-defined]
    return run


def test_it_makes_a_store_and_says_what_is_in_it(harness):
    code, out, err = harness()
    assert code == 0
    assert out.startswith("store: 40 images, recipe area-32-0.875, 122.9 kB, sha256 ")
    assert "Preparing area-32-0.875" in err
    assert "Not for submission: the store store holds 40 images, where imagenet has 50,000." in err


def test_json_stands_alone_on_stdout(harness):
    code, out, _ = harness("--json", "--workers", "1")
    document = json.loads(out)
    assert code == 0
    assert (document["count"], document["recipe"], document["missing"]) == (40, "area-32-0.875", [])
    assert document["bytes"] == 122_880
    assert document["not_submittable"]


def test_a_second_call_has_nothing_to_do(harness):
    _, first, _ = harness()
    code, out, err = harness()
    assert (code, out) == (0, first)
    assert "already" in err
    assert "Preparing" not in err


def test_labels_come_from_the_file_that_is_given(harness, tmp_path):
    (tmp_path / "mine.txt").write_text("image_00003.JPEG 9\nimage_00001.JPEG 2\n")
    code, _, _ = harness("--labels", "mine.txt")
    assert code == 0
    assert (tmp_path / "store" / "val_map.txt").read_text() == "image_00003.JPEG 9\nimage_00001.JPEG 2\n"


def test_missing_images_stop_it_unless_allowed(harness, tmp_path):
    (tmp_path / "images" / "image_00007.JPEG").unlink()
    code, out, err = harness()
    assert (code, out) == (2, "")
    assert "harness: 1 of 40 images in images cannot be used (image_00007.JPEG does not exist): " in err
    assert not (tmp_path / "store" / "manifest.json").exists()
    code, out, err = harness("--allow-missing", "--json")
    assert code == 0
    assert json.loads(out)["missing"] == ["image_00007.JPEG"]
    code, _, err = harness("--allow-missing")
    assert "Not for submission: the store store lacks 1 of the listed images" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "imagnet"}, "Data set 'imagnet' is not known. Did you mean 'imagenet'?"),
        ({"model": "resnet50-sedeed"}, "Did you mean 'resnet50-seeded'?"),
        ({"folder": "nowhere"}, "No image folder at nowhere: check --images."),
    ],
)
def test_a_fault_in_the_request_is_one_sentence_and_exit_code_2(harness, tmp_path, changes, message):
    code, out, err = harness(**changes)
    assert (code, out) == (2, "")
    assert err.startswith("harness: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "store").exists()


def test_labels_that_the_model_does_not_have_are_refused(harness, tmp_path):
    (tmp_path / "images" / "val_map.txt").write_text("image_00001.JPEG 10\n")
    code, _, err = harness()
    assert code == 2
    assert "Line 1 of images/val_map.txt has label 10, but the model's labels are 0 to 9" in err


def test_no_workers_at_all_is_a_usage_error(harness):
    code, _, err = harness("--workers", "0")
    assert code == 2
    assert "--workers" in err


def test_another_size_than_the_models_is_another_recipe(harness):
    assert harness()[0] == 0
    code, out, _ = harness("--size", "24")
    assert code == 0
    assert out.startswith("store: 40 images, recipe area-24-0.875, ")
    assert harness("--size", "0")[0] == 2


def test_another_size_of_a_model_that_names_its_short_side_keeps_the_share_of_the_image(harness, tmp_path):
    (tmp_path / "short.toml").write_text(CARD.replace("crop_fraction = 0.875", "resize_to = 36"))
    code, out, _ = harness("--size", "48", model="short.toml")
    assert code == 0
    assert out.startswith("store: 40 images, recipe area-48-to54, ")


def test_the_command_that_a_store_names_adds_the_samples_though_labels_were_given(harness, tmp_path):
    (tmp_path / "images" / "val_map.txt").rename(tmp_path / "labels.txt")
    assert harness("--labels", "labels.txt")[0] == 0
    words = shlex.split(open_store(tmp_path / "store").adding("tiny.toml", 24))
    assert words[:2] == ["harness", "prepare"]
    done = CliRunner().invoke(cli.cli, words[1:], catch_exceptions=False)
    assert done.exit_code == 0
    assert "recipe area-24-0.875" in done.output


def test_a_store_of_names_with_blanks_names_a_command_that_works(harness, tmp_path):
    images = tmp_path / "images"
    listed = (images / "val_map.txt").read_text().splitlines()
    (images / "val_map.txt").unlink()
    for line in listed:
        name, label = line.split()
        folder = images / f"class {int(label):02}"
        folder.mkdir(exist_ok=True)
        (images / name).rename(folder / name)
    assert harness(dataset="custom")[0] == 0
    words = shlex.split(open_store(tmp_path / "store").adding("tiny.toml", 24))
    done = CliRunner().invoke(cli.cli, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


DETECTOR = (
    CARD.partition("[output]")[0]
    .replace('"resnet50"', '"yolo"\ntask = "detection"')
    .replace("crop_fraction = 0.875", 'fit = "letterbox"')
    + """
[output]
decoder = "yolox"
classes = 2
score_threshold = 0.01
iou_threshold = 0.65
max_detections = 100
"""
)


@pytest.fixture
def detector(harness, tmp_path):
    """Return the card of a detector, and write annotations of the first three of the 40 images."""
    (tmp_path / "detector.toml").write_text(DETECTOR)
    images = [
        {"id": k, "file_name": name, "width": 80, "height": 60, "license": k}
        for k, name in enumerate(harness.images.names[:3])
    ]
    box = {"id": 1, "image_id": 0, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    licences = [{"id": k, "url": f"http://creativecommons.org/licenses/by{k * '-nc'}/2.0/"} for k in range(3)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": [box], "categories": categories, "licenses": licences}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    return "detector.toml"


def test_a_detectors_images_are_prepared_with_their_boxes(harness, detector):
    code, out, err = harness("--annotations", "boxes.json", dataset="coco", model=detector)
    assert code == 0
    assert out.startswith("store: 3 images, recipe area-32-letterbox-0, 9.2 kB, sha256 ")
    assert "Not for submission: the store store holds 3 images, where coco has 1,525." in err


def test_images_are_left_out_for_their_licence(harness, detector):
    arguments = ("--annotations", "boxes.json", "--mlperf-licences", "--json")
    code, out, err = harness(*arguments, dataset="coco", model=detector)
    assert code == 0
    assert json.loads(out)["count"] == 1
    assert "Left out for their licence: 2 of 3 images." in err


@pytest.mark.parametrize(
    ("arguments", "dataset", "fault"),
    [
        ((), "coco", "Model 'tiny' is for detection: give the boxes in the images with --annotations"),
        (("--mlperf-licences",), "coco", "give the boxes in the images with --annotations"),
        (("--annotations", "boxes.json", "--labels", "images/val_map.txt"), "coco", "and no --labels."),
        (("--annotations", "gone.json"), "coco", "No annotations at gone.json"),
        (("--annotations", "boxes.json"), "cooc", "Did you mean 'coco'?"),
    ],
)
def test_what_a_detector_lacks_is_said_in_a_sentence(harness, detector, arguments, dataset, fault):
    code, _, err = harness(*arguments, dataset=dataset, model=detector)
    assert code == 2
    assert fault in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "dataset"),
    [((), "coco"), (("--annotations", "boxes.json"), "custom"), (("--mlperf-licences",), "custom")],
)
def test_boxes_are_not_for_a_classifier(harness, detector, arguments, dataset):
    code, _, err = harness(*arguments, dataset=dataset)
    assert code == 2
    assert "Model 'tiny' is for classification, and boxes are for detectors: give another --model" in err


def test_boxes_of_a_category_that_the_card_lacks_are_refused(harness, detector, tmp_path):
    (tmp_path / detector).write_text(DETECTOR.replace("classes = 2", "classes = 1"))
    code, _, err = harness("--annotations", "boxes.json", dataset="coco", model=detector)
    assert code == 2
    assert "boxes.json has 1 boxes of categories that model 'tiny' does not know (2 dog): correct" in err
