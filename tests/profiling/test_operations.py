"""What operations cost, what is said about it, and which kernels a candidate runs in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from click.testing import CliRunner

from harness.backend import macs
from harness.commands.search.profile import command
from harness.errors import ModelError
from harness.mlperf.scenario import Scenario
from harness.model.architecture import STEMS, Architecture, Stage
from harness.model.blocks import KINDS, Block
from harness.profiling import operations, stopwatch
from harness.profiling.conditions import Conditions
from harness.profiling.operations import Cost
from harness.profiling.stopwatch import Stopwatch

HERE = Conditions.of(Scenario.SINGLE_STREAM)
CANDIDATE = Architecture(
    10, 32, "3x3s2", 16, (Stage(64, (Block(32, "group16"), Block(16, "dw3", True, "hswish"))),)
)


class Counting(Stopwatch):
    """A machine that takes a millisecond for each million multiply-accumulates, and 5 ms for anything."""

    quiet_ms = 4.0

    def ratio(self, model: ov.Model) -> float:
        return (5 + macs.count_macs(model) / 1e6) / self.quiet_ms


@contextmanager
def counting(_: Any, __: Conditions) -> Iterator[Stopwatch]:
    yield Counting()


@pytest.fixture(scope="module")
def counted() -> list[Cost]:
    return operations.costs(64, HERE, counting)


def test_the_cost_of_an_operation_is_its_own_and_nothing_elses(counted: list[Cost]) -> None:
    for cost in counted:
        tail_us = 16 * (cost.channels - 3) / 1e3 if cost.operation.startswith("stem") else 0.0
        assert cost.time_us == pytest.approx(cost.macs / 1e3 + tail_us), cost


def test_every_operation_of_the_space_is_timed_at_every_stage(counted: list[Cost]) -> None:
    seen = {(cost.operation, cost.size) for cost in counted}
    for size in (16, 8, 4, 2):
        assert {(name, size) for name in ("1x1", "squeeze-excite", *KINDS)} <= seen
    assert {f"stem {name}" for name in STEMS} <= {cost.operation for cost in counted}


def slower(costs: list[Cost], operation: str, factor: float, **only: object) -> list[Cost]:
    return [
        replace(cost, time_us=cost.time_us * factor)
        if cost.operation == operation and all(getattr(cost, key) == value for key, value in only.items())
        else cost
        for cost in costs
    ]


def said(costs: list[Cost], about: str) -> str:
    return next(line for line in operations.findings(costs) if line.startswith(about))


def test_what_is_favoured_follows_from_the_numbers(counted: list[Cost]) -> None:
    assert "favoured in place of dense at every size" in said(counted, "group16")
    assert "costs 1.0 to 1.0 times as much" in said(counted, "group16")
    dear = slower(counted, "group16", 1000)
    assert said(dear, "group16").endswith("not favoured.")
    assert "favoured in place of dense at every size" in said(dear, "group32")
    assert "favoured at 8, 4, 2 px only" in said(slower(counted, "group16", 1000, size=16), "group16")


def test_activations_and_stems_are_judged_by_the_numbers(counted: list[Cost]) -> None:
    assert "+0% to +0% over ReLU behind a 1x1: free" in said(counted, "hswish")
    dear = slower(counted, "1x1", 1.5, activation="hswish")
    assert "+50% to +50% over ReLU behind a 1x1: not free" in said(dear, "hswish")
    assert "shrink 4x patch4 is the fastest" in said(counted, "stems")
    assert "shrink 4x patch4" not in said(slower(counted, "stem patch4", 100), "stems")


def test_a_candidates_kernels_are_named_with_their_share_of_time() -> None:
    found = operations.kernels_of(CANDIDATE, HERE)
    assert found.int8_share is not None
    assert 0 < found.int8_share <= 1
    assert found.total_us > 0
    for layer in found.wide:
        assert layer.computes
        assert not layer.is_int8
    for layer in found.fallbacks:
        assert layer.falls_back


def test_an_unquantized_model_has_no_8_bit_time_and_each_layer_is_named() -> None:
    done = CliRunner().invoke(command, ["--model", "builtin-resnet50", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["int8_share"] == 0
    assert len(document["wide"]) == 54


def test_the_command_shows_a_candidates_kernels(tmp_path: Path) -> None:
    path = tmp_path / "candidate.json"
    path.write_text(json.dumps(CANDIDATE.to_dict()))
    done = CliRunner().invoke(command, ["--architecture", str(path)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("8-bit kernels take ")


def test_an_architecture_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidate.json"
    for text, message in (("{", "Cannot read the architecture"), ("[1]", "are no architecture")):
        path.write_text(text)
        done = CliRunner().invoke(command, ["--architecture", str(path)])
        assert isinstance(done.exception, ModelError)
        assert message in str(done.exception)


def test_the_command_prints_a_table_and_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "timer", counting)
    done = CliRunner().invoke(command, ["--size", "64"])
    assert done.exit_code == 0, done.output
    assert "MS/GMAC" in done.stdout
    assert "squeeze-excite:" in done.stdout
    document = json.loads(CliRunner().invoke(command, ["--size", "64", "--json"]).stdout)
    assert document["costs"]
    assert document["findings"]
