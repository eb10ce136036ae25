"""Weights of a revision, cut out of the baseline's: what can be kept is kept."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov
import pytest

from harness.model import resnet
from harness.model.architecture import Architecture, Stage, resnet50
from harness.model.blocks import Block
from harness.search.accuracy.inheritance import inherit
from harness.search.space.revisions import Space

BASE = Architecture(
    24,
    32,
    "3x3-pool",
    32,
    (Stage(64, (Block(32),) * 3), Stage(128, (Block(32),) * 2), Stage(64, (Block(32),))),
)


def trained(architecture: Architecture, seed: int = 3) -> resnet.State:
    """Return weights whose batch normalisations have all of their numbers."""
    source, state = np.random.default_rng(seed), resnet.seeded_state(seed, architecture)
    for name, value in state.items():
        kind = name.rpartition(".")[2]
        if kind == "running_mean" or (kind == "bias" and value.ndim == 1):
            state[name] = source.normal(0, 0.2, value.shape).astype(np.float32)
        elif kind == "running_var" or value.ndim == 1:
            state[name] = (value * source.uniform(0.5, 2, value.shape)).astype(np.float32)
    return state


def answers(architecture: Architecture, state: resnet.State) -> np.ndarray:
    model = resnet.assemble(architecture, state)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    size = architecture.size
    images = np.random.default_rng(5).standard_normal((3, 1, 3, size, size)).astype(np.float32)
    return np.concatenate([compiled(image)[0] for image in images])


def with_blocks(architecture: Architecture, **changes: Any) -> Architecture:
    """Return the architecture with every block changed."""
    stages = (
        replace(stage, blocks=tuple(replace(block, **changes) for block in stage.blocks))
        for stage in architecture.stages
    )
    return replace(architecture, stages=tuple(stages))


def assert_same_answers(one: np.ndarray, other: np.ndarray) -> None:
    assert np.abs(one).max() > 0.1
    assert np.abs(one - other).max() <= 1e-4 * max(1.0, float(np.abs(one).max()))


def silence(state: resnet.State, norm: str, channels: np.ndarray) -> None:
    """Make channels behind a batch normalisation zero, whatever comes in."""
    state[f"{norm}.weight"][channels] = 0
    state[f"{norm}.bias"][channels] = 0


@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_the_baseline_inherits_itself_bit_for_bit(squeeze_excite: bool) -> None:
    base = with_blocks(BASE, squeeze_excite=squeeze_excite)
    state = trained(base)
    found = inherit(base, base, state)
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("baseline", [resnet50(24, 64, 0.35), resnet50(10, 32, 0.5, "3x3-pool")])
def test_every_revision_gets_all_of_its_weights(baseline: Architecture) -> None:
    space, state = Space(baseline, (baseline.size,)), trained(baseline)
    for seed in range(6):
        wanted = space.sample(random.Random(seed))
        assert np.isfinite(answers(wanted, inherit(wanted, baseline, state))).all()


def test_middle_channels_that_do_nothing_are_those_that_go() -> None:
    state, source = trained(BASE), np.random.default_rng(0)
    for block in BASE.layers().blocks:
        for layer in block.convolutions[:2]:
            silence(state, layer.norm, source.permutation(32)[:16])
    narrow = with_blocks(BASE, mid=16)
    assert_same_answers(answers(BASE, state), answers(narrow, inherit(narrow, BASE, state)))


def test_gates_of_the_channels_that_stay_are_kept() -> None:
    base = with_blocks(BASE, squeeze_excite=True)
    state, source = trained(base), np.random.default_rng(0)
    for block in base.layers().blocks:
        gates = block.squeeze_excite
        assert gates is not None
        for layer in block.convolutions[:2]:
            silence(state, layer.norm, source.permutation(32)[:16])
    narrow = with_blocks(base, mid=16)
    assert_same_answers(answers(base, state), answers(narrow, inherit(narrow, base, state)))
    wide = with_blocks(base, mid=48)
    assert_same_answers(answers(base, state), answers(wide, inherit(wide, base, state)))


def test_channels_of_a_residual_stream_that_nobody_writes_go_everywhere() -> None:
    state, source = trained(BASE), np.random.default_rng(0)
    dead = [source.permutation(stage.width)[: stage.width // 2] for stage in BASE.stages]
    for block in BASE.layers().blocks:
        channels = dead[int(block.name[len("layer")]) - 1]
        silence(state, block.convolutions[2].norm, channels)
        if block.shortcut is not None:
            silence(state, block.shortcut.norm, channels)
    silence(state, "bn1", source.permutation(32)[:16])
    stages = tuple(replace(stage, width=stage.width // 2) for stage in BASE.stages)
    narrow = replace(BASE, stem_width=16, stages=stages)
    assert_same_answers(answers(BASE, state), answers(narrow, inherit(narrow, BASE, state)))


def test_the_later_blocks_of_a_stage_go() -> None:
    state = trained(BASE)
    for name in ("layer1.2", "layer2.1"):
        silence(state, f"{name}.bn3", np.arange(len(state[f"{name}.bn3.bias"])))
    stages = (replace(BASE.stages[0], blocks=BASE.stages[0].blocks[:2]),)
    stages += (replace(BASE.stages[1], blocks=BASE.stages[1].blocks[:1]), BASE.stages[2])
    shallow = replace(BASE, stages=stages)
    assert_same_answers(answers(BASE, state), answers(shallow, inherit(shallow, BASE, state)))


@pytest.mark.parametrize(("kind", "width"), [("group16", 16), ("dw3", 1), ("dw5", 1)])
def test_groups_hidden_in_a_dense_convolution_are_found(kind: str, width: int) -> None:
    state, source = trained(BASE), np.random.default_rng(0)
    for block in BASE.layers().blocks:
        group_of_output, group_of_input = (source.permutation(32) // width for _ in range(2))
        weight = state[f"{block.convolutions[1].name}.weight"]
        weight *= (group_of_output[:, None] == group_of_input[None])[:, :, None, None]
    grouped = with_blocks(BASE, kind=kind)
    assert_same_answers(answers(BASE, state), answers(grouped, inherit(grouped, BASE, state)))


@pytest.mark.parametrize(
    ("old", "new"), [("dw3", "dw5"), ("group16", "dense"), ("dw3", "group16"), ("dw3", "dw3")]
)
def test_a_kind_that_can_do_all_that_the_old_one_did_does_so(old: str, new: str) -> None:
    base = with_blocks(BASE, kind=old)
    wanted, state = with_blocks(BASE, kind=new), trained(base)
    assert_same_answers(answers(base, state), answers(wanted, inherit(wanted, base, state)))


@pytest.mark.parametrize("changes", [{"squeeze_excite": True}, {"mid": 48}], ids=["squeeze-excite", "wider"])
def test_what_a_block_gains_changes_nothing_at_first(changes: dict[str, Any]) -> None:
    state, richer = trained(BASE), with_blocks(BASE, **changes)
    found = inherit(richer, BASE, state)
    assert_same_answers(answers(BASE, state), answers(richer, found))
    if "mid" in changes:
        assert np.abs(found["layer1.0.conv1.weight"][32:]).min() > 0


def with_stages(*stages: Stage, **changes: Any) -> Architecture:
    return replace(BASE, stages=stages, **changes)


WIDER = {
    "wider stages": with_stages(*(replace(stage, width=stage.width + 16) for stage in BASE.stages)),
    "wider stem": replace(BASE, stem_width=48),
    "deeper": with_stages(*(replace(stage, blocks=(*stage.blocks, Block(48))) for stage in BASE.stages)),
    "deeper by other forms": with_stages(
        *(
            replace(stage, blocks=(*stage.blocks, Block(48, form=form)))
            for stage, form in zip(BASE.stages, ("basic", "inverted", "fused"), strict=True)
        )
    ),
}


@pytest.mark.parametrize("wanted", WIDER.values(), ids=WIDER)
def test_a_revision_wider_or_deeper_than_the_baseline_starts_as_the_baseline(wanted: Architecture) -> None:
    state = trained(BASE)
    found = inherit(wanted, BASE, state)
    assert_same_answers(answers(BASE, state), answers(wanted, found))
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in resnet.seeded_state(0, wanted).items()
    }


@pytest.mark.parametrize("form", ["basic", "fused", "plain", "branched", "aggregated"])
def test_blocks_of_dense_convolutions_inherit_from_those_of_their_form(form: str) -> None:
    base = with_blocks(BASE, form=form).canonical
    state = trained(base)
    for block in base.layers().blocks:
        for layer in () if form == "branched" else block.convolutions[:-1]:
            silence(state, layer.norm, np.arange(16, 32))
    assert_same_answers(answers(base, state), answers(base, inherit(base, base, state)))
    narrow = with_blocks(base, mid=16)
    assert_same_answers(answers(base, state), answers(narrow, inherit(narrow, base, state)))
    wide = with_blocks(base, mid=48, squeeze_excite=True).canonical
    assert_same_answers(answers(base, state), answers(wide, inherit(wide, base, state)))


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_networks_of_other_stages_inherit_what_they_share(count: int, early: bool) -> None:
    stages = (*BASE.stages, Stage(128, (Block(32),)))[:count]
    wanted, state = replace(BASE, stages=stages, early_stride=early), trained(BASE)
    found = inherit(wanted, BASE, state)
    assert np.array_equal(found["layer2.0.conv2.weight"], state["layer2.0.conv2.weight"])
    assert np.array_equal(found["fc.weight"], state["fc.weight"]) is (count == 3)
    assert np.isfinite(answers(wanted, found)).all()
