"""README, --help and the code agree."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from sample_detectors import CARDS
from tables import TABLES, Table, command, parts

from harness import __version__
from harness.cli import _COMMANDS, cli
from harness.dataset.recipe import FITS, PLACES, ROUNDINGS
from harness.model.card import DetectionOutput, read_card
from harness.model.card_parts import DECODERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}


def code_blocks(language: str = "", text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def command_lines() -> Iterator[Any]:
    """Yield page, command and words of each command line; what starts a container may stand before it."""
    for page, text in PAGES.items():
        for block in code_blocks(text=text):
            for line in re.split(r"\n|&&", block):
                words = re.sub(r"^docker run .*? (?=harness )", "", line).split()
                if words[:1] == ["harness"]:
                    yield pytest.param(words[1], words[2:], id=f"{page}: {' '.join(words[:3])}")


def options_of(name: str, part: str) -> set[str]:
    found = parts(command(name))
    parameters = found.get(part, found.get("", command(name))).params
    return {option for parameter in parameters for option in parameter.opts}


def required_of(name: str, part: str) -> list[set[str]]:
    found = parts(command(name))
    parameters = found.get(part, found.get("", command(name))).params
    return [{*one.opts} for one in parameters if one.required and one.param_type_name == "option"]


def test_readme_opens_with_the_two_set_up_commands() -> None:
    assert code_blocks()[0].splitlines() == [
        "pip install . && harness quickstart",
        "pip install '.[test]' && pytest",
    ]


@pytest.mark.parametrize(("name", "words"), list(command_lines()))
def test_every_command_line_in_the_docs_uses_options_that_exist(name: str, words: list[str]) -> None:
    assert name in _COMMANDS
    if "--" in words:
        inner = words[words.index("--") + 1 :]
        test_every_command_line_in_the_docs_uses_options_that_exist(inner[0], inner[1:])
        words = words[: words.index("--")]
    used = {word for word in words if word.startswith("--")}
    part = words[0] if words else ""
    assert used <= options_of(name, part)
    if "..." not in words:
        missing = [options for options in required_of(name, part) if not used & options]
        assert not missing, "a reader who copies the line is refused"


def test_every_command_stands_in_readme_and_no_other() -> None:
    rows = re.findall(r"^\| `harness ([a-z]+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(_COMMANDS)


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_and_option_has_help(name: str) -> None:
    found = command(name)
    assert found.help
    assert parts(found)
    for part in parts(found).values():
        assert part.help
        for parameter in part.params:
            assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_the_card_in_readme_works_as_written(tmp_path: Path) -> None:
    text = code_blocks("toml")[0]
    (tmp_path / "card.toml").write_text(text)
    card = read_card(tmp_path / "card.toml")
    assert card.output.labels == tomllib.loads(text)["output"]["classes"] - 1


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/README.md", "calibration/README.md"])
def test_every_file_that_a_page_links_to_or_runs_exists(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    for script in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_no_page_holds_both_sides_of_a_merge(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.findall(r"^(?:<{7} |={7}$|>{7} )", text, re.MULTILINE)


def test_every_page_of_the_docs_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("docs/"):
            assert f": {page.removeprefix('docs/')}\n" in menu


def test_the_readme_fits_on_a_few_screens() -> None:
    assert README.count("\n") <= 150


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_a_table_that_follows_from_the_code_is_up_to_date(table: Table) -> None:
    assert table.found(PAGES[table.page]) == table.made(), "type: make tables"
    assert table.put(PAGES[table.page]) == PAGES[table.page]


@pytest.mark.parametrize("words", [["train"], ["search", "run"]])
def test_the_help_of_large_commands_fits_on_one_screen(words: list[str]) -> None:
    text = CliRunner().invoke(cli, [*words, "--help"], terminal_width=100).output
    assert text.count("\n") <= 60


def test_every_heading_that_a_readme_links_to_exists() -> None:
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}
    linked = re.findall(
        r"README\.md#([\w-]+)", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    )
    assert linked
    assert set(linked) <= anchors


def test_every_benchmark_stands_in_its_readme_and_no_other() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))


def test_every_version_and_command_has_a_line_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in _COMMANDS:
        assert f"`harness {name}" in changelog
    newest = re.findall(r"^## (\d\S*) - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)[0]
    assert newest == __version__


@pytest.mark.parametrize("name", CARDS)
def test_the_cards_of_detectors_in_the_docs_work_as_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "card.toml").write_text(CARDS[name])
    card = read_card(tmp_path / "card.toml")
    assert card.name == name
    assert len(card.detector.categories) == 80


def test_every_decoder_and_key_of_a_detectors_output_is_in_its_how_to() -> None:
    page = PAGES["docs/how-to/own-detector.md"]
    for word in (*DECODERS, *(item.name for item in fields(DetectionOutput)), *FITS, *PLACES, *ROUNDINGS):
        assert f"`{word}`" in page or f'"{word}"`' in page, word
