"""Training: seconds of it, on a few small images, where PyTorch is installed."""

import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner

from harness import files
from harness.commands.train import command
from harness.dataset import builtin
from harness.dataset.images import ImageList, find_images
from harness.dataset.recipe import Recipe
from harness.errors import DataError, OutputError, RunFailed
from harness.model import resnet
from harness.model.architecture import Architecture, Stage, resnet50
from harness.model.blocks import Block
from harness.model.card import Card, read_card

torch = pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")

from harness.training import evaluation, export, loop, session  # noqa: E402 - they need torch
from harness.training.data import Augmentation, Images, Order, batches, normalised  # noqa: E402
from harness.training.network import ResNet  # noqa: E402
from harness.training.ranks import Ranks, joined  # noqa: E402
from harness.training.settings import OPTIMIZERS, PRECISIONS, Settings  # noqa: E402
from harness.training.teacher import Lesson, Teacher, quick  # noqa: E402

RECIPE = Recipe(32, "area", 0.875)
SHAPE = Architecture(24, 64, "7x7-pool", 16, tuple(Stage(64, (Block(16),) * depth) for depth in (1, 2, 1, 1)))
SETTINGS = Settings(epochs=3, batch_size=16, warmup_epochs=1, learning_rate=0.05)
ALONE = Ranks(0, 1, torch.device("cpu"))
Outcome = tuple[dict[str, Any], list[loop.Epoch]]
"""What a training ends with: the network's tensors, and its epochs without their seconds."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a network gains nothing from threads, and loses much where other processes are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return folders of 72 training and 24 test images of the built-in set."""
    root = tmp_path_factory.mktemp("images")
    return builtin.generate(root / "train", 72, "train"), builtin.generate(root / "val", 24, "val")


@pytest.fixture(scope="module")
def data(folders: tuple[Path, Path]) -> tuple[Images, Images]:
    train, test = (find_images(folder, 24) for folder in folders)
    images = Images(train, RECIPE, Augmentation(), seed=1), Images(test, RECIPE)
    for item in images:
        item.keep_in_memory(ALONE)
    return images


def new_network(shape: Architecture = SHAPE) -> ResNet:
    torch.manual_seed(7)
    return ResNet(shape)


def trained(
    data: tuple[Images, Images], folder: Path, settings: Settings = SETTINGS, resume: bool = False
) -> Outcome:
    folder.mkdir(exist_ok=True)
    network = new_network()
    pixels = torch.stack([data[1][0, index][0] for index in range(24)]) if settings.averaging else None
    history = loop.train(network, *data, settings, folder, ALONE, resume=resume, statistics=pixels)
    return network.state_dict(), [replace(epoch, seconds=0) for epoch in history]


def interrupt_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loop.evaluate, []

    def evaluate(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) > epochs:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "evaluate", evaluate)


