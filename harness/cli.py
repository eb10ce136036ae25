"""The `harness` command: its subcommands, and the one place where a user's fault becomes an exit code."""

import importlib
import sys

import click

from harness import __version__
from harness.errors import HarnessError
from harness.signals import deliver_on_the_normal_stack

_COMMANDS = {
    "quickstart": "See the whole story on this machine, with nothing else at hand.",
    "doctor": "Look at the machine, the versions, the models and the data.",
    "model": "List, describe and fetch models.",
    "prepare": "Decode and preprocess images into a store.",
    "quantize": "Make the INT8 version of a model.",
    "run": "Run one MLPerf scenario.",
    "tune": "Find the fastest settings of a model for a scenario here.",
    "compliance": "Run MLPerf's compliance tests on results.",
    "submit": "Make a submission from official runs.",
    "check": "Hold a submission against the rules.",
    "compare": "Compare models or precisions: speed, accuracy, and how sure both are.",
    "explain": "Show where the time of an inference goes.",
    "train": "Train a ResNet-50 v1.5 and export it (extra: train).",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"harness.commands.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Benchmark deep-learning inference on CPUs: MLPerf LoadGen in front, OpenVINO underneath."""


def main() -> None:
    """Run the command line; exit 0 when all is good, 1 for an invalid run, 2 for a fault in the request."""
    deliver_on_the_normal_stack()
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo(f"harness: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("harness: interrupted; finished parts are kept: repeat the command to go on.", err=True)
        sys.exit(130)
