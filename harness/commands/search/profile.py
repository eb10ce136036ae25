"""`harness search profile`: what operations cost in INT8 here, and which kernels a network runs in."""

import json
from pathlib import Path

import click

from harness.backend.kernels import Layer
from harness.commands import options
from harness.mlperf.scenario import Scenario
from harness.model.architecture import read_architecture
from harness.model.card import find_card
from harness.profiling import operations
from harness.profiling.conditions import Conditions
from harness.profiling.operations import Cost, Kernels
from harness.report.table import Table, aligned


@click.command()
@click.option(
    "--size",
    type=click.IntRange(min=32),
    default=224,
    show_default=True,
    metavar="N",
    help="Input size, in pixels, of the network whose shapes are timed.",
)
@options.search_threads
@click.option(
    "--architecture",
    type=options.PATH,
    metavar="FILE",
    help="Show the kernels of this network instead: an architecture in JSON, as the search writes them.",
)
@click.option("--model", metavar="CARD", help="Show the kernels of this model instead, as it is.")
@options.measures
@options.as_json
def command(
    size: int, threads: int | None, architecture: Path | None, model: str | None, as_json: bool
) -> None:
    """Time operations in INT8 on this CPU, and show which kernels a network runs in.

    Each operation's time is the difference that more of them make to a network. What the numbers say about
    revising a network stands below them.
    """
    if architecture is not None and model is not None:
        raise click.UsageError("--architecture and --model both choose the network: give one.")
    conditions = Conditions.of(Scenario.SINGLE_STREAM, threads)
    if architecture is not None or model is not None:
        found = (
            operations.kernels_of(read_architecture(architecture), conditions)
            if architecture is not None
            else operations.kernels_of_card(find_card(str(model)), conditions)
        )
        click.echo(json.dumps(found.to_dict(), indent=2) if as_json else _kernels(found))
        return
    costs = operations.costs(size, conditions)
    said = operations.findings(costs)
    if as_json:
        click.echo(json.dumps({"costs": [cost.to_dict() for cost in costs], "findings": said}, indent=2))
        return
    click.echo("\n".join([_table(costs), "", *said]))


def _table(costs: list[Cost]) -> str:
    header = ("OPERATION", "SIZE", "CHANNELS", "STRIDE", "ACTIVATION", "US", "MS/GMAC")
    rows = tuple(
        (
            cost.operation,
            f"{cost.size}",
            f"{cost.channels}",
            f"{cost.stride}",
            cost.activation or "",
            f"{cost.time_us:.1f}",
            f"{cost.ms_per_gmac:.1f}",
        )
        for cost in sorted(
            costs, key=lambda cost: (cost.operation, cost.stride, cost.activation or "", -cost.size)
        )
    )
    return aligned(Table("What operations cost in INT8", header, rows))


def _kernels(found: Kernels) -> str:
    share = "unknown" if found.int8_share is None else f"{found.int8_share:.1%}"
    lines = [f"8-bit kernels take {share} of the time of convolutions and matrix products."]
    for what, layers in (
        ("Not in 8 bits:", found.wide),
        ("In reference or plain gemm kernels:", found.fallbacks),
    ):
        lines += [what, *(_line(layer, found.total_us) for layer in layers)] if layers else [f"{what} none."]
    return "\n".join(lines)


def _line(layer: Layer, total_us: float) -> str:
    time_us = layer.time_us or 0.0
    share = time_us / total_us if total_us else 0.0
    return f"  {layer.name} ({layer.type}, {layer.exec_type}): {time_us:.0f} us, {share:.1%} of the network"
