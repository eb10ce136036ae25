"""`harness submit`: from finished runs to the tree that MLPerf takes."""

import json
from pathlib import Path

import click

from harness.commands import options
from harness.mlperf.rules import choose_division, choose_system_type
from harness.submission import submit


@click.command("submit")
@click.option(
    "--results",
    required=True,
    multiple=True,
    type=options.PATH,
    metavar="DIR",
    help="Folder that `harness run --out` wrote; may be repeated.",
)
@click.option("--submitter", required=True, metavar="NAME", help="Your organisation, without blanks.")
@click.option(
    "--division",
    "divisions",
    required=True,
    multiple=True,
    metavar="DIVISION",
    help="open or closed; both: closed gets the models that it takes, open the others.",
)
@click.option("--system-type", required=True, metavar="TYPE", help="edge, datacenter or datacenter,edge.")
@click.option("--out", required=True, type=options.PATH, metavar="ROOT", help="Tree to write.")
@click.option(
    "--system-description",
    type=options.PATH,
    metavar="FILE",
    help="TOML file with the fields that the machine does not tell; those of one system in a table [NAME].",
)
@options.other_models
@click.option("--round", "round_name", metavar="ROUND", help="Default: the one whose seeds the runs have.")
@click.option(
    "--inferred",
    is_flag=True,
    help="Also write what edge systems may infer from what was measured.",
)
@click.option(
    "--archive", type=options.PATH, metavar="FILE.tar.gz", help="Pack the tree, too, for the upload."
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace what is there of the same division and submitter, once the new tree is complete.",
)
@options.as_json
def command(
    results: tuple[Path, ...],
    submitter: str,
    divisions: tuple[str, ...],
    system_type: str,
    out: Path,
    system_description: Path | None,
    models: tuple[str, ...],
    round_name: str | None,
    inferred: bool,
    archive: Path | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Make an MLPerf submission from official runs, of one system or several.

    The accuracy logs in ROOT are cut, as the rules demand; keep the whole ones in DIR, for MLPerf may ask for
    them. Whatever the rules refuse is said, all at once, and then nothing is written. Another division that
    ROOT holds already stays beside the new one.
    """
    request = submit.Request(
        results=results,
        submitter=submitter,
        divisions=list(dict.fromkeys(map(choose_division, divisions))),
        system_type=choose_system_type(system_type),
        out=out,
        system_description=system_description,
        models=models,
        round=round_name,
        inferred=inferred,
        archive=archive,
        replace=replace,
    )
    outcome = submit.submit(request)
    click.echo(json.dumps(outcome.to_dict(), indent=2, ensure_ascii=False) if as_json else outcome.text)
