"""`harness search latency`: the table that predicts the time of any network of the search space."""

import json
import sys
from pathlib import Path

import click

from harness import console
from harness.commands import options
from harness.mlperf.scenario import Scenario
from harness.model.card import find_card
from harness.profiling.conditions import Conditions
from harness.report.table import Table, aligned
from harness.search.latency import table as tables
from harness.search.latency.table import LatencyTable
from harness.search.space.baseline import space as space_of
from harness.search.space.ranges import ranges


@click.command()
@options.baseline
@options.search_sizes
@options.search_space
@options.search_scenario
@options.search_threads
@click.option(
    "--out",
    type=options.PATH,
    metavar="FILE",
    help="Table to write; default: a file in the cache, named after space and conditions.",
)
@options.measures
@options.as_json
def command(
    baseline: str,
    sizes: tuple[int, ...],
    space: str,
    scenario: str,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Build and validate the table that predicts the time of any network of the search space.

    Random networks of the space are timed in INT8, next to a reference that tells when the machine is
    disturbed; what each kind of layer costs at each size of image is learned from them. The table is
    then held against random networks that it has not seen, measured end to end. A table that is there
    already and holds is not measured again; one that is not good enough is measured once more, and that
    counts with what was there. An interrupted call goes on where it stopped.
    """
    wanted = space_of(find_card(baseline), sizes, ranges(space))
    conditions = Conditions.of(Scenario(scenario), threads)
    path = out or tables.usual_path(wanted, conditions)
    table = tables.obtain(wanted, conditions, path)
    click.echo(json.dumps(table.summary(), indent=2) if as_json else _text(table))
    console.note(f"Table: {path}")
    if faults := table.validation.faults:
        console.note(
            f"The search will refuse this table: {'; '.join(faults)}. Repeat the command on a quiet machine: "
            "all is measured once more then, and added."
        )
        sys.exit(1)


def _text(table: LatencyTable) -> str:
    proof = table.validation
    header = ("", "table", "table, calibrated", "MACs, calibrated")
    rows = (
        ("mean error", f"{proof.mape:.1%}", f"{proof.calibrated_mape:.1%}", f"{proof.macs_mape:.1%}"),
        ("bias", f"{proof.bias:+.1%}", "", ""),
        ("90 % of errors below", f"{proof.p90:.1%}", "", ""),
        ("largest error", f"{proof.largest:.1%}", "", ""),
        ("Kendall's tau", f"{proof.tau:.3f}", "", f"{proof.macs_tau:.3f}"),
    )
    made = (
        f"{len(table.visits)} networks measured in {table.seconds / 60:.1f} minutes, {proof.networks} of "
        f"them to validate the rest; these, measured again, differ by {proof.repeatability:.1%} on average "
        f"and agree with each other to a tau of {proof.repeated_tau:.3f}"
    )
    return f"{aligned(Table('Predicted against measured', header, rows))}\n{made}"
