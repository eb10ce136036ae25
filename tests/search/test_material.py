"""Candidates made from the shipped baseline: statistics, stems, a brief training."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from harness.dataset.images import ImageList, find_images
from harness.errors import DataError, OutputError
from harness.model import file as model_file
from harness.model.card import Card
from harness.search.request import INHERITED, RANDOM
from harness.search.space import baseline
from harness.search.space.revisions import Space
from harness.search.split import split, subset

torch = pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.search.accuracy import stem  # noqa: E402 - they need torch
from harness.search.accuracy.inheritance import inherit  # noqa: E402
from harness.search.accuracy.material import Material  # noqa: E402
from harness.search.accuracy.trainer import ANEW, BRIEF, Job  # noqa: E402
from harness.training import data, norms  # noqa: E402
from harness.training.averaging import AVERAGED, RECALIBRATED, Average, pays, settle  # noqa: E402
from harness.training.data import Images, normalised  # noqa: E402
from harness.training.evaluation import evaluate  # noqa: E402
from harness.training.loop import train  # noqa: E402
from harness.training.network import ResNet, digest  # noqa: E402

SHORT = replace(BRIEF, batch_size=24, epochs=4, learning_rate=0.02)


def logits(network: ResNet, pixels: Any) -> np.ndarray:
    with torch.inference_mode():
        return network.eval()(normalised(pixels, torch.device("cpu"))).numpy()


def batch_norms(network: ResNet) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def same_weights(one: ResNet, other: ResNet) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def half(material: Material) -> Any:
    """Return the baseline at about half its widths."""
    return Space(material.baseline, (64,)).uniform(0.5)


def test_the_teacher_with_live_statistics_computes_what_the_card_s_model_does(
    builtin_card: Card, material: Material
) -> None:
    images = normalised(material.pool(64)[:8], torch.device("cpu")).numpy()
    model = model_file.read(builtin_card)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = np.concatenate([compiled(image[None])[0] for image in images])
    found = logits(material.teacher, material.pool(64)[:8])
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_live_statistics_are_those_of_the_images(material: Material) -> None:
    seen: dict[Any, Any] = {}
    layers = batch_norms(material.teacher)

    def keep(layer: Any, given: Any) -> None:
        seen[layer] = given[0]

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    logits(material.teacher, material.pool(64))
    for hook in hooks:
        hook.remove()
    for layer in layers:
        spread, mean = torch.var_mean(seen[layer], (0, 2, 3), unbiased=False)
        assert torch.allclose(mean, layer.running_mean, rtol=1e-3, atol=1e-4)
        assert torch.allclose(spread, layer.running_var, rtol=1e-3, atol=1e-4)
        assert layer.running_var.max() > 0


def test_the_baseline_inherits_itself_exactly(material: Material) -> None:
    assert same_weights(material.initial(material.baseline), material.teacher)


def test_recalibration_undoes_any_corruption_of_the_statistics(material: Material, half: Any) -> None:
    sound, held_out = material.initial(half), material.held_out(64)
    corrupted = copy.deepcopy(sound)
    for layer in batch_norms(corrupted):
        layer.running_mean.normal_(0, 3)
        layer.running_var.uniform_(0.01, 30)
    accuracy = evaluate(sound, held_out, material.ranks)
    assert evaluate(corrupted, held_out, material.ranks) < accuracy / 2
    norms.recalibrate(corrupted, material.pool(64))
    assert evaluate(corrupted, held_out, material.ranks) == accuracy
    assert same_weights(corrupted, sound)


def test_recalibration_leaves_weights_and_momentum_alone(material: Material, half: Any) -> None:
    network = material.initial(half)
    before = [value.clone() for value in network.parameters()]
    norms.recalibrate(network, material.pool(64))
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
    assert {layer.momentum for layer in batch_norms(network)} == {0.1}
    assert not network.training


def test_inherited_weights_are_worth_much_and_only_with_recalibration(material: Material, half: Any) -> None:
    bare = ResNet(half)
    state = inherit(half, material.baseline, material.state)
    bare.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    without = evaluate(bare.eval(), material.held_out(64), material.ranks)
    chance = 1 / 24
    assert material.zero_shot(half) > max(without, 4 * chance)


def test_a_new_stem_learns_what_the_old_one_gives(material: Material) -> None:
    revised = replace(material.baseline, stem="3x3s2-pool")
    losses = []
    for steps in (1, 40):
        torch.manual_seed(1)
        network = ResNet(revised)
        losses.append(stem.fit(network, material.teacher, material.state, material.pool(64), steps))
    assert losses[1] < losses[0] / 2


def test_a_new_stem_is_fitted_once_for_all_networks_that_have_it(
    material: Material, half: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = [], stem.fit

    def counted(network: ResNet, *arguments: Any) -> float:
        fitted.append(network.architecture)
        return fit(network, *arguments, steps=2)

    monkeypatch.setattr(stem, "fit", counted)
    monkeypatch.setattr(material, "_stems", {})
    one = replace(material.baseline, stem="3x3s2-pool")
    other = replace(half, stem="3x3s2-pool", stem_width=one.stem_width)
    material.initial(one)
    second = material.initial(other)
    assert fitted == [one]
    monkeypatch.setattr(material, "_stems", {})
    assert same_weights(material.initial(other), second)
    material.initial(replace(one, stem_width=one.stem_width // 2))
    assert len(fitted) == 3


def test_a_brief_distilled_training_improves_what_was_inherited(
    material: Material, half: Any, tmp_path: Path
) -> None:
    tuned = material.train(Job(half, tmp_path / "half", SHORT))
    assert tuned.accuracy > material.zero_shot(half)
    assert tuned.history[-1].loss < tuned.history[0].loss
    again = material.train(Job(half, tmp_path / "half", SHORT))
    assert again.history == tuned.history
    assert same_weights(again.network, tuned.network)


def test_a_second_fine_tuning_can_begin_where_the_first_one_ended(
    material: Material, half: Any, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=2)
    first = material.train(Job(half, tmp_path / "first", settings))
    second = material.train(Job(half, tmp_path / "second", settings, start=tmp_path / "first"))
    assert second.history[0].loss < first.history[0].loss
    checkpoint = torch.load(tmp_path / "second" / "checkpoint.pt", weights_only=True)
    assert checkpoint["identity"]["origin"] == digest(first.network)
    with pytest.raises(OutputError, match=r"There is no checkpoint .*none"):
        material.train(Job(half, tmp_path / "third", settings, start=tmp_path / "none"))


@pytest.mark.parametrize("weights", [INHERITED, RANDOM])
def test_what_broke_off_in_another_precision_begins_anew(
    weights: str, material: Material, half: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a search that was carried from a GPU to a CPU without BF16 must, which nothing in it can undo."""
    settings = replace(SHORT if weights == INHERITED else ANEW, epochs=2, batch_size=24)
    job = Job(half, tmp_path / "found", settings, count=48, name="this one", weights=weights)
    material.train(replace(job, settings=replace(settings, precision="bf16")), until_epoch=1)
    found = material.train(job)
    assert (
        "this one begins anew, as what there is of it was trained otherwise (precision bf16 there, f32"
        in (capsys.readouterr().err)
    )
    assert same_weights(found.network, material.train(replace(job, folder=tmp_path / "alone")).network)


