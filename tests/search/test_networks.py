"""One definition makes the OpenVINO graph and the PyTorch module."""

import json
import random
import warnings

import numpy as np
import openvino as ov
import pytest
from old_networks import PATH, facts
from old_networks import SPACES as OLD

from harness.backend import macs
from harness.errors import ModelError
from harness.model import resnet
from harness.model.architecture import Architecture, Stage, resnet50
from harness.model.blocks import FORMS, Block
from harness.search.latency.terms import terms
from harness.search.space.revisions import Space

SPACES = {
    "builtin": Space(resnet50(24, 64, 0.35), (64, 48)),
    "cifar": Space(resnet50(10, 32, 0.5, "3x3-pool"), (32,)),
}


def logits(model: ov.Model, images: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(image[None])[0] for image in images])


def of_form(form: str) -> Architecture:
    """Return a network with blocks of a form that keep their input's shape and that do not."""
    kinds = ("dense", "group16", "dw3", "dw5") if form in ("bottleneck", "inverted") else ("dense",) * 4
    blocks = [
        Block(32 if place else 48, kind, place % 2 == 0, ("relu", "hswish")[place % 2], form)
        for place, kind in enumerate(kinds)
    ]
    stages = (Stage(32, tuple(blocks[:2])), Stage(64, tuple(blocks[2:])))
    return Architecture(10, 32, "3x3", 32, stages, early_stride=form == "plain").canonical


SHAPES = {
    **{f"{name} {seed}": SPACES[name].sample(random.Random(seed)) for name in SPACES for seed in range(3)},
    **{form: of_form(form) for form in FORMS},
}


@pytest.mark.parametrize("name", OLD)
def test_old_networks_are_what_they_were(name: str) -> None:
    known = json.loads(PATH.read_text(encoding="utf-8"))
    assert facts(*OLD[name]) == known[name]


@pytest.mark.parametrize("architecture", SHAPES.values(), ids=SHAPES)
def test_graph_and_module_give_the_same_logits(architecture: Architecture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from harness.training import export
    from harness.training.network import ResNet, folded

    torch.manual_seed(1)
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
    alone = sum(len(block.norms) for block in architecture.layers().blocks)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules()) == alone
    with torch.inference_mode():
        assert np.abs(quick(images).numpy() - wanted).max() <= 1e-4 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("architecture", SHAPES.values(), ids=SHAPES)
def test_counted_work_is_the_graphs(architecture: Architecture) -> None:
    model = resnet.assemble(architecture, resnet.seeded_state(1, architecture))
    assert macs.count_macs(model) == architecture.count_macs()


def test_a_plain_architecture_makes_the_graph_of_its_weights_alone() -> None:
    architecture = resnet50(24, 64, 0.2)
    state = resnet.seeded_state(1, architecture)
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    one, other = resnet.assemble(architecture, state), resnet.build(state, 64)
    assert np.array_equal(logits(one, images), logits(other, images))


def test_branches_are_one_convolution_when_deployed() -> None:
    architecture = of_form("branched")
    model = resnet.assemble(architecture, resnet.seeded_state(1, architecture))
    convolutions = [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    assert len(convolutions) == 1 + sum(len(stage.blocks) for stage in architecture.stages)
    assert terms(architecture) == terms(architecture.deployed)
    assert architecture.count_macs() == architecture.deployed.count_macs()
    assert architecture.key != architecture.deployed.key


@pytest.mark.parametrize("form", FORMS)
def test_what_makes_no_difference_in_a_form_makes_no_other_network(form: str) -> None:
    varied = [Block(32, "dw3", True, "relu", form), Block(48, "dense", False, "relu", form)]
    shapes = [Architecture(4, 32, "3x3", 16, (Stage(64, (block,)),)) for block in varied]
    one, other = (
        {name: value.shape for name, value in resnet.seeded_state(1, shape.canonical).items()}
        for shape in shapes
    )
    assert (shapes[0].key == shapes[1].key) is (one == other)
    assert Architecture.from_dict(shapes[0].to_dict()) == shapes[0]


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


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_is_named_after_its_place_in_the_network(form: str) -> None:
    architecture = of_form(form)
    model = resnet.assemble(architecture, resnet.seeded_state(1, architecture))
    layers = [op for op in model.get_ordered_ops() if op.get_type_name() != "Constant"]
    names = [op.get_friendly_name() for op in layers]
    assert not [name for name in names if name.rpartition("_")[2].isdecimal()]
    assert len(set(names)) == len(names)


def test_a_network_in_a_few_words_names_its_stages() -> None:
    assert of_form("plain").summary == "plain 2 x 32, 2 x 64, early stride"
    stages = (Stage(32, (Block(16),)), Stage(64, (Block(64, form="fused"),) * 3))
    assert Architecture(10, 32, "3x3", 16, stages).summary == "bottleneck 1 x 32, fused 3 x 64"
