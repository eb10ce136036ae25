"""Image lists from every source of labels, and each way such a source can be wrong."""

import os
from pathlib import Path

import pytest
from PIL import Image
from sample_images import REAL, needs_real_images, pattern

from harness.dataset.images import (
    count_classes,
    find_images,
    is_in_official_order,
    require_known,
    require_same_classes,
)
from harness.dataset.recipe import Recipe
from harness.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def listed(images):
    return list(zip(images.names, images.labels, strict=True))


def test_val_map_in_the_folder_gives_names_and_labels_in_its_order(tmp_path):
    (tmp_path / "val_map.txt").write_text("b.JPEG 65\na.JPEG 970\n\n")
    images = find_images(tmp_path, 1000)
    assert listed(images) == [("b.JPEG", 65), ("a.JPEG", 970)]
    assert images.root == tmp_path


def test_a_label_file_elsewhere_wins_over_the_folders_own(tmp_path):
    (tmp_path / "val_map.txt").write_text("b.JPEG 65\n")
    other = tmp_path / "other" / "labels.txt"
    touch(tmp_path, "other/labels.txt")
    other.write_text("c.JPEG 1\n")
    assert listed(find_images(tmp_path, 1000, other)) == [("c.JPEG", 1)]


@pytest.mark.parametrize("name", ["my holiday 2.JPEG", "Straße/ümläut.jpg", "100%.png", "tab\there.png"])
def test_odd_names_are_kept(tmp_path, name):
    (tmp_path / "val_map.txt").write_text(f"{name}  7\nplain.JPEG\t8\r\n", encoding="utf-8")
    assert listed(find_images(tmp_path, 10)) == [(name, 7), ("plain.JPEG", 8)]


def test_a_byte_order_mark_and_names_that_are_not_utf8_are_taken(tmp_path):
    (tmp_path / "val_map.txt").write_bytes(b"\xef\xbb\xbfa.JPEG 1\nb\xff.JPEG 2\n")
    assert find_images(tmp_path, 10).names == ("a.JPEG", "b\udcff.JPEG")


def test_class_folders_are_labelled_by_rank(tmp_path):
    touch(
        tmp_path,
        "ship/10.jpg",
        "ship/2.JPG",
        "ship/notes.txt",
        "cat/1.png",
        "cat/deep/3.jpeg",
        ".cache/x.jpg",
    )
    assert listed(find_images(tmp_path, 2)) == [
        ("cat/1.png", 0),
        ("cat/deep/3.jpeg", 0),
        ("ship/10.jpg", 1),
        ("ship/2.JPG", 1),
    ]


def test_another_number_of_class_folders_than_labels_is_refused(tmp_path):
    touch(tmp_path, "cat/1.png", "ship/10.jpg")
    with pytest.raises(
        DataError, match=r"holds 2 class folders, but the model has 10 labels: give .* --labels\.$"
    ):
        find_images(tmp_path, 10)


VAL = "ILSVRC2012_val_0000000"
KAGGLE = (
    f"ImageId,PredictionString\n{VAL}3,n02 1 2 3 4 n02 5 6 7 8\n{VAL}1,n01 9 9 9 9 \n{VAL}2,n02 1 1 1 1 \n"
)


def test_kaggles_file_ranks_the_wordnet_ids_and_its_images_stand_in_the_order_of_mlperfs_list(tmp_path):
    (tmp_path / "LOC_val_solution.csv").write_text(KAGGLE)
    assert listed(find_images(tmp_path, 2)) == [(f"{VAL}1.JPEG", 0), (f"{VAL}2.JPEG", 1), (f"{VAL}3.JPEG", 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"{VAL}1.JPEG", f"{VAL}2.JPEG"),
        (f"{VAL}1_n01751748.JPEG", f"{VAL}2_n01440764.JPEG"),
        (f"{VAL}1.jpeg", f"{VAL}2.JPG"),
        (f"{VAL}1.JPEG".lower(), f"{VAL}2_n01440764.JPEG"),
    ],
)
def test_validation_images_in_class_folders_stand_in_the_order_of_mlperfs_list(tmp_path, first, second):
    touch(tmp_path, f"n01/{second}", f"n02/{first}")
    assert listed(find_images(tmp_path, 2)) == [(f"n02/{first}", 1), (f"n01/{second}", 0)]
    touch(tmp_path, "n01/another.JPEG")
    assert find_images(tmp_path, 2).names[-1] == f"n02/{first}"
    assert is_in_official_order([first, second])
    assert not is_in_official_order([f"n01/{second}", f"n02/{first}"])


