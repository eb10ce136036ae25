"""The recipe against MLPerf's and torchvision's rules restated here, golden digests, and broken images."""

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from sample_images import REAL, encoded, needs_real_images, pattern

from harness.dataset.recipe import ImageError, Recipe, decode, one_thread_per_call

MLPERF = Recipe(224, "area", 0.875)

# sha256 of the pixels; inputs are `pattern` arrays, so that no JPEG codec has a part in them.
GOLDEN = {
    ("area", 500, 375, 224, 0.875): "1ec3daf650b1e48306f5d4cf8ee01c8f8a6f48816e89166fd21b2900164c3f94",
    ("area", 333, 501, 224, 0.875): "13cbff9e0d10329473ccc80c327b99b399c8f8ce2679a531394b2ab1412df79f",
    ("area", 256, 256, 224, 0.875): "fed988e3694262c7b622c1c6ff329ae411b4af5d95e5556ea2c26283c456b6e7",
    ("area", 90, 130, 224, 0.875): "4b44d0badb6123333d10203fce427a0e94ee81b9edebf9ef510fe0b9bf6b403b",
    ("linear", 500, 375, 224, 0.875): "e34502ee94d21df5ca628ae64df32bcbca91067a38ebf667bab32ee1ae28b76c",
    (
        "pil_bilinear",
        500,
        375,
        224,
        0.875,
    ): "ebb49427b5c75631f18f0127b040b14ffc2d5ba69f7d0e0fab6379a5d95ebd42",
    (
        "pil_bilinear",
        333,
        501,
        224,
        224 / 232,
    ): "8e58a9fdcf77859fb196383d7f2daac19ff8c4aa5163ff74260d8dff8b97aa54",
    ("pil_bicubic", 500, 375, 224, 0.875): "1b1d0e5160a0e0320b42333b548ce22aaceb632a966f355080909c90db46cd6a",
    (
        "pil_bicubic",
        90,
        131,
        224,
        224 / 235,
    ): "a605c7ea642a36dde60b2158e7a15acd68a4ddf4146c90ca57e076b0eeb9186b",
    ("none", 64, 64, 64, 1.0): "213bae82cac8060eeee2e1957f691fbf8204cbfb1cb2ff47e0ed66f554cc2bdf",
}


def mlperf_restated(path: str) -> np.ndarray:
    image = cv2.imread(path)[:, :, ::-1]
    height, width = image.shape[:2]
    long_side = int(256 * max(height, width) / min(height, width))
    target = (256, long_side) if height > width else (long_side, 256)
    image = cv2.resize(np.ascontiguousarray(image), target, interpolation=cv2.INTER_AREA)
    left, top = int((target[0] - 224) / 2), int((target[1] - 224) / 2)
    return image[top : top + 224, left : left + 224]


def torchvision_restated(path: str, short: int, size: int, method: Image.Resampling) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(cv2.imread(path)[:, :, ::-1]))
    width, height = image.size
    if width <= height:
        image = image.resize((short, int(short * height / width)), method)
    else:
        image = image.resize((int(short * width / height), short), method)
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case[0]}-{case[1]}x{case[2]}")
def test_pixels_equal_the_golden_digest(case):
    resize, height, width, size, fraction = case
    image = decode(encoded(pattern(height, width), "PNG"), "golden.png")
    pixels = Recipe(size, resize, fraction).apply(image)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() == GOLDEN[case]


@needs_real_images
def test_area_equals_mlperfs_recipe_on_real_images():
    for path in sorted(REAL.glob("*.JPEG")):
        pixels = MLPERF.apply(decode(path.read_bytes(), path.name))
        assert np.array_equal(pixels, mlperf_restated(str(path))), path.name


@needs_real_images
@pytest.mark.parametrize(
    ("resize", "method"),
    [("pil_bilinear", Image.Resampling.BILINEAR), ("pil_bicubic", Image.Resampling.BICUBIC)],
)
def test_pillow_resizes_equal_torchvisions_rules_on_real_images(resize, method):
    for path in sorted(REAL.glob("*.JPEG"))[::8]:
        pixels = Recipe(224, resize, 224 / 233).apply(decode(path.read_bytes(), path.name))
        assert np.array_equal(pixels, torchvision_restated(str(path), 233, 224, method)), path.name


def test_short_side_equals_mlperfs_for_every_size():
    assert [Recipe(size, "area", 0.875).short_side for size in range(1, 2049)] == [
        int(100.0 * size / 87.5) for size in range(1, 2049)
    ]


def test_a_crop_fraction_given_as_a_quotient_does_not_lose_a_pixel():
    for short in range(224, 600):
        assert Recipe(224, "area", 224 / short).short_side == short


def test_key_names_the_recipe():
    assert MLPERF.key == "area-224-0.875"
    assert MLPERF.sample_bytes == 150_528


def test_a_recipe_without_resize_refuses_another_size():
    with pytest.raises(ImageError, match=r"The image x\.png is 80x60, not 64x64: replace"):
        Recipe(64, "none", 1.0).apply(pattern(60, 80), "x.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_imread_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(pattern(40, 70), exif=exif))
    assert np.array_equal(decode(path.read_bytes(), path.name), cv2.imread(str(path))[:, :, ::-1])


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P")],
)
def test_any_colour_mode_becomes_rgb_as_imread_does(tmp_path, kind, mode):
    path = tmp_path / "image.JPEG"
    path.write_bytes(encoded(pattern(50, 60), kind, mode))
    image = decode(path.read_bytes(), path.name)
    assert image.shape == (50, 60, 3)
    assert np.array_equal(image, cv2.imread(str(path))[:, :, ::-1])


def test_trailing_bytes_after_the_image_are_accepted():
    data = encoded(pattern(50, 60))
    assert np.array_equal(decode(data + b"\0" * 5000 + b"camera notes", "x"), decode(data, "x"))


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_truncated_jpeg_is_refused(keep, options):
    data = encoded(pattern(200, 300), quality=95, **options)
    with pytest.raises(ImageError, match=r"^The image a b\.JPEG is truncated: replace it by a good copy\.$"):
        decode(data[: int(len(data) * keep)], "a b.JPEG")


def test_a_truncated_jpeg_is_refused_though_its_thumbnail_is_whole():
    thumbnail = b"Exif\0\0" + encoded(pattern(30, 40))
    data = encoded(pattern(200, 300))
    data = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    assert decode(data, "x").shape == (200, 300, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-400], "x")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is empty"),
        (b"404 not found", "is not an image"),
        (b"\xff\xd8\xff", "is not an image"),
        (encoded(pattern(50, 60), "PNG")[:-400], "is truncated"),
    ],
    ids=["empty", "text", "stub", "png"],
)
def test_data_that_is_no_whole_image_is_refused(data, fault):
    with pytest.raises(ImageError) as caught:
        decode(data, "x.JPEG")
    assert caught.value.fault == fault


def test_damage_inside_a_png_is_refused():
    data = bytearray(encoded(pattern(50, 60), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match=r"x\.png is damaged"):
        decode(bytes(data), "x.png")


def test_a_whole_jpeg_is_decoded_only_once(monkeypatch):
    def fail(*_):
        raise AssertionError("Pillow was asked as well")

    monkeypatch.setattr(Image, "open", fail)
    decode(encoded(pattern(50, 60)), "x")


def test_opencvs_thread_count_comes_back():
    before = cv2.getNumThreads()
    with one_thread_per_call():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_importing_the_recipe_loads_neither_opencv_nor_pillow():
    probe = "import sys, harness.dataset.recipe; print([m for m in ('cv2', 'PIL') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
