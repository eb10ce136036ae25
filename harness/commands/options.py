"""Options that several commands share, so that they read and behave alike."""

import math
import os
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from harness.backend.settings import PRECISIONS
from harness.errors import HarnessError, did_you_mean
from harness.loadgen.settings import STALL_TIMEOUT_S
from harness.machine import host, system
from harness.machine import price as price_list
from harness.machine.price import Price, Prices
from harness.mlperf.scenario import SEARCHED, Scenario

T = TypeVar("T", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
_MOST_WORKERS_A_CPU = 8
_LONGEST_S = 86_400
_NAMES = tuple(Scenario)


class Finite(click.FloatRange):
    """A number within a range; neither NaN, which is in every range, nor infinite."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", parameter, context)
        return number

    def _describe_range(self) -> str:
        """Return what --help says of the range: nothing where there is none (Click says "x<=None")."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class Workers(click.IntRange):
    """A number of processes or threads that share work, within what the machine bears."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        count: int = super().convert(value, parameter, context)
        usable = system.usable_cpus()
        most = _MOST_WORKERS_A_CPU * usable
        if count > most:
            self.fail(f"{count} for {usable} CPU(s) is too many: give at most {most}.", parameter, context)
        return count


class ClusterAddress(click.types.StringParamType):
    """The address of a Ray cluster, refused at once where it is none."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        from harness.process import cluster

        try:
            cluster.require_address(str(value))
        except HarnessError as error:
            self.fail(str(error), parameter, context)
        return str(value)


model = click.option(
    "--model", required=True, metavar="CARD", help="Shipped model name, or path of a model card."
)
data = click.option(
    "--data", required=True, type=PATH, metavar="STORE", help="Store made by `harness prepare`."
)
results = click.option(
    "--results", required=True, type=PATH, metavar="DIR", help="Folder that `harness run --out` wrote."
)
other_models = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="CARD",
    help="Card of a model that is not shipped; may be repeated.",
)
scenario = click.option(
    "--scenario", required=True, metavar="SCENARIO", help=f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}."
)
precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="f32",
    show_default=True,
    help="Arithmetic of the layers that are not quantized.",
)
duration = click.option(
    "--duration",
    "duration",
    type=Finite(min=0.1, max=_LONGEST_S),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Least duration of a performance test that is not official.",
)
stall_timeout = click.option(
    "--stall-timeout",
    type=Finite(min=1),
    default=STALL_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Stop a test in which nothing is finished for so long.",
)
tuning = click.option(
    "--no-tuning",
    "tuning",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the settings that `harness tune` found.",
)
baseline = click.option(
    "--baseline",
    default="resnet50-seeded",
    show_default=True,
    metavar="CARD",
    help="Shipped model name, or path of a model card, of the network to revise.",
)
search_sizes = click.option(
    "--size",
    "sizes",
    type=click.IntRange(min=16),
    multiple=True,
    metavar="N",
    help="Input size to search, in pixels, may be repeated; default: the baseline's.",
)
search_space = click.option(
    "--space",
    type=click.Choice(["resnet-rev", "open"]),
    default="resnet-rev",
    show_default=True,
    help="What may be varied. resnet-rev: bottlenecks, none wider or deeper than the baseline's. open: also "
    "blocks of other forms, wider and deeper ones, fewer and more stages, an early stride.",
)
search_scenario = click.option(
    "--scenario",
    type=click.Choice([str(scenario) for scenario in SEARCHED]),
    default=str(SEARCHED[0]),
    show_default=True,
    help="What counts: one image's latency, or the time per image with all streams busy.",
)
search_threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads for inference; default: 1 in SingleStream, all usable ones in Offline.",
)
address = click.option(
    "--address",
    required=True,
    metavar="ADDR",
    help="HOST:PORT of a Ray cluster's head, 'auto' for the one here, or local:N for N nodes made here.",
)
send_harness = click.option(
    "--send-harness",
    "sends_harness",
    is_flag=True,
    help="Let the harness travel to the machines, which have what it needs; default: it is installed there.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as JSON, and nothing else, on stdout."
)


def _price(context: click.Context, _: click.Parameter, given: tuple[float, str] | None) -> Price | None:
    return None if given is None else Price(*given)