def test_a_list_of_ones_own_keeps_its_order_and_is_not_in_mlperfs(tmp_path):
    (tmp_path / "val_map.txt").write_text(f"{VAL}2_n01440764.JPEG 0\n{VAL}1_n01751748.JPEG 65\n")
    names = find_images(tmp_path, 1000).names
    assert names == (f"{VAL}2_n01440764.JPEG", f"{VAL}1_n01751748.JPEG")
    assert not is_in_official_order(names)


@pytest.mark.parametrize("second", [f"{VAL}2.JPEG", f"{VAL}2_n01751748.JPEG"])
def test_listed_images_may_lie_in_class_folders(tmp_path, second):
    touch(tmp_path, f"n01440764/{VAL}1.JPEG", f"n01751748/{second}", "n01440764/a.jpg", "n01751748/a.jpg")
    path = tmp_path / "val_map.txt"
    path.write_text(f"{VAL}1.JPEG 65\n{VAL}2.JPEG 0\n{VAL}3.JPEG 0\na.jpg 0\n")
    images = find_images(tmp_path, 1000)
    wanted = [(f"n01440764/{VAL}1.JPEG", 65), (f"n01751748/{second}", 0)]
    assert listed(images) == [*wanted, (f"{VAL}3.JPEG", 0), ("a.jpg", 0)]
    assert is_in_official_order(images.names[:3])
    (said,) = images.remarks
    assert said.startswith("The listed images are taken from the class folders in ")
    path.rename(tmp_path / "LOC_val_solution.csv").write_text(
        f"ImageId,PredictionString\n{VAL}2,n01751748 1 2 3 4\n{VAL}1,n01440764 1 2 3 4\n"
    )
    assert listed(find_images(tmp_path, 2)) == [(f"n01440764/{VAL}1.JPEG", 0), (f"n01751748/{second}", 1)]
    touch(tmp_path, f"{VAL}1.JPEG")
    assert find_images(tmp_path, 2).names == (f"{VAL}1.JPEG", f"{VAL}2.JPEG"), "not from copies elsewhere"


def test_kaggles_file_may_be_given_by_path(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "loc.csv").write_text(KAGGLE)
    assert len(find_images(tmp_path / "images", 2, tmp_path / "loc.csv").names) == 3


def test_kaggles_file_with_another_number_of_classes_is_refused(tmp_path):
    (tmp_path / "LOC_val_solution.csv").write_text(KAGGLE)
    with pytest.raises(DataError, match=r"names 2 classes, but the model has 1000 labels: give a file of"):
        find_images(tmp_path, 1000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ImageId,PredictionString\nval_1\n", r"Line 2 of .*loc\.csv has no image id and class"),
        ("ImageId,PredictionString\nval_1,\n", r"Line 2 of .*loc\.csv has no image id and class"),
        ("ImageId,PredictionString\na,n1 1\na,n2 1\n", r"Lines 2 and 3 of .* both list 'a\.JPEG'"),
        ("name,label\na,1\n", r"does not begin with 'ImageId,PredictionString'"),
        ("", r"does not begin with 'ImageId,PredictionString'"),
    ],
)
def test_a_broken_kaggle_file_is_refused(tmp_path, content, message):
    (tmp_path / "loc.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        find_images(tmp_path, 2, tmp_path / "loc.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.JPEG 1\nb.JPEG 1000\n", r"Line 2 of .*val_map\.txt has label 1000, but .* 0 to 999"),
        ("a.JPEG -1\n", r"Line 1 of .*val_map\.txt has label -1"),
        ("a.JPEG\n", r"Line 1 of .* is not '<image name> <label>' but 'a\.JPEG': correct it"),
        ("12\n", r"Line 1 of .* is not '<image name> <label>' but '12'"),
        ("a.JPEG 1.0\n", r"Line 1 of .* is not '<image name> <label>'"),
        ("a.JPEG n01440764\n", r"Line 1 of .* is not '<image name> <label>'"),
        ("a.JPEG 1\nb.JPEG 2\na.JPEG 1\n", r"Lines 1 and 3 of .* both list 'a\.JPEG': remove one"),
        ("\n \n", r"val_map\.txt lists no images"),
    ],
)
def test_a_broken_val_map_is_refused(tmp_path, content, message):
    (tmp_path / "val_map.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        find_images(tmp_path, 1000)


def test_images_without_labels_are_refused_with_the_ways_out(tmp_path):
    touch(tmp_path, "a.JPEG", "b.JPEG")
    with pytest.raises(
        DataError, match=r"No labels for the images in .*: put val_map\.txt .* --labels FILE\.$"
    ):
        find_images(tmp_path, 1000)


def test_class_folders_without_images_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="lists no images"):
        find_images(tmp_path, 1)