def interrupted(
    run: Callable[..., Outcome], epochs: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    """Return what `run`, a training in a folder, ends with when it is interrupted and then resumed."""
    with monkeypatch.context() as patch:
        interrupt_after(epochs, patch)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    return run(folder, resume=True)


@pytest.mark.parametrize(
    ("optimizer", "averaging"), [("sgd", 0.0), ("adamw", 0.0), ("muon", 0.9)], ids=OPTIMIZERS
)
def test_a_resumed_training_ends_as_the_uninterrupted_one(
    optimizer: str,
    averaging: float,
    data: tuple[Images, Images],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, averaging=averaging)
    run = partial(trained, data, settings=settings)
    state, history = run(tmp_path / "whole")
    resumed_state, resumed_history = interrupted(run, 1, tmp_path / "parts", monkeypatch)
    assert resumed_history == history
    assert [epoch.number for epoch in history] == [1, 2, 3]
    for name, tensor in state.items():
        assert torch.equal(tensor, resumed_state[name]), name


def test_training_lowers_the_loss(data: tuple[Images, Images], tmp_path: Path) -> None:
    _, history = trained(data, tmp_path / "run", replace(SETTINGS, epochs=6, label_smoothing=0.0))
    assert history[-1].loss < history[0].loss


def test_bf16_trains_to_a_loss_near_that_of_f32(data: tuple[Images, Images], tmp_path: Path) -> None:
    losses = [
        trained(data, tmp_path / precision, replace(SETTINGS, precision=precision))[1][-1].loss
        for precision in PRECISIONS
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_trivially_augmented_image_is_another_each_epoch_and_the_same_each_time(
    data: tuple[Images, Images],
) -> None:
    shown = [
        [
            Images(data[0].images, RECIPE, Augmentation(trivial=trivial), seed=1)[epoch, 5][0]
            for epoch in range(6)
        ]
        for trivial in (True, True, False)
    ]
    assert all(map(torch.equal, shown[0], shown[1]))
    assert sum(map(torch.equal, shown[0], shown[2])) < 3
    assert not any(torch.equal(shown[0][0], other) for other in shown[0][1:])


def noise_alone(folder: Path, width: int, height: int) -> ImageList:
    """Return a list of one image of noise, kept in `folder` without loss."""
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(folder / "noise.png"), pixels)
    return ImageList(("noise.png",), (0,), folder)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(32, "area", 1.0),
        Recipe(28, "area", 0.875),
        Recipe(32, "area", fit="stretch"),
        Recipe(32, "linear", fit="letterbox", border=114),
        Recipe(32, "area", resize_to=32, squash=True),
    ],
    ids=lambda recipe: recipe.key,
)
def test_a_padded_image_is_what_the_recipe_makes_of_it_moved_by_so_many_pixels_at_most(
    tmp_path: Path, recipe: Recipe
) -> None:
    alone, padding = noise_alone(tmp_path / "one", 64, 32), 2
    plain = Augmentation(flip=False, padding=padding)
    images = Images(alone, recipe, plain, seed=1)
    whole = Images(alone, recipe)[0, 0][0].numpy()
    padded = np.pad(whole, ((padding, padding), (padding, padding), (0, 0)), "symmetric")
    rooms, size = range(2 * padding + 1), recipe.size
    places = {
        padded[y : y + size, x : x + size].tobytes(): (y, x) for y, x in itertools.product(rooms, rooms)
    }
    found = [places[images[epoch, 0][0].numpy().tobytes()] for epoch in range(200)]
    assert {y for y, _ in found} == {x for _, x in found} == set(rooms)
    mirrored = images.varied(replace(plain, flip=True))
    pairs = [(mirrored[epoch, 0][0], images[epoch, 0][0]) for epoch in range(20)]
    assert {torch.equal(one, other.flip(1)) for one, other in pairs} == {True, False}
    assert all(torch.equal(one, other) or torch.equal(one, other.flip(1)) for one, other in pairs)


def test_padding_grows_with_the_images(tmp_path: Path) -> None:
    alone = noise_alone(tmp_path / "one", 32, 32)
    growing = Augmentation(flip=False, padding=4, first_size=16, growing_epochs=10_000)
    images = Images(alone, Recipe(32, "area", 1.0), growing)
    shown = [images[epoch, 0][0] for epoch in range(400)]
    assert {one.shape for one in shown} == {(16, 16, 3)}
    assert len({one.numpy().tobytes() for one in shown}) == 5**2


def test_an_image_to_be_padded_that_the_recipe_refuses_is_named(tmp_path: Path) -> None:
    images = Images(noise_alone(tmp_path / "one", 40, 32), Recipe(32, "none", 1.0), Augmentation(padding=2))
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'one' / 'noise.png'} is 40x32, not 32x32")):
        images[0, 0]


def test_a_training_on_padded_images_is_another_one(data: tuple[Images, Images], tmp_path: Path) -> None:
    assert "padding" not in Augmentation().to_dict()
    padded = data[0].varied(Augmentation(padding=2)), data[1]
    trained(padded, tmp_path, replace(SETTINGS, epochs=1))
    with pytest.raises(OutputError, match=r"another training \(padding 2 there, None here\)"):
        trained(data, tmp_path, replace(SETTINGS, epochs=1), resume=True)


