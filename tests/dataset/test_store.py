"""Stores: making and extending them, broken images, and broken stores."""

import fcntl
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sample_images import (
    REAL,
    encoded,
    expected,
    needs_real_images,
    pattern,
    sha256,
    truncate,
    write_images,
)

from harness.dataset.images import ImageList, find_images
from harness.dataset.recipe import Recipe
from harness.dataset.store import open_store, prepare
from harness.errors import DataError, OutputError

MLPERF = Recipe(224, "area", 0.875)
SMALL = Recipe(32, "area", 0.875)
PILLOW = Recipe(24, "pil_bilinear", 0.875)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 70)


@pytest.fixture
def made(tmp_path, images):
    return prepare(images, SMALL, tmp_path / "store", "imagenet")


def test_a_store_holds_each_image_at_its_index(images, made):
    samples = made.samples(SMALL)
    assert samples.dtype == np.uint8
    assert np.array_equal(samples, expected(images, SMALL))
    assert made.names == images.names
    assert made.labels.dtype == np.int64
    assert made.labels.tolist() == list(images.labels)
    assert made.count == 70
    assert made.missing == ()


def test_samples_cannot_be_overwritten(made):
    with pytest.raises(ValueError, match="read-only"):
        made.samples(SMALL)[0] = 0


def test_the_manifest_describes_the_files(images, made):
    manifest = json.loads((made.path / "manifest.json").read_text())
    entry = manifest["recipes"]["area-32-0.875"]
    assert (manifest["format"], manifest["dataset"], manifest["count"], manifest["labels"]) == (
        1,
        "imagenet",
        70,
        10,
    )
    assert manifest["list_sha256"] == sha256(made.path / "val_map.txt")
    assert entry["sha256"] == made.sha256(SMALL) == sha256(made.path / entry["file"])
    assert entry["bytes"] == 70 * 32 * 32 * 3
    assert set(entry["made_with"]) == {"harness", "opencv", "pillow"}


def test_val_map_has_one_name_and_label_per_sample(images, made):
    lines = (made.path / "val_map.txt").read_text().splitlines()
    pairs = zip(images.names, images.labels, strict=True)
    assert lines == [f"{name} {label}" for name, label in pairs]


def test_nothing_but_the_store_is_left(made):
    assert {path.name for path in made.path.iterdir()} == {
        "manifest.json",
        "val_map.txt",
        "sources.txt",
        "area-32-0.875.u8",
    }


def test_odd_names_survive_and_keep_val_map_to_two_columns(tmp_path):
    names = ("my image 1.png", "100%20.png", "sub\tdir/ü.png", "b\udcff.png")
    root = tmp_path / "images"
    for k, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(pattern(40, 40, k), "PNG"))
    listed = ImageList(names, (3, 2, 1, 0), root)
    made = prepare(listed, SMALL, tmp_path / "store", "custom")
    assert made.names == names
    assert np.array_equal(made.samples(SMALL), expected(listed, SMALL))
    lines = (made.path / "val_map.txt").read_text(encoding="utf-8").splitlines()
    assert [len(line.split()) for line in lines] == [2, 2, 2, 2]


def test_a_second_recipe_is_added_beside_the_first(images, made):
    before = made.sha256(SMALL)
    both = prepare(images, PILLOW, made.path, "imagenet")
    assert list(both.recipes) == ["area-32-0.875", "pil_bilinear-24-0.875"]
    assert np.array_equal(both.samples(PILLOW), expected(images, PILLOW))
    assert sha256(made.path / "area-32-0.875.u8") == both.sha256(SMALL) == before


def test_a_recipe_that_is_there_is_not_made_again(images, made, monkeypatch, capsys):
    monkeypatch.setattr(Recipe, "read", None)
    again = prepare(images, SMALL, made.path, "imagenet")
    assert again.sha256(SMALL) == made.sha256(SMALL)
    assert "holds area-32-0.875 of these 70 images already" in capsys.readouterr().err


def test_another_list_is_refused(images, made):
    other = ImageList(images.names[::-1], images.labels, images.root)
    with pytest.raises(DataError, match="holds another list of images, labels or boxes"):
        prepare(other, PILLOW, made.path, "imagenet")
    shorter = ImageList(images.names[:-1], images.labels[:-1], images.root)
    with pytest.raises(DataError, match="holds another list of images, labels or boxes"):
        prepare(shorter, SMALL, made.path, "imagenet")


def test_another_data_set_is_refused(images, made):
    with pytest.raises(DataError, match="holds the data set 'imagenet', not 'custom'"):
        prepare(images, PILLOW, made.path, "custom")


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, images, made):
    for workers in (1, 5):
        other = prepare(images, SMALL, tmp_path / f"store{workers}", "imagenet", workers=workers)
        assert other.sha256(SMALL) == made.sha256(SMALL)


