"""`harness compliance`: MLPerf's compliance tests on finished runs."""

import json
import sys
from pathlib import Path

import click

from harness.commands import options
from harness.submission import audit


@click.command("compliance")
@options.results
@options.data
@options.other_models
@click.option("--replace", is_flag=True, help="Run tests again that are there already.")
@options.measures
@options.as_json
def command(results: Path, data: Path, models: tuple[str, ...], replace: bool, as_json: bool) -> None:
    """Run TEST01 and TEST04 on each result, with the same settings, and verify them.

    TEST01 holds answers given in performance mode against those of the accuracy run; TEST04 sends one
    sample again and again, which must not be faster. Their files lie beside the result's, where `harness
    submit` finds them. A test that is there is verified again, and repeated if it fails. Exits with 1 when a
    test fails.
    """
    outcomes = audit.run_all(audit.Request(results, data, models, replace))
    passed = all(outcome.audited.passed for outcome in outcomes)
    if as_json:
        document = {"passed": passed, "tests": [outcome.to_dict() for outcome in outcomes]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(audit.summary(outcomes))
    if not passed:
        sys.exit(1)
