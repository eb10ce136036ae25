"""`harness fleet status`: the machines of a cluster."""

import json

import click

from harness.commands import options
from harness.fleet import session, table


@click.command("status")
@options.address
@options.as_json
def command(address: str, as_json: bool) -> None:
    """Show the machines of a Ray cluster, and what is installed on them.

    Several nodes of Ray on one host are one machine. The names are those that `fleet run --on` takes.
    """
    members = session.status(address)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in members], indent=2, ensure_ascii=False))
    else:
        click.echo(table.machines(members))
