"""A card's model read back as an architecture and weights that can be trained on."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from harness.dataset.recipe import MEAN, SCALE
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model import resnet
from harness.model.architecture import Architecture, resnet50
from harness.model.card import Card, FileSpec, InputSpec, OutputSpec
from harness.search.space import baseline
from harness.search.space.revisions import Space

SMALL = resnet50(24, 64, 0.2)


def card_of(model: ov.Model, folder: Path, *, half: bool = False, **changes: object) -> Card:
    """Save `model` and return a card for it."""
    ov.save_model(model, folder / "model.xml", compress_to_fp16=half)
    size = model.input(0).get_shape()[2]
    given = InputSpec(size, "NCHW", "f32", "RGB", "area", 0.875, MEAN, SCALE)
    return Card(
        name="given",
        benchmark="resnet50",
        file=FileSpec(path="model.xml"),
        input=replace(given, **changes),  # type: ignore[arg-type]
        output=OutputSpec("logits", 24),
        folder=folder,
    )


def logits(model: ov.Model, images: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(image[None])[0] for image in images])


def test_the_shipped_card_is_read_as_the_network_that_was_trained(builtin_card: Card) -> None:
    architecture, state = baseline.read(builtin_card)
    assert architecture == SMALL
    assert architecture.count_parameters() == builtin_card.training["parameters"]
    images = np.random.default_rng(1).standard_normal((4, 3, 64, 64)).astype(np.float32)
    wanted = logits(model_file.read(builtin_card), images)
    found = logits(resnet.assemble(architecture, state), images)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("seed", range(3))
def test_a_revised_network_is_read_back_as_it_was_written(seed: int, tmp_path: Path) -> None:
    wanted = Space(resnet50(24, 64, 0.35), (64,)).sample(random.Random(seed))
    state = resnet.seeded_state(seed, wanted)
    found, _ = baseline.read(card_of(resnet.assemble(wanted, state), tmp_path))
    assert found == wanted


def test_weights_compressed_to_f16_are_read(tmp_path: Path) -> None:
    model = resnet.assemble(SMALL, resnet.seeded_state(1, SMALL))
    found, state = baseline.read(card_of(model, tmp_path, half=True))
    assert found == SMALL
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


def renamed(model: ov.Model) -> ov.Model:
    for number, op in enumerate(model.get_ordered_ops()):
        op.set_friendly_name(f"op{number}")
    return model


def doubled(model: ov.Model) -> ov.Model:
    twice = ov.opset13.multiply(model.output(0).get_node().input_value(0), np.float32(2))
    twice.output(0).set_names({"logits"})
    return ov.Model([ov.opset13.result(twice)], model.get_parameters(), "doubled")


def other_stem(model: ov.Model) -> ov.Model:
    for op in model.get_ordered_ops():
        if op.get_friendly_name() == "maxpool":
            op.set_friendly_name("pooled")
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "it has no convolution 'conv1'"),
        (doubled, "it computes something else than the layers that it names would"),
        (other_stem, "its stem is none of 7x7-pool"),
    ],
)
def test_a_model_that_is_no_such_network_is_refused(change, message: str, tmp_path: Path) -> None:
    model = change(resnet.assemble(SMALL, resnet.seeded_state(1, SMALL)))
    with pytest.raises(ModelError, match=f"Model 'given' cannot be a baseline, {message}.*harness train"):
        baseline.read(card_of(model, tmp_path))


@pytest.mark.parametrize(
    "changes",
    [{"channels": "BGR"}, {"scale": (1.0, 1.0, 1.0)}, {"mean": (0.0, 0.0, 0.0)}],
    ids=["channels", "scale", "mean"],
)
def test_a_model_that_takes_other_pixels_than_the_trainer_is_refused(
    changes: dict[str, object], tmp_path: Path
) -> None:
    model = resnet.assemble(SMALL, resnet.seeded_state(1, SMALL))
    with pytest.raises(ModelError, match="the trainer gives f32 NCHW RGB"):
        baseline.read(card_of(model, tmp_path, **changes))


def test_sizes_stand_in_rising_order_whatever_order_they_are_given_in(tmp_path: Path) -> None:
    card = card_of(resnet.assemble(SMALL, resnet.seeded_state(1, SMALL)), tmp_path)
    found = baseline.space(card, (SMALL.size, SMALL.size - 16, SMALL.size))
    assert found.sizes == (SMALL.size - 16, SMALL.size)
    assert found.key == baseline.space(card, found.sizes).key


def test_a_baseline_outside_the_space_is_refused_by_the_space(tmp_path: Path) -> None:
    odd: Architecture = replace(SMALL, stem_width=24)
    found, _ = baseline.read(card_of(resnet.assemble(odd, resnet.seeded_state(1, odd)), tmp_path))
    with pytest.raises(Exception, match="The baseline is outside the search space"):
        Space(found, (64,))
