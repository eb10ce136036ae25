"""`harness train` where PyTorch is missing."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.train import command
from harness.errors import HarnessError


def test_without_torch_the_command_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("harness.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(HarnessError, match=r"needs PyTorch.*\[train\]"):
        CliRunner().invoke(
            command, ["--task", "builtin", "--out", str(tmp_path / "out")], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "torchrun" in result.output
