"""Image lists from every source of labels, and each way such a source can be wrong."""

import pytest
from sample_images import REAL, needs_real_images

from harness.dataset.images import (
    count_classes,
    find_images,
    is_in_official_order,
    require_known,
    require_same_classes,
)
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
