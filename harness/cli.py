"""The `harness` command: its subcommands, and the one place where a user's fault becomes an exit code."""

import errno
import io
import os
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
    "export": "Write what a model server wants to serve a model.",
    "explain": "Show where the time of an inference goes.",
    "search": "Look for a smaller network that this CPU runs fast in INT8.",
    "frontier": "Find the fastest ImageNet network here that keeps an accuracy.",
    "fleet": "Measure on every kind of machine of a Ray cluster (extra: fleet).",
    "train": "Train a ResNet-50 v1.5 and export it (extra: train).",
}


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_FOLDERS = ("HARNESS_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, prefix="harness.commands.", summaries=_COMMANDS, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Benchmark deep-learning inference on CPUs: MLPerf LoadGen in front, OpenVINO underneath."""


def main() -> None:
    """Run the command line; exit 0 when all is good, 1 for an invalid run, 2 for a fault in the request."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In a locale that lacks a character, its escape is better than none of the text.
            stream.reconfigure(errors="backslashreplace")
    if unreadable := _not_utf8():
        click.echo(f"harness: {unreadable}", err=True)
        sys.exit(2)
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
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = f"Cannot write {error.filename}" if error.filename else "Cannot write"
        cure = "free some space, or choose a folder on another disk"
        click.echo(f"harness: {where} ({error.strerror}): {cure}.", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as stop:
        # Click raises Abort from the KeyboardInterrupt.
        _end("interrupted", signal.SIGINT, stop.__cause__ or stop)
    except Stopped as stop:
        _end(f"stopped by {stop.number.name}", stop.number, stop)


def _not_utf8() -> str | None:
    """Return what to say of a path that was given and that cannot be written into a JSON document."""
    places = [(word, "rename it") for word in sys.argv[1:]]
    places += [(os.environ.get(name, ""), f"set {name} to another folder") for name in _FOLDERS]
    try:
        places.append((os.getcwd(), "work in another folder"))
    except FileNotFoundError:
        return "The working folder was removed: work in another folder."
    for place, cure in places:
        try:
            place.encode("utf-8")
        except UnicodeEncodeError:
            shown = place.encode("utf-8", "backslashreplace").decode()
            return f"The name {shown} is not UTF-8, so no result could tell it: {cure}."
    return None


def _end(how: str, number: signal.Signals, stop: BaseException) -> NoReturn:
    """Exit; the exception's notes, if it has any, say how to go on."""
    cure = "; ".join(getattr(stop, "__notes__", [])) or "repeat the command to go on"
    click.echo(f"harness: {how}; finished parts are kept: {cure}.", err=True)
    sys.exit(128 + number)
