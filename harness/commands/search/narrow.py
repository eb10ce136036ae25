"""`harness search narrow`: any convolutional network, made narrower until this CPU runs it fast enough."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.commands import options
from harness.mlperf.scenario import parse_scenario
from harness.model.card import find_card


@click.command()
@click.option(
    "--baseline",
    required=True,
    metavar="CARD",
    help="Shipped model name, or path of a model card, of the trained network to narrow, in floating point.",
)
@click.option(
    "--train",
    type=options.PATH,
    required=True,
    metavar="DIR",
    help="Images to learn from, one folder per class, or with a val_map.txt.",
)
@click.option(
    "--held-out",
    type=options.PATH,
    metavar="DIR",
    help="Images to choose by, which are not learned from; default: a tenth of --train.",
)
@options.data
@click.option(
    "--target-speedup",
    type=options.Finite(min=1, min_open=True),
    required=True,
    metavar="X",
    help="How many times as fast as the baseline it must be, both in INT8, such as 1.3.",
)
@options.search_scenario
@options.search_threads
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Of the distillation.")
@click.option(
    "--rounds",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="LoadGen tests of each model.",
)
@options.duration
@options.varied(click.option)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of order and variation.")
@click.option("--out", type=options.PATH, required=True, metavar="DIR", help="Where everything goes.")
@options.measures
@options.as_json
def command(as_json: bool, out: Path, **given: Any) -> None:
    """Take the least important channels out of any convolutional network, and let it learn from what it was.

    Channels that depend on each other go together, those first that cost the least for the time that they
    save, until the network is fast enough when measured beside the baseline. It learns from the baseline's
    answers; both are quantized alike and go through LoadGen in turn. An interrupted call goes on where it
    stopped. A folder in DIR then holds the cards NAME-narrowed and NAME-narrowed-int8, which every command
    takes, and narrowing.json.
    Needs PyTorch: pip install 'inference-harness[train]'.
    """
    text, values, passed = _run(out, **given)
    click.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)
    if not passed:
        sys.exit(1)


def _run(
    out: Path, *, baseline: str, scenario: str, duration: float, **given: Any
) -> tuple[str, dict[str, Any], bool]:
    with options.needs_torch("Narrowing", "train"):
        from harness.search.narrowing import document, report, session
        from harness.search.narrowing.request import Request
    request = Request(
        card=find_card(baseline),
        out=out,
        scenario=parse_scenario(scenario),
        duration_s=duration,
        command=options.command_line(sys.argv[1:]),
        **given,
    )
    found = session.narrow(request)
    passed = found.models[f"{found.baseline.name}-narrowed-int8"].passed is not False
    return report.text(found, session.result_folder(request)), document.to_dict(found), passed
