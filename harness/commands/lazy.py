"""A group of commands whose modules are imported when they are used, so that --help stays quick."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def __init__(self, *args: Any, prefix: str, summaries: Mapping[str, str], **kwargs: Any) -> None:
        """Make a group.

        Args:
            args: of click.Group.
            prefix: with a command's name behind it, the module that has it as `command`.
            summaries: what each command does, in the order of the list.
            kwargs: of click.Group.
        """
        super().__init__(*args, **kwargs)
        self._prefix = prefix
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._summaries:
            return None
        command: click.Command = importlib.import_module(f"{self._prefix}{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))