@pytest.fixture
def broken(images):
    """The folder of images, eight of them spoilt in eight ways; the last three must still be taken."""
    faults = {3: "is empty", 10: "is not an image", 33: "is truncated", 34: "does not exist", 69: "cannot be"}
    path = [images.root / name for name in images.names]
    for k in (3, 10, 34, 69, 5, 40, 41):
        path[k].unlink()
    path[3].write_bytes(b"")
    path[10].write_text("<html>404</html>")
    truncate(path[33])
    path[69].mkdir()
    path[5].write_bytes(encoded(pattern(60, 80, 90), "PNG"))
    path[40].write_bytes(encoded(pattern(60, 80, 91), mode="CMYK"))
    path[41].write_bytes(encoded(pattern(60, 80, 92), mode="L"))
    return faults


def test_images_that_cannot_be_read_stop_the_work_and_are_all_named(tmp_path, images, broken):
    with pytest.raises(DataError) as caught:
        prepare(images, SMALL, tmp_path / "store", "imagenet")
    message = str(caught.value)
    assert message.startswith(f"5 of 70 images in {images.root} cannot be used (")
    for k, fault in broken.items():
        assert f"{images.names[k]} {fault}" in message
    assert "--allow-missing" in message
    with pytest.raises(DataError, match="No store at"):
        open_store(tmp_path / "store")


def test_only_the_first_ten_offenders_are_named(tmp_path, images):
    for name in images.names[:25]:
        (images.root / name).unlink()
    with pytest.raises(DataError, match=r"^25 of 70 .*; and 15 more\): restore them"):
        prepare(images, SMALL, tmp_path / "store", "imagenet")


def test_a_failure_that_leaves_nothing_to_resume_leaves_no_folder(tmp_path, images):
    shutil.rmtree(images.root)
    with pytest.raises(DataError, match=r"^70 of 70 images"):
        prepare(images, SMALL, tmp_path / "store", "imagenet")
    assert not (tmp_path / "store").exists()


def test_restored_images_complete_the_store(tmp_path, images, made):
    name = images.names[50]
    data = (images.root / name).read_bytes()
    truncate(images.root / name)
    with pytest.raises(DataError, match=f"1 of 70 .*{name} is truncated"):
        prepare(images, SMALL, tmp_path / "other", "imagenet")
    (images.root / name).write_bytes(data)
    whole = prepare(images, SMALL, tmp_path / "other", "imagenet")
    assert sha256(whole.path / "area-32-0.875.u8") == whole.sha256(SMALL) == made.sha256(SMALL)


def test_allowed_missing_images_leave_list_and_samples_in_step(tmp_path, images, broken):
    with pytest.raises(DataError):  # a first try fills chunks whose indices then change
        prepare(images, SMALL, tmp_path / "store", "imagenet")
    made = prepare(images, SMALL, tmp_path / "store", "imagenet", allow_missing=True)
    kept = tuple(name for k, name in enumerate(images.names) if k not in broken)
    assert made.names == kept
    assert made.labels.tolist() == [k % 10 for k in range(70) if k not in broken]
    assert np.array_equal(made.samples(SMALL), expected(images, SMALL, kept))
    assert sha256(made.path / "area-32-0.875.u8") == made.sha256(SMALL)
    assert {entry.name for entry in made.missing} == {images.names[k] for k in broken}
    assert made.missing[0].fault == "is empty"
    assert "lacks 5 of the listed images" in made.submittable_faults()[0]


def test_a_second_recipe_leaves_out_the_same_images(tmp_path, images, broken):
    made = prepare(images, SMALL, tmp_path / "store", "imagenet", allow_missing=True)
    with pytest.raises(DataError, match="was made with --allow-missing and lacks 5 of the listed images"):
        prepare(images, PILLOW, made.path, "imagenet")
    (images.root / images.names[34]).write_bytes(encoded(pattern(60, 80)))  # restored, yet not in the list
    both = prepare(images, PILLOW, made.path, "imagenet", allow_missing=True)
    assert both.names == made.names
    assert np.array_equal(both.samples(PILLOW), expected(images, PILLOW, made.names))


def test_a_second_recipe_cannot_lose_images_that_the_first_has(images, made):
    (images.root / images.names[7]).unlink()
    with pytest.raises(DataError, match=f"1 of 70 .*{images.names[7]} does not exist") as caught:
        prepare(images, PILLOW, made.path, "imagenet", allow_missing=True)
    assert "--allow-missing" not in str(caught.value)
    assert list(open_store(made.path).recipes) == ["area-32-0.875"]


def test_a_list_with_no_readable_image_is_refused_even_when_missing_is_allowed(tmp_path, images):
    shutil.rmtree(images.root)
    with pytest.raises(DataError, match="70 of 70 images"):
        prepare(images, SMALL, tmp_path / "store", "imagenet", allow_missing=True)