def test_a_missing_folder_or_label_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No image folder at .*nowhere: check --images"):
        find_images(tmp_path / "nowhere", 1000)
    with pytest.raises(DataError, match=r"No label file at .*none\.txt: check --labels"):
        find_images(tmp_path, 1000, tmp_path / "none.txt")


def test_a_misspelt_data_set_is_told_the_nearest_name():
    require_known("imagenet")
    with pytest.raises(DataError, match=r"Data set 'imagnet' is not known\. Did you mean 'imagenet'\?"):
        require_known("imagnet")


@needs_real_images
def test_the_real_list_is_read():
    images = find_images(REAL, 1000)
    assert len(images.names) == 400
    assert listed(images)[0] == ("n01440764.JPEG", 0)


def test_class_folders_that_differ_are_refused_since_labels_are_ranks_of_their_names(tmp_path):
    for name in ("train/cat", "train/dog", "test/ant", "test/cat"):
        (tmp_path / name).mkdir(parents=True)
    train, test = tmp_path / "train", tmp_path / "test"
    with pytest.raises(DataError, match=r"class folder 'ant' is in only one of .* into .*test"):
        require_same_classes(train, test)
    require_same_classes(train, train)
    (test / "val_map.txt").write_text("one.png 0\n")
    require_same_classes(train, test)


def test_a_training_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds 0 class folders"):
        count_classes(tmp_path)
    with pytest.raises(DataError, match="no image folder"):
        count_classes(tmp_path / "missing")


@pytest.mark.parametrize("names", [("0", "1", "10", "104", "7"), ("000", "001", "010", "104", "7")])
def test_class_folders_named_by_whole_numbers_are_these_labels(tmp_path, names):
    touch(tmp_path, *(f"{name}/x{name}.jpg" for name in names))
    images = find_images(tmp_path, 1000)
    assert listed(images) == [(f"{name}/x{name}.jpg", int(name)) for name in names]
    assert f"Labels in {tmp_path}: the numbers of the 5 class folders, 0 to 104." in images.remarks


def test_the_order_of_class_folders_is_said(tmp_path):
    touch(tmp_path, "10/a.jpg", "2/a.jpg", "cat/a.jpg")
    images = find_images(tmp_path, 3)
    assert images.labels == (0, 1, 2)
    assert images.remarks == (
        f"Labels in {tmp_path}: the ranks of the class folders' names (0 10, 1 2, 2 cat).",
    )
    touch(tmp_path, *(f"class{k:02}/a.jpg" for k in range(20)))
    assert find_images(tmp_path, 23).remarks[0].endswith("(0 10, 1 2, 2 cat, …, 22 class19).")


def test_a_numbered_class_folder_beyond_the_models_labels_is_refused(tmp_path):
    touch(tmp_path, *(f"{number}/a.jpg" for number in range(1, 11)))
    with pytest.raises(
        DataError, match=r"The class folder '10' in .* is label 10, but the model's labels are 0 to 9: name"
    ):
        find_images(tmp_path, 10)


