import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from harness import typed
from harness.dataset.recipe import Recipe
from harness.errors import CardError
from harness.mlperf.benchmark import BENCHMARKS
from harness.model.card import Card, InputSpec, doubts, find_card, read_card, shipped_cards, write_card
from harness.model.card_parts import CLASS_MAPS
from harness.run.document import Model

MOBILENET = """\
name = "mobilenet_v2"
benchmark = "resnet50"
[file]
path = "mobilenet_v2_1.0_224_quant.tflite"
[input]
size = 224
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "area"
crop_fraction = 0.875
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
kind = "probabilities"
classes = 1001
label_offset = -1
[accuracy]
metric = "top1"
reference = 0.718
target_fraction = 0.99
"""
PATH = 'path = "mobilenet_v2_1.0_224_quant.tflite"'
URL = 'url = "https://example.org/a.onnx"'
SHA256 = 'sha256 = "' + "0" * 64 + '"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "card.toml"
    target.write_text(MOBILENET)
    return target


def test_the_card_of_the_documentation_works_as_written(path: Path) -> None:
    card = read_card(path)

    assert card.name == "mobilenet_v2"
    assert card.path == path.parent / "mobilenet_v2_1.0_224_quant.tflite"
    assert card.classifier.labels == 1000
    assert card.accuracy is not None
    assert card.accuracy.target == pytest.approx(0.71082)
    assert card.input.recipe.key == "area-224-0.875"
    assert card.speed_only is False


def test_a_written_card_is_read_back_the_same(path: Path, tmp_path: Path) -> None:
    card = replace(
        read_card(path),
        description='quotes " and \\ and\ttabs, ümläuts, \x7f',
        training={"epochs": 3, "rate": 1e-5, "augmented": True, "images per class": [10, 20]},
        quantization={"record": {"path": "calibration.json", "versions": {"nncf": "3.4"}}, "dropped": None},
    )

    write_card(card, tmp_path / "written.toml")

    wanted = replace(card, quantization={"record": card.quantization["record"]})
    assert read_card(tmp_path / "written.toml") == wanted


@pytest.mark.parametrize("name", shipped_cards())
def test_every_shipped_card_is_sound_and_survives_writing(name: str, tmp_path: Path) -> None:
    card = find_card(name)

    write_card(card, tmp_path / "card.toml")

    assert card.name == name
    assert card.description
    assert replace(read_card(tmp_path / "card.toml"), folder=card.folder) == card


def test_the_reference_models_are_shipped() -> None:
    assert {f"resnet50-{kind}" for kind in ("mlperf", "torchvision", "huggingface", "seeded")} <= set(
        shipped_cards()
    )


def test_the_target_of_mlperfs_own_model_is_that_of_the_rules() -> None:
    card = find_card("resnet50-mlperf")

    assert card.accuracy is not None
    assert card.accuracy.target == BENCHMARKS["resnet50"].target_accuracy


def test_seeded_weights_are_for_speed_only() -> None:
    card = find_card("resnet50-seeded")

    assert card.speed_only
    assert card.accuracy is None


def test_a_card_is_found_by_its_path(path: Path) -> None:
    assert find_card(str(path)) == read_card(path)


def test_an_unknown_model_brings_the_nearest_name() -> None:
    with pytest.raises(CardError, match=r"'resnet50-sceded' is not known.* Did you mean 'resnet50-seeded'\?"):
        find_card("resnet50-sceded")


def test_a_model_like_no_other_brings_the_known_names() -> None:
    with pytest.raises(CardError, match=r"Known: .*resnet50-mlperf"):
        find_card("qqq")


def test_a_missing_card_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"No model card at .*gone\.toml"):
        find_card(str(tmp_path / "gone.toml"))


def test_a_folder_is_no_card(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="Cannot read the model card"):
        find_card(str(tmp_path))


@pytest.mark.parametrize("text", [b"\xff\xfe\x00binary", b"name = \n", b"[file\n"])
def test_a_file_that_is_not_toml_is_named(path: Path, text: bytes) -> None:
    path.write_bytes(text)

    with pytest.raises(CardError, match=r"card\.toml"):
        read_card(path)


