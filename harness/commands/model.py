"""`harness model`: list, describe and fetch models."""

import json
from pathlib import Path
from typing import Any

import click

from harness import console
from harness.commands import options
from harness.files import format_bytes
from harness.model import file as model_file
from harness.model import hub
from harness.model.card import find_card, read_card, shipped_cards

_METRICS = {"top1": "top-1", "map": "mAP"}


@click.group("model")
def command() -> None:
    """List, describe and fetch models.

    NAME is a shipped model's name, or the path of a model card.
    """


@command.command("list")
@options.as_json
def list_models(as_json: bool) -> None:
    """List the models that come with the harness."""
    models = [model_file.facts(read_card(path)) for path in shipped_cards().values()]
    click.echo(_json({"models": models}) if as_json else _table(models))


@command.command()
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Describe one model."""
    facts = model_file.facts(find_card(name))
    click.echo(_json(facts) if as_json else _description(facts))


@command.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch again what is there already.")
@click.option(
    "--weights",
    "carried",
    type=options.PATH,
    metavar="FILE",
    help="Take the file from here, where you have brought it by hand; its hash is checked.",
)
@click.option("--sha256", metavar="HEX", help="timm: hash of --weights, where the hub cannot be asked.")
@click.option(
    "--accept-licence",
    "accepted",
    metavar="NAME",
    help="timm: accept a licence that may not allow commercial use, or 'none'.",
)
def fetch(name: str, force: bool, carried: Path | None, sha256: str | None, accepted: str | None) -> None:
    """Bring a model's file into the model cache.

    A download that broke off goes on where it stopped. The cache is $HARNESS_CACHE, else the folder
    'harness' in the user's cache folder.

    timm:TAG is a network with the weights that timm publishes under this tag, such as
    timm:efficientnet_lite0.ra_in1k (needs the extra frontier). It becomes an OpenVINO model with a card,
    whose path is printed and which every command takes; the card pins the revision and hash of the weights.
    """
    if name.startswith(hub.PREFIX):
        if sha256 and carried is None:
            raise click.UsageError("--sha256 is the hash of --weights: give both.")
        tag = name.removeprefix(hub.PREFIX)
        click.echo(hub.fetch(tag, force=force, carried=carried, sha256=sha256, accepted=accepted))
        return
    if sha256 or accepted:
        raise click.UsageError("--sha256 and --accept-licence are for timm:TAG.")
    path = model_file.fetch(find_card(name), force=force, carried=carried)
    if path is None:
        console.note(f"Model '{name}' is built in: there is nothing to fetch.")
    else:
        click.echo(path)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _table(models: list[dict[str, Any]]) -> str:
    rows = [("MODEL", "FILE", "INPUT", "TARGET", "NOTE")]
    rows += [
        (facts["name"], facts["state"], _input(facts["input"]), _per_cent(facts), facts["note"] or "")
        for facts in models
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _description(facts: dict[str, Any]) -> str:
    given = facts["input"]
    size = "" if facts["size_bytes"] is None else f", {format_bytes(facts['size_bytes'])}"
    lines = {
        "name": facts["name"],
        "description": facts["description"],
        "licence": facts["licence"],
        "note": facts["note"],
        "task": facts["task"],
        "benchmark": facts["benchmark"],
        "file": f"{facts['file'] or 'none, built from its seed'} ({facts['state']}{size})",
        "url": facts["url"],
        "package": facts["package"],
        "sha256": facts["sha256"],
        "md5": facts["md5"],
        "seed": facts["seed"],
        "input": f"{_input(given)} {given['layout']} {given['channels']}; {given['preprocessing']}",
        "mean, scale": f"{given['mean']}, {given['scale']}",
        "output": facts["answer"],
        "reference": facts["reference_source"],
        "target": _per_cent(facts),
    }
    return "\n".join(f"{name:13} {value}" for name, value in lines.items() if value not in (None, ""))


def _input(given: dict[str, Any]) -> str:
    return f"{given['size']}x{given['size']} {given['element_type']}"


def _per_cent(facts: dict[str, Any]) -> str:
    target = facts["target_accuracy"]
    if target is None:
        return "none"
    on = f" on {facts['target_dataset']}" if facts["target_dataset"] else ""
    return f"{target:.2%} {_METRICS.get(facts['metric'], facts['metric'])}{on}"
