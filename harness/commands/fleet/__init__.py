"""`harness fleet`: one command on every kind of machine of a Ray cluster."""

import click

from harness.commands.lazy import LazyGroup

_COMMANDS = {
    "status": "Show the machines of a cluster, and what is installed on them.",
    "run": "Measure on every kind of machine, and make one table.",
    "merge": "Make one table of what several folders hold.",
}


@click.group("fleet", cls=LazyGroup, prefix="harness.commands.fleet.", summaries=_COMMANDS)
def command() -> None:
    """Measure on many machines at once, through Ray (extra `fleet`)."""