BROKEN = {
    "missing key": ("classes = 1001\n", "", "'output.classes' is missing"),
    "missing table": (
        '[output]\nkind = "probabilities"\nclasses = 1001\nlabel_offset = -1\n',
        "",
        "'output' is missing",
    ),
    "misspelt key": ("layout", "layuot", "Unknown key 'input.layuot'.* Did you mean 'layout'"),
    "unknown table": ("[accuracy]", "[accurracy]", "Unknown key 'accurracy'.* Did you mean 'accuracy'"),
    "text for a number": ("size = 224", 'size = "224"', "'input.size'.* must be a whole number"),
    "fraction for a count": ("classes = 1001", "classes = 1001.5", "'output.classes'.* whole number"),
    "truth for a number": ("size = 224", "size = true", "'input.size'.* whole number"),
    "number for a text": ('layout = "NHWC"', "layout = 4", "'input.layout'.* must be a text"),
    "two means": ("mean = [0.0, 0.0, 0.0]", "mean = [0.0, 0.0]", "'input.mean'.* list of 3 numbers"),
    "not a list": ("mean = [0.0, 0.0, 0.0]", "mean = 0.0", "'input.mean'.* list of 3 numbers"),
    "infinite mean": ("mean = [0.0, 0.0, 0.0]", "mean = [inf, 0.0, 0.0]", "'input.mean'"),
    "not a table": (f"[file]\n{PATH}\n", 'file = "a.onnx"\n', "'file'.* must be a table"),
    "a date": ("[accuracy]", "[quantization]\nmade = 2026-11-26\n[accuracy]", "'quantization.made'.* a text"),
    "a date within": (
        "[accuracy]",
        "[training]\nat = [{on = 2026-11-26}]\n[accuracy]",
        "'training.at.on'.* a text",
    ),
    "unusable name": ('name = "mobilenet_v2"', 'name = "../up"', "'name' is '../up'"),
    "unknown benchmark": ('benchmark = "resnet50"', 'benchmark = "resnet5"', "Did you mean 'resnet50'"),
    "unknown layout": ('"NHWC"', '"NHCW"', "'input.layout'.* Did you mean 'NHWC'"),
    "unknown type": ('"u8"', '"i8"', "'input.element_type'"),
    "unknown channels": ('"RGB"', '"RBG"', "'input.channels'.* Did you mean 'RGB'"),
    "unknown resize": ('"area"', '"aera"', "'input.resize'.* Did you mean 'area'"),
    "unknown kind": ('"probabilities"', '"probs"', "'output.kind'"),
    "unknown metric": ('"top1"', '"top5"', "'accuracy.metric'.* Did you mean 'top1'"),
    "no size": ("size = 224", "size = 0", "'input.size'"),
    "crop above one": ("crop_fraction = 0.875", "crop_fraction = 87.5", "'input.crop_fraction'"),
    "no crop": ("crop_fraction = 0.875\n", "", r"\[input\] needs 'crop_fraction', or 'resize_to'"),
    "two crops": ("crop_fraction", "resize_to = 256\ncrop_fraction", r"\[input\] has both 'crop_fraction'"),
    "short side below the size": ("crop_fraction = 0.875", "resize_to = 200", "'input.resize_to' must lie"),
    "short side as a fraction": ("crop_fraction = 0.875", "resize_to = 256.5", "'input.resize_to'.* whole"),
    "squash without resize": (
        'resize = "area"',
        'resize = "none"\nsquash = true',
        "'input.resize' is 'none', so 'squash'",
    ),
    "zero scale": ("scale = [1.0, 1.0, 1.0]", "scale = [1.0, 0, 1.0]", "'input.scale'"),
    "nan scale": ("scale = [1.0, 1.0, 1.0]", "scale = [1.0, nan, 1.0]", "'input.scale'"),
    "normalised bytes": ("mean = [0.0, 0.0, 0.0]", "mean = [1, 2, 3]", "'input.mean'.* u8"),
    "one class": ("classes = 1001", "classes = 1", "'output.classes'"),
    "offset eats all": ("label_offset = -1", "label_offset = -1001", "'output.label_offset'"),
    "per cent": ("reference = 0.718", "reference = 71.8", "'accuracy.reference'"),
    "target above one": ("target_fraction = 0.99", "target_fraction = 99", "'accuracy.target_fraction'"),
    "speed only with accuracy": ('name = "m', 'speed_only = true\nname = "m', "speed_only"),
    "no source": (PATH, "", r"\[file\] needs a path or a url"),
    "two sources": (PATH, f"{PATH}\n{URL}\n{SHA256}", r"\[file\] names both"),
    "url without digest": (PATH, URL, r"\[file\] has a url but no sha256"),
    "url of a folder": (PATH, f'url = "https://example.org/"\n{SHA256}', "'file.url'"),
    "url of a local file": (PATH, f'url = "file:///etc/passwd"\n{SHA256}', "'file.url'"),
    "url of an IR": (PATH, f'url = "https://example.org/a.xml"\n{SHA256}', "'file.url' is an IR"),
    "short sha256": (PATH, f'{PATH}\nsha256 = "abc"', "'file.sha256' must be 64"),
    "md5 of wrong digits": (PATH, f'{PATH}\nmd5 = "{"g" * 32}"', "'file.md5' must be 32"),
    "weights without builder": (PATH, f'{PATH}\nweights = "torchvision"', r"\[file\] has weights"),
    "seed without builder": (PATH, f"{PATH}\nseed = 1", r"\[file\] has weights or a seed"),
    "unknown builder": (PATH, 'builder = "resnet50"\nseed = 1', "'file.builder'.* Did you mean"),
    "unknown weights": (PATH, f'builder = "resnet50_v1.5"\nweights = "timm"\n{PATH}', "'file.weights'"),
    "builder alone": (PATH, 'builder = "resnet50_v1.5"', r"\[file\] with a builder needs either"),
    "seed beside a path": (PATH, f'builder = "resnet50_v1.5"\nseed = 1\n{PATH}', "needs either a seed"),
    "seed beside weights": (PATH, 'builder = "resnet50_v1.5"\nseed = 1\nweights = "torchvision"', "either"),
    "negative seed": (PATH, 'builder = "resnet50_v1.5"\nseed = -1', "'file.seed'"),
    "seed called trained": (PATH, 'builder = "resnet50_v1.5"\nseed = 1', "speed_only = true"),
}