def test_two_class_folders_of_one_number_are_refused(tmp_path):
    touch(tmp_path, "7/a.jpg", "07/a.jpg")
    with pytest.raises(DataError, match=r"class folders '07' and '7' in .* are both label 7: put"):
        find_images(tmp_path, 10)


def test_training_counts_labels_as_the_store_will(tmp_path):
    touch(tmp_path, *(f"{number}/a.jpg" for number in (1, 2, 3, 5)))
    assert count_classes(tmp_path) == 6
    assert find_images(tmp_path, 6).labels == (1, 2, 3, 5)
    touch(tmp_path / "years", "1990/a.jpg", "1991/a.jpg")
    with pytest.raises(DataError, match=r"2 class folders in .* are numbered up to 1991, and these numbers"):
        count_classes(tmp_path / "years")


def test_numbered_class_folders_need_not_be_the_same_in_both_roots(tmp_path):
    touch(tmp_path, "train/0/a.jpg", "train/1/a.jpg", "test/01/a.jpg")
    require_same_classes(tmp_path / "train", tmp_path / "test")
    touch(tmp_path, "test/cat/a.jpg")
    with pytest.raises(DataError, match="is in only one of"):
        require_same_classes(tmp_path / "train", tmp_path / "test")


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "PBM", "tif", "TIFF", "jfif", "jpe", "bmp", "webp", "gif"])
def test_every_kind_that_is_decoded_is_found_and_becomes_a_sample(tmp_path, suffix):
    kind = {"pgm": "L", "PBM": "1"}.get(suffix, "RGB")
    for name in ("cat", "dog"):
        path = tmp_path / name / f"a.{suffix}"
        path.parent.mkdir()
        Image.fromarray(pattern(20, 30)).convert(kind).save(path)
    images = find_images(tmp_path, 2)
    assert images.names == (f"cat/a.{suffix}", f"dog/a.{suffix}")
    recipe = Recipe(16, "area", 0.875)
    assert [recipe.read((tmp_path / name).read_bytes(), name).shape for name in images.names] == [
        (16, 16, 3)
    ] * 2


def test_what_is_left_out_is_counted_and_named(tmp_path):
    touch(
        tmp_path, "cat/a.jpg", "cat/.b.jpg", "cat/.cache/c.jpg", "cat/notes.txt", "dog/d.jpg", "empty/e.heic"
    )
    touch(tmp_path, ".hidden/f.jpg", "loose.jpg", "README.md", *(f"dog/{k:02}.xml" for k in range(12)))
    os.mkfifo(tmp_path / "dog" / "pipe.jpg")
    (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    images = find_images(tmp_path, 3)
    assert listed(images) == [("cat/a.jpg", 0), ("dog/d.jpg", 1), ("dog/gone.jpg", 1)]
    xml = ", ".join(f"dog/{k:02}.xml" for k in range(9))
    assert set(images.remarks[1:]) == {
        f"Left out in {tmp_path}: hidden folders (1): .hidden.",
        f"Left out in {tmp_path}: images in no class folder (1): loose.jpg.",
        f"Left out in {tmp_path}: hidden files or folders (2): cat/.b.jpg, cat/.cache.",
        f"Left out in {tmp_path}: files that are no images by their suffix (14): cat/notes.txt, {xml}, "
        "and 4 more.",
        f"Left out in {tmp_path}: links to folders (1): dog/more.",
        f"Left out in {tmp_path}: names of images that are no files (1): dog/pipe.jpg.",
        f"Left out in {tmp_path}: class folders without images (1): empty.",
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg", "dog/deep/b.jpg")
    scandir = os.scandir

    def deny(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # Who tests as root may read everything.
    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match=r"Cannot read the folder .*deep \(Permission denied\): let"):
        find_images(tmp_path, 2)


def test_the_ground_truth_of_imagenets_development_kit_is_told_from_labels(tmp_path):
    touch(tmp_path, "a.JPEG")
    path = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("490\n361\n171\n822\n")
    with pytest.raises(
        DataError,
        match=r"ground_truth\.txt has numbers without image names, like the ground truth of ImageNet's "
        r"development kit, which numbers the classes in another way .*: give Kaggle's LOC_val_solution\.csv",
    ):
        find_images(tmp_path, 1000, path)
