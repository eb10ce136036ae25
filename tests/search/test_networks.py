"""One definition makes the OpenVINO graph and the PyTorch module."""

import random
import warnings

import numpy as np
import openvino as ov
import pytest

from harness.backend import macs
from harness.errors import ModelError
from harness.model import resnet
from harness.model.architecture import Architecture, Block, Stage, resnet50
from harness.search.space.revisions import Space

SPACES = {
    "builtin": Space(resnet50(24, 64, 0.35), (64, 48)),
    "cifar": Space(resnet50(10, 32, 0.5, "3x3-pool"), (32,)),
}


def logits(model: ov.Model, images: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(image[None])[0] for image in images])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", SPACES)
def test_graph_and_module_give_the_same_logits(name: str, seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from harness.training import export
    from harness.training.network import ResNet, folded

    architecture = SPACES[name].sample(random.Random(seed))
    torch.manual_seed(seed)
    network = ResNet(architecture).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(3, 3, architecture.size, architecture.size)
    with torch.inference_mode():
        wanted = network(images).numpy()
    found = logits(resnet.assemble(architecture, export.arrays(network)), images.numpy())
    assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, float(np.abs(wanted).max()))
    assert sum(value.numel() for value in network.parameters()) == architecture.count_parameters()
    quick = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    with torch.inference_mode():
        assert np.abs(quick(images).numpy() - wanted).max() <= 1e-4 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("seed", range(4))
def test_counted_work_is_the_graphs(seed: int) -> None:
    architecture = SPACES["builtin"].sample(random.Random(seed))
    model = resnet.assemble(architecture, resnet.seeded_state(1, architecture))
    assert macs.count_macs(model) == architecture.count_macs()


def test_a_plain_architecture_makes_the_graph_of_its_weights_alone() -> None:
    architecture = resnet50(24, 64, 0.2)
    state = resnet.seeded_state(1, architecture)
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    one, other = resnet.assemble(architecture, state), resnet.build(state, 64)
    assert np.array_equal(logits(one, images), logits(other, images))


def broken(architecture: Architecture, change: str) -> dict[str, np.ndarray]:
    state = resnet.seeded_state(1, architecture)
    if change == "missing":
        del state["layer1.0.conv2.weight"]
    elif change == "superfluous":
        state["layer1.9.conv1.weight"] = state["layer1.0.conv1.weight"]
    else:
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:8]
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "is missing"),
        ("superfluous", "has no place"),
        ("narrow", "weights are of another network"),
    ],
)
def test_weights_of_another_network_are_refused(change: str, message: str) -> None:
    architecture = resnet50(24, 64, 0.2)
    with pytest.raises(ModelError, match=message):
        resnet.assemble(architecture, broken(architecture, change))


def test_initial_weights_count_the_outputs_of_their_own_group_alone() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from harness.training.network import ResNet

    torch.manual_seed(1)
    for kind, outputs in (("dense", 256), ("group32", 32), ("dw3", 1)):
        shape = Architecture(4, 32, "3x3", 16, (Stage(256, (Block(256, kind),)),))
        spread = float(ResNet(shape).layer1[0].conv2.weight.detach().std())
        assert spread == pytest.approx((2 / (9 * outputs)) ** 0.5, rel=0.05)
