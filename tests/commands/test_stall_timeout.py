"""Every command that has --stall-timeout lets its tests stand still for so long."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Oracle

from harness.cli import cli
from harness.errors import RunFailed
from harness.loadgen import work


@pytest.mark.parametrize(
    "endpoint", [(), ("--endpoint", "http://127.0.0.1:1/oracle")], ids=["here", "served"]
)
@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("run", ("--scenario", "Offline")),
        ("tune", ("--scenario", "Offline")),
        ("compare", ("--scenario", "Offline", "--precision", "f32,bf16")),
        ("explain", ("--duration", "0.1")),
    ],
)
def test_the_first_child_process_is_given_it(
    command: str,
    more: tuple[str, ...],
    endpoint: tuple[str, ...],
    oracle: Oracle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    def run(_: Any, folder: Path, stall_timeout_s: float, *rest: Any) -> None:
        given.append(stall_timeout_s)
        raise RunFailed("no more of it")

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(work.child, "run", run)
    out = () if command == "tune" else ("--out", str(tmp_path / "out"))
    words = ["--model", str(oracle.card_path), "--data", str(oracle.store.path), *more, *endpoint, *out]
    told = CliRunner().invoke(cli, [command, *words, "--stall-timeout", "345"])
    assert "no more of it" in told.output + str(told.exception)
    assert given == [345.0]
