"""The built-in detector: the same in PyTorch as in OpenVINO, and a loss that leads to the boxes."""

from typing import Any

import numpy as np
import openvino as ov
import pytest

from harness.errors import ModelError
from harness.model import detector as graph

torch = pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")

from harness.training.detector import (  # noqa: E402 - it needs torch
    Detector,
    Scenes,
    Settings,
    boxes_of,
    cells,
    loss_of,
    train,
)

SIZE = 64
CLASSES = 3


@pytest.fixture
def network() -> Detector:
    """Return a network whose batch normalisation does something."""
    torch.manual_seed(1)
    made = Detector(CLASSES).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return made


def test_the_graph_answers_as_the_network_does(network: Detector) -> None:
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        wanted = network(images)
    wanted[..., 4:] = wanted[..., 4:].sigmoid()
    model = graph.assemble(network.arrays(), SIZE, name="small")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image, expected in zip(images, wanted, strict=True):
        found = compiled(image[None].numpy())[0]
        assert found.shape == (1, 64 + 16 + 4, 5 + CLASSES)
        assert np.abs(found[0] - expected.numpy()).max() < 1e-4


def test_weights_of_another_network_are_refused(network: Detector) -> None:
    arrays = network.arrays()
    with pytest.raises(
        ModelError, match=r"'box8_out\.bias' is missing from the weights: the built-in detector"
    ):
        graph.assemble({name: one for name, one in arrays.items() if name != "box8_out.bias"}, SIZE, name="x")
    with pytest.raises(ModelError, match="'more' has no place in the built-in detector"):
        graph.assemble({**arrays, "more": np.zeros(1)}, SIZE, name="x")


def test_cells_stand_row_by_row_from_the_finest_level() -> None:
    corners, strides = cells(84)
    assert corners[:9].tolist() == [*([float(x), 0.0] for x in range(8)), [0.0, 1.0]]
    assert [int(strides[place]) for place in (0, 63, 64, 79, 80, 83)] == [8, 8, 16, 16, 32, 32]


def perfect(boxes: list[list[float]], labels: list[int], sure: float = 12.0) -> Any:
    """Return answers, [1, 84, 8], in which each cell near a thing says what it is, and all others nothing."""
    corners, strides = cells(84)
    answers = torch.full((1, 84, 5 + CLASSES), -12.0)
    for box, label in zip(boxes, labels, strict=True):
        left, top, right, bottom = box
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2])
        near = ((corners + 0.5) * strides - middle).abs().max(1).values < strides[:, 0]
        answers[0, near, :2] = middle / strides[near] - corners[near]
        answers[0, near, 2:4] = (torch.tensor([right - left, bottom - top]) / strides[near]).log()
        near &= strides[:, 0] == (8 if max(right - left, bottom - top) < 20 else 16)
        answers[0, near, 4] = sure
        answers[0, near, 5 + label] = sure
    return answers


def test_right_answers_cost_almost_nothing_and_wrong_ones_more() -> None:
    boxes, labels = [[6.0, 8.0, 20.0, 18.0], [30.0, 20.0, 60.0, 56.0]], [2, 0]
    given = torch.tensor([[*boxes, [float("nan")] * 4]]), torch.tensor([[*labels, 0]])
    right = float(loss_of(perfect(boxes, labels), *given))
    assert right < 0.01
    found = boxes_of(perfect(boxes, labels)[0], *cells(84))
    assert torch.isclose(found, torch.tensor(boxes[0]), atol=1e-3).all(1).any()
    moved = [[10.0, 8.0, 24.0, 18.0], boxes[1]]
    for wrong in (perfect(moved, labels), perfect(boxes, [1, 0]), perfect(boxes, labels, sure=-12.0)):
        assert float(loss_of(wrong, *given)) > 10 * right + 0.1


def test_an_image_without_things_wants_no_cell_to_be_sure() -> None:
    nothing = torch.full((1, 1, 4), float("nan")), torch.zeros((1, 1), dtype=torch.int64)
    assert float(loss_of(perfect([], []), *nothing)) < 0.01
    assert float(loss_of(perfect([[6.0, 8.0, 20.0, 18.0]], [1]), *nothing)) > 5


def test_a_training_learns_and_is_the_same_again() -> None:
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 60, (16, SIZE, SIZE, 3), np.uint8)
    boxes = np.full((16, 2, 4), np.nan, np.float32)
    for index, (left, top) in enumerate(dice.integers(0, SIZE - 24, (16, 2))):
        pixels[index, top : top + 16, left : left + 24] = 255
        boxes[index, 0] = left, top, left + 24, top + 16
    scenes = Scenes(pixels, boxes, np.zeros((16, 2), np.int64))
    settings = Settings(epochs=8, batch_size=4, warm_up_steps=2)

    def run() -> tuple[list[float], dict[str, np.ndarray]]:
        epochs = [
            (loss, network.arrays())
            for _, loss, network in train(scenes, CLASSES, settings, lambda x: x.permute(0, 3, 1, 2) / 255)
        ]
        return [loss for loss, _ in epochs], epochs[-1][1]

    losses, arrays = run()
    assert losses[-1] < 0.9 * losses[0]
    again, same = run()
    assert again == losses
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays)
