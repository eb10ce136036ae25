"""The command line's manners."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import _COMMANDS

NATIVE = ("openvino", "nncf", "mlperf_loadgen", "cv2", "torch", "pandas", "matplotlib")


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def harness(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_needs_no_native_library() -> None:
    done = python(
        "import sys\n"
        f"for name in {NATIVE}: sys.modules[name] = None\n"
        "sys.argv = ['harness', '--help']\n"
        "from harness.cli import main\n"
        "main()\n"
    )
    assert done.returncode == 0, done.stderr
    assert "quantize" in done.stdout


def test_importing_the_package_does_nothing() -> None:
    done = python(f"import sys, harness; print([name for name in {NATIVE} if name in sys.modules])")
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["compare", "doctor", "explain", "run"])
def test_the_help_of_a_command_loads_no_heavy_library(name: str) -> None:
    done = python(
        "import sys\n"
        f"for library in {(*NATIVE, 'scipy')}: sys.modules[library] = None\n"
        f"sys.argv = ['harness', '{name}', '--help']\n"
        "from harness.cli import main\n"
        "main()\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    done = harness(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: harness {name}") or "Usage: python -m harness" in done.stdout


def test_an_unknown_model_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = harness(
        "run", "--model", "resnet50-seded", "--data", "x", "--scenario", "Offline", "--out", str(tmp_path)
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "harness: Model 'resnet50-seded' is not known and no such card file exists. "
        "Did you mean 'resnet50-seeded'?\n"
    )


def test_a_missing_store_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = harness(
        "run", "--model", "resnet50-seeded", "--data", str(tmp_path / "none"), "--scenario", "Offline",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none" in done.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    done = harness("rum")
    assert done.returncode == 2
    assert "rum" in done.stderr


def test_the_version_is_the_packages() -> None:
    from harness import __version__

    assert harness("--version").stdout.strip() == f"harness, version {__version__}"
