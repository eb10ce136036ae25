"""The `harness` command: its subcommands, and the one place where a user's fault becomes an exit code."""

import signal
import sys
from typing import NoReturn

import click

from harness import __version__
from harness.commands.lazy import LazyGroup
from harness.errors import HarnessError
from harness.process.signals import Stopped, deliver_on_the_normal_stack, stop_in_good_order

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
    "results": "Show every test below some folders as one table.",
    "explain": "Show where the time of an inference goes.",
    "search": "Look for a smaller network that this CPU runs fast in INT8.",
    "frontier": "Find the fastest ImageNet network here that keeps an accuracy.",
    "train": "Train a ResNet-50 v1.5 and export it (extra: train).",
}


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, prefix="harness.commands.", summaries=_COMMANDS, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Benchmark deep-learning inference on CPUs: MLPerf LoadGen in front, OpenVINO underneath."""


def main() -> None:
    """Run the command line; exit 0 when all is good, 1 for an invalid run, 2 for a fault in the request."""
    deliver_on_the_normal_stack()
    stop_in_good_order()
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
    except PermissionError as error:
        click.echo(
            f"harness: Cannot use {error.filename} ({error.strerror}): check its permissions.", err=True
        )
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _end("interrupted", signal.SIGINT)
    except Stopped as stop:
        _end(f"stopped by {stop.number.name}", stop.number)


def _end(how: str, number: signal.Signals) -> NoReturn:
    # What a replacing run has finished is no longer what is to be replaced.
    replacing = sys.argv[1:2] == ["run"] and "--replace" in sys.argv
    cure = "repeat the command" + " without --replace" * replacing
    click.echo(f"harness: {how}; finished parts are kept: {cure} to go on.", err=True)
    sys.exit(128 + number)