@pytest.mark.parametrize(("old", "new", "fault"), BROKEN.values(), ids=BROKEN)
def test_a_broken_card_is_refused_by_key_and_file(path: Path, old: str, new: str, fault: str) -> None:
    assert old in MOBILENET
    path.write_text(MOBILENET.replace(old, new, 1))

    with pytest.raises(CardError, match=fault) as caught:
        read_card(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "recipe"),
    [
        ("resize_to = 272", Recipe(240, "area", resize_to=272)),
        ("crop_fraction = 1\nsquash = true", Recipe(240, "area", 1.0, squash=True)),
        ("crop_fraction = 0.9\ncrop_first = true", Recipe(240, "area", 0.9, crop_first=True)),
        ("resize_to = 256\nexif_rotation = false", Recipe(240, "area", resize_to=256, exif_rotation=False)),
        ('fit = "stretch"', Recipe(240, "area", fit="stretch")),
        (
            'fit = "letterbox"\nplace = "top-left"\nborder = 114\nrounding = "round"',
            Recipe(240, "area", fit="letterbox", place="top-left", border=114, rounding="round"),
        ),
    ],
)
def test_a_card_says_how_its_images_are_cut(path: Path, tmp_path: Path, lines: str, recipe: Recipe) -> None:
    text = MOBILENET.replace("size = 224", "size = 240").replace("crop_fraction = 0.875", lines)
    path.write_text(text)
    card = read_card(path)
    assert card.input.recipe == recipe
    write_card(card, tmp_path / "written.toml")
    assert read_card(tmp_path / "written.toml").input == card.input
    assert InputSpec.of(recipe, "NHWC", "u8", "RGB", card.input.mean, card.input.scale) == card.input


def test_a_card_without_the_new_keys_says_what_it_said(path: Path, tmp_path: Path) -> None:
    card = read_card(path)
    assert list(card.input.to_dict()) == [
        *("size", "layout", "element_type", "channels", "resize", "crop_fraction", "mean", "scale", "tensor")
    ]
    write_card(card, tmp_path / "written.toml")
    assert "squash" not in (tmp_path / "written.toml").read_text()


