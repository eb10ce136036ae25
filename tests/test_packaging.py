"""What an installed wheel holds."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from harness.machine.packages import PACKAGES
from harness.mlperf.rules import NEWEST, ROUNDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel in a copy of what git would hand out, so that nothing lands in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_models_calibration_and_both_conf_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*ROOT.glob("models/*/*"), *ROOT.glob("calibration/**/*"), *ROOT.glob("published/*")]:
        if path.is_file():
            assert f"harness/data/{path.relative_to(ROOT).as_posix()}" in names
    assert {"harness/data/user.conf", "harness/data/mlperf.conf"} <= names


def test_the_wheel_carries_nothing_but_the_package(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"harness"}


def test_the_wheel_demands_the_very_loadgen_of_the_newest_round(wheel: Path) -> None:
    """Seeds change within a minor version, so a newer one may be of no round that is known."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        lines = packed.read(name).decode().splitlines()
    wanted = ROUNDS[NEWEST].loadgen_versions[-1]
    assert f"Requires-Dist: mlcommons-loadgen=={wanted}" in lines


def test_the_unpacked_wheel_finds_its_data_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "from harness import resources\n"
        "from harness.mlperf import conf\n"
        "from harness.model.card import shipped_cards, find_card\n"
        "assert str(resources.ROOT).endswith('site/harness/data'), resources.ROOT\n"
        "print(conf.read_rules().round, *shipped_cards())\n"
        "[find_card(name) for name in shipped_cards()]\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "v6.1"
    assert "resnet50-seeded" in done.stdout


def test_the_wheel_tells_its_version_and_licence(wheel: Path) -> None:
    from harness import __version__

    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    facts = archive.read(name).decode().splitlines()
    assert f"Version: {__version__}" in facts
    assert "License-Expression: Apache-2.0" in facts
    assert "License-File: LICENSE" in facts


def test_what_is_imported_is_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[<>=!~\[ ]", line)[0] for line in project["dependencies"]}
    assert required == {package.name for package in PACKAGES}
    extra = {"torch", "pyarrow", "timm", "grpc", "tritonclient", "ray"}
    in_servers = {"mlserver", "triton_python_backend_utils"}
    imported = {
        name.split(".")[0]
        for path in (ROOT / "harness").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in names_imported(node)
    }
    foreign = imported - set(sys.stdlib_module_names) - {"harness"} - extra - in_servers
    assert foreign == {package.module for package in PACKAGES}


def names_imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
