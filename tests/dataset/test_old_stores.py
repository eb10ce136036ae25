"""Stores that version 0.1.0 made: tests/fixtures/v0.1.0 holds what its `prepare` wrote, and its images."""

from pathlib import Path

import numpy as np
import pytest
from sample_images import expected, sha256

from harness.dataset.images import find_images
from harness.dataset.recipe import Recipe
from harness.dataset.store import open_store

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"

DIGESTS = {
    Recipe(8, "area", 0.875): "288b1d9afb979f42c9696618db490ef937f34255977dba4f254f87ac467f328b",
    Recipe(8, "linear", 0.875): "50c91bdc3477a4c9045aebaaaeb4c213c3f13d1d31b26db23645c79782430e3b",
    Recipe(8, "pil_bilinear", 8 / 9): "d38f62a18be611a4a68cf85f2274dd731f8a7b76dde01987cf61a827775bf8e8",
    Recipe(8, "pil_bicubic", 1.0): "655c3b12c7134cc3b9629722e6fe016e056e65742945ae0f6ffe3e91495bfbde",
    Recipe(8, "area", 15 / 17): "288b1d9afb979f42c9696618db490ef937f34255977dba4f254f87ac467f328b",
}


@pytest.mark.parametrize("recipe", DIGESTS, ids=lambda recipe: recipe.key)
def test_an_old_store_opens_and_holds_the_same_pixels_and_labels(recipe: Recipe) -> None:
    store = open_store(OLD / "store")
    samples = store.samples(recipe)
    assert samples.shape == (4, 8, 8, 3)
    assert store.sha256(recipe) == DIGESTS[recipe]
    assert sha256(Path(str(samples.filename))) == DIGESTS[recipe]
    assert store.names == ("a.png", "my image 2.png", "ü%20.png", "d.png")
    assert store.labels.tolist() == [9, 8, 7, 6]
    assert np.array_equal(samples, expected(find_images(OLD / "images", 10), recipe))


def test_an_old_store_that_lacks_an_image_opens() -> None:
    store = open_store(OLD / "store-missing")
    recipe = Recipe(8, "none", 1.0)
    images = find_images(OLD / "whole-images", 10)
    assert [(entry.name, entry.label, entry.fault) for entry in store.missing] == [
        ("gone.png", 8, "does not exist")
    ]
    assert store.names == ("a.png", "c.png", "d.png")
    assert np.array_equal(store.samples(recipe), expected(images, recipe, store.names))
