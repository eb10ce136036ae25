"""TrivialAugment's operations on images made for each of them."""

from collections.abc import Callable

import numpy as np
import pytest

from harness.dataset.recipe import Pixels
from harness.training import trivial
from harness.training.trivial import OPERATIONS, augment

BY_THEMSELVES = {"_stretched", "_equalized"}
"""Operations that have no strength."""


@pytest.fixture
def photo() -> Pixels:
    """Return u8 [24, 32, 3], smooth and of uneven channels, from 30 to 199."""
    y, x = np.mgrid[:24, :32]
    channels = [30 + 3 * x + y, 199 - 2 * x - 3 * y, 90 + 2 * y + (x // 4) * 5]
    return np.stack(channels, 2).astype(np.uint8)


def operation(name: str) -> Callable[..., Pixels]:
    found: Callable[..., Pixels] = getattr(trivial, name)
    return found


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.__name__)
def test_an_operation_keeps_the_shape_and_changes_most_at_full_strength(
    one: Callable[..., Pixels], photo: Pixels
) -> None:
    whole = one(photo, 1.0, 1.0)
    assert whole.shape == photo.shape
    assert whole.dtype == np.uint8
    assert np.array_equal(whole, photo) == (one.__name__ == "_same")
    if one.__name__ not in BY_THEMSELVES:
        assert np.array_equal(one(photo, 0.0, 1.0), photo)
        little = np.abs(one(photo, 1 / 30, 1.0).astype(int) - photo).mean()
        assert little <= np.abs(whole.astype(int) - photo).mean()


def test_all_operations_are_drawn_and_no_other(photo: Pixels) -> None:
    shares = (np.arange(len(OPERATIONS)) + 0.5) / len(OPERATIONS)
    for share, one in zip(shares, OPERATIONS, strict=True):
        assert np.array_equal(augment(photo, share, 0.999, 0.7), one(photo, 1.0, 1.0))
        assert np.array_equal(augment(photo, share, 0.999, 0.2), one(photo, 1.0, -1.0))


def test_moving_leaves_grey_behind() -> None:
    image = np.full((40, 40, 3), 7, np.uint8)
    right = operation("_moved")(image, 0.5, 1.0)
    assert (right[:, :16] == 128).all()
    assert (right[:, 16:] == 7).all()
    up = operation("_moved_down")(image, 0.5, -1.0)
    assert (up[:24] == 7).all()
    assert (up[24:] == 128).all()


def test_turning_and_shearing_keep_the_middle_and_go_both_ways() -> None:
    image = np.zeros((33, 33, 3), np.uint8)
    image[16] = 200
    assert (operation("_turned")(image, 90 / 135, 1.0)[1:-1, 16] == 200).all()
    down, up = (operation("_sheared_down")(image, 1.0, sign) for sign in (1.0, -1.0))
    assert (down[16, 16] == 200).all()
    assert (down[20, 20] > 150).all()
    assert np.array_equal(down, up[::-1])


def test_light_contrast_and_colour_have_a_fixed_point() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert (operation("_brighter")(grey, 1.0, 1.0) == 199).all()
    assert (operation("_brighter")(grey, 1.0, -1.0) == 1).all()
    for name in ("_more_contrast", "_more_colourful", "_sharper"):
        assert np.array_equal(operation(name)(grey, 1.0, 1.0), grey)
    half = grey.copy()
    half[:4] = 50
    assert np.ptp(operation("_more_contrast")(half, 1.0, 1.0)) == pytest.approx(99.5, abs=1)
    assert np.ptp(operation("_more_contrast")(half, 1.0, -1.0)) <= 1


def test_few_values_are_left_by_two_bits_and_solarizing_inverts_the_bright() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    assert set(np.unique(operation("_posterized")(ramp, 1.0, 1.0))) == {0, 64, 128, 192}
    inverted = operation("_solarized")(ramp, 0.5, 1.0)
    assert np.array_equal(inverted[ramp < 127], ramp[ramp < 127])
    assert np.array_equal(inverted[ramp > 128], 255 - ramp[ramp > 128])


def test_stretching_uses_all_values_of_each_channel_and_leaves_even_ones(photo: Pixels) -> None:
    photo[..., 2] = 77
    found = operation("_stretched")(photo, 0.0, 1.0)
    assert found[..., :2].min((0, 1)).tolist() == [0, 0]
    assert found[..., :2].max((0, 1)).tolist() == [255, 255]
    assert (found[..., 2] == 77).all()


def test_equalizing_makes_all_values_about_as_frequent(photo: Pixels) -> None:
    found = operation("_equalized")(photo, 0.0, 1.0)
    for channel in np.moveaxis(found, 2, 0):
        assert np.histogram(channel, 4, (0, 256))[0] == pytest.approx(channel.size / 4, rel=0.15)
