"""The document of a frontier, frontier.json: every network, how the race went, whence the facts are."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.dataset.store import Store
from harness.errors import OutputError
from harness.frontier import race
from harness.frontier.catalogue import Published
from harness.frontier.entrants import Entrant
from harness.frontier.race import Outcome
from harness.frontier.request import Request
from harness.frontier.speed import Timed
from harness.machine import system
from harness.model.card import Card

FILE_NAME = "frontier.json"
FORMAT = 1


@dataclass(frozen=True)
class Raced:
    """The race of all entrants, and what of them is known."""

    entrants: dict[str, Entrant]
    outcome: Outcome
    store: Store


def document(
    asked: Request, networks: Sequence[Published], timed: Sequence[Timed], raced: Raced | None
) -> dict[str, Any]:
    """Return the document, but for the pick."""
    of_tag = {one.name: one for one in networks}
    rows = []
    for one in timed:
        entrant = raced.entrants.get(one.name) if raced else None
        card = entrant.origin if entrant else next((c for c in asked.cards if c.name == one.name), None)
        rows.append({**one.to_dict(), **_facts(card, of_tag.get(one.name)), "race": _runner(one.name, raced)})
    return {
        "format": FORMAT,
        "harness": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": json.loads(json.dumps(system.describe().to_dict())),
        "conditions": json.loads(json.dumps(asked.conditions.to_dict())),
        "target": asked.least_top1,
        "data": None
        if raced is None
        else {"path": str(raced.store.path), "dataset": raced.store.dataset, "count": raced.store.count},
        "networks": rows,
        "not_timed": [name for name in of_tag if name not in {one.name for one in timed}],
        "race": None
        if raced is None
        else {
            "answered": raced.outcome.answered,
            "of": raced.outcome.count * len(raced.outcome.runners),
            "needed": raced.outcome.needed,
            "error_chance": race.ERROR_CHANCE,
        },
        "pick": None,
    }


def _facts(card: Card | None, network: Published | None) -> dict[str, Any]:
    """Return what is published of a network; accuracies are of FP32 weights, and not ours."""
    if network is not None:
        return {
            "pixels": network.pixels,
            "licence": network.licence,
            "published": {
                "top1": network.top1,
                "source": f"{network.source}, {network.date}",
                "tag": network.tag,
            },
        }
    assert card is not None
    stated = card.accuracy
    return {
        "pixels": card.input.size,
        "licence": card.licence,
        "published": None
        if stated is None
        else {"top1": stated.reference, "source": stated.source or "its card", "tag": card.name},
    }


def _runner(name: str, raced: Raced | None) -> dict[str, Any] | None:
    one = next((one for one in raced.outcome.runners if one.name == name), None) if raced else None
    if one is None or raced is None:
        return None
    low, high = race.bounds(one.right, one.answered, raced.outcome.count)
    return {
        "right": one.right,
        "answered": one.answered,
        "top1": one.accuracy,
        "low": low / raced.outcome.count,
        "high": high / raced.outcome.count,
        "fate": str(one.fate),
        "by": one.by,
    }


def read(out: Path) -> dict[str, Any]:
    """Return the document in `out`.

    Raises:
        OutputError: it is not there, damaged, or of another format.
    """
    path = out / FILE_NAME
    try:
        document: dict[str, Any] = files.read_json(path)
        form = document["format"]
    except FileNotFoundError as error:
        raise OutputError(f"No frontier in {out}: run `harness frontier --out {out}` first.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"Cannot read {path} ({error!r}): run `harness frontier` into another --out."
        ) from error
    if form != FORMAT:
        raise OutputError(f"{path} has format {form}, and this harness knows {FORMAT}: give another --out.")
    return document
