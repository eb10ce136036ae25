"""Images with boxes in COCO's format: what of a file is taken, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import encoded, pattern

from harness.dataset import coco, store
from harness.dataset.coco import AnnotatedImages
from harness.dataset.form import Form
from harness.dataset.images import find_images
from harness.dataset.recipe import Recipe
from harness.dataset.store import open_store, prepare
from harness.errors import DataError

RECIPE = Recipe(64, "linear", fit="letterbox", border=114)
SIZES = {"c.jpg": (80, 60), "a.jpg": (60, 100), "deep/b.png": (90, 90), "d.jpg": (70, 50)}
URLS = {1: "http://creativecommons.org/licenses/by-nc/2.0/", 4: "http://creativecommons.org/licenses/by/2.0/"}


def document() -> dict[str, Any]:
    """Return annotations of images in no order: two boxes on the first, a crowd, no box on the last."""
    images = [
        {"id": 90 - k, "file_name": name, "width": width, "height": height, "license": (1, 4)[k % 2]}
        for k, (name, (width, height)) in enumerate(SIZES.items())
    ]
    boxes = [
        {"id": 7, "image_id": 90, "category_id": 3, "bbox": [1, 2, 30.5, 20], "area": 400.5, "iscrowd": 0},
        {"id": 9, "image_id": 89, "category_id": 5, "bbox": [0, 0, 60, 100], "area": 6000, "iscrowd": 1},
        {"id": 8, "image_id": 90, "category_id": 5, "bbox": [4, 4, 0, 9], "area": 0, "iscrowd": 0},
        {"id": 5, "image_id": 88, "category_id": 3, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0},
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 7, "name": "cow"}]
    licences = [{"id": number, "url": url} for number, url in URLS.items()]
    return {"images": images, "annotations": boxes, "categories": categories, "licenses": licences}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, document())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for k, (name, (width, height)) in enumerate(SIZES.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.endswith("png") else "JPEG"
        (root / name).write_bytes(encoded(pattern(height, width, k), kind))
    return root


def written(folder: Path, content: object) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def found(root: Path, file: Path, mlperf_licences: bool = False) -> AnnotatedImages:
    return coco.find_annotated(root, coco.read(file), mlperf_licences)


def test_a_store_keeps_order_ids_sizes_and_the_boxes_as_they_were(
    tmp_path: Path, images: Path, file: Path
) -> None:
    prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    made = open_store(tmp_path / "store")
    assert made.form is Form.BOXES
    assert made.names == tuple(SIZES)
    assert made.image_ids == (90, 89, 88, 87)
    assert made.sizes.tolist() == [list(size) for size in SIZES.values()]
    assert made.truth_file is not None
    assert json.loads(made.truth_file.read_text()) == document()
    assert made.manifest.labels == 2
    for index, name in enumerate(made.names):
        sample = RECIPE.read((images / name).read_bytes(), name)
        assert np.array_equal(made.samples(RECIPE)[index], sample)


def test_labels_are_not_asked_of_boxes_nor_boxes_of_labels(tmp_path: Path, images: Path, file: Path) -> None:
    boxes = prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    with pytest.raises(DataError, match="were prepared for detection, not for classification: use a store"):
        _ = boxes.labels
    (images / "val_map.txt").write_text("c.jpg 0\n")
    labelled = find_images(images, 2)
    labels = prepare(labelled, RECIPE, tmp_path / "labels", "custom")
    assert labels.truth_file is None
    with pytest.raises(DataError, match="were prepared for classification, not for detection: use a store"):
        _ = labels.image_ids
    with pytest.raises(
        DataError, match="prepared for detection, and this model is for classification: choose"
    ):
        prepare(labelled, RECIPE, tmp_path / "store", "custom")


def test_an_interrupted_call_is_taken_up_and_ends_with_the_same_bytes(
    tmp_path: Path, images: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_list", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    prepare(found(images, file), RECIPE, tmp_path / "whole", "custom")
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "store" / path.name).read_bytes() == path.read_bytes()


def test_another_recipe_is_added_with_the_stores_own_boxes_too(
    tmp_path: Path, images: Path, file: Path
) -> None:
    prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    warp = Recipe(48, "linear", fit="warp")
    own = tmp_path / "store" / coco.ANNOTATIONS
    made = prepare(found(images, own), warp, tmp_path / "store", "custom")
    assert made.recipes.keys() == {RECIPE.key, warp.key}


def test_images_that_are_left_out_leave_no_boxes(tmp_path: Path, images: Path, file: Path) -> None:
    (images / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 images .* \(c\.jpg does not exist\): restore them, or give"):
        prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    made = prepare(found(images, file), RECIPE, tmp_path / "store", "custom", allow_missing=True)
    assert made.image_ids == (89, 88, 87)
    assert [(one.name, one.label) for one in made.missing] == [("c.jpg", 90)]
    assert made.truth_file is not None
    kept = json.loads(made.truth_file.read_text())
    assert [one["id"] for one in kept["images"]] == [89, 88, 87]
    assert [one["id"] for one in kept["annotations"]] == [9, 5]
    own = tmp_path / "store" / coco.ANNOTATIONS
    assert (
        len(prepare(found(images, own), Recipe(48, "linear", fit="warp"), made.path, "custom").recipes) == 2
    )


def test_other_boxes_for_the_same_images_are_another_store(tmp_path: Path, images: Path, file: Path) -> None:
    made = prepare(found(images, file), RECIPE, tmp_path / "store", "custom")
    other = document()
    other["annotations"][0]["bbox"][0] = 2
    with pytest.raises(DataError, match="holds another list of images, labels or boxes"):
        prepare(found(images, written(tmp_path, other)), RECIPE, tmp_path / "store", "custom")
    beside = prepare(found(images, file), RECIPE, tmp_path / "beside", "custom")
    there = prepare(found(images, written(tmp_path, document())), RECIPE, tmp_path / "there", "custom")
    assert made.manifest.list_sha256 == there.manifest.list_sha256 != beside.manifest.list_sha256


@pytest.mark.parametrize("name", [coco.ANNOTATIONS, "images.txt"])
def test_a_store_whose_truth_was_changed_is_not_opened(
    tmp_path: Path, images: Path, file: Path, name: str
) -> None:
    path = prepare(found(images, file), RECIPE, tmp_path / "store", "custom").path / name
    text = path.read_text()
    path.write_text(text.replace("90", "91"))
    with pytest.raises(DataError, match=r"images\.txt or .*annotations\.json was changed"):
        open_store(path.parent)
    path.unlink()
    with pytest.raises(DataError, match=rf"{name}.* cannot be read"):
        open_store(path.parent)


def test_boxes_of_a_file_without_crowds_areas_and_numbers_get_them(tmp_path: Path, images: Path) -> None:
    bare = document()
    for box in bare["annotations"]:
        del box["area"], box["iscrowd"]
        box["id"] = 0
    made = prepare(found(images, written(tmp_path, bare)), RECIPE, tmp_path / "store", "custom")
    assert made.truth_file is not None
    boxes = json.loads(made.truth_file.read_text())["annotations"]
    assert [(box["id"], box["iscrowd"], box["area"]) for box in boxes] == [
        (1, 0, 610.0),
        (2, 0, 6000),
        (3, 0, 0),
        (4, 0, 100),
    ]
    again = prepare(found(images, made.truth_file), Recipe(48, "linear", fit="warp"), made.path, "custom")
    assert len(again.recipes) == 2


def test_images_are_chosen_by_their_licence_in_the_order_of_the_file(images: Path, file: Path) -> None:
    chosen = found(images, file, mlperf_licences=True)
    assert chosen.names == ("a.jpg", "d.jpg")
    assert chosen.remarks == ("Left out for their licence: 2 of 4 images.",)


def test_cocos_own_images_go_through_as_they_stand_in_its_file(tmp_path: Path, shared_data: Path) -> None:
    root = shared_data / "coco-tiny"
    file = root / "annotations" / "instances_val2017.json"
    given = json.loads(file.read_text(encoding="utf-8"))
    made = prepare(found(root / "val2017", file), RECIPE, tmp_path / "store", "coco")
    assert made.image_ids == tuple(one["id"] for one in given["images"])
    assert made.sizes.tolist() == [[one["width"], one["height"]] for one in given["images"]]
    assert made.truth_file is not None
    for box in given["annotations"]:
        del box["segmentation"]
    assert json.loads(made.truth_file.read_text()) == given
    allowed = found(root / "val2017", file, mlperf_licences=True)
    # Attribution, also with ShareAlike or NoDerivs; none is of the US or of Flickr's Commons.
    assert [one[0] for one in allowed.numbers] == [
        one["id"] for one in given["images"] if one["license"] in (4, 5, 6)
    ]
    assert len(allowed.names) == 23


def changed(key: str, place: int, **values: object) -> dict[str, Any]:
    content = document()
    content[key][place] |= values
    return content


def without(*path: Any) -> dict[str, Any]:
    content = inner = document()
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return content


REFUSED = {
    "a list": ([], "no file of boxes in COCO's format .*must be a table"),
    "results": ({"images": 5}, "no file of boxes in COCO's format .*has no 'annotations'"),
    "no categories": (without("categories"), "has no 'categories'"),
    "an image without an id": (without("images", 1, "id"), r"'images\[1\]' has no 'id'"),
    "an image without a width": (without("images", 0, "width"), r"'images\[0\]' has no 'width'"),
    "a width of nothing": (changed("images", 2, width=0), r"'images\[2\]' has the size 0x90"),
    "an id as text": (changed("images", 0, id="90"), r"'images\[0\]\.id' must be a whole number, not '90'"),
    "an id twice": (changed("images", 0, id=88), r"several images with the id 88: keep one of each"),
    "a name twice": (changed("images", 0, file_name="d.jpg"), r"several images with the file_name d\.jpg"),
    "a box of no image": (changed("annotations", 3, image_id=4), r"1 boxes of images .* not list \(id 4\)"),
    "a box of no category": (changed("annotations", 2, category_id=6), r"boxes of categories .*\(id 6\)"),
    "a box of three numbers": (
        changed("annotations", 1, bbox=[1, 2, 3]),
        r"'annotations\[1\]\.bbox' must be a list of 4 numbers",
    ),
    "a box that is no number": (
        changed("annotations", 1, bbox=[1, 2, 3, float("nan")]),
        r"'annotations\[1\]\.bbox' must be a number, not nan",
    ),
    "half a crowd": (changed("annotations", 0, iscrowd=2), r"'annotations\[0\]' has the iscrowd 2"),
}


@pytest.mark.parametrize(("content", "fault"), REFUSED.values(), ids=REFUSED)
def test_a_file_of_boxes_that_contradicts_itself_is_refused_by_the_place(
    tmp_path: Path, content: object, fault: str
) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        coco.read(written(tmp_path, content))
    assert "instances.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No annotations at .*none\.json: check --annotations"):
        coco.read(tmp_path / "none.json")
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "broken.json").write_bytes(content)
        with pytest.raises(DataError, match=r"Cannot read the annotations .*broken\.json"):
            coco.read(tmp_path / "broken.json")


def test_a_file_without_images_or_a_missing_folder_is_refused(
    tmp_path: Path, images: Path, file: Path
) -> None:
    with pytest.raises(DataError, match=r"No image folder at .*nowhere: check --images"):
        found(tmp_path / "nowhere", file)
    with pytest.raises(DataError, match="lists no images"):
        found(images, written(tmp_path, {"images": [], "annotations": [], "categories": []}))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (without("licenses"), "does not say the licence of 4 of its 4 images"),
        (without("images", 1, "license"), r"does not say the licence of 1 of its 4 images \(a\.jpg\)"),
        (changed("images", 1, license=77), r"does not say the licence of 1 of its 4 images \(a\.jpg\)"),
        (changed("licenses", 1, url="https://example.org"), "None of the 4 images .* that MLPerf allows"),
    ],
)
def test_a_choice_by_licence_needs_licences(
    tmp_path: Path, images: Path, content: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        found(images, written(tmp_path, content), mlperf_licences=True)


def test_an_image_of_another_size_than_its_boxes_were_drawn_on_is_refused(
    tmp_path: Path, images: Path, file: Path
) -> None:
    (images / "c.jpg").write_bytes(encoded(pattern(80, 60)))
    with pytest.raises(DataError, match=r"c\.jpg is 60x80, not 80x60 as its annotations say"):
        prepare(found(images, file), RECIPE, tmp_path / "store", "custom")


def test_boxes_that_a_model_can_never_find_are_refused(file: Path) -> None:
    annotations = coco.read(file)
    annotations.require_classes({3, 5}, "m")
    with pytest.raises(DataError, match=r"has 2 boxes of categories that model 'm' .* \(5 dog\): correct"):
        annotations.require_classes({3, 7}, "m")
