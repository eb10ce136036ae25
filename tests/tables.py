"""The documentation's tables that follow from the code.

`python tests/tables.py` (`make tables`) writes them anew; a test compares them.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from documented import rows

from harness.comparison.document import Comparison
from harness.dataset.manifest import Manifest
from harness.measurement.tuned import Tuning
from harness.model.blocks import FORMS
from harness.results.columns import COLUMNS
from harness.run.document import RunResult
from harness.search.document import SearchResult
from harness.search.narrowing.document import Narrowing

ROOT = Path(__file__).parents[1]


def command(name: str) -> click.Command:
    found: click.Command = importlib.import_module(f"harness.commands.{name}").command
    return found


def parts(found: click.Command) -> dict[str, click.Command]:
    """Return a group's commands by name, or the command itself."""
    if not isinstance(found, click.Group):
        return {"": found}
    context = click.Context(found)
    named = {name: found.get_command(context, name) for name in found.list_commands(context)}
    return {name: part for name, part in named.items() if part is not None}


def rare_options(name: str, part: str = "") -> list[str]:
    """Return a row for each option that a command takes from a file."""
    rare = [one for one in parts(command(name))[part].params if isinstance(one, click.Option) and one.hidden]
    defaults = [_shown(one.to_info_dict()["default"]) for one in rare]
    return [
        f"| `{one.name}`{_otherwise(one)} | {default} | {one.help}{_choices(one)} |"
        for one, default in zip(rare, defaults, strict=True)
    ]


def _otherwise(option: click.Option) -> str:
    """Return what an option is called on the command line, where that does not follow from its key."""
    usual = f"--{(option.name or '').replace('_', '-')}"
    return "" if usual in option.opts else f" (`{option.opts[0]}`)"


def _choices(option: click.Option) -> str:
    if not isinstance(option.type, click.Choice):
        return ""
    return f" One of {', '.join(f'`{one}`' for one in option.type.choices)}."


def _shown(default: object) -> str:
    return "" if default is None or default is False else str(default)


@dataclass(frozen=True)
class Table:
    """Rows that begin with a name in backquotes, all that a section has."""

    page: str
    heading: str
    """Of the section; empty: the whole page."""
    made: Callable[[], list[str]]

    def __str__(self) -> str:
        return f"{self.page} {self.heading}"

    def found(self, text: str) -> list[str]:
        """Return the rows that stand in the page's text."""
        return [line for line in self._cut(text)[1].splitlines() if line.startswith("| `")]

    def put(self, text: str) -> str:
        """Return the page's text with the rows as they should be; a new table needs its head first."""
        before, section, after = self._cut(text)
        lines = section.split("\n")
        old = [index for index, line in enumerate(lines) if line.startswith("| `")]
        start = old[0] if old else 1 + next(i for i, line in enumerate(lines) if line.startswith("| ---"))
        lines[start : start + len(old)] = self.made()
        return before + "\n".join(lines) + after

    def _cut(self, text: str) -> tuple[str, str, str]:
        if not self.heading:
            return "", text, ""
        before, title, rest = text.partition(f"\n## {self.heading}\n")
        section, mark, after = rest.partition("\n## ")
        return before + title, section, mark + after


TABLES = [
    Table("docs/formats.md", "result.json of a run", lambda: rows(RunResult)),
    Table("docs/formats.md", "compare.json", lambda: rows(Comparison)),
    Table("docs/formats.md", "A tuning", lambda: rows(Tuning)),
    Table("docs/formats.md", "manifest.json of a store", lambda: rows(Manifest)),
    Table("docs/formats.md", "result.json of a search", lambda: rows(SearchResult, deep=False)),
    Table("docs/formats.md", "narrowing.json", lambda: rows(Narrowing, deep=False)),
    Table(
        "docs/search.md",
        "Forms of blocks",
        lambda: [f"| `{name}` | {one.about} |" for name, one in FORMS.items()],
    ),
    Table("docs/settings.md", "harness train", lambda: rare_options("train")),
    Table("docs/settings.md", "harness search run", lambda: rare_options("search", "run")),
    Table("docs/how-to/all-results.md", "", lambda: [f"| `{one.name}` | {one.meaning} |" for one in COLUMNS]),
]


def main() -> None:
    for table in TABLES:
        path = ROOT / table.page
        path.write_text(table.put(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
