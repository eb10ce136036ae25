"""`harness search run`: from a baseline to a smaller network, trained, quantized and measured by LoadGen."""

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harness.commands import options
from harness.mlperf.scenario import SEARCHED, parse_scenario
from harness.model.card import find_card
from harness.search import decision, result
from harness.search.document import SearchResult
from harness.search.request import (
    INITIAL_WEIGHTS,
    MEASURING,
    QUICK,
    UNTIL,
    Effort,
    Request,
)

_USUAL = Effort()
_OF_EFFORT = {"duration_s": "duration"}
"""Fields of Effort whose options are called otherwise."""


def _effort(
    name: str, allowed: click.IntRange, help_text: str, kind: Callable[..., Any] = options.rare
) -> Callable[[options.T], options.T]:
    """Return the option for a field of Effort, which is called alike."""
    option = f"--{name.replace('_', '-')}"
    made: Callable[[options.T], options.T] = kind(
        option, type=allowed, default=getattr(_USUAL, name), show_default=True, help=help_text
    )
    return made


@click.command()
@click.option(
    "--baseline",
    required=True,
    metavar="CARD",
    help="Shipped model name, or path of a model card, of the trained network to revise.",
)
@click.option(
    "--train",
    type=options.PATH,
    required=True,
    metavar="DIR",
    help="Training images, one folder per class.",
)
@click.option(
    "--held-out",
    type=options.PATH,
    metavar="DIR",
    help="Images to judge by that the baseline has not learned from; default: a tenth of --train.",
)
@options.data
@click.option(
    "--objective",
    type=click.Choice([str(scenario) for scenario in SEARCHED]),
    default=str(SEARCHED[0]),
    show_default=True,
    help="What shall be fast: one image, or many.",
)
@options.search_threads
@options.search_space
@click.option(
    "--max-drop",
    type=options.Finite(),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Share of the baseline's accuracy that may be lost.",
)
@click.option(
    "--target-latency",
    "target_ms",
    type=options.Finite(),
    metavar="MS",
    help="Milliseconds an image that must be reached in INT8 [default: the baseline's].",
)
@click.option(
    "--target-speedup",
    type=options.Finite(),
    metavar="X",
    help="Instead: how many times as fast as the baseline in FP32 it must be in INT8.",
)
@options.rare(
    "--latency-table",
    "table",
    type=options.PATH,
    metavar="FILE",
    help="Table of `harness search latency` [default: the usual one, built if need be].",
)
@options.rare(
    "--initial-weights",
    type=click.Choice(INITIAL_WEIGHTS),
    help="What candidates begin with: what they can take over from the baseline, with it as teacher, or "
    "nothing that was learned, without one [default: inherited; random with --space open].",
)
@options.rare(
    "--workers",
    type=options.ClusterAddress(),
    metavar="ADDR",
    help="Address of a Ray cluster (see `fleet run`) whose other machines train candidates, each bit "
    "for bit as here.",
)
@options.varied(options.rare)
@options.rare(
    "--loaders",
    type=options.Workers(0),
    metavar="N",
    help="Processes that load training images, where these do not fit into memory [default: by the CPUs].",
)
@_effort(
    "scouts",
    click.IntRange(0),
    "Networks to look at, turn by turn, after the uniform scalings.",
    kind=click.option,
)
@_effort("look_images", click.IntRange(128), "Images that a network learns from before it is looked at.")
@_effort("shortlist", click.IntRange(2, 16), "Candidates that are trained briefly.")
@_effort("finetune_epochs", click.IntRange(1), "Length of the brief training.")
@_effort("epochs", click.IntRange(1), "Length of the training of pick and control.", kind=click.option)
@_effort("finals", click.IntRange(1), "Candidates to train to the end at most.", kind=click.option)
@_effort(
    "seeds",
    click.IntRange(1),
    "Trainings of pick and control, each from a seed of its own, that the verdict rests on.",
    kind=click.option,
)
@_effort("rounds", click.IntRange(2), "LoadGen tests of each model in each scenario.")
@options.duration
@click.option(
    "--quick",
    is_flag=True,
    help="A first look: less of all that is not given, so that it is over in a fraction of the time. "
    "The same command without it goes on from there.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of search and training.")
@click.option(
    "--until",
    type=click.Choice(UNTIL),
    help=f"Stop after this part; without it the same command goes on. All but {', '.join(MEASURING)} also "
    "go on in a folder that comes from another machine, for whose CPU they compute.",
)
@click.option("--out", type=options.PATH, required=True, metavar="DIR", help="Where everything goes.")
@options.rare(
    "--converged",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also train N random networks to the end, twice, and report how well the estimator orders them; "
    "10 are needed.",
)
@options.config
@options.measures
@options.as_json
@click.pass_context
def command(context: click.Context, /, as_json: bool, out: Path, quick: bool, **given: Any) -> None:
    """Find, train, quantize and measure a smaller network that this CPU runs fast in INT8.

    An interrupted call goes on where it stopped. DIR/models then holds the cards `searched` and `uniform`
    (the baseline, uniformly scaled, at no less latency), which `run`, `compare` and `submit` take like
    any other; DIR/report.html tells the rest. Needs PyTorch: pip install
    'inference-harness[search]'. To train several candidates at once, each on a GPU or in
    a process of its own, start it with torchrun: torchrun --nproc-per-node 4 -m harness search run ...
    """
    outcome, text = _run(_request(out, _chosen(context, given, quick=quick), **given))
    if outcome is None:
        return
    click.echo(json.dumps(result.to_dict(outcome), indent=2, ensure_ascii=False) if as_json else text)
    if outcome.test.models[decision.SEARCHED].passed is False:
        sys.exit(1)


def _chosen(context: click.Context, given: dict[str, Any], *, quick: bool) -> Effort:
    """Take an effort out of the options given; where nothing is said it is the usual or the quick one."""
    usual = QUICK if quick else _USUAL
    found: dict[str, Any] = {"images": usual.images}
    for name in {one.name for one in fields(Effort)} - {*found}:
        option = _OF_EFFORT.get(name, name)
        value = given.pop(option)
        said = context.get_parameter_source(option) is not ParameterSource.DEFAULT
        found[name] = value if said else getattr(usual, name)
    return Effort(**found)


def _request(
    out: Path, effort: Effort, *, baseline: str, objective: str, workers: str | None, **given: Any
) -> Request:
    return Request(
        card=find_card(baseline),
        out=out,
        scenario=parse_scenario(objective),
        crew=workers,
        effort=effort,
        command=options.command_line(sys.argv[1:]),
        **given,
    )


def _run(request: Request) -> tuple[SearchResult | None, str]:
    with options.needs_torch("The search", "search"):
        from harness.search import report, session
    outcome = session.run(request)
    if outcome is None:
        return None, ""
    report.write(request.out)
    return outcome, report.text(request.out)
