"""The words behind ` -- ` of `harness fleet run`, read as the command itself reads them."""

import importlib
from collections.abc import Sequence

import click

from harness.errors import HarnessError
from harness.fleet.duty import OUT
from harness.fleet.order import Command, packed

_CARDS = {"compare": "models", "run": "model", "tune": "model", "frontier": "cards"}
"""By command the parameter that names models of ours."""
COMMANDS = tuple(_CARDS)
_STORES = ("data", "calibration_data")
_OURS = {"--out", "--json"}
_STAY_HERE = ("user_conf", "ca")
_WAIT_S = "5"
"""What another driver, which was killed, left at work on a machine ends within a moment."""


def parse(given: Sequence[str]) -> Command:
    """Return the command for all machines.

    Raises:
        HarnessError: it is none for a fleet, sets what the fleet sets, or a model is not there.
        click.UsageError: the command refuses an option.
    """
    name = given[0]
    if name not in COMMANDS:
        raise HarnessError(f"A fleet cannot do '{name}': write one of {', '.join(COMMANDS)} behind ` -- `.")
    command: click.Command = importlib.import_module(f"harness.commands.{name}").command
    words = [part for word in given[1:] for part in _parts(word)]
    if _OURS & set(words):
        raise HarnessError("The fleet gives --out and --json to the command behind ` -- `: leave them out.")
    words += ["--out", OUT] if any(one.name == "out" for one in command.params) else []
    words.append("--json")
    with command.make_context(f"harness {name}", list(words)) as context:
        values = context.params
    for option in _STAY_HERE:
        if values.get(option) is not None:
            raise HarnessError(f"--{option.replace('_', '-')} does not travel: leave it out.")
    if values.get("price") is not None:
        raise HarnessError("--price is of one machine: leave it out, and give `fleet run` --prices FILE.")
    if not values.get("wait_s"):
        words += ["--wait", _WAIT_S]
    return packed(given, (name, *words), _options(command, _CARDS[name]), _options(command, *_STORES))


def _options(command: click.Command, *parameters: str) -> list[str]:
    """Return the options of some parameters, in their order, as they are written."""
    return [word for name in parameters for one in command.params if one.name == name for word in one.opts]


def _parts(word: str) -> list[str]:
    """Return an option and its value of one word."""
    name, equals, value = word.partition("=")
    return [name, value] if word.startswith("--") and equals else [word]


def require_compare(given: Sequence[str]) -> None:
    """Raise HarnessError for a command that has no table of costs."""
    if given[0] != "compare":
        raise HarnessError(
            f"--prices is for the table of `compare`, and '{given[0]}' makes none: leave it out."
        )