@pytest.mark.parametrize(
    ("mean", "accuracy", "told"),
    [
        ("[0.485, 0.456, 0.406]", False, True),
        ("[0.5, 0.5, 1.0]", False, True),
        ("[0.485, 0.456, 0.406]", True, False),
        ("[0.0, 0.0, 0.0]", False, False),
        ("[123.675, 116.28, 103.53]", False, False),
    ],
)
def test_means_of_pixels_up_to_1_are_doubted_where_no_accuracy_would_tell(
    path: Path, mean: str, accuracy: bool, told: bool
) -> None:
    text = MOBILENET.replace('"u8"', '"f32"').replace("mean = [0.0, 0.0, 0.0]", f"mean = {mean}")
    path.write_text(text if accuracy else text.partition("[accuracy]")[0])
    found = doubts(read_card(path))
    assert bool(found) == told
    assert all("is one of pixels 0..1, but 'input.mean' and 'input.scale' are of" in one for one in found)


def test_a_value_that_toml_lacks_is_a_bug_and_not_written(path: Path, tmp_path: Path) -> None:
    card: Card = replace(read_card(path), training={"when": object()})

    with pytest.raises(TypeError, match="not TOML serializable"):
        write_card(card, tmp_path / "written.toml")

    assert not (tmp_path / "written.toml").exists()


def test_a_models_path_is_relative_to_its_card(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "card.toml"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())

    assert read_card(copy).path == copy.parent / "mobilenet_v2_1.0_224_quant.tflite"


@pytest.mark.parametrize("name", ["resnet50-mlperf", "builtin-resnet50"])
def test_a_command_names_a_card_by_what_finds_it_again(name: str, tmp_path: Path) -> None:
    shipped = find_card(name)
    assert shipped.named == name

    mine = tmp_path / name / "card.toml"
    mine.parent.mkdir()
    write_card(shipped, mine)
    assert read_card(mine).named == str(mine), "a shipped card's name and the usual file name make none of it"

    odd = tmp_path / "my cards.toml"
    write_card(replace(shipped, name="mine"), odd)
    (word,) = shlex.split(read_card(odd).named)
    assert find_card(word).name == "mine"


DETECTOR = """\
name = "nanodet_m"
task = "detection"
benchmark = "yolo"
[file]
path = "nanodet_m.onnx"
[input]
size = 416
layout = "NCHW"
element_type = "f32"
channels = "BGR"
resize = "linear"
fit = "warp"
mean = [103.53, 116.28, 123.675]
scale = [57.375, 57.12, 58.395]
[output]
decoder = "nanodet"
classes = 80
class_map = "coco80to91"
score_threshold = 0.05
iou_threshold = 0.6
max_detections = 100
"""


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    target = tmp_path / "detector.toml"
    target.write_text(DETECTOR)
    return target


def test_a_detectors_card_says_how_its_tensors_become_boxes(detector: Path, tmp_path: Path) -> None:
    card = read_card(detector)
    assert card.detector is card.output
    assert card.detector.categories[:1] + card.detector.categories[-1:] == (1, 90)
    assert len(card.detector.categories) == 80
    write_card(card, tmp_path / "written.toml")
    assert read_card(tmp_path / "written.toml") == card
    with pytest.raises(CardError, match="'nanodet_m' is for detection: give one for classification"):
        _ = card.classifier


@pytest.mark.parametrize(
    ("line", "categories"),
    [("", (1, 2, 3)), ("class_map = [7, 0, 12]\n", (7, 0, 12))],
)
def test_the_categories_of_a_detectors_classes_count_from_1_or_are_listed(
    detector: Path, line: str, categories: tuple[int, ...]
) -> None:
    detector.write_text(
        DETECTOR.replace("classes = 80", "classes = 3").replace('class_map = "coco80to91"\n', line)
    )
    assert read_card(detector).detector.categories == categories


def test_the_named_class_map_is_that_of_cocos_own_file(shared_data: Path) -> None:
    file = shared_data / "coco-tiny" / "annotations" / "instances_val2017.json"
    categories = json.loads(file.read_text(encoding="utf-8"))["categories"]
    assert CLASS_MAPS["coco80to91"] == tuple(sorted(one["id"] for one in categories))


def test_a_model_that_suppresses_itself_states_no_iou(detector: Path) -> None:
    text = DETECTOR.replace("iou_threshold = 0.6\n", "").replace('"nanodet"\nc', '"boxes-labels-scores"\nc')
    detector.write_text(text)
    assert read_card(detector).detector.iou_threshold is None