def test_random_weights_owe_the_baseline_nothing(material: Material, half: Any, tmp_path: Path) -> None:
    settings = replace(ANEW, batch_size=24)
    found = material.train(Job(half, tmp_path / "found", settings, count=48, weights=RANDOM)).network
    torch.manual_seed(settings.seed)
    network = ResNet(half)
    images = material.learned(64, 1, 48)
    (tmp_path / "alone").mkdir()
    train(network, images, material.held_out(64), settings, tmp_path / "alone", material.ranks)
    assert same_weights(found, network)


def test_another_input_size_has_its_own_images_and_the_same_teacher(
    material: Material, half: Any, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=1)
    tuned = material.train(Job(replace(half, size=48), tmp_path, settings, count=48))
    assert tuned.network.architecture.size == 48
    assert len(material.learned(48, 1, 48)) == 48
    assert material.held_out(48)[0, 0][0].shape == (48, 48, 3)


def test_images_of_more_classes_than_the_baseline_has_are_refused(
    builtin_card: Card, material: Material
) -> None:
    images = material.parts.learned
    wrong = replace(material.parts, learned=ImageList(("a.jpg", "b.jpg"), (0, 24), images.root))
    with pytest.raises(DataError, match="25 classes and the baseline 24: give the data"):
        Material(material.baseline, material.state, wrong, builtin_card.input.recipe, material.ranks)


def test_the_split_holds_out_the_same_share_of_each_class_and_loses_nothing(train_folder: Path) -> None:
    images = find_images(train_folder, 24)
    parts = split(images, share=0.2)
    assert not set(parts.learned.names) & set(parts.held_out.names)
    assert set(parts.learned.names) | set(parts.held_out.names) == set(images.names)
    assert {parts.held_out.labels.count(label) for label in range(24)} == {2}


def test_the_split_depends_on_names_and_seed_alone(train_folder: Path) -> None:
    images = find_images(train_folder, 24)
    turned = ImageList(images.names[::-1], images.labels[::-1], Path("elsewhere"))
    one, other = split(images), split(turned)
    assert set(one.held_out.names) == set(other.held_out.names)
    assert set(one.held_out.names) != set(split(images, seed=2).held_out.names)


