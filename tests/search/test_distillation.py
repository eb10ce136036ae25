"""The table of what single decisions cost, measured on a tiny baseline."""

import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import OutputError
from harness.model import resnet
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.model.card import Card
from harness.search.accuracy import costs
from harness.search.accuracy.costs import Table
from harness.search.space.revisions import Space

torch = pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.search.accuracy import distillation  # noqa: E402 - they need torch
from harness.search.accuracy.material import Material  # noqa: E402

TINY = Architecture(24, 32, "3x3-pool", 16, (Stage(64, (Block(16),) * 2), Stage(64, (Block(16),))))
SPACE = Space(TINY, (32, 24))
EFFORT = distillation.Effort(steps=2, batch_size=8, images=32, judged=16)


@pytest.fixture(scope="module")
def tiny(builtin_card: Card, material: Material) -> Material:
    """Return the material of a baseline with random weights, large enough to matter."""
    state = resnet.seeded_state(5, TINY)
    state["fc.weight"] *= 3
    recipe = replace(builtin_card.input.recipe, size=32)
    return Material(TINY, state, material.parts, recipe, material.ranks, statistics=48)


@pytest.fixture(scope="module")
def table(tiny: Material, tmp_path_factory: pytest.TempPathFactory) -> Table:
    return distillation.build(SPACE, tiny, tmp_path_factory.mktemp("table") / "costs.json", EFFORT)


def test_what_the_baseline_does_costs_nothing_and_all_else_something(table: Table) -> None:
    taken = SPACE.decisions(TINY)
    assert all(table.costs[name][option] == 0 for name, option in taken.items())
    paid = {name for name, options in table.costs.items() if max(options.values()) > 0}
    assert {"size", "stem", "stage1.width", "stage1.depth", "stage1.1.kind", "stage2.0.ratio"} <= paid
    assert min(cost for options in table.costs.values() for cost in options.values()) >= 0
    assert table.cost(TINY) == 0


def test_every_architecture_of_the_space_has_a_cost_and_it_is_the_sum(table: Table) -> None:
    source = random.Random(1)
    for _ in range(50):
        found = SPACE.sample(source)
        taken = SPACE.decisions(found)
        assert table.cost(found) == pytest.approx(sum(table.costs[name][taken[name]] for name in taken))
    assert pickle.loads(pickle.dumps(table)).cost(found) == table.cost(found)


def test_an_interrupted_table_goes_on_and_ends_as_the_uninterrupted_one(
    tiny: Material, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, parts = distillation._measure, []

    def measure(material: Material, part: str, *others: Any) -> dict[str, float]:
        if parts.append(part) or len(parts) == 4:
            raise KeyboardInterrupt
        return real(material, part, *others)

    monkeypatch.setattr(distillation, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        distillation.build(SPACE, tiny, tmp_path / "costs.json", EFFORT)
    found = distillation.build(SPACE, tiny, tmp_path / "costs.json", EFFORT)
    assert {part for part in parts if parts.count(part) > 1} == {parts[3]}
    assert found.costs == table.costs


def test_a_part_that_learns_longer_costs_less(tiny: Material) -> None:
    revised = replace(TINY, stages=(replace(TINY.stages[0], width=48), TINY.stages[1]))
    short, long = (
        distillation._measure(tiny, "stage1", {"narrow": revised}, replace(EFFORT, steps=steps), int)
        for steps in (1, 60)
    )
    assert 0 < long["narrow"] < short["narrow"] / 2


def test_little_memory_changes_no_cost(tiny: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    revised = replace(TINY, stages=(replace(TINY.stages[0], width=48), TINY.stages[1]))
    remembered = distillation._measure(tiny, "stage1", {"narrow": revised}, EFFORT, int)
    monkeypatch.setattr(distillation, "_MEMORY_BYTES", 0)
    computed = distillation._measure(tiny, "stage1", {"narrow": revised}, EFFORT, int)
    assert computed["narrow"] == pytest.approx(remembered["narrow"], rel=0.05)


def test_a_block_that_can_be_the_baseline_s_stays_so(tiny: Material) -> None:
    blocks = (TINY.stages[0].blocks[0], replace(TINY.stages[0].blocks[1], mid=32))
    revised = replace(TINY, stages=(replace(TINY.stages[0], blocks=blocks), TINY.stages[1]))
    effort = replace(EFFORT, steps=1, learning_rate=0.0)
    assert distillation._measure(tiny, "stage1.1", {"wider": revised}, effort, int)["wider"] < 0.05


@pytest.mark.parametrize(
    ("change", "named"), [({"steps": 3}, "effort"), ({"seed": 9}, "effort")], ids=["steps", "seed"]
)
def test_a_table_measured_with_something_else_is_refused(
    change: dict[str, int], named: str, tiny: Material, table: Table, tmp_path: Path
) -> None:
    costs.save(tmp_path / "costs.json", table.costs, table.identity)
    with pytest.raises(OutputError, match=rf"measured with something else \({named}\)"):
        distillation.build(SPACE, tiny, tmp_path / "costs.json", replace(EFFORT, **change))


def test_a_damaged_table_is_refused(table: Table, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text('{"format": 1')
    with pytest.raises(OutputError, match="Cannot read the table of accuracy costs"):
        costs.load(tmp_path / "costs.json", table.identity)


def test_a_saved_table_is_read_back_as_it_was(table: Table, tmp_path: Path) -> None:
    costs.save(tmp_path / "costs.json", table.costs, table.identity)
    assert costs.load(tmp_path / "costs.json", table.identity) == table.costs
