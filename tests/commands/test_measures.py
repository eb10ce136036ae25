"""Commands that measure have the host for themselves."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import HarnessError
from harness.machine import host

CALLS = [
    "run --model M --data S --scenario Offline --out {out}",
    "tune --model M --scenario Offline --data S",
    "compare --model M --out {out}",
    "compliance --results R --data S",
    "explain --model M --data S",
    "frontier --out {out}",
    "quickstart --out {out}",
    "search latency",
    "search profile --model M",
    "search run --baseline B --train I --data S --out {out}",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_command_that_measures_ends_while_another_measures(call: str, tmp_path: Path) -> None:
    with host.measuring("harness tune"):
        done = CliRunner().invoke(cli, call.format(out=tmp_path / "out").split())
    assert isinstance(done.exception, HarnessError), done.output
    assert "(harness tune) is measuring" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_comparisons_are_merged_while_another_measures(tmp_path: Path) -> None:
    with host.measuring("harness tune"):
        done = CliRunner().invoke(cli, ["compare", "merge", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "measuring" not in str(done.exception)


def test_of_processes_that_train_together_only_the_first_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = CALLS[-1].format(out=tmp_path / "out").split()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, is_told in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        with host.measuring("harness tune"):
            done = CliRunner().invoke(cli, words)
        assert ("is measuring" in str(done.exception)) == is_told
