"""How an image fills a square: pixels against the authors' rules restated here, and where they lie."""

import cv2
import numpy as np
import pytest

from harness.dataset.image_file import decode
from harness.dataset.recipe import Recipe

YOLOX = Recipe(416, "linear", fit="letterbox", place="top-left", border=114)
YOLO = Recipe(640, "linear", fit="letterbox", border=114, rounding="round")
NANODET = Recipe(416, "linear", fit="warp")
NANODET_PLUS = Recipe(416, "linear", fit="warp", squash=True)
STRETCH = Recipe(416, "linear", fit="stretch")


def yolox_restated(image: np.ndarray, size: int) -> np.ndarray:
    """As preproc of YOLOX's data_augment.py."""
    padded = np.ones((size, size, 3), np.uint8) * 114
    ratio = min(size / image.shape[0], size / image.shape[1])
    width, height = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
    padded[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return padded


def yolo_restated(image: np.ndarray, size: int) -> np.ndarray:
    """As MLPerf's reference is described: rounded, border 114, an odd pixel to the bottom and right."""
    height, width = image.shape[:2]
    ratio = min(size / height, size / width)
    inner = round(width * ratio), round(height * ratio)
    beside, above = (size - inner[0]) / 2, (size - inner[1]) / 2
    left, right = round(beside - 0.1), round(beside + 0.1)
    top, bottom = round(above - 0.1), round(above + 0.1)
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114,) * 3)


def nanodet_restated(image: np.ndarray, size: int, keep_ratio: bool) -> np.ndarray:
    """As get_resize_matrix and warp_and_resize of NanoDet's warp.py."""
    height, width = image.shape[:2]
    if keep_ratio:
        to_origin = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
        ratio = size / height if width / height < 1 else size / width
        to_centre = np.array([[1, 0, 0.5 * size], [0, 1, 0.5 * size], [0, 0, 1]])
        matrix = to_centre @ np.diag([ratio, ratio, 1]) @ to_origin
    else:
        matrix = np.diag([size / width, size / height, 1])
    return cv2.warpPerspective(image, matrix, dsize=(size, size))


RESTATED = {
    "YOLOX": (YOLOX, lambda image: yolox_restated(image, 416)),
    "YOLO": (YOLO, lambda image: yolo_restated(image, 640)),
    "NanoDet": (NANODET, lambda image: nanodet_restated(image, 416, keep_ratio=True)),
    "NanoDet-Plus": (NANODET_PLUS, lambda image: nanodet_restated(image, 416, keep_ratio=False)),
    "stretch": (STRETCH, lambda image: cv2.resize(image, (416, 416), interpolation=cv2.INTER_LINEAR)),
}


@pytest.mark.parametrize("name", RESTATED)
def test_real_images_are_fitted_as_the_models_authors_do(shared_data, name):
    recipe, restated = RESTATED[name]
    files = sorted((shared_data / "coco-tiny" / "val2017").glob("*.jpg"))[::3]
    shapes = set()
    for file in files:
        image = decode(file.read_bytes(), file.name)
        shapes.add(image.shape[0] < image.shape[1])
        assert np.array_equal(recipe.apply(image), restated(image)), file.name
    assert shapes == {False, True}


RECIPES = {
    **{name: recipe for name, (recipe, _) in RESTATED.items()},
    "letterbox": Recipe(300, "area", fit="letterbox"),
    "Pillow letterbox": Recipe(301, "pil_bilinear", fit="letterbox"),
    "warp at the top left": Recipe(320, "cubic", fit="warp", place="top-left"),
    "crop": Recipe(224, "area", 0.875),
    "Pillow crop": Recipe(225, "pil_bicubic", resize_to=256),
    "squashed crop": Recipe(224, "linear", 0.875, squash=True),
    "crop first": Recipe(240, "cubic", 0.875, crop_first=True),
    "squashed crop first": Recipe(240, "cubic", 0.875, crop_first=True, squash=True),
}


