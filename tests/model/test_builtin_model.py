"""The model that ships with the harness, on freshly drawn images of the built-in set."""

from collections.abc import Callable

import numpy as np
import openvino as ov
import pytest

from harness.backend.graph import compile_model, deployed
from harness.backend.settings import CompileSettings
from harness.dataset import builtin, drawn_set, scenes
from harness.dataset.builtin import CLASSES, generate
from harness.dataset.image_file import decode
from harness.dataset.images import find_images
from harness.model import file as model_file
from harness.model.card import Card, find_card


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Return 480 test images as the shipped model's recipe makes them, and their labels."""
    images = find_images(generate(tmp_path_factory.mktemp("shipped") / "set", 480), len(CLASSES))
    recipe = find_card("builtin-resnet50").input.recipe
    pixels = [recipe.apply(decode((images.root / name).read_bytes(), name), name) for name in images.names]
    return pixels, images.labels


def top1(model: ov.Model, card: Card, sample: tuple[list[np.ndarray], tuple[int, ...]]) -> float:
    compiled = compile_model(deployed(model, card), CompileSettings("LATENCY")).model
    found = [int(compiled(pixels[None])[0][0, 0]) for pixels in sample[0]]
    return float(np.mean(np.array(found) == sample[1]))


def weights_of_convolutions(model: ov.Model) -> list[ov.Node]:
    nodes = [
        node.input_value(1).node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"
    ]
    assert len(nodes) == 53
    return nodes


def test_the_shipped_model_reaches_the_accuracy_of_its_card(
    sample: tuple[list[np.ndarray], tuple[int, ...]],
) -> None:
    card = find_card("builtin-resnet50")
    assert card.accuracy is not None
    assert 0.85 <= card.accuracy.reference <= 0.97
    # Four standard deviations of 480 images around the accuracy on all 2,000.
    assert top1(model_file.read(card), card, sample) == pytest.approx(card.accuracy.reference, abs=0.05)


def zeroed(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values)


def rounded_to_three_bits(values: np.ndarray) -> np.ndarray:
    step = np.abs(values).max() / 3
    return np.round(values / step) * step


@pytest.mark.parametrize(
    ("damage", "layers"),
    [(zeroed, slice(5, 6)), (rounded_to_three_bits, slice(None))],
    ids=["zeroed", "rounded"],
)
def test_a_damaged_model_falls_clearly_below(
    damage: Callable[[np.ndarray], np.ndarray],
    layers: slice,
    sample: tuple[list[np.ndarray], tuple[int, ...]],
) -> None:
    card = find_card("builtin-resnet50")
    assert card.accuracy is not None
    model = model_file.read(card)
    for node in weights_of_convolutions(model)[layers]:
        ov.utils.replace_node(node, ov.opset13.constant(damage(node.data)))
    assert top1(model, card, sample) < card.accuracy.target - 0.1


@pytest.mark.parametrize(
    ("name", "version", "classes"),
    [
        ("builtin-resnet50", builtin.VERSION, len(CLASSES)),
        ("builtin-detector", scenes.VERSION, len(scenes.CLASSES)),
    ],
)
def test_the_shipped_weights_are_small_and_the_card_tells_how_they_came_about(
    name: str, version: int, classes: int
) -> None:
    card = find_card(name)
    assert sum(path.stat().st_size for path in model_file.files(card)) <= 4_000_000
    assert {"data_seed", "images", "epochs", "seed", "command", "torch_version"} <= set(card.training)
    assert card.training["data_seed"] == drawn_set.SEED
    assert card.training["data_version"] == version
    assert card.output.classes == classes
    assert not card.speed_only
