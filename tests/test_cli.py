"""The command line's manners."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import PATIENCE_S

from harness.cli import _COMMANDS, cli

NATIVE = ("openvino", "nncf", "mlperf_loadgen", "cv2", "torch", "pandas", "matplotlib")


WITH_CODE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)


def harness(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


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


def _options(command: click.Command, name: str = "harness") -> Iterator[tuple[str, click.Option]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _options(found, f"{name} {below}")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"{name} {parameter.opts[0]}", parameter


FLOATS = {
    name: option for name, option in _options(cli) if isinstance(option.type, click.types.FloatParamType)
}


def test_the_options_that_take_fractions_are_found() -> None:
    assert {"harness run --duration", "harness train --learning-rate"} <= set(FLOATS)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_option_takes_a_number_that_is_none(name: str, value: str) -> None:
    with pytest.raises(click.BadParameter):
        FLOATS[name].type.convert(value, FLOATS[name], None)


def test_a_duration_that_is_none_is_refused_in_one_sentence() -> None:
    done = harness(
        "run", "--model", "m", "--data", "s", "--scenario", "Offline", "--out", "o", "--duration", "nan"
    )
    assert done.returncode == 2
    assert "Invalid value for '--duration': nan is not a finite number." in done.stderr


def test_a_name_that_is_not_utf8_is_refused_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "check", b"tree\xff"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "harness: The name tree\\udcff is not UTF-8, so no result could tell it: rename it.\n"
    )
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    here = subprocess.run([*command[:-1], "tree"], capture_output=True, text=True, cwd=folder, env=WITH_CODE)
    assert here.returncode == 2
    assert "is not UTF-8, so no result could tell it: work in another folder." in here.stderr


@pytest.mark.parametrize("name", ["HARNESS_CACHE", "HOME"])
def test_a_folder_of_the_environment_that_is_not_utf8_is_named(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "model", "list"],
        env={**os.environb, name.encode(): b"/tmp/\xff"}, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"is not UTF-8, so no result could tell it: set {name} to another folder." in done.stderr


def test_a_locale_without_a_character_gets_its_escape() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "check", "b\u0142"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1:strict"}, capture_output=True, text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("harness: No folder b\\u0142: give the folder")


def test_without_a_home_the_variable_that_cures_it_is_named() -> None:
    done = python(
        "import os, sys, pwd\n"
        "for name in ('HOME', 'HARNESS_CACHE', 'XDG_CACHE_HOME'): os.environ.pop(name, None)\n"
        "os.path.expanduser = lambda path: path\n"
        "sys.argv = ['harness', 'model', 'list']\n"
        "from harness.cli import main\n"
        "main()\n"
    )
    assert done.returncode == 2
    assert "This user has no home folder to keep models and tunings in: set HARNESS_CACHE" in done.stderr
