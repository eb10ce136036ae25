"""Narrowing: what goes together, what it costs, and a narrowed network from the command to its card."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner
from model.test_efficientnet import random_state
from sample_mixed_network import CLASSES, SIZE, mixed_card, mixed_network

from harness.cli import cli
from harness.dataset.images import find_images
from harness.dataset.store import prepare
from harness.errors import DataError, HarnessError, ModelError, OutputError
from harness.model import efficientnet
from harness.model.card import Card, FileSpec, InputSpec, OutputSpec, find_card, read_card

torch = pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")

from harness.model.torch_layers import Convolution, Product  # noqa: E402
from harness.model.twin import Twin  # noqa: E402
from harness.search.narrowing import origin, planning, session, widths  # noqa: E402
from harness.search.narrowing.channels import Channels  # noqa: E402
from harness.search.narrowing.importance import importance  # noqa: E402
from harness.search.narrowing.lessons import Lessons  # noqa: E402
from harness.search.narrowing.request import Request, open_setting  # noqa: E402
from harness.search.narrowing.widths import Load  # noqa: E402
from harness.training import norms  # noqa: E402
from harness.training.data import Images, normalised  # noqa: E402
from harness.training.ranks import Ranks  # noqa: E402

HERE = Ranks(0, 1, torch.device("cpu"))


def plain_card(size: int, classes: int) -> Card:
    given = InputSpec(size, "NCHW", "f32", "RGB", "none", 1.0, (127.0,) * 3, (128.0,) * 3)
    return Card("plain", "resnet50", FileSpec(path="plain.xml"), given, OutputSpec("logits", classes))


def mixed() -> Twin:
    return Twin(mixed_network(), plain_card(SIZE, CLASSES)).eval()


def lite() -> Twin:
    model = efficientnet.build("efficientnet_lite0", random_state("efficientnet_lite0", 10), 64, 10)
    return Twin(model, plain_card(64, 10)).eval()


def noise(size: int, count: int = 1) -> Any:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (count, size, size, 3), np.uint8))


def silence(twin: Twin, channels: Channels, kept: np.ndarray) -> None:
    """Let every layer give zeros in the channels that are not kept."""
    for number, layer in enumerate(twin.layers):
        if isinstance(layer, Convolution | Product):
            gone = ~kept[channels.given[number].ids]
            parts = [layer.conv.weight, layer.conv.bias] if isinstance(layer, Convolution) else []
            parts += [layer.norm.weight, layer.norm.bias] if getattr(layer, "norm", None) else []
            parts += [layer.linear.weight, layer.linear.bias] if isinstance(layer, Product) else []
            for values in parts:
                if values is not None:
                    values.data[torch.from_numpy(gone)] = 0


@pytest.mark.parametrize("make", [mixed, lite])
def test_a_narrowed_network_computes_what_the_original_does_with_zeros_in_place_of_the_channels(
    make: Callable[[], Twin],
) -> None:
    original, narrowed = make(), make()
    pixels = noise(original.size, 2)
    for twin in (original, narrowed):
        norms.liven(twin, pixels)
    channels = Channels(original)
    worth = [np.random.default_rng(2).random(len(group.bundles)) for group in channels.groups]
    order = widths.order(channels.groups, worth, [], 8)
    kept = widths.kept(channels, order[::2])
    assert 0.3 < kept.mean() < 0.9
    Channels(narrowed).cut(kept)
    silence(original, channels, kept)
    wanted, found = (ov.Core().compile_model(twin.write(), "CPU") for twin in (original, narrowed))
    image = np.random.default_rng(4).standard_normal((1, 3, original.size, original.size)).astype(np.float32)
    scores = wanted(image)[0]
    assert found(image)[0] == pytest.approx(scores, abs=2e-5 * float(np.abs(scores).max()))
    with torch.no_grad():
        given = normalised(pixels[:1], HERE.device)
        assert narrowed(given).numpy() == pytest.approx(
            original(given).numpy(), abs=2e-5 * float(np.abs(scores).max())
        )


def test_channels_that_depend_on_each_other_are_bundled() -> None:
    channels = Channels(mixed())
    steps = channels.twin.steps
    found = {
        frozenset(steps[maker].name for maker in channels.makers[group.bundles[0]]): (
            len(group.bundles),
            group.size,
        )
        for group in channels.groups
    }
    assert found == {
        frozenset({"stem", "project"}): (16, 1),
        frozenset({"expand", "excite"}): (32, 1),
        frozenset({"squeeze"}): (8, 1),
        frozenset({"left"}): (16, 1),
        frozenset({"before", "grouped"}): (4, 8),
        frozenset({"hidden"}): (24, 1),
    }


def test_a_twin_computes_what_the_card_says(tmp_path: Path) -> None:
    twin = origin.read(mixed_card(tmp_path))
    assert (twin.size, twin.classes) == (SIZE, CLASSES)


def test_a_real_network_of_tensorflow_has_a_twin(mobilenet: tuple[Card, object]) -> None:
    channels = Channels(origin.read(mobilenet[0]))
    assert len(channels.groups) > 20


def test_importance_is_what_the_loss_changes_by_without_a_channel(tmp_path: Path) -> None:
    images = Images(
        find_images(folder_of_images(tmp_path / "images", 8), CLASSES), plain_card(SIZE, 4).input.recipe
    )
    twin = mixed()
    channels = Channels(twin)
    worth = importance(channels, images, HERE)
    pixels, labels = zip(*(images[0, index] for index in range(8)), strict=True)

    def loss() -> float:
        with torch.no_grad():
            scores = twin(normalised(torch.stack(pixels), HERE.device)).double()
        return float(torch.nn.functional.cross_entropy(scores, torch.tensor(labels)))

    number = next(place for place, group in enumerate(channels.groups) if group.name == "left")
    taker = twin.layers[next(place for place, step in enumerate(twin.steps) if step.name == "before")]
    whole, before, share = taker.conv.weight.data.clone(), loss(), 1e-2
    for channel in (0, 5):
        taker.conv.weight.data[:, channel] *= 1 - share
        slope = (loss() - before) / share
        taker.conv.weight.data.copy_(whole)
        assert slope**2 == pytest.approx(worth[number][channel], rel=0.1, abs=1e-9)


def test_what_costs_least_for_the_time_that_it_saves_goes_first_and_widths_stay_multiples() -> None:
    groups = Channels(mixed()).groups
    worth = [np.ones(len(group.bundles)) for group in groups]
    dear = next(place for place, group in enumerate(groups) if group.name == "expand")
    loads = [Load(100.0 if place == dear else 1.0, {}, {place: 1.0}) for place in range(len(groups))]
    order = widths.order(groups, worth, loads, 8)
    assert {removal.group for removal in order[:3]} == {dear}
    left = {number: group.width for number, group in enumerate(groups)}
    for removal in order:
        left[removal.group] -= groups[removal.group].size * len(removal.bundles)
        assert left[removal.group] % 8 == 0
        assert left[removal.group] >= groups[removal.group].width / 4
    assert left[dear] == 8


def test_a_layer_without_a_time_takes_as_long_for_its_work_as_the_others() -> None:
    channels = Channels(mixed())
    timed = widths.loads(channels, {"stem": 16 * 27 * 256 / 1e3})
    by_layer = [
        step.name
        for step, layer in zip(channels.twin.steps, channels.twin.layers, strict=True)
        if isinstance(layer, Convolution | Product)
    ]
    assert timed[by_layer.index("expand")].time_us == pytest.approx(32 * 16 * 256 / 1e3)
    assert timed[by_layer.index("hidden")].time_us == pytest.approx(32 * 24 / 1e3)


@pytest.mark.parametrize(("target", "found"), [(1.3, 30), (1.0101, 1), (1.999, 100), (2.1, None)])
def test_the_fewest_removals_are_found_that_are_fast_enough(target: float, found: int | None) -> None:
    best = widths.fewest(100, target, lambda units: 1 + units / 100)
    assert best is None if found is None else best[0] == pytest.approx(found, abs=1)


def folder_of_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    source = np.random.default_rng(5)
    lines = []
    for index in range(count):
        pixels = source.integers(0, 256, (SIZE, SIZE, 3), np.uint8) // 4 + 60 * (index % CLASSES)
        cv2.imwrite(str(folder / f"{index}.png"), pixels.astype(np.uint8))
        lines.append(f"{index}.png {index % CLASSES}\n")
    (folder / "val_map.txt").write_text("".join(lines))
    return folder


@pytest.mark.usefixtures("_however_busy")
def test_a_network_is_narrowed_distilled_quantized_and_compared_and_the_same_call_goes_on(
    tmp_path: Path,
) -> None:
    card = mixed_card(tmp_path)
    train = folder_of_images(tmp_path / "train", 40)
    images = find_images(folder_of_images(tmp_path / "test", 12), CLASSES)
    prepare(images, card.input.recipe, tmp_path / "store", "custom")
    words = ["search", "narrow", "--baseline", str(tmp_path / "mixed.toml"), "--train", str(train)]
    words += ["--data", str(tmp_path / "store"), "--target-speedup", "1.01", "--epochs", "1", "--rounds", "2"]
    words += ["--duration", "0.1", "--out", str(tmp_path / "out"), "--json"]
    first = CliRunner().invoke(cli, words)
    assert first.exception is None or first.exit_code == 1, first.output
    found = json.loads(first.stdout)
    assert found["narrowed"]["speedup"] >= 1.01
    assert found["macs"][1] < found["macs"][0]
    assert list(found["models"]) == ["mixed", "mixed-int8", "mixed-narrowed", "mixed-narrowed-int8"]
    narrowed = read_card(tmp_path / "out" / "narrowed-epochs-1-speedup-1.01" / "mixed-narrowed.toml")
    assert narrowed.input == card.input
    assert origin.read(narrowed).classes == CLASSES
    again = json.loads(CliRunner().invoke(cli, words).stdout)
    assert again["models"] == found["models"]
    assert again["speedups"] == found["speedups"]


def request(tmp_path: Path, **changes: object) -> Request:
    card = mixed_card(tmp_path)
    train = folder_of_images(tmp_path / "train", 40)
    prepare(find_images(train, CLASSES), card.input.recipe, tmp_path / "store", "custom")
    values = {"card": card, "train": train, "data": tmp_path / "store", "out": tmp_path / "out"}
    return Request(**{**values, "target_speedup": 1.2, **changes})


def test_what_cannot_be_narrowed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    asked = request(tmp_path)
    with pytest.raises(HarnessError, match=r"--target-speedup 1 asks for nothing: give more than 1"):
        session.narrow(replace(asked, target_speedup=1.0))
    with pytest.raises(HarnessError, match=r"'resnet50-seeded' has random weights"):
        session.narrow(replace(asked, card=find_card("resnet50-seeded")))
    int8 = replace(asked.card, quantization={"original": "there.toml"})
    with pytest.raises(HarnessError, match=r"is quantized already.* made from, 'there.toml'\."):
        session.narrow(replace(asked, card=int8))
    with pytest.raises(DataError, match=r"label 3|3 classes"):
        session.narrow(replace(asked, card=mixed_card(tmp_path, 3)))


def test_parts_of_a_card_that_was_corrected_since_are_not_gone_on_with(tmp_path: Path) -> None:
    asked = request(tmp_path)
    open_setting(asked).parts.keep("importance", {})
    for card in (
        replace(asked.card, input=replace(asked.card.input, mean=(1.0, 1.0, 1.0))),
        replace(asked.card, name="another"),
    ):
        with pytest.raises(OutputError, match="another baseline"):
            open_setting(replace(asked, card=card))


def test_images_are_mirrored_unless_somebody_says_that_they_must_not_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = request(tmp_path)
    told = "The card of mixed does not say whether its training images were mirrored"
    given = {"flip": False, "trivial": True}
    for flip, augmentation, mirrored, noted in (
        (None, {}, True, True),
        (False, {}, False, False),
        (None, given, False, False),
        (True, given, True, False),
    ):
        card = replace(asked.card, training={"augmentation": augmentation})
        wanted = replace(asked, card=card, flip=flip, out=tmp_path / f"out-{flip}-{noted}-{mirrored}")
        learned = Lessons(open_setting(wanted), HERE).learned
        assert learned.augmentation is not None
        assert learned.augmentation.flip is mirrored
        assert not learned.augmentation.trivial, "it is for longer trainings"
        assert (told in capsys.readouterr().err) is noted


@pytest.mark.usefixtures("_however_busy")
def test_a_speed_that_no_narrowing_reaches_is_told_with_the_one_that_it_reaches(tmp_path: Path) -> None:
    setting = open_setting(request(tmp_path, target_speedup=50.0))
    channels = Channels(origin.read(setting.card))
    whole = widths.Removal(0, tuple(range(8)))
    with pytest.raises(HarnessError, match=r"'mixed' is 50 times as fast here: .* it is \d\.\d\d times"):
        planning.planned(setting, channels, [whole])


def test_a_network_whose_operations_are_not_known_is_refused_by_their_name() -> None:
    from openvino import opset13 as ops

    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    model = ov.Model(
        [ops.result(ops.reduce_max(ops.erf(image), np.array([2, 3]), False))], [image], "strange"
    )
    with pytest.raises(ModelError, match=r"'plain' cannot learn here: Erf \('.*'\) is among its operations"):
        Twin(model, plain_card(SIZE, 3))
