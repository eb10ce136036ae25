"""The open space goes through all that a search does with one: table, climbs, estimator, baseline."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from harness.errors import HarnessError
from harness.model import resnet
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import FORMS, Block
from harness.model.card import Card
from harness.search import pictures
from harness.search.accuracy.weighing import weigh
from harness.search.latency.prediction import Design, Prediction
from harness.search.latency.terms import terms
from harness.search.space import baseline
from harness.search.space.ranges import OPEN, REVISIONS, ranges
from harness.search.space.revisions import Space
from harness.search.strategy.climbing import climb
from harness.search.strategy.problem import Problem
from harness.search.strategy.scouting import Band, thoughts

TINY = Architecture(24, 32, "3x3", 32, (Stage(64, (Block(16),)), Stage(64, (Block(16),) * 2)))
SPACE = Space(TINY, (32,), OPEN)


def mega_macs(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


def price(architecture: Architecture) -> float:
    """Return a time of which convolutions, multiply-accumulates and traffic have a share each."""
    found = terms(architecture)
    count = sum(amount for (_, _, what), amount in found.items() if what == "count")
    traffic = sum(amount for (_, _, what), amount in found.items() if what in ("read", "written"))
    return 0.02 + 0.002 * count + architecture.count_macs() * 5e-9 + 1e-7 * traffic


def test_a_latency_table_predicts_what_it_has_not_seen() -> None:
    design, unseen = Design(networks=200), SPACE.samples(9, 40)
    times = {one.key: price(one) for one in design.all_networks(SPACE, unseen)}
    found = Prediction(SPACE, design, times, unseen)
    errors = [abs(found.time(one) / price(one) - 1) for one in unseen]
    assert np.mean(errors) < 0.02
    assert {block.form for one in unseen for stage in one.stages for block in stage.blocks} == set(OPEN.forms)
    assert {len(one.stages) for one in unseen} == {1, 2, 3}


def test_climbs_leave_the_baseline_for_what_is_planted_elsewhere() -> None:
    def plain_and_early(architecture: Architecture) -> float:
        stages = architecture.stages
        plain = sum(stage.blocks[0].form == "plain" for stage in stages) / len(stages)
        return plain + 0.5 * architecture.early_stride + 0.2 * len(stages) + 0.1 * len(stages[0].blocks)

    problem = Problem(SPACE, lambda _: 1.0, plain_and_early, 1.0)
    best = max(climb(problem, [TINY], seed=1), key=lambda point: point.score).architecture
    assert {stage.blocks[0].form for stage in best.stages} == {"plain"}
    assert best.early_stride
    assert (len(best.stages), len(best.stages[0].blocks)) == (3, 2)


def test_an_estimator_learns_from_networks_of_any_number_of_stages() -> None:
    class Nothing:
        name = "nothing"

        def costs(self, architecture: Architecture) -> dict[str, float]:
            return {"form": float(architecture.stages[0].blocks[0].form != "bottleneck")}

        def score(self, architecture: Architecture) -> float:
            return -self.costs(architecture)["form"]

    seen = [(one, 0.5 + 0.05 * np.log(mega_macs(one))) for one in SPACE.samples(2, 30)]
    weighed = weigh(Nothing(), TINY, seen)
    for one, accuracy in seen:
        assert weighed.expected(one)[0] == pytest.approx(accuracy, abs=0.05)
    assert all(np.isfinite(weighed.score(one)) for one in SPACE.samples(3, 30))


def test_uniform_scalings_of_the_open_space_reach_beyond_the_baseline() -> None:
    work = [one.count_macs() for one in SPACE.scalings()]
    assert min(work) < TINY.count_macs() / 2
    assert max(work) > 2 * TINY.count_macs()


def test_the_baseline_in_other_forms_has_its_widths_and_depths() -> None:
    found = SPACE.recasts()
    assert found[0] == TINY.canonical
    assert len(found) == 2 * len(OPEN.forms)
    assert {one.stages[-1].blocks[-1].form for one in found} == set(OPEN.forms)
    shape = [(stage.width, len(stage.blocks)) for stage in TINY.stages]
    for one in found:
        assert [(stage.width, len(stage.blocks)) for stage in one.stages] == shape
        assert SPACE.fault(one) is None
    (inverted,) = (
        one for one in found if one.stages[0].blocks[0].form == "inverted" and not one.early_stride
    )
    assert {
        (block.kind, block.mid // stage.width) for stage in inverted.stages for block in stage.blocks
    } == {("dw3", 4)}
    assert Space(TINY, (32,)).recasts() == [TINY.canonical]


def test_what_somebody_would_think_of_has_each_form_in_each_depth_that_the_wanted_latency_allows() -> None:
    cap = mega_macs(TINY)
    found = thoughts(SPACE, mega_macs, Band(cap, Band.NEAR))
    known = {(one.stages[0].blocks[0].form, one.early_stride, len(one.stages[1].blocks)) for one in found}
    assert len(known) == len(found) > len(OPEN.forms)
    assert {form for form, _, _ in known} == set(OPEN.forms)
    assert all(mega_macs(one) <= cap for one in found)


def test_random_networks_are_no_larger_than_a_search_asks_for() -> None:
    work = [one.count_macs() / TINY.count_macs() for one in SPACE.samples(5, 200)]
    assert len(work) == 200
    assert max(work) <= 2
    assert min(work) < 0.1
    assert sum(one > 1 for one in work) > 20


@pytest.mark.parametrize(("form", "early_stride"), [*((form, False) for form in FORMS), ("bottleneck", True)])
def test_a_network_of_any_form_can_be_the_baseline(
    form: str, early_stride: bool, tmp_path: Path, builtin_card: Card
) -> None:
    stages = (Stage(32, (Block(32, form=form),) * 2), Stage(64, (Block(64, form=form),)))
    made = Architecture(24, 64, "3x3-pool", 16, stages, early_stride=early_stride).canonical
    ov.save_model(resnet.assemble(made, resnet.seeded_state(1, made)), tmp_path / "model.xml")
    card = replace(
        builtin_card,
        file=replace(builtin_card.file, path="model.xml", sha256=None),
        folder=tmp_path,
        training={"architecture": made.to_dict()},
    )
    found, _ = baseline.read(card)
    assert found == made.deployed.canonical
    assert baseline.space(card, ranges=OPEN).baseline == found


def test_a_space_that_there_is_not_is_refused_and_the_nearest_named() -> None:
    assert ranges("open") is OPEN
    with pytest.raises(HarnessError, match=r"no search space 'opne'\. Did you mean 'open'"):
        ranges("opne")
    assert Space(TINY, (32,)).ranges is REVISIONS


def test_networks_of_all_kinds_inherit_what_they_can(material: Any, builtin_card: Card) -> None:
    pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search.accuracy.material import Material

    state = resnet.seeded_state(5, TINY)
    recipe = replace(builtin_card.input.recipe, size=32)
    tiny = Material(TINY, state, material.parts, recipe, material.ranks, statistics=48)
    source = random.Random(1)
    for one in (SPACE.sample(source) for _ in range(5)):
        assert 0 <= tiny.zero_shot(one) <= 1


def test_pictures_show_networks_of_other_forms_and_numbers_of_stages_side_by_side() -> None:
    one, other = (next(one for one in SPACE.samples(4, 60) if len(one.stages) == count) for count in (1, 3))
    drawn = pictures.architectures([("one", one), ("other", other)])
    assert drawn.count("stage 1: width") == 2
    assert drawn.count("stage 3: width") == 1
    assert pictures.block_text(Block(16, form="plain")) == "plain"
    assert pictures.block_text(Block(64, squeeze_excite=True, form="basic")) == "basic 64 SE"
    assert pictures.block_text(Block(48, "dw3", form="inverted")) == "inverted dw3 48"
    assert pictures.block_text(Block(48, "group16", True, "hswish")) == "group16 48 hswish SE"