def test_images_of_another_size_are_refused_by_a_recipe_without_resize(tmp_path, images):
    with pytest.raises(DataError, match=r"70 of 70 .*is 80x60, not 32x32"):
        prepare(images, Recipe(32, "none", 1.0), tmp_path / "store", "custom")


def test_too_little_room_is_told_before_the_work(tmp_path, images, monkeypatch):
    usage = SimpleNamespace(total=10, used=9, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(Recipe, "read", None)
    with pytest.raises(OutputError, match=r"No room for 70 samples in .*: 215\.0 kB needed, 1\.0 kB free"):
        prepare(images, SMALL, tmp_path / "store", "imagenet")
    assert not (tmp_path / "store").exists()


def test_two_prepares_of_one_store_do_not_mix(tmp_path, images):
    out = tmp_path / "store"
    out.mkdir()
    with (out / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="Another `harness prepare` is at work on"):
            prepare(images, SMALL, out, "imagenet")
    assert prepare(images, SMALL, out, "imagenet").count == 70


def test_a_folder_that_holds_something_else_is_left_alone(images):
    before = sorted(images.root.iterdir())
    with pytest.raises(OutputError, match="holds other files and no store"):
        prepare(images, SMALL, images.root, "imagenet")
    assert sorted(images.root.iterdir()) == before


def test_a_file_in_the_place_of_the_store_is_refused(tmp_path, images):
    (tmp_path / "store").write_text("")
    with pytest.raises(OutputError, match="Cannot write to the folder"):
        prepare(images, SMALL, tmp_path / "store", "imagenet")


def change_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"No store at .*: make one with `harness prepare`\."),
        (lambda p: (p / "manifest.json").unlink(), r"is not a store \(no manifest\.json in it\)"),
        (lambda p: (p / "manifest.json").write_text("{"), r"manifest\.json cannot be read"),
        (lambda p: (p / "manifest.json").write_text("[]"), r"has format None, this harness reads 1"),
        (lambda p: change_manifest(p, format=2), r"has format 2, this harness reads 1: prepare it again"),
        (lambda p: change_manifest(p, recipes=3), r"manifest\.json is damaged"),
        (lambda p: change_manifest(p, missing=[{}]), r"manifest\.json is damaged"),
        (lambda p: change_manifest(p, recipes={}), r"The store .* is empty"),
        (lambda p: change_manifest(p, count=0), r"The store .* is empty"),
        (lambda p: change_manifest(p, count=71), r"lists 70 images but the manifest says 71"),
        (lambda p: (p / "val_map.txt").unlink(), r"val_map\.txt cannot be read"),
        (
            lambda p: (p / "val_map.txt").write_text((p / "val_map.txt").read_text().replace(" 7\n", " 8\n")),
            r"val_map\.txt was changed after the store was made",
        ),
        (lambda p: os.truncate(p / "area-32-0.875.u8", 99), r"has 99 bytes instead of 215,040: delete"),
        (lambda p: (p / "area-32-0.875.u8").unlink(), r"The sample file .* cannot be opened"),
    ],
)
def test_a_broken_store_is_refused(made, spoil, message):
    spoil(made.path)
    with pytest.raises(DataError, match=message) as caught:
        open_store(made.path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_refused_with_the_command_that_adds_it(images, made):
    message = (
        rf"no samples for recipe area-224-0\.875 \(it holds area-32-0\.875\): add them with "
        rf"`harness prepare --dataset imagenet --labels {made.path}/val_map.txt --images {images.root} "
        rf"--model CARD --out {made.path}`"
    )
    with pytest.raises(DataError, match=message):
        made.samples(MLPERF)
    with pytest.raises(DataError, match=message):
        made.sha256(MLPERF)


def test_only_the_whole_data_set_of_a_benchmark_can_be_submitted(tmp_path, images, made):
    assert made.submittable_faults() == [f"the store {made.path} holds 70 images, where imagenet has 50,000"]
    other = prepare(images, SMALL, tmp_path / "other", "custom")
    assert other.submittable_faults() == ["'custom' is not the data set of an MLPerf benchmark"]
    turned = replace(
        made, names=tuple(f"ILSVRC2012_val_000000{number:02}.JPEG" for number in range(69, -1, -1))
    )
    assert turned.submittable_faults()[1:] == [
        f"the store {made.path} has its images in another order than MLPerf's val_map.txt"
    ]


@needs_real_images
def test_the_real_images_become_a_store(tmp_path):
    images = find_images(REAL, 1000)
    made = prepare(images, MLPERF, tmp_path / "store", "imagenet")
    assert made.count == 400
    picked = images.names[::40]
    assert np.array_equal(made.samples(MLPERF)[::40], expected(images, MLPERF, picked))
    assert (made.path / "val_map.txt").read_bytes() == (REAL / "val_map.txt").read_bytes()
