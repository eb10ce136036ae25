"""A store's pixels, held against the files that they were made of and against their own hash."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_images import encoded, expected, pattern, write_images

from harness.dataset import pixels, store
from harness.dataset.image_file import tool_versions
from harness.dataset.images import ImageList, find_images
from harness.dataset.recipe import Recipe
from harness.dataset.sample_file import SampleFile
from harness.dataset.store import Store, open_store, prepare
from harness.errors import DataError

SMALL = Recipe(32, "area", 0.875)
PILLOW = Recipe(24, "pil_bilinear", 0.875)
OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"


@pytest.fixture
def images(tmp_path: Path) -> ImageList:
    return write_images(tmp_path / "images", 70, distinct=70)


@pytest.fixture
def made(tmp_path: Path, images: ImageList) -> Store:
    return prepare(images, SMALL, tmp_path / "store", "imagenet")


def replace_image(path: Path, seed: int) -> None:
    """Put another image of as many bytes in its place, changed a second later."""
    before = path.stat()
    data = encoded(pattern(60, 80, seed), quality=50)
    path.write_bytes(data + b"\0" * (before.st_size - len(data)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("recipe", [SMALL, PILLOW], ids=["recipe that is there", "another recipe"])
def test_other_images_of_the_same_names_are_not_taken_for_those_of_the_store(
    images: ImageList, made: Store, recipe: Recipe
) -> None:
    for k in (5, 69):
        replace_image(images.root / images.names[k], 200 + k)
    with pytest.raises(
        DataError,
        match=rf"^2 of the 70 images in .* are not those that the store .* was made of \({images.names[5]}; "
        rf"{images.names[69]}\): choose another folder",
    ):
        prepare(images, recipe, made.path, "imagenet")
    assert list(open_store(made.path).recipes) == [SMALL.key]


def test_the_same_images_with_another_time_or_in_another_folder_are_the_same(
    tmp_path: Path, images: ImageList, made: Store
) -> None:
    for name in images.names:
        os.utime(images.root / name)
    assert prepare(images, SMALL, made.path, "imagenet").sha256(SMALL) == made.sha256(SMALL)
    copy = ImageList(images.names, images.labels, shutil.copytree(images.root, tmp_path / "copy"))
    assert list(prepare(copy, PILLOW, made.path, "imagenet").recipes) == [SMALL.key, PILLOW.key]


def test_a_folder_or_pipe_in_the_place_of_an_image_is_another(images: ImageList, made: Store) -> None:
    for k, make in ((3, Path.mkdir), (4, os.mkfifo)):
        (images.root / images.names[k]).unlink()
        make(images.root / images.names[k])
    with pytest.raises(DataError, match=rf"^2 of the 70 .* \({images.names[3]}; {images.names[4]}\)"):
        prepare(images, SMALL, made.path, "imagenet")
    with pytest.raises(DataError, match=rf"{images.names[4]} cannot be read \(it is no file\)"):
        prepare(images, SMALL, made.path.with_name("new"), "imagenet")


def test_a_store_whose_images_are_gone_is_still_good(images: ImageList, made: Store) -> None:
    shutil.rmtree(images.root)
    assert prepare(images, SMALL, made.path, "imagenet").sha256(SMALL) == made.sha256(SMALL)


def test_an_interrupted_prepare_does_not_keep_samples_of_files_that_changed(
    tmp_path: Path, images: ImageList, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(images, SMALL, out, "imagenet")
    replace_image(images.root / images.names[40], 300)
    assert np.array_equal(prepare(images, SMALL, out, "imagenet").samples(SMALL), expected(images, SMALL))
    # What the first call took is known to the next one, too.
    replace_image(images.root / images.names[3], 301)
    with pytest.raises(DataError, match=images.names[3]):
        prepare(images, SMALL, out, "imagenet")


def old_store(target: Path) -> Path:
    """Return a store as version 0.1.0 wrote it, with the pixels that the libraries here make.

    The fixture's are of OpenCV 5.0 and Pillow 13.0; others may round otherwise.
    """
    out = Path(shutil.copytree(OLD / "store", target))
    images, path = find_images(OLD / "images", 10), out / "manifest.json"
    document = json.loads(path.read_text())
    recipes = {item.file: item.recipe for item in open_store(out).recipes.values()}
    for entry in document["recipes"].values():
        made = expected(images, recipes[entry["file"]]).tobytes()
        assert len(made) == entry["bytes"]
        (out / entry["file"]).write_bytes(made)
        entry |= {"sha256": hashlib.sha256(made).hexdigest(), "made_with": tool_versions()}
    path.write_text(json.dumps(document))
    return out


def test_a_store_of_version_0_1_0_refuses_other_images_by_its_pixels(tmp_path: Path) -> None:
    out = old_store(tmp_path / "store")
    root = shutil.copytree(OLD / "images", tmp_path / "images")
    images, recipe = find_images(root, 10), Recipe(16, "area", 0.875)
    assert len(prepare(images, Recipe(8, "area", 0.875), out, "custom").recipes) == 5
    (root / "d.png").write_bytes(encoded(pattern(18, 40, 99), "PNG"))
    with pytest.raises(DataError, match=r"1 of the 4 images in .* are not those .* \(d\.png\)"):
        prepare(images, recipe, out, "custom")
    shutil.copy(OLD / "images" / "d.png", root)
    both = prepare(images, recipe, out, "custom")
    assert np.array_equal(both.samples(recipe), expected(images, recipe))


def test_a_store_of_version_0_1_0_that_other_libraries_made_takes_its_images(tmp_path: Path) -> None:
    out = old_store(tmp_path / "store")
    path = out / "manifest.json"
    document = json.loads(path.read_text())
    for entry in document["recipes"].values():
        entry["made_with"]["opencv"] = "4.0.0"
        # As if the other library had rounded otherwise.
        held = bytearray((out / entry["file"]).read_bytes())
        held[0] ^= 1
        (out / entry["file"]).write_bytes(held)
        entry["sha256"] = hashlib.sha256(held).hexdigest()
    path.write_text(json.dumps(document))
    images, new = find_images(OLD / "images", 10), Recipe(16, "area", 0.875)
    assert np.array_equal(prepare(images, new, out, "custom").samples(new), expected(images, new))


def test_a_recipe_whose_key_version_0_1_0_gave_to_another_has_pixels_of_its_own(tmp_path: Path) -> None:
    out = old_store(tmp_path / "store")
    images = find_images(OLD / "images", 10)
    old, new = Recipe(8, "area", 15 / 17), Recipe(8, "area", 0.882353)
    assert new.key not in open_store(out).recipes
    before = open_store(out).sha256(old)
    prepare(images, new, out, "custom")
    again = open_store(out)
    assert again.recipes[new.key].file != again.recipes[old.key].file
    assert again.sha256(old) == before
    for recipe in (old, new):
        assert np.array_equal(again.samples(recipe), expected(images, recipe))


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("offset", [0, 100_000, 70 * 32 * 32 * 3 - 1])
def test_one_changed_bit_of_a_small_store_is_found_when_its_samples_are_asked_for(
    images: ImageList, made: Store, offset: int
) -> None:
    path = made.path / made.recipes[SMALL.key].file
    assert made.samples(SMALL).shape == (70, 32, 32, 3)
    flip(path, offset)
    message = (
        rf"The sample file {path} has other pixels than were prepared: delete the store and prepare again"
    )
    with pytest.raises(DataError, match=message):
        open_store(made.path).samples(SMALL)
    with pytest.raises(DataError, match=message):
        prepare(images, SMALL, made.path, "imagenet")
    shutil.rmtree(made.path)
    assert prepare(images, SMALL, made.path, "imagenet").samples(SMALL).shape == (70, 32, 32, 3)


def test_of_a_large_store_some_samples_are_held_against_their_hash_and_all_on_demand(
    made: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.path / made.recipes[SMALL.key].file
    monkeypatch.setattr(store, "_HASHED_WHOLE_BYTES", 1000)
    looked_at = pixels.spread(70, pixels._SAMPLES)
    passed_over = next(k for k in range(70) if k not in looked_at)
    flip(path, passed_over * SMALL.sample_bytes)
    made.samples(SMALL)
    with pytest.raises(DataError, match="other pixels than were prepared"):
        made.require_sound(SMALL)
    flip(path, looked_at[-1] * SMALL.sample_bytes)
    with pytest.raises(DataError, match="other pixels than were prepared"):
        made.samples(SMALL)


def damage(path: Path) -> None:
    """Change bytes amid a JPEG's compressed pixels: it is decoded, with a warning of libjpeg's."""
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 20):
        data[at] = (data[at] ^ 0x5A) or 1
    path.write_bytes(data)


def test_jpegs_damaged_inside_are_named_with_what_libjpeg_says(
    tmp_path: Path, images: ImageList, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = [images.names[k] for k in (7, 33, 34)]
    for name in damaged:
        damage(images.root / name)
    made = prepare(images, SMALL, tmp_path / "store", "imagenet", workers=4)
    assert [entry.name for entry in open_store(made.path).warnings] == damaged
    assert all("Corrupt JPEG data" in entry.fault for entry in made.warnings)
    assert [entry.label for entry in made.warnings] == [7, 3, 4]
    assert np.array_equal(made.samples(SMALL), expected(images, SMALL))
    shown = capfd.readouterr().err
    assert shown.count("Corrupt JPEG data") == 3, "only what this test's own decoding printed"


def test_a_damaged_jpeg_that_an_interrupted_call_took_is_named_by_the_next(
    tmp_path: Path, images: ImageList, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: SampleFile) -> int:
        raise KeyboardInterrupt

    damage(images.root / images.names[12])
    with monkeypatch.context() as patch:
        patch.setattr(SampleFile, "publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(images, SMALL, tmp_path / "store", "imagenet")
    made = prepare(images, SMALL, tmp_path / "store", "imagenet")
    assert [entry.name for entry in made.warnings] == [images.names[12]]
