"""`harness train` where PyTorch is missing."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.train import command


def test_without_torch_the_command_names_the_extra(
    tmp_path: Path, harness_without: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "out"
    done = harness_without("torch", "train", "--task", "builtin", "--out", str(out))
    assert done.returncode == 2
    assert re.search(r"needs PyTorch.*\[train\]", done.stderr)
    assert not out.exists()


def test_images_cannot_shrink(tmp_path: Path) -> None:
    words = ["--task", "builtin", "--size", "64", "--first-size", "72", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert "cannot grow from 72 to 64 pixels" in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "torchrun" in result.output
