"""The search space and the networks in it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import HarnessError, ModelError
from harness.model.architecture import STEMS, Architecture, Stage, resnet50
from harness.model.blocks import Block
from harness.model.layers import pooled
from harness.search.selection import control
from harness.search.space.ranges import OPEN, REVISIONS
from harness.search.space.revisions import DEPTHS, Space

BASELINES = {
    "imagenet": resnet50(1000, 224),
    "builtin": resnet50(24, 64, 0.2),
    "cifar": resnet50(10, 32, stem="3x3-pool"),
}


SPACES = {
    **{name: Space(one, (one.size,)) for name, one in BASELINES.items()},
    "open builtin": Space(BASELINES["builtin"], (64,), OPEN),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    found: Space = request.param
    return found


def test_resnet50_has_its_published_size_and_work() -> None:
    plain = resnet50(1000, 224)
    assert plain.count_parameters() == 25_557_032
    assert plain.count_macs() == 4_089_184_256


def test_stems_that_shrink_a_size_otherwise_than_the_baselines_are_not_proposed() -> None:
    stems = {size: Space(resnet50(24, size), (size,)).stems for size in (48, 50)}
    assert set(stems[48]) - set(stems[50]) == {"patch4"}
    for size, names in stems.items():
        for name in names:
            layers = resnet50(24, size, stem=name).layers()
            made = size
            for convolution in layers.stem:
                made = convolution.after(made)
            assert (pooled(made) if STEMS[name].pool else made) == STEMS[name].shrunk(size)
    assert "patch4" not in Space(resnet50(24, 48), (48, 46)).stems


def test_the_baseline_is_a_point_of_the_space(space: Space) -> None:
    taken = space.decisions(space.baseline)
    assert space.decided(taken) == space.baseline


def test_the_decisions_of_an_architecture_lead_back_to_it(space: Space) -> None:
    source = random.Random(1)
    for _ in range(200):
        found = space.sample(source)
        taken = space.decisions(found)
        assert space.decided(taken) == found


def test_samples_reach_further_to_both_ends_of_the_space_than_uniform_draws(space: Space) -> None:
    uniform, source = set(), random.Random(3)
    while len(uniform) < 200:
        uniform.add(space.sample(source))
    leaning = space.samples(3, 200)
    inner, outer = (sorted(one.count_macs() for one in some) for some in (uniform, leaning))
    assert outer[20] < inner[20] / 1.2
    assert outer[-20] > min(1.2 * inner[-20], space.baseline.count_macs())


def test_widths_go_in_steps_of_sixteen_channels_from_the_least_share_to_the_largest(space: Space) -> None:
    options = space.all_decisions()
    least, most = space.ranges.shares[0], space.ranges.shares[-1]
    assert (least, most) == ((0.25, 1.0) if space.ranges == REVISIONS else (0.125, 2.0))
    for number, stage in enumerate(space.baseline.stages, start=1):
        offered = options[f"stage{number}.width"]
        assert set(offered) == {
            width for width in range(16, int(most * stage.width) + 1, 16) if width > stage.width * least - 8
        }


@pytest.mark.parametrize("seed", range(5))
def test_the_open_space_has_all_networks_of_the_closed_one(seed: int) -> None:
    closed, wide = SPACES["builtin"], SPACES["open builtin"]
    found = closed.sample(random.Random(seed))
    assert wide.fault(found) is None
    assert wide.decided(wide.decisions(found)) == found
    assert closed.key != wide.key


PLAIN = (Block(16, form="plain"),)
HAND_MADE = {
    "seven convolutions": ((64, PLAIN * 2), (256, PLAIN * 2), (256, PLAIN * 2)),
    "basic": tuple((width, (Block(width, form="basic"),) * 3) for width in (32, 64, 128)),
    "ratio 1": tuple((width, (Block(width),) * 2) for width in (64, 128, 256)),
    "inverted": tuple(
        (width, (Block(4 * width, "dw3", form="inverted"),) * 2) for width in (32, 64, 64, 128)
    ),
    "fused": tuple((width, (Block(2 * width, form="fused"),) * 2) for width in (32, 64)),
    "five stages": tuple((width, (Block(16, form="branched"),)) for width in (32, 64, 128, 256, 256)),
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("stages", HAND_MADE.values(), ids=HAND_MADE)
def test_networks_that_others_made_by_hand_are_points_of_the_open_space(stages, early: bool) -> None:
    space = Space(resnet50(10, 32, 0.5, "3x3"), (32,), OPEN)
    made = tuple(Stage(width, blocks) for width, blocks in stages)
    wanted = Architecture(10, 32, "3x3", 32, made, early).canonical
    assert space.decided(space.decisions(wanted)) == wanted
    assert SPACES["cifar"].fault(wanted) is not None


def test_missing_decisions_are_as_in_the_block_or_the_stage_before() -> None:
    space = SPACES["open builtin"]
    taken = space.decisions(space.baseline)
    whole = space.complete(taken)
    assert whole.keys() == space.all_decisions().keys()
    assert whole.items() >= taken.items()
    deeper = space.decided({**whole, "stage1.depth": 4, "network.stages": 5})
    assert [len(stage.blocks) for stage in deeper.stages] == [4, 4, 6, 3, 3]
    assert deeper.stages[0].blocks[3] == deeper.stages[0].blocks[2]
    assert deeper.stages[4] == deeper.stages[3]
    assert space.decided({**whole, "network.stages": 3}).stages == space.baseline.stages[:3]


def test_an_architecture_survives_json(space: Space) -> None:
    found = space.sample(random.Random(2))
    assert Architecture.from_dict(found.to_dict()) == found


def test_uniform_scalings_are_points_of_the_space_and_smaller(space: Space) -> None:
    for width, depth in ((0.25, 1), (0.5, 1), (0.8, 1), (1, 2 / 3), (0.5, 2 / 3), (0.8, 1 / 3)):
        scaled = space.uniform(width, depth)
        assert space.fault(scaled) is None
        assert scaled.count_macs() < space.baseline.count_macs()


@pytest.mark.parametrize("seed", range(12))
def test_a_baseline_that_a_search_has_found_has_uniform_scalings_too(seed: int) -> None:
    found = Space(resnet50(1000, 224), (224,)).sample(random.Random(seed))
    space = Space(found, (224,))
    assert space.uniform(1.0) == found
    for depth in DEPTHS:
        assert len(control.scalings(space, 224, depth)) > 20
    for width in REVISIONS.shares:
        assert "ratio" not in (space.fault(space.uniform(width)) or "")
    assert space.fault(space.reference) is None


def test_one_network_has_one_key_however_it_is_written() -> None:
    one = Architecture(24, 64, "patch4", 16, (Stage(64, (Block(16, "group16"),)),))
    other = replace(one, stages=(Stage(64, (Block(16, "dense"),)),))
    assert one != other
    assert one.key == other.key
    assert one.key != replace(other, size=48).key


def test_every_option_of_every_decision_is_drawn_and_makes_a_difference(space: Space) -> None:
    source, seen = random.Random(3), dict[str, set[Any]]()

    def choose(name: str, options: Sequence[Any]) -> Any:
        is_deep = name.endswith(("depth", "stages")) and source.random() < 0.5
        drawn = options[-1] if is_deep else source.choice(options)
        seen.setdefault(name, set()).add(drawn)
        return drawn

    for _ in range(2000):
        space.build(choose)
    options: dict[str, int] = {}
    space.build(lambda name, given: options.setdefault(name, len(given)) and given[-1])
    assert {name: len(values) for name, values in seen.items()} == options


def test_a_baseline_that_another_space_has_is_sent_there() -> None:
    basic = Architecture(24, 64, "7x7-pool", 16, (Stage(64, (Block(64, form="basic"),)),) * 4)
    with pytest.raises(HarnessError, match=r"resnet-rev .*: give --space open, which has it"):
        Space(basic, (64,))
    assert Space(basic, (64,), OPEN).baseline == basic


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (resnet50(24, 48, 0.2), "48 px is not among those to search"),
        (replace(resnet50(24, 64, 0.2), stem_width=24), "outside the search space.*stem.width"),
        (
            Architecture(24, 64, "7x7-pool", 16, (Stage(64, (Block(24),)),) * 4),
            "outside the search space.*ratio",
        ),
    ],
)
def test_a_baseline_outside_the_space_is_refused(baseline: Architecture, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        Space(baseline, (64,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem": "7x7pool"}, "Did you mean '7x7-pool'"),
        ({"stages": (Stage(64, (Block(24, "group16"),)),)}, "24 channels, which fit no 'group16'"),
        ({"stages": (Stage(64, (Block(16, "dw7"),)),)}, "kind 'dw7' is not known"),
        ({"stages": (Stage(64, ()),)}, "has no block"),
    ],
)
def test_impossible_architectures_are_refused(change: dict[str, object], message: str) -> None:
    values = {"classes": 24, "size": 64, "stem": "7x7-pool", "stem_width": 16, "stages": ()}
    with pytest.raises(ModelError, match=message):
        Architecture(**(values | change))  # type: ignore[arg-type]
