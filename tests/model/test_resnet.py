import hashlib
import warnings
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.backend import macs
from harness.errors import ModelError
from harness.model import resnet


def run(model: Any, image: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(image)["logits"])


def images(size: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((1, 3, size, size)).astype(np.float32)


def random_state(
    stages: list[list[tuple[int, int]]], out: list[int], *, stem: int, stem_width: int, classes: int
) -> dict[str, np.ndarray]:
    """Weights with random BN statistics; `stages` holds (width of 1x1, width of 3x3) of every block."""
    draw = np.random.default_rng(3)
    state: dict[str, np.ndarray] = {}

    def layer(conv: str, bn: str, o: int, i: int, k: int) -> None:
        state[f"{conv}.weight"] = (draw.standard_normal((o, i, k, k)) / np.sqrt(i * k * k / 2)).astype("f4")
        state[f"{bn}.weight"] = draw.uniform(0.4, 1.2, o).astype("f4")
        state[f"{bn}.bias"] = draw.normal(0, 0.3, o).astype("f4")
        state[f"{bn}.running_mean"] = draw.normal(0, 0.5, o).astype("f4")
        state[f"{bn}.running_var"] = draw.uniform(0.5, 3, o).astype("f4")
        state[f"{bn}.num_batches_tracked"] = np.array(9, np.int64)

    layer("conv1", "bn1", stem_width, 3, stem)
    width = stem_width
    for s, blocks in enumerate(stages, start=1):
        for b, (first, mid) in enumerate(blocks):
            name = f"layer{s}.{b}"
            layer(f"{name}.conv1", f"{name}.bn1", first, width, 1)
            layer(f"{name}.conv2", f"{name}.bn2", mid, first, 3)
            layer(f"{name}.conv3", f"{name}.bn3", out[s - 1], mid, 1)
            if b == 0:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", out[s - 1], width, 1)
            width = out[s - 1]
    state["fc.weight"] = (draw.standard_normal((classes, width)) / np.sqrt(width)).astype("f4")
    state["fc.bias"] = draw.standard_normal(classes).astype("f4")
    return state


def small_state() -> dict[str, np.ndarray]:
    return random_state([[(8, 8)], [(8, 8)]], [16, 32], stem=3, stem_width=8, classes=10)


def torch_logits(state: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """The same network in PyTorch, with BN as a step of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}

    def layer(x: Any, conv: str, bn: str, stride: int) -> Any:
        weight = tensors[f"{conv}.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, var = tensors[f"{bn}.running_mean"], tensors[f"{bn}.running_var"]
        return functional.batch_norm(x, mean, var, tensors[f"{bn}.weight"], tensors[f"{bn}.bias"], eps=1e-5)

    large = tensors["conv1.weight"].shape[-1] == 7
    with torch.no_grad():
        x = layer(torch.from_numpy(image), "conv1", "bn1", 2 if large else 1).relu()
        if large:
            x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            for block in range(9):
                name = f"layer{stage}.{block}"
                if f"{name}.conv1.weight" not in state:
                    break
                stride = 2 if stage > 1 and block == 0 else 1
                y = layer(x, f"{name}.conv1", f"{name}.bn1", 1).relu()
                y = layer(y, f"{name}.conv2", f"{name}.bn2", stride).relu()
                y = layer(y, f"{name}.conv3", f"{name}.bn3", 1)
                if block == 0:
                    x = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
                x = (x + y).relu()
        logits = x.mean((2, 3)) @ tensors["fc.weight"].T + tensors["fc.bias"]
    return np.asarray(logits.numpy())


@pytest.fixture(scope="module")
def seeded() -> dict[str, np.ndarray]:
    return resnet.seeded_state(5)


@pytest.fixture(scope="module")
def seeded_model(seeded: dict[str, np.ndarray]) -> Any:
    return resnet.build(seeded, 224, name="seeded")


def count_parameters(state: dict[str, np.ndarray]) -> int:
    """Return the number of trainable numbers: all but BN's running statistics."""
    return sum(array.size for name, array in state.items() if name.endswith((".weight", ".bias")))


def test_the_seeded_network_has_resnet50s_parameters(seeded: dict[str, np.ndarray]) -> None:
    assert count_parameters(seeded) == 25_557_032


def test_the_seeded_network_does_resnet50s_work(seeded_model: Any) -> None:
    assert macs.count_macs(seeded_model) == 4_089_184_256


def test_the_seeded_network_has_one_image_input_and_one_logits_output(seeded_model: Any) -> None:
    (image,), (logits,) = seeded_model.inputs, seeded_model.outputs

    assert (image.get_any_name(), list(image.shape)) == ("image", [1, 3, 224, 224])
    assert (logits.get_any_name(), list(logits.shape)) == ("logits", [1, 1000])
    assert seeded_model.get_friendly_name() == "seeded"


def test_seeded_activations_neither_explode_nor_die(seeded_model: Any) -> None:
    blocks = [
        op
        for op in seeded_model.get_ordered_ops()
        if op.get_type_name() == "Add" and op.get_friendly_name().count(".") == 1
        if op.get_friendly_name().startswith("layer")
    ]
    probe = ov.Model([op.output(0) for op in blocks], seeded_model.get_parameters())

    outputs = ov.Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images(224))

    assert len(blocks) == 16
    for index in range(len(blocks)):
        assert 0.5 < outputs[index].std() < 20
        assert 0.2 < (outputs[index] > 0).mean() < 0.95


def test_a_seed_gives_the_same_bytes_everywhere(seeded: dict[str, np.ndarray]) -> None:
    digest = hashlib.sha256()
    for name in sorted(seeded):
        assert seeded[name].dtype == np.float32
        digest.update(name.encode() + seeded[name].tobytes())

    assert digest.hexdigest() == "a98f5edf40ef39724802158a1ab9412bddeee33d999e233eee1e867d2115a115"


def test_another_seed_gives_other_weights(seeded: dict[str, np.ndarray]) -> None:
    other = resnet.seeded_state(6)

    assert other.keys() == seeded.keys()
    assert not np.array_equal(other["fc.weight"], seeded["fc.weight"])


def test_seeded_weights_are_he_uniform(seeded: dict[str, np.ndarray]) -> None:
    weight = seeded["layer4.0.conv2.weight"]

    assert weight.var() == pytest.approx(2 / (512 * 9), rel=0.01)
    assert abs(weight.mean()) < 1e-4


def test_resnet50_equals_pytorch() -> None:
    stages = [[(w, w)] * n for n, w in ((3, 64), (4, 128), (6, 256), (3, 512))]
    state = random_state(stages, [256, 512, 1024, 2048], stem=7, stem_width=64, classes=1000)
    image = images(224)
    wanted = torch_logits(state, image)

    logits = run(resnet.build(state, 224), image)

    assert count_parameters(state) == 25_557_032
    assert np.abs(logits - wanted).max() <= 1e-3 * np.abs(wanted).max()


def test_a_narrowed_network_with_a_small_stem_equals_pytorch() -> None:
    stages = [[(12, 8), (6, 10)], [(16, 12), (9, 20), (8, 8)], [(24, 24)]]
    state = random_state(stages, [40, 72, 104], stem=3, stem_width=20, classes=24)
    image = images(32)
    wanted = torch_logits(state, image)

    model = resnet.build(state, 32)

    assert np.abs(run(model, image) - wanted).max() <= 1e-3 * np.abs(wanted).max()
    assert list(model.outputs[0].shape) == [1, 24]


def test_the_small_network_gives_these_logits_without_pytorch() -> None:
    """Guards the graph where PyTorch is absent: convolutions by hand, BN as a step of its own."""
    state, image = small_state(), images(9)

    logits = run(resnet.build(state, 9), image)

    assert np.abs(logits - by_hand(state, image)).max() <= 1e-3 * np.abs(logits).max()


def by_hand(state: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    def layer(x: np.ndarray, conv: str, bn: str, stride: int) -> np.ndarray:
        weight = state[f"{conv}.weight"].astype(np.float64)
        out, _, k, _ = weight.shape
        padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2))
        side = (x.shape[1] - 1) // stride + 1
        made = np.empty((out, side, side))
        for row in range(side):
            for column in range(side):
                top, left = row * stride, column * stride
                patch = padded[:, top : top + k, left : left + k]
                made[:, row, column] = (weight * patch).sum((1, 2, 3))
        gamma, beta, mean, var = (
            state[f"{bn}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (made - mean) / np.sqrt(var + 1e-5) * gamma + beta

    x = np.maximum(layer(image[0].astype(np.float64), "conv1", "bn1", 1), 0)
    for stage, stride in ((1, 1), (2, 2)):
        name = f"layer{stage}.0"
        y = np.maximum(layer(x, f"{name}.conv1", f"{name}.bn1", 1), 0)
        y = np.maximum(layer(y, f"{name}.conv2", f"{name}.bn2", stride), 0)
        y = layer(y, f"{name}.conv3", f"{name}.bn3", 1)
        x = np.maximum(y + layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride), 0)
    return np.asarray(state["fc.weight"] @ x.mean((1, 2)) + state["fc.bias"])[None]


def test_the_work_of_transposed_convolutions_and_attention_is_counted() -> None:
    data = ops.parameter([1, 8, 16, 16], np.float32)
    up = ops.convolution_backprop_data(
        data, ops.constant(np.zeros((8, 4, 2, 2), np.float32)), strides=[2, 2], pads_begin=[0, 0],
        pads_end=[0, 0], dilations=[1, 1],
    )  # fmt: skip
    assert macs.count_macs(ov.Model([up], [data])) == 16 * 16 * 8 * 4 * 2 * 2

    grouped = ops.parameter([1, 8, 5, 5], np.float32)
    up = ops.group_convolution_backprop_data(
        grouped, ops.constant(np.zeros((2, 4, 3, 2, 2), np.float32)), strides=[2, 2], pads_begin=[0, 0],
        pads_end=[0, 0], dilations=[1, 1],
    )  # fmt: skip
    assert macs.count_macs(ov.Model([up], [grouped])) == 5 * 5 * 8 * 3 * 2 * 2

    query, key, value = (ops.parameter([1, 2, 5, 8], np.float32) for _ in range(3))
    attention = ops.scaled_dot_product_attention(query, key, value)
    assert macs.count_macs(ov.Model([attention], [query, key, value])) == 2 * (5 * 5 * 8 + 5 * 5 * 8)

    vector = ops.parameter([4], np.float32)
    product = ops.matmul(
        vector, ops.constant(np.zeros((4, 7), np.float32)), transpose_a=True, transpose_b=False
    )
    assert macs.count_macs(ov.Model([product], [vector])) == 28


def test_the_work_grows_with_the_batch_and_a_dynamic_batch_is_refused() -> None:
    model = resnet.build(small_state(), 16)
    one = macs.count_macs(model)
    model.reshape([3, 3, 16, 16])
    assert macs.count_macs(model) == 3 * one

    model.reshape([-1, 3, 16, 16])
    with pytest.raises(ModelError, match="dynamic"):
        macs.count_macs(model)


def test_the_work_of_a_small_network_is_as_counted_by_hand() -> None:
    side, half = 16 * 16, 8 * 8
    stem = side * 8 * 27
    first = side * (8 * 8 + 8 * 72 + 16 * 8 + 16 * 8)
    second = side * 8 * 16 + half * (8 * 72 + 32 * 8 + 32 * 16)

    assert macs.count_macs(resnet.build(small_state(), 16)) == stem + first + second + 32 * 10


MISSING = ["conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer1.0.bn2.bias", "fc.weight"]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_tensor_is_named(name: str) -> None:
    state = small_state()
    del state[name]

    with pytest.raises(ModelError, match=f"'{name}' is missing"):
        resnet.build(state, 16)


def test_a_missing_shortcut_is_named() -> None:
    state = {name: array for name, array in small_state().items() if "layer2.0.downsample" not in name}

    with pytest.raises(ModelError, match=r"'layer2\.0\.downsample\.0\.weight' is missing"):
        resnet.build(state, 16)


@pytest.mark.parametrize(
    ("name", "array", "fault"),
    [
        ("layer2.0.conv1.weight", np.zeros((8, 15, 1, 1)), "takes 15 channels where 16 arrive"),
        ("layer1.0.conv2.weight", np.zeros((8, 8, 3)), r"shape \[8, 8, 3\]"),
        ("layer1.0.conv2.weight", np.zeros((8, 8, 2, 2)), "2x2 kernel"),
        ("layer1.0.bn3.weight", np.zeros(15), r"shape \[15\]"),
        ("layer1.0.bn1.running_var", np.full(8, -1.0), "not finite"),
        ("conv1.weight", np.full((8, 3, 3, 3), np.nan), "not finite"),
        ("fc.weight", np.zeros((10, 31)), "takes 31 features where 32 arrive"),
        ("fc.bias", np.zeros(9), r"shape \[9\]"),
        ("layer9.0.conv1.weight", np.zeros((1, 1, 1, 1)), "no place in a bottleneck ResNet"),
    ],
)
def test_an_odd_tensor_is_named(name: str, array: np.ndarray, fault: str) -> None:
    state = small_state() | {name: array}

    with pytest.raises(ModelError, match=fault) as caught:
        resnet.build(state, 16)

    assert name in str(caught.value) or name.rsplit(".", 1)[0] in str(caught.value)


def huggingface_name(name: str) -> str:
    *path, leaf = name.split(".")
    if path == ["fc"]:
        return f"classifier.1.{leaf}"
    part = {"c": "convolution", "b": "normalization", "0": "convolution", "1": "normalization"}[path[-1][0]]
    if len(path) == 1:
        return f"resnet.embedder.embedder.{part}.{leaf}"
    block = f"resnet.encoder.stages.{int(path[0][-1]) - 1}.layers.{path[1]}"
    if path[2] == "downsample":
        return f"{block}.shortcut.{part}.{leaf}"
    return f"{block}.layer.{int(path[2][-1]) - 1}.{part}.{leaf}"


def test_hugging_faces_names_become_torchvisions(seeded: dict[str, np.ndarray]) -> None:
    renamed = {huggingface_name(name): array for name, array in seeded.items()}
    assert "resnet.encoder.stages.3.layers.2.layer.2.normalization.running_var" in renamed

    state = resnet.from_huggingface(renamed)

    assert state.keys() == seeded.keys()
    assert all(state[name] is seeded[name] for name in seeded)


@pytest.mark.parametrize(
    "name", ["vit.embeddings.weight", "resnet.encoder.stages.x.layers.0.layer.0.convolution.weight", "weight"]
)
def test_a_tensor_of_another_hugging_face_model_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=name):
        resnet.from_huggingface({name: np.zeros(1)})