BROKEN_DETECTOR = {
    "unknown task": ('"detection"', '"detecting"', "'task'.* Did you mean 'detection'"),
    "task that is no text": ('task = "detection"', "task = 1", "'task'.* must be a text, not 1"),
    "benchmark of another task": ('"yolo"', '"resnet50"', "'benchmark' is 'resnet50', for classification"),
    "a classifier's key": ("classes = 80", 'classes = 80\nkind = "logits"', "'output.kind' is for classific"),
    "no task": (
        'task = "detection"\n',
        "",
        "'output.decoder' is for detection, and 'task' is",
    ),
    "only the number of classes": (
        DETECTOR.partition("[output]")[2],
        "\nclasses = 80\n",
        "'output.decoder' is missing",
    ),
    "misspelt key": (
        "max_detections",
        "max_detection",
        "'output.max_detection'.* mean 'max_detections'",
    ),
    "unknown decoder": ('"nanodet"\nc', '"nanodets"\nc', "'output.decoder'.* Did you mean 'nanodet'"),
    "score above 1": ("score_threshold = 0.05", "score_threshold = 5", "'output.score_threshold' must lie"),
    "no overlap": ("iou_threshold = 0.6", "iou_threshold = 0", "'output.iou_threshold' must lie"),
    "overlap forgotten": ("iou_threshold = 0.6\n", "", "'output.iou_threshold' is missing"),
    "nothing wanted": ("max_detections = 100", "max_detections = 0", "'output.max_detections'"),
    "unknown class map": ("coco80to91", "coco80", "'output.class_map'.* Did you mean 'coco80to91'"),
    "class map of other classes": ("classes = 80", "classes = 79", "80 category ids for 79 classes"),
    "a category twice": ('"coco80to91"', str([*range(79), 3]), "'output.class_map' has a category id more"),
    "a category that no answer holds": ('"coco80to91"', str([*range(79), 2**25]), "must lie between 0 and"),
    "a category as text": ('"coco80to91"', '[1, "two"]', r"'output.class_map\[1\]'.* must be a whole number"),
    "no classes": ("classes = 80", "classes = 0", "'output.classes' must be at least 1"),
    "unknown fit": ('"warp"', '"wrap"', "'input.fit'.* Did you mean 'warp'"),
    "unknown place": ('"warp"', '"warp"\nplace = "center"', "'input.place'.* Did you mean 'centre'"),
    "border above a byte": ('"warp"', '"warp"\nborder = 256', "'input.border' must lie between 0 and 255"),
    "crop of what is warped": ('"warp"', '"warp"\ncrop_fraction = 1', "'input.crop_fraction' cannot apply"),
    "warp of whole pixels": ('"warp"', '"warp"\nrounding = "round"', "'input.rounding' cannot apply"),
    "warp by areas": ('"linear"', '"area"', "'input.resize' .*is 'area'.* Known: cubic, linear, nearest"),
    "letterbox without resize": (
        '"linear"\nfit = "warp"',
        '"none"\nfit = "letterbox"',
        "so 'input.fit'",
    ),
    "unknown rounding": ('"warp"', '"letterbox"\nrounding = "up"', "'input.rounding'"),
    "strides out of order": (
        "classes",
        "strides = [32, 16, 8]\nclasses",
        "'output.strides'.* first",
    ),
    "shares of cells": (
        "classes",
        'boxes = "shares"\nclasses',
        "'output.boxes' cannot be 'shares' with the decoder 'nanodet', which computes pixels, in ",
    ),
    "stride of nothing": ("classes", "strides = [0, 8]\nclasses", "'output.strides'.* above 0"),
}


@pytest.mark.parametrize(("old", "new", "fault"), BROKEN_DETECTOR.values(), ids=BROKEN_DETECTOR)
def test_a_broken_card_of_a_detector_is_refused_by_key_and_file(
    detector: Path, old: str, new: str, fault: str
) -> None:
    assert old in DETECTOR
    detector.write_text(DETECTOR.replace(old, new, 1))
    with pytest.raises(CardError, match=fault) as caught:
        read_card(detector)
    assert str(detector) in str(caught.value)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_what_a_model_gives_is_the_same_after_a_result_held_it(path: Path, detector: Path, task: str) -> None:
    card = read_card(path if task == "classification" else detector)
    said = Model("m", "0" * 64, "", None, card.input, card.output)
    written = json.loads(json.dumps(typed.unstructure(said)))
    assert typed.structure(written, Model) == said