def _prices(context: click.Context, _: click.Parameter, path: Path | None) -> Prices | None:
    return None if path is None else price_list.read(path)


price = click.option(
    "--price",
    type=(Finite(min=0, min_open=True), str),
    metavar="AMOUNT CURRENCY",
    callback=_price,
    help="What the machine costs an hour, such as '0.34 EUR': adds the price of a million samples.",
)
prices = click.option(
    "--prices",
    type=PATH,
    metavar="FILE",
    callback=_prices,
    help="TOML or CSV with what each kind of machine costs an hour: adds the price of a million samples, and "
    "what is saved.",
)


def require_throughput(price: Price | None, scenarios: Iterable[Scenario]) -> None:
    """Raise UsageError where there is a price, and no scenario whose score it can be divided by."""
    if price is not None and all(scenario.facts.is_latency for scenario in scenarios):
        known = " or ".join(one for one in _NAMES if not Scenario(one).facts.is_latency)
        raise click.UsageError(
            f"--price is for a throughput, and a latency has none: add --scenario {known}, or leave it out."
        )


def measures(command: T) -> T:
    """Add --wait to a command that measures, and let it run alone on this host."""

    @click.option(
        "--wait",
        "wait_s",
        type=Finite(min=0),
        default=0.0,
        metavar="SECONDS",
        help="How long to wait for another measurement on this host to end; default: not at all.",
    )
    @wraps(command)
    def alone(*given: Any, wait_s: float, **named: Any) -> Any:
        context = click.get_current_context()
        if context.invoked_subcommand is not None or _only_helps_to_train():
            return command(*given, **named)
        with host.measuring(context.command_path, wait_s):
            return command(*given, **named)

    return cast(T, alone)


def _only_helps_to_train() -> bool:
    """Return whether torchrun started this process beside the first, which alone measures."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the values of a TOML file as defaults, so that what stands on the command line wins."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"Cannot read --config {path} ({error}): correct the file.") from error
    known = {one.name: one for one in context.command.params if one.expose_value and not one.required}
    for key in values:
        if key not in known:
            raise HarnessError(
                f"--config {path} sets '{key}', which `{context.command_path}` does not take from a file."
                f"{did_you_mean(key, list(known))}"
            )
    context.default_map = values


config = click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with what is rarely set (keys: docs/settings.md). The command line wins.",
)


def refuse_idle(why: str, *parameters: str) -> None:
    """Refuse options that say nothing beside others, wherever the user has set them.

    Args:
        why: a sentence without its full stop, such as 'With --padding no part of an image is cut out'.
        parameters: names of the running command's parameters.

    Raises:
        click.UsageError: one of them is set.
    """
    context = click.get_current_context()
    for one in context.command.params:
        if one.name in parameters and context.get_parameter_source(one.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{why}: leave out {one.opts[0]}.")


def rare(*names: str, **facts: Any) -> Callable[[T], T]:
    """Return an option that --config is for; it works on the command line, too, but is not listed there."""
    option: Callable[[T], T] = click.option(*names, hidden=True, **facts)
    return option


def varied(kind: Callable[..., Callable[[T], T]]) -> Callable[[T], T]:
    """Return the options of what learns from a baseline's images; `kind` is `click.option` or `rare`."""
    flip = kind(
        "--flip/--no-flip",
        default=None,
        help="Mirror half of the images [default: as the baseline's were, or yes].",
    )
    padding = kind(
        "--padding",
        type=click.IntRange(0),
        metavar="N",
        help="Cut out no part of an image, but move it by up to N pixels, at the baseline's size "
        "[default: as the baseline's were].",
    )
    return lambda command: flip(padding(command))


@contextmanager
def needs_torch(what: str, extra: str) -> Iterator[None]:
    """Import inside what needs PyTorch; where that is missing, HarnessError names the extra that has it.

    Args:
        what: needs it, to begin the sentence.
        extra: of the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise HarnessError(
            f"{what} needs PyTorch, which is not installed: pip install 'inference-harness[{extra}]'."
        ) from error


def command_line(words: Sequence[str]) -> str:
    """Return a command for a card to tell how to repeat it, without what only one call needed."""
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "--until" not in (before, word.partition("=")[0]) and word not in ("--json", "--resume")
    ]
    return shlex.join(["harness", *kept])
