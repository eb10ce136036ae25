"""The options of commands that may measure a served model."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import click

from harness.commands.options import PATH, Finite
from harness.endpoint.address import DEADLINE_S, READY_TIMEOUT_S, Endpoint, parse
from harness.machine.price import Price

T = TypeVar("T", bound=Callable[..., Any])

_DETAILS = {"ca": "--ca", "input": "--input", "output": "--output", "deadline_s": "--deadline"}
_DETAILS["ready_timeout_s"] = "--ready-timeout"
"""Fields of an endpoint that have options of their own."""

_CONCURRENCY = click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Calls to the endpoint that are under way at a time; default: the probe's choice.",
)
_OPTIONS = (
    click.option(
        "--endpoint",
        metavar="URL",
        help="Measure a served model: grpc://HOST:PORT/MODEL[:VERSION], or http://; by TLS grpcs:// or "
        "https:// (extra: serve).",
    ),
    click.option(
        "--deadline",
        "deadline_s",
        type=Finite(min=0, min_open=True),
        metavar="SECONDS",
        help=f"A call that takes longer fails, and the test with it; default: {DEADLINE_S:g}.",
    ),
    click.option(
        "--ready-timeout",
        "ready_timeout_s",
        type=Finite(min=0),
        metavar="SECONDS",
        help=f"How long to wait for the endpoint to be ready; default: {READY_TIMEOUT_S:g}.",
    ),
    click.option(
        "--ca", type=PATH, metavar="FILE", help="Certificates (PEM) to trust; default: the system's."
    ),
    click.option(
        "--input",
        metavar="NAME[:TYPE]",
        help="The endpoint's input; TYPE: UINT8 or BYTES; default: it says.",
    ),
    click.option("--output", metavar="NAME", help="The endpoint's output; default: it says."),
)


def endpoint(command: T) -> T:
    """Add --endpoint, how many calls it gets at a time, and how it is reached: `endpoint`, `concurrency`."""
    return _CONCURRENCY(connection(command))


def connection(command: T) -> T:
    """Add --endpoint and how it is reached; the command gets `endpoint`."""

    @wraps(command)
    def with_endpoint(*given: Any, endpoint: str | None, **named: Any) -> Any:
        details = {name: value for name in _DETAILS if (value := named.pop(name)) is not None}
        if endpoint is None and details:
            raise click.UsageError(f"{_DETAILS[next(iter(details))]} is for an --endpoint: give both.")
        found = None if endpoint is None else replace(parse(endpoint), **details)
        return command(*given, endpoint=found, **named)

    found = cast(T, with_endpoint)
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


def in_flight(endpoint: Endpoint | None, streams: int | None, concurrency: int | None) -> int | None:
    """Return how much is computed at a time: streams here, or calls to an endpoint.

    Raises:
        click.UsageError: the option is for the other of the two.
    """
    if endpoint is None and concurrency is not None:
        raise click.UsageError("--concurrency is for an --endpoint: give both.")
    if endpoint is not None and streams is not None:
        raise click.UsageError("--streams is not for an --endpoint: give --concurrency.")
    return streams if endpoint is None else concurrency


def refuse_price(endpoint: Endpoint | None, price: Price | None) -> None:
    """Raise UsageError where there is a price, and a server computes."""
    if endpoint is not None and price is not None:
        raise click.UsageError(
            "--price is that of the machine that computes, and with --endpoint the server does, which may be "
            "on another one: leave it out."
        )
