"""`harness fleet status`: the machines of a cluster."""

import json

import click

from harness.commands import options
from harness.fleet import session, table


@click.command("status")
@options.address
@options.send_harness
@options.as_json
def command(address: str, sends_harness: bool, as_json: bool) -> None:
    """Show the machines of a Ray cluster, and what is installed on them.

    Several nodes of Ray on one host are one machine. The names are those that `fleet run --on` takes.
    """
    members = session.status(address, sends_harness)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in members], indent=2, ensure_ascii=False))
    else:
        click.echo(table.machines(members))
