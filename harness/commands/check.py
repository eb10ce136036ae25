"""`harness check`: hold a submission tree against the rules."""

import json
import sys
from pathlib import Path

import click

from harness.commands import options
from harness.mlperf import calendar
from harness.mlperf.rules import NEWEST, find_round
from harness.submission import check, official
from harness.submission.verdict import faults, report, to_dicts


@click.command("check")
@click.argument("root", type=options.PATH)
@click.option(
    "--round", "round_name", default=NEWEST, show_default=True, metavar="ROUND", help="MLPerf round."
)
@click.option(
    "--official",
    "checkout",
    type=options.PATH,
    metavar="PATH",
    help="Checkout of mlcommons/inference, whose checkers run too.",
)
@click.option("--strict", is_flag=True, help="Let warnings count as faults.")
@options.as_json
def command(root: Path, round_name: str, checkout: Path | None, strict: bool, as_json: bool) -> None:
    """Check the submission tree ROOT.

    Names every fault with its file and what to do, and looks where the official checker does not. Exits
    with 1 when there are faults, or when an official checker finds some.
    """
    made_for = find_round(round_name)
    checks = check.check_tree(root, made_for)
    wrong = faults(checks, strict=strict)
    verdicts = [] if checkout is None else official.check(root, checkout, made_for)
    passed = not wrong and all(verdict.passed or verdict.breaks_on for verdict in verdicts)
    if as_json:
        document = {
            "round": made_for.name,
            "deadline": made_for.deadline.isoformat(),
            "ended": calendar.has_ended(made_for),
            "passed": passed,
            "checks_passed": sum(check.passed for check in checks),
            "faults": to_dicts(wrong),
            "warnings": to_dicts(one for one in checks if not one.passed and one not in wrong),
            "official": [vars(verdict) for verdict in verdicts],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(f"harness check, {made_for.name}:\n{calendar.outlook(made_for)}")
        click.echo(report(checks, strict=strict))
        for verdict in verdicts:
            click.echo(official.render(verdict))
    if not passed:
        sys.exit(1)