def test_images_in_memory_can_be_varied_in_another_way_without_being_read_again(
    data: tuple[Images, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, tests = data
    trivial = Augmentation(trivial=True)
    anew = Images(kept.images, RECIPE, trivial, seed=1)
    anew.keep_in_memory(ALONE)
    before = kept[0, 5][0]
    monkeypatch.delattr(Images, "_load")
    assert torch.equal(kept.varied(trivial)[0, 5][0], anew[0, 5][0])
    assert kept.varied(trivial).identity == anew.identity
    assert torch.equal(kept[0, 5][0], before)
    with pytest.raises(ValueError, match="not varied"):
        tests.varied(trivial)


def test_images_in_two_versions_return_every_other_epoch(data: tuple[Images, Images]) -> None:
    kept, tests = data
    twice = kept.varied(Augmentation(versions=2))
    shown = [twice[epoch, 5][0] for epoch in range(5)]
    assert torch.equal(shown[0], kept[0, 5][0])
    assert torch.equal(shown[1], kept[1, 5][0])
    assert not torch.equal(shown[0], shown[1])
    for epoch, version in enumerate((0, 1, 0, 1, 0)):
        assert torch.equal(shown[epoch], shown[version])
        assert twice.version(epoch) == version
        assert kept.version(epoch) == epoch
        assert tests.version(epoch) == 0
    with pytest.raises(ValueError, match="grow"):
        Augmentation(first_size=24, growing_epochs=3, versions=2)


def test_a_checkpoint_of_other_settings_is_refused_with_the_difference(
    data: tuple[Images, Images], tmp_path: Path
) -> None:
    trained(data, tmp_path / "run", replace(SETTINGS, epochs=1))
    with pytest.raises(OutputError, match=r"another training \(epochs 1 there, 3 here\)"):
        trained(data, tmp_path / "run", resume=True)


def test_a_checkpoint_of_other_images_or_sizes_is_refused(
    data: tuple[Images, Images], tmp_path: Path
) -> None:
    images, tests = data
    trained(data, tmp_path, replace(SETTINGS, epochs=1))
    smaller = Images(images.images, replace(RECIPE, size=24), images.augmentation, seed=1)
    labels = images.images.labels
    turned = Images(replace(images.images, labels=labels[::-1]), RECIPE, images.augmentation, seed=1)
    for other, named in (
        (smaller, "size 32 there, 24 here"),
        (turned, r"images 72 \(\w+\) there, 72 \(\w+\) here"),
    ):
        other.keep_in_memory(ALONE)
        with pytest.raises(OutputError, match=rf"another training \({named}\)"):
            trained((other, tests), tmp_path, replace(SETTINGS, epochs=1), resume=True)


GROWING = Augmentation(first_size=24, growing_epochs=2)


def growing(data: tuple[Images, Images]) -> tuple[Images, Images]:
    images = Images(data[0].images, RECIPE, GROWING, seed=1)
    images.keep_in_memory(ALONE)
    return images, data[1]


def test_images_grow_from_the_first_size_to_the_full_one(data: tuple[Images, Images]) -> None:
    images = growing(data)[0]
    assert [images[epoch, 3][0].shape for epoch in range(4)] == [(size, size, 3) for size in (24, 28, 32, 32)]
    assert [Augmentation().size(epoch, 32) for epoch in range(2)] == [32, 32]


def test_a_resumed_training_on_growing_images_ends_as_the_uninterrupted_one(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(trained, growing(data))
    state, history = run(tmp_path / "whole")
    resumed_state, resumed_history = interrupted(run, 1, tmp_path / "parts", monkeypatch)
    assert resumed_history == history
    assert all(torch.equal(tensor, resumed_state[name]) for name, tensor in state.items())
    assert history != trained(data, tmp_path / "full size")[1]


def test_a_checkpoint_of_another_augmentation_is_refused_with_the_difference(
    data: tuple[Images, Images], tmp_path: Path
) -> None:
    trained(data, tmp_path)
    with pytest.raises(
        OutputError, match=r"\(first_size None there, 24 here, growing_epochs 0 there, 2 here\)"
    ):
        trained(growing(data), tmp_path, resume=True)


def test_where_images_lie_changes_nothing_of_what_is_learned(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_files = Images(data[0].images, RECIPE, data[0].augmentation, seed=1), Images(data[1].images, RECIPE)
    height, width, _ = data[0]._load(0).shape
    assert min(height, width) > RECIPE.short_side
    state, history = trained(from_files, tmp_path / "files")
    resumed, resumed_history = interrupted(partial(trained, data), 1, tmp_path / "memory", monkeypatch)
    assert resumed_history == history
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in state.items())


def test_an_older_training_on_images_in_memory_goes_on_and_one_on_others_does_not(
    data: tuple[Images, Images], tmp_path: Path
) -> None:
    trained(data, tmp_path)
    path = tmp_path / loop.CHECKPOINT_NAME
    held = torch.load(path, weights_only=True)
    torch.save(held | {"identity": held["identity"] | {"pixels": "kept in memory"}}, path)
    trained(data, tmp_path, resume=True)
    torch.save(held | {"identity": held["identity"] | {"pixels": "read from files"}}, path)
    with pytest.raises(OutputError, match=r"\(pixels read from files there, None here\)"):
        trained(data, tmp_path, resume=True)


def test_a_training_that_breaks_can_end_as_it_was_before(
    data: tuple[Images, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, epochs=3, warmup_epochs=0)
    network = new_network().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RunFailed, match="broke in epoch 1, its loss is nan: lower the learning rate"):
        loop.train(new_network(), *data, settings, tmp_path, ALONE)
    history = loop.train(network, *data, settings, tmp_path, ALONE, end_broken=True, name="this one")
    assert [one.number for one in history] == [1, 2, 3]
    assert {one.top1 for one in history} == {evaluation.evaluate(network, data[1], ALONE, "f32", 1)}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert "this one broke in epoch 1, its loss is nan: it ends as it was before" in capsys.readouterr().err
    again = loop.train(new_network(), *data, settings, tmp_path, ALONE, resume=True, end_broken=True)
    assert [one.top1 for one in again] == [one.top1 for one in history]


def test_the_last_epoch_is_measured_in_f32_on_all_images_and_the_others_on_some(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, found = loop.evaluate, []

    def evaluate(network: Any, images: Any, ranks: Any, precision: str, every: int, *more: Any) -> float:
        found.append((precision, every))
        return real(network, images, ranks, precision, every)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    monkeypatch.setattr(loop, "_GLANCE", 8)
    trained(data, tmp_path, replace(SETTINGS, precision="bf16"))
    assert found == [("bf16", 3), ("bf16", 3), ("f32", 1)]


def test_top1_of_some_images_is_the_share_of_them_that_is_right(data: tuple[Images, Images]) -> None:
    network, tests = new_network().eval(), data[1]
    with torch.inference_mode():
        answers = [
            int(network(normalised(tests[0, index][0][None], ALONE.device)).argmax())
            for index in range(len(tests))
        ]
    right = {0, 1, 2, 5, 10}
    labels = tuple(answer if index in right else 23 - answer for index, answer in enumerate(answers))
    known = Images(replace(tests.images, labels=labels), RECIPE)
    for every, share in ((1, 5 / 24), (2, 3 / 12), (5, 3 / 5), (23, 1 / 2)):
        assert loop.evaluate(network, known, ALONE, "f32", every) == pytest.approx(share)


def test_a_damaged_checkpoint_is_refused(data: tuple[Images, Images], tmp_path: Path) -> None:
    (tmp_path / loop.CHECKPOINT_NAME).write_bytes(b"PK\x03\x04 half of a checkpoint")
    with pytest.raises(OutputError, match="Cannot read the checkpoint"):
        trained(data, tmp_path, resume=True)


DISTILLED = replace(SETTINGS, distillation=0.5, temperature=2.0)


def distilled(
    data: tuple[Images, Images],
    folder: Path,
    settings: Settings = DISTILLED,
    seed: int = 11,
    resume: bool = False,
    teacher: Teacher | None = None,
) -> Outcome:
    folder.mkdir(exist_ok=True)
    network = new_network()
    torch.manual_seed(seed)
    teacher = teacher or Teacher(ResNet(replace(SHAPE, size=40)))
    history = loop.train(network, *data, settings, folder, ALONE, resume=resume, teacher=teacher)
    return network.state_dict(), [replace(epoch, seconds=0) for epoch in history]


def test_a_resumed_distillation_ends_as_the_uninterrupted_one(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(distilled, data)
    state, history = run(tmp_path / "whole")
    resumed_state, resumed_history = interrupted(run, 2, tmp_path / "parts", monkeypatch)
    assert resumed_history == history
    assert all(torch.equal(tensor, resumed_state[name]) for name, tensor in state.items())


def asked_of_teachers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return where the sizes of the batches that teachers will answer go."""
    asked, compute = [], Lesson._compute

    def counted(lesson: Lesson, x: Any) -> Any:
        asked.append(len(x))
        return compute(lesson, x)

    monkeypatch.setattr(Lesson, "_compute", counted)
    return asked


def test_a_teacher_answers_once_and_remembers_for_the_next_training(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of_teachers(monkeypatch)
    torch.manual_seed(11)
    teacher = Teacher(ResNet(replace(SHAPE, size=40)))
    first = distilled(data, tmp_path / "first", teacher=teacher)
    assert len(asked) == SETTINGS.epochs * (len(data[0]) // SETTINGS.batch_size)
    second = distilled(data, tmp_path / "second", teacher=teacher)
    assert len(asked) == SETTINGS.epochs * (len(data[0]) // SETTINGS.batch_size)
    assert second[1] == first[1]
    assert all(torch.equal(tensor, second[0][name]) for name, tensor in first[0].items())
    distilled(growing(data), tmp_path / "other cuts", teacher=teacher)
    assert len(asked) > SETTINGS.epochs * (len(data[0]) // SETTINGS.batch_size)


def test_a_teacher_answers_once_to_each_version_of_an_image(
    data: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of_teachers(monkeypatch)
    twice = data[0].varied(Augmentation(versions=2)), data[1]
    distilled(twice, tmp_path, replace(DISTILLED, epochs=5, batch_size=24))
    assert sum(asked) == 2 * len(data[0])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_gives_the_answers_of_the_teacher(precision: str) -> None:
    torch.manual_seed(11)
    network = ResNet(SHAPE).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        network(torch.randn(32, 3, SHAPE.size, SHAPE.size))
    answer, network = quick(network, precision), network.eval()
    for count in (8, 3):
        x = torch.randn(count, 3, SHAPE.size, SHAPE.size)
        with torch.no_grad():
            wanted = network(x)
        found = answer(x)
        assert found.dtype == torch.float32
        scale = float(wanted.abs().max())
        assert float((found - wanted).abs().max()) < (1e-5 if precision == "f32" else 0.03) * scale
    assert not torch.equal(answer(x), answer(-x))


def test_a_teacher_without_memory_gives_the_same_answers(data: tuple[Images, Images], tmp_path: Path) -> None:
    torch.manual_seed(11)
    forgetful = Teacher(ResNet(replace(SHAPE, size=40)), memory_bytes=0)
    state, history = distilled(data, tmp_path / "remembered")
    forgotten, same = distilled(data, tmp_path / "forgotten", teacher=forgetful)
    assert same == history
    assert all(torch.equal(tensor, forgotten[name]) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 12}, "teacher"), ({"settings": replace(DISTILLED, temperature=3.0)}, "temperature 2.0 there")],
    ids=["teacher", "temperature"],
)
def test_a_checkpoint_of_another_distillation_is_refused(
    changes: dict[str, Any], named: str, data: tuple[Images, Images], tmp_path: Path
) -> None:
    distilled(data, tmp_path, replace(DISTILLED, epochs=1))
    changes = {"settings": replace(DISTILLED, epochs=1), **changes}
    with pytest.raises(OutputError, match=f"another training.*{named}"):
        distilled(data, tmp_path, **changes, resume=True)


def test_a_teacher_without_a_share_of_the_loss_is_an_error(
    data: tuple[Images, Images], tmp_path: Path
) -> None:
    for settings, teacher in ((SETTINGS, new_network()), (DISTILLED, None)):
        with pytest.raises(ValueError, match="belong together"):
            loop.train(new_network(), *data, settings, tmp_path, ALONE, teacher=teacher)


def test_a_network_that_answers_as_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits, labels = torch.randn(6, 24), torch.arange(6)
    only = replace(DISTILLED, distillation=1.0)
    assert float(loop._loss(logits, labels, logits, only)) == pytest.approx(0, abs=1e-5)
    answers = torch.randn(6, 24)
    whole = float(loop._loss(logits, labels, answers, only))
    soft, hard = torch.softmax(answers / 2, 1), torch.softmax(logits / 2, 1)
    by_hand = 4 * float((soft * (soft / hard).log()).sum(1).mean())
    assert whole == pytest.approx(by_hand, rel=1e-4)
    plain = float(loop._loss(logits, labels, None, DISTILLED))
    mixed = float(loop._loss(logits, labels, answers, DISTILLED))
    assert mixed == pytest.approx((whole + plain) / 2, rel=1e-4)


def test_a_training_without_a_teacher_knows_nothing_of_distillation() -> None:
    assert not {"distillation", "temperature", "workers"} & set(loop.lasting(SETTINGS))
    assert {"distillation", "temperature"} < set(loop.lasting(DISTILLED))


def test_a_diverging_training_fails_and_names_the_cure(data: tuple[Images, Images], tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"broke in epoch 1.*lower the learning rate"):
        trained(data, tmp_path, replace(SETTINGS, learning_rate=1e30, warmup_epochs=0))


def test_fewer_images_than_a_batch_are_refused(data: tuple[Images, Images], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="72 training images"):
        trained(data, tmp_path, replace(SETTINGS, batch_size=100))


@pytest.mark.parametrize(
    "shape",
    [SHAPE, replace(SHAPE, stem="3x3", size=32), resnet50(24, 64, 0.2)],
    ids=["stem 7", "stem 3", "built-in baseline"],
)
def test_the_exported_model_and_the_network_agree(shape: Architecture) -> None:
    network = new_network(shape)
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    network.eval()
    x = torch.randn(4, 3, shape.size, shape.size, generator=generator)
    with torch.inference_mode():
        expected = network(x).numpy()
    model = resnet.assemble(shape, export.arrays(network))
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = np.concatenate([compiled(image[None].numpy())[0] for image in x])
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= 1e-4 * scale


def test_the_full_width_is_resnet_50_as_torchvision_names_it() -> None:
    network = ResNet(resnet50(1000, 224))
    tensors = network.state_dict()
    assert sum(value.numel() for value in network.parameters()) == 25_557_032
    assert len(tensors) == 320
    assert tuple(tensors["layer4.0.downsample.0.weight"].shape) == (2048, 1024, 1, 1)
    assert tuple(tensors["layer3.5.bn3.running_var"].shape) == (1024,)


def test_the_same_seed_epoch_and_index_give_the_same_cut_in_any_process(
    data: tuple[Images, Images],
) -> None:
    images = data[0]
    assert torch.equal(images[3, 5][0], images[3, 5][0])
    assert not torch.equal(images[3, 5][0], images[4, 5][0])
    here, there = (
        [batch for batch, _ in batches(images, Order(72, seed=1), 24, workers, whole=True)]
        for workers in (0, 1)
    )
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_test_images_are_those_of_a_benchmark_run(folders: tuple[Path, Path]) -> None:
    found = find_images(folders[1], 24)
    kept, fresh = Images(found, RECIPE), Images(found, RECIPE)
    kept.keep_in_memory(ALONE)
    for index in (0, 23):
        assert torch.equal(kept[0, index][0], fresh[0, index][0])
        assert kept[0, index][0].shape == (32, 32, 3)


def test_the_processes_of_one_training_share_each_epoch_without_overlap() -> None:
    shares = [Order(10, seed=5, rank=rank, ranks=3) for rank in range(3)]
    drawn = [index for share in shares for _, index in share]
    assert len(drawn) == len(set(drawn)) == 9
    in_order = [list(Order(10, seed=None, rank=rank, ranks=3)) for rank in range(3)]
    assert sorted(index for share in in_order for _, index in share) == list(range(10))
    shares[0].epoch = 1
    assert [index for _, index in shares[0]] != drawn[:3]


def test_without_torchrun_a_training_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as ranks:
        assert (ranks.rank, ranks.count, ranks.is_first) == (0, 1, True)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rate = loop.schedule(Settings(epochs=10, warmup_epochs=2, learning_rate=1.0), 5)
    assert rate(0) == pytest.approx(0.1)
    assert rate(9) == rate(10) == pytest.approx(1.0)
    assert rate(30) == pytest.approx(0.5)
    assert rate(50) == pytest.approx(0.0)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_as_short_as_its_warm_up_ends_with_small_steps(epochs: int) -> None:
    rate = loop.schedule(Settings(epochs=epochs, warmup_epochs=2, learning_rate=1.0), 10)
    rates = [rate(step) for step in range(10 * epochs)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.2


def test_a_name_that_no_card_may_have_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be named 'my run': give it a --name"):
        CliRunner().invoke(
            command, ["--task", "builtin", "--out", str(tmp_path / "my run")], catch_exceptions=False
        )
    assert not (tmp_path / "my run").exists()


def invoke(folders: tuple[Path, Path], out: Path, *more: str) -> Any:
    words = ["--task", "folder", "--train", str(folders[0]), "--test", str(folders[1])]
    words += ["--out", str(out), "--batch", "24"]
    if "--architecture" not in more:
        words += ["--size", "32", "--width", "0.05", "--stem", "3x3-pool"]
    return CliRunner().invoke(command, [*words, "--json", *more], catch_exceptions=False)


def test_the_command_trains_exports_and_measures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = invoke(folders, tmp_path / "tiny", "--epochs", "4")
    facts = json.loads(result.stdout)
    card = read_card(tmp_path / "tiny" / "card.toml")
    assert facts["top1"] == card.accuracy.reference
    assert facts["top1"] == pytest.approx(facts["epochs"][-1]["top1"], abs=1 / 24)
    assert card.name == "tiny"
    assert card.training["images"] == 72
    assert (tmp_path / "tiny" / "model.bin").exists()
    with pytest.raises(OutputError, match="go on with --resume"):
        invoke(folders, tmp_path / "tiny", "--epochs", "4")


@pytest.mark.parametrize("form", ["plain", "branched"])
def test_a_network_of_any_blocks_is_trained_and_its_card_names_it(
    form: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    shape = Architecture(24, 32, "3x3s2", 16, (Stage(32, (Block(16, form=form),) * 2),))
    (tmp_path / "shape.json").write_text(json.dumps(shape.to_dict()))
    asked = "--epochs", "4", "--architecture", str(tmp_path / "shape.json")
    done = invoke(folders, tmp_path / "out", *asked)
    assert done.exit_code == 0, done.output
    facts, card = json.loads(done.stdout), read_card(tmp_path / "out" / "card.toml")
    # So short a training may know none of the 24 test images.
    assert (card.accuracy is None) == (facts["top1"] == 0) == ("states no accuracy to keep" in done.stderr)
    assert Architecture.from_dict(card.training["architecture"]) == shape.deployed.canonical
    assert facts["top1"] == pytest.approx(facts["epochs"][-1]["top1"], abs=1 / 24)
    (tmp_path / "shape.json").write_text(json.dumps({**shape.to_dict(), "classes": 10}))
    with pytest.raises(DataError, match="tells 10 classes apart, and the images are of 24"):
        invoke(folders, tmp_path / "other", *asked)


def test_a_training_stopped_on_purpose_goes_on_to_the_result_of_the_whole(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = json.loads(invoke(folders, tmp_path / "whole", "--epochs", "2").stdout)
    stopped = invoke(folders, tmp_path / "parts", "--epochs", "2", "--until-epoch", "1")
    assert stopped.stdout == ""
    assert "Stopped after epoch 1, as asked" in stopped.stderr
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [loop.CHECKPOINT_NAME]
    resumed = json.loads(invoke(folders, tmp_path / "parts", "--epochs", "2", "--resume").stdout)
    assert resumed["top1"] == whole["top1"]
    assert [epoch["loss"] for epoch in resumed["epochs"]] == [epoch["loss"] for epoch in whole["epochs"]]


def test_images_grow_over_the_share_of_the_epochs_that_is_asked_for(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    growing = ("--first-size", "16", "--growing-share", "0.5", "--optimizer", "muon", "--trivial-augment")
    invoke(folders, tmp_path / "out", "--epochs", "2", *growing)
    training = read_card(tmp_path / "out" / "card.toml").training
    assert training["augmentation"]["growing_epochs"] == 1
    assert training["augmentation"]["trivial"]
    assert training["optimizer"] == "muon"


def test_a_training_starts_from_the_weights_of_another_and_says_so(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    first = json.loads(invoke(folders, tmp_path / "first", "--epochs", "4").stdout)
    more = ("--start-from", str(tmp_path / "first"), "--epochs", "1", "--warmup-epochs", "0")
    second = json.loads(invoke(folders, tmp_path / "second", *more).stdout)
    assert second["epochs"][0]["loss"] < first["epochs"][0]["loss"]
    assert len(second["training"]["origin"]) == 64
    with pytest.raises(OutputError, match=r"another training \(origin \w{64} there, None here\)"):
        invoke(folders, tmp_path / "second", "--epochs", "1", "--warmup-epochs", "0", "--resume")


def test_a_start_from_nothing_or_another_network_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"no checkpoint .* to start from: give the --out of a training"):
        invoke(folders, tmp_path / "out", "--start-from", str(tmp_path / "nothing"))
    invoke(folders, tmp_path / "first", "--epochs", "1")
    with pytest.raises(OutputError, match="is of another network"):
        invoke(folders, tmp_path / "out", "--width", "0.1", "--start-from", str(tmp_path / "first"))


def test_a_broken_image_in_a_loader_process_is_one_sentence(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(folders[0], tmp_path / "train")
    broken = sorted(root.glob("*/*"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    images = Images(find_images(root, 24), RECIPE, Augmentation())
    loader = batches(images, Order(len(images), seed=1), 8, 1, whole=True)
    with pytest.raises(DataError) as raised:
        list(loader)
    assert re.fullmatch(rf".*{re.escape(broken.name)}.*replace it by a good copy\.", str(raised.value))


def test_a_system_without_affinity_keeps_images_in_memory(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    images = Images(find_images(folders[1], 24), RECIPE)
    images.keep_in_memory(ALONE)
    assert len(images[0, 3][0]) == 32


def test_two_trainings_do_not_work_in_one_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with files.locked(tmp_path / ".lock", OutputError("busy")):
        words = ["--task", "folder", "--train", str(folders[0]), "--test", str(folders[1])]
        done = CliRunner().invoke(command, [*words, "--out", str(tmp_path)])
    assert isinstance(done.exception, OutputError)
    assert "Another `harness train` is at work" in str(done.exception)


def test_a_training_keeps_its_folder_until_the_model_is_measured(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = export.measure

    def measured(card: Card, images: Images) -> float:
        with pytest.raises(OutputError, match="Another `harness train` is at work"):
            invoke(folders, tmp_path, "--epochs", "1", "--resume")
        return measure(card, images)

    monkeypatch.setattr(export, "measure", measured)
    assert invoke(folders, tmp_path, "--epochs", "1").exit_code == 0


def test_of_the_built_in_images_that_lie_there_only_those_asked_for_are_learned_from(
    folders: tuple[Path, Path],
) -> None:
    found = find_images(folders[0], 24)
    kept = session._first(found, 48)
    assert len(kept.names) == len(kept.labels) == 48
    assert set(kept.names) == {builtin.image_name("train", index) for index in range(48)}


def test_training_names_a_jpeg_that_is_damaged_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = bytearray(cv2.imencode(".jpg", noise)[1])
    for name in ("cat/good.jpg", "dog/bad.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
        for at in range(len(data) // 2, len(data) // 2 + 20):
            data[at] = (data[at] ^ 0x5A) or 1
    images = Images(find_images(tmp_path, 2), RECIPE)
    images.keep_in_memory(ALONE)
    shown = capsys.readouterr().err
    assert "The image dog/bad.jpg is decoded, but with a warning: Corrupt JPEG data" in shown
    assert "good.jpg" not in shown
