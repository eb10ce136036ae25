"""`harness train` where PyTorch is missing."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.train import command
from harness.model.architecture import resnet50


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


@pytest.mark.parametrize(("full", "first"), [(32, 48), (96, 104)])
def test_images_cannot_shrink_to_the_size_of_a_network_that_is_given(
    full: int, first: int, tmp_path: Path
) -> None:
    network = tmp_path / "network.json"
    network.write_text(json.dumps(resnet50(24, full, 0.2).to_dict()))
    words = ["--task", "builtin", "--architecture", str(network), "--first-size", str(first)]
    result = CliRunner().invoke(command, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert f"cannot grow from {first} to {full} pixels" in result.stderr


@pytest.mark.parametrize("in_file", [False, True])
def test_images_are_not_both_cut_and_moved(tmp_path: Path, in_file: bool) -> None:
    config = tmp_path / "rare.toml"
    config.write_text("smallest_area = 0.6\n" if in_file else "")
    words = ["--task", "builtin", "--padding", "2", "--config", str(config), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, words if in_file else [*words, "--smallest-area", "0.6"])
    assert result.exit_code == 2
    assert "leave out --smallest-area" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--task", "folder", "--images", "10"],
            "are learned from: leave out --images",
        ),
        (["--task", "builtin", "--growing-share", "0.5"], "do not grow: leave out --growing-share"),
        (["--task", "builtin", "--architecture", "NETWORK", "--size", "64"], "network: leave out --size"),
        (["--task", "builtin", "--architecture", "NETWORK", "--width", "1"], "network: leave out --width"),
        (["--task", "builtin", "--architecture", "NETWORK", "--stem", "3x3"], "network: leave out --stem"),
    ],
)
def test_what_would_be_of_no_effect_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    network.write_text(json.dumps(resnet50(24, 32, 0.2).to_dict()))
    given = [str(network) if word == "NETWORK" else word for word in words]
    result = CliRunner().invoke(command, [*given, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (tmp_path / "out").exists()


def test_folders_for_images_that_are_generated_are_refused(tmp_path: Path) -> None:
    words = ["--task", "builtin", "--train", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert "give --task folder, or leave them out" in result.stderr


def test_help_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "torchrun" in result.output