def test_a_list_of_images_is_known_by_names_and_labels(train_folder: Path) -> None:
    images = find_images(train_folder, 24)
    assert split(images).held_out.sha256 == split(replace(images, root=Path("elsewhere"))).held_out.sha256
    assert split(images).held_out.sha256 != split(images, seed=2).held_out.sha256
    relabelled = replace(images, labels=images.labels[1:] + images.labels[:1])
    assert relabelled.sha256 != images.sha256


def test_the_teacher_is_known_by_the_weights_that_were_read_not_by_statistics_that_were_taken(
    builtin_card: Card, material: Material
) -> None:
    _, read = baseline.read(builtin_card)

    def made(state: Any, statistics: int) -> Material:
        asked = material.baseline, state, material.parts, builtin_card.input.recipe, material.ranks
        return Material(*asked, statistics=statistics)

    other = made(read, 48)
    assert not same_weights(other.teacher, material.teacher)
    assert other.teacher_sha256 == material.teacher_sha256
    state = {**read, "fc.bias": read["fc.bias"] + 1}
    assert made(state, 96).teacher_sha256 != material.teacher_sha256


def test_images_are_kept_in_memory_as_long_as_all_of_them_together_fit(
    builtin_card: Card, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, parts = builtin_card.input.recipe, material.parts
    needed = Images(parts.learned, recipe).count_bytes()
    monkeypatch.setattr(data, "CACHE_BYTES", needed + 1)
    state = baseline.read(builtin_card)[1]
    made = Material(material.baseline, state, parts, recipe, material.ranks, statistics=24)
    first, second = made.learned(64, 1), made.held_out(64)
    monkeypatch.delattr(Images, "_load")
    assert first[0, 0][0].shape == (64, 64, 3)
    with pytest.raises(AttributeError, match="_load"):
        second[0, 0]


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="Class 1 of here has one image"):
        split(ImageList(("a", "b", "c"), (0, 0, 1), Path("here")))


def test_a_subset_is_the_same_whatever_the_order() -> None:
    images = ImageList(tuple("abcdefgh"), tuple(range(8)), Path())
    turned = ImageList(images.names[::-1], images.labels[::-1], Path())
    assert set(subset(images, 3).names) == set(subset(turned, 3).names)
    assert subset(images, 20) == images


def settled(material: Material, network: ResNet, average: Average) -> tuple[float, tuple[str, ...]]:
    return settle(network, average, material.pool(64), material.held_out(64), material.ranks)


def test_a_training_ends_with_the_mean_of_weights_where_that_is_better(material: Material, half: Any) -> None:
    network = material.initial(half)
    before = evaluate(network, material.held_out(64), material.ranks)
    good, average = copy.deepcopy(network), Average(network, 0.5)
    with torch.no_grad():
        network.fc.weight.normal_(0, 1)
    assert settled(material, network, average) == (before, (AVERAGED,))
    assert same_weights(network, good)


def test_a_training_ends_with_new_statistics_where_they_are_better(material: Material, half: Any) -> None:
    network = material.initial(half)
    good = copy.deepcopy(network)
    for layer in batch_norms(network):
        layer.running_mean.normal_(0, 3)
    assert settled(material, network, Average(network, 0.5))[1] == (RECALIBRATED,)
    assert same_weights(network, good)


def test_what_is_no_better_is_not_kept(material: Material, half: Any) -> None:
    network = material.initial(half)
    before, average = copy.deepcopy(network), Average(network, 0.5)
    top1 = evaluate(network, material.held_out(64), material.ranks)
    assert settled(material, network, average) == (top1, ())
    assert same_weights(network, before)
    two_more = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    assert pays(*two_more)
    assert not pays(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert not pays(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_a_mean_of_weights_is_what_its_decay_says() -> None:
    network = torch.nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(0.0)
    average = Average(network, 0.25)
    for value in (1.0, 3.0):
        with torch.no_grad():
            network.weight.fill_(value)
        average.add()
    # The mean reaches back less far at first: after one step by 2 / 11, which is less than 1 / 4.
    first = 1 - 2 / 11
    assert average.network().weight.item() == pytest.approx(first * 0.25 + 3.0 * 0.75)


def test_images_that_do_not_fit_into_memory_are_loaded_by_processes_and_train_alike(
    builtin_card: Card, material: Material, half: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "CACHE_BYTES", 0)
    state, settings = baseline.read(builtin_card)[1], replace(SHORT, epochs=1)
    found = []
    for loaders in (0, 2):
        asked = material.baseline, state, material.parts, builtin_card.input.recipe, material.ranks
        made = Material(*asked, statistics=24, loaders=loaders)
        assert made.loaders(made.learned(64, 1)) == loaders
        found.append(made.train(Job(half, tmp_path / str(loaders), settings, count=48)))
    assert same_weights(found[0].network, found[1].network)
    assert found[0].accuracy == found[1].accuracy
    assert material.loaders(material.learned(64, 1)) == 0
