"""The recipe against MLPerf's and torchvision's rules restated here, golden digests, and broken images."""

import hashlib
import io
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from sample_images import REAL, encoded, needs_real_images, pattern

from harness.dataset.image_file import SUFFIXES, ImageError, decode, one_thread_per_call
from harness.dataset.recipe import Recipe

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


# sha256 of what torchvision 0.29.1 and timm 1.0.31 (transforms_imagenet_eval) make of pattern(501, 333), with
# Pillow 13.0.0: Resize(272) and CenterCrop(240); Resize((240, 240)); crop_pct 0.882353 as 'center', 'squash'.
TORCHVISION = {
    "pil_bilinear-240-to272": "a4139c67070b4f7babe3fad0e6416fa546fd7af59305708bbb5d9d7ee5bcc1dd",
    "pil_bicubic-240-to272": "2c0a25e7432f412cc2bf5bb4c8d0d9dd274b5aa6d38f45b12c25b31d355a5dc8",
    "pil_lanczos-240-to272": "59a57212143f1de888da9cc6020ed824f5e60ef3312a724c8661e64499dc686b",
    "pil_hamming-240-to272": "a0f3122a47f0b6025f5334f87a5726c30e34709810795ecd9ca9736a0749db6d",
    "pil_box-240-to272": "caabd079bf6bb4c8e9935ddb1d848e843254316628a1e81fe4987e74d042764b",
    "pil_nearest-240-to272": "cc3ccccf3413522aafb08ec683be7220307c4c3bc2590de96811cf52c240d173",
    "pil_bicubic-240-1-squash": "1d0bb51795c69e1b83e59ffe1140d10c6cf269d2108abe5327e777c557620fba",
    "pil_bicubic-240-0.882353": "9d8d0bdfc3285eb5d8e58f8c6b67081f81fa34e6ffb7102286b579956e1e9508",
    "pil_bicubic-240-0.882353-squash": "153b1eb235eb50e9c5c01bb3b53ecd3d11b3d7d85a698594c5bf7d23b854130a",
}


@pytest.mark.parametrize(
    "recipe",
    [
        *(Recipe(240, f"pil_{name}", resize_to=272) for name in ("bilinear", "bicubic", "lanczos")),
        *(Recipe(240, f"pil_{name}", resize_to=272) for name in ("hamming", "box", "nearest")),
        Recipe(240, "pil_bicubic", 1.0, squash=True),
        Recipe(240, "pil_bicubic", 0.882353),
        Recipe(240, "pil_bicubic", 0.882353, squash=True),
    ],
    ids=lambda recipe: recipe.key,
)
def test_pixels_equal_those_of_torchvision_and_timm(recipe):
    pixels = np.ascontiguousarray(recipe.apply(pattern(501, 333)))
    assert hashlib.sha256(pixels.data).hexdigest() == TORCHVISION[recipe.key]


@needs_real_images
def test_a_fixed_short_side_and_no_rotation_equal_pillow_on_real_files():
    recipe = Recipe(240, "pil_bicubic", resize_to=272, exif_rotation=False)
    for path in sorted(REAL.glob("*.JPEG"))[::20]:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = [int(272 * side / min(image.size)) for side in image.size]
        image = image.resize(scale, Image.Resampling.BICUBIC)
        left, top = round((image.width - 240) / 2), round((image.height - 240) / 2)
        wanted = np.asarray(image.crop((left, top, left + 240, top + 240)))
        assert np.array_equal(recipe.read(path.read_bytes(), path.name), wanted), path.name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_recipe_that_ignores_exif_takes_the_pixels_as_pillow_and_torchvision_do(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded(pattern(40, 70), exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode(data, "turned.jpg", exif_rotation=False), np.asarray(image))
    unturned = Recipe(16, "pil_bilinear", 1.0, squash=True, exif_rotation=False)
    turned = Recipe(16, "pil_bilinear", 1.0, squash=True)
    assert np.array_equal(unturned.read(data, "x"), turned.read(data, "x")) == (orientation == 1)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (501, 333), (64, 64), (3, 200)])
@pytest.mark.parametrize("resize", ["area", "cubic", "pil_bicubic"])
def test_a_crop_before_the_resize_resizes_the_cut_and_nothing_else(height, width, resize):
    image = pattern(height, width)
    side = int(min(height, width) * 0.875)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = image[top : top + side, left : left + side]
    assert np.array_equal(Recipe(48, resize, 0.875, crop_first=True).apply(image), resized(square, resize))
    # tf.image.central_crop keeps 0.875 of each side, and the resize makes a square of it.
    above, beside = int((height - height * 0.875) / 2), int((width - width * 0.875) / 2)
    cut = image[above : height - above, beside : width - beside]
    recipe = Recipe(48, resize, 0.875, squash=True, crop_first=True)
    assert np.array_equal(recipe.apply(image), resized(cut, resize))


def resized(image: np.ndarray, resize: str) -> np.ndarray:
    if resize == "pil_bicubic":
        return np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC))
    return cv2.resize(
        image, (48, 48), interpolation={"area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}[resize]
    )


def test_recipes_that_differ_have_different_keys():
    assert Recipe(240, "area", 0.882353).short_side == 271
    assert Recipe(240, "area", 240 / 272).short_side == 272
    fractions = [0.882353, 240 / 272, 0.875, 0.8750000000000001, 0.88235294, 1.0, 0.1 + 0.2, 0.3, 1e-7]
    recipes = [Recipe(240, "area", fraction) for fraction in fractions]
    recipes += [Recipe(240, "area", resize_to=short) for short in (240, 272)]
    recipes += [replace(one, squash=True) for one in recipes]
    recipes += [replace(one, crop_first=True) for one in recipes]
    recipes += [replace(one, exif_rotation=False) for one in recipes]
    recipes += [replace(one, resize="cubic") for one in recipes]
    assert len({one.key for one in recipes}) == len({*recipes}) == len(recipes) == 11 * 16
    assert [Recipe(**one.to_dict()) for one in recipes] == recipes


def test_a_recipe_says_what_version_0_1_0_said_where_nothing_is_new():
    assert MLPERF.to_dict() == {"size": 224, "resize": "area", "crop_fraction": 0.875}
    assert Recipe(224, "area", 1.0).key == "area-224-1"


def test_a_recipe_needs_one_way_to_say_its_short_side():
    for given in ({}, {"crop_fraction": 0.875, "resize_to": 256}):
        with pytest.raises(ValueError, match="either a crop_fraction or a resize_to"):
            Recipe(224, "area", **given)


def test_another_input_size_keeps_the_share_of_the_image():
    assert Recipe(240, "area", 0.875).at(120) == Recipe(120, "area", 0.875)
    assert Recipe(240, "area", resize_to=272, squash=True).at(120) == Recipe(
        120, "area", resize_to=136, squash=True
    )


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_every_kind_of_image_that_pillow_writes_and_we_decode_is_found_by_its_suffix():
    Image.init()
    decoded = set()
    for suffix, kind in Image.registered_extensions().items():
        try:
            data = encoded(pattern(50, 60), kind)
            if decode(data, f"x{suffix}").shape == (50, 60, 3):
                decoded.add(suffix)
        except (ImageError, KeyError, OSError, ValueError):
            continue
    # A portable float map has no 8 bits a channel.
    assert decoded - {".pfm"} == SUFFIXES


def test_an_image_beyond_pillows_bound_is_said_to_be_that(monkeypatch):
    data = encoded(pattern(50, 60), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert decode(data, "x.png").shape == (50, 60, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"x\.png has more than the 2,000 pixels that Pillow opens"):
        decode(data, "x.png")