def half_way(profile: np.ndarray) -> tuple[float, float]:
    """Return where a profile rises through its half and falls through it, in edges of pixels."""
    half = (profile.min() + profile.max()) / 2
    above = np.flatnonzero(profile >= half)
    first, last = above[0], above[-1]
    rise = first - (profile[first] - half) / (profile[first] - profile[first - 1])
    fall = last + (profile[last] - half) / (profile[last] - profile[last + 1])
    return rise + 0.5, fall + 0.5


@pytest.mark.parametrize(("width", "height"), [(640, 427), (333, 500), (1021, 768), (150, 211)])
@pytest.mark.parametrize("name", RECIPES)
def test_a_box_lies_where_the_placement_says_to_half_a_pixel(name, width, height):
    recipe = RECIPES[name]
    box = np.array([0.3 * width, 0.35 * height, 0.7 * width, 0.6 * height]).round()
    left, top, right, bottom = box.astype(int)
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    # Blurred alike to both sides, an edge stays where it was, and no way to interpolate misses it.
    pixels = recipe.apply(cv2.GaussianBlur(image, (0, 0), max(width, height) / 100))[:, :, 0].astype(float)
    placement = recipe.placement(width, height)
    sides = np.array([[width, height]])
    middle = placement.to_model(box).reshape(2, 2).mean(0).astype(int)
    across, down = (slice(one - 2, one + 2) for one in middle)
    xs, ys = half_way(pixels[down].mean(0)), half_way(pixels[:, across].mean(1))
    seen = np.array([xs[0], ys[0], xs[1], ys[1]])
    # A warp is the half of a pixel off, of the image's or the model's, that its authors leave out.
    scales = np.array([placement.scale_x, placement.scale_y])
    allowed = 0.5 if recipe.fit == "warp" else 0.3
    assert np.abs(placement.to_model(box) - seen).max() < allowed * max(1, *scales)
    assert np.abs(
        recipe.frames(sides).shares(seen[None].astype(np.float32), 0)[0] * np.tile(sides[0], 2) - box
    ).max() < allowed * max(1, *1 / scales)


def test_a_whole_image_fills_what_the_placement_says():
    image = np.full((90, 400, 3), 255, np.uint8)
    for recipe in (YOLOX, YOLO, Recipe(417, "area", fit="letterbox", border=3)):
        placement = recipe.placement(400, 90)
        left, top, right, bottom = placement.to_model(np.array([0, 0, 400, 90])).round(6)
        sample = recipe.apply(image)
        inside = np.full((recipe.size, recipe.size), False)
        inside[int(top) : int(bottom), int(left) : int(right)] = True
        assert (sample[inside] == 255).all()
        assert (sample[~inside] == recipe.border).all()


def test_an_image_of_one_row_is_still_an_image():
    for recipe in (YOLOX, YOLO, NANODET, STRETCH):
        assert recipe.apply(np.full((1, 2000, 3), 9, np.uint8)).shape == (recipe.size, recipe.size, 3)


def test_no_two_recipes_share_a_key_and_keys_of_older_recipes_stay():
    recipes = [
        *RECIPES.values(),
        Recipe(416, "linear", fit="letterbox", border=114),
        Recipe(416, "linear", fit="letterbox", border=114, rounding="round"),
        Recipe(416, "linear", fit="letterbox", place="top-left"),
        Recipe(416, "linear", fit="warp", border=114),
        Recipe(416, "linear", 1.0, squash=True),
    ]
    assert len({recipe.key for recipe in recipes}) == len(recipes)
    assert RECIPES["crop"].key == "area-224-0.875"
    assert YOLOX.key == "linear-416-letterbox-top-left-114"
    for recipe in recipes:
        assert Recipe(**recipe.to_dict()) == recipe
        assert recipe.at(recipe.size) == recipe


@pytest.mark.parametrize("given", [{"crop_fraction": 1.0}, {"resize_to": 500}])
def test_a_recipe_that_crops_nothing_has_no_crop(given):
    with pytest.raises(ValueError, match="another neither"):
        Recipe(416, "linear", fit="letterbox", **given)
