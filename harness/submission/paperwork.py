"""The documents beside the logs, held against the rules of a round."""

import json
import re
from typing import Any

from harness.mlperf.rules import STATUSES, Round
from harness.submission.verdict import Ledger

_NETWORK_KEY = "is_network"


def check_description(
    ledger: Ledger, document: Any, path: str, made_for: Round, division: str, submitter: str
) -> None:
    """Check a system's JSON."""
    if not ledger.hold(
        "the description is one JSON object",
        path,
        isinstance(document, dict),
        "is no JSON object",
        "write one",
    ):
        return
    for key in made_for.system_fields:
        if not ledger.hold(f"the field {key} is there", path, key in document, f"lacks '{key}'", "add it"):
            continue
        if key in made_for.filled_system_fields:
            ledger.hold(
                f"the field {key} is filled",
                path,
                bool(document[key]),
                f"'{key}' is empty ({document[key]!r})",
                'state it (for no accelerators: "0" as a text)',
            )
    for key, wanted in (("division", division), ("submitter", submitter)):
        said = str(document.get(key, ""))
        same = said == wanted if key == "division" else said.lower() == wanted.lower()
        ledger.hold(
            f"{key} is the folder's",
            path,
            same,
            f"'{key}' is '{said}' in the folder of {wanted}",
            "correct it",
        )
    _check_values(ledger, document, path, division)


def _check_values(ledger: Ledger, document: dict[str, Any], path: str, division: str) -> None:
    status = str(document.get("status", "")).lower()
    ledger.hold(
        "the status is known",
        path,
        status in STATUSES,
        f"the status '{status}' is not known",
        f"give one of {', '.join(STATUSES)}",
    )
    kind = document.get("system_type")
    ledger.hold(
        "the system type is known",
        path,
        kind in ("edge", "datacenter", "datacenter,edge", "edge,datacenter"),
        f"the system type '{kind}' is not known",
        "give edge, datacenter or datacenter,edge",
    )
    ledger.hold(
        "a CPU's image classification is an edge benchmark",
        path,
        kind != "datacenter",
        "resnet50 is no datacenter benchmark any more, and the older checker (submission_checker_old.py) "
        "refuses it",
        "use --system-type edge",
        warning=division == "open",
    )
    for what, key, usual in (
        ("nodes", "number_of_nodes", "1"),
        ("accelerators", "accelerators_per_node", "0"),
    ):
        count = document.get(key)
        ledger.hold(
            f"the number of {what} is a number",
            path,
            re.fullmatch(r"[0-9]+", str(count)) is not None,
            f"'{key}' is {count!r}, on which the checker's export breaks",
            f'write a whole number, such as "{usual}"',
        )
    _check_network(ledger, document.get(_NETWORK_KEY), path)


def _check_network(ledger: Ledger, value: Any, path: str) -> None:
    """Take only what the checkers take: they lower the value as a text and ask whether it is empty."""
    if isinstance(value, str | None):
        fault = f"'{_NETWORK_KEY}' is set, and any text demands the network division's fields"
    else:
        fault = f"'{_NETWORK_KEY}' is {json.dumps(value)}, no text, on which the checkers break"
    ledger.hold(
        "the system is not said to be a network one",
        path,
        value is None or value == "",
        fault,
        'remove the key, or make it the text ""',
    )


def check_measurements(ledger: Ledger, document: Any, path: str, made_for: Round) -> None:
    """Check a measurements.json, which the rules call model-info.json."""
    if not ledger.hold(
        "it is a JSON object", path, isinstance(document, dict), "is no JSON object", "write one"
    ):
        return
    for key in made_for.measurement_fields:
        value = document.get(key)
        ledger.hold(
            f"the field {key} is filled",
            path,
            isinstance(value, str) and bool(value.strip()),
            f"'{key}' is {value!r}, not a text",
            'state it ("No" for no)',
        )


def check_mapping(ledger: Ledger, document: Any, path: str, made_for: Round) -> dict[str, str]:
    """Check a model_mapping.json; return its sound part."""
    if not ledger.hold(
        "it is a JSON object", path, isinstance(document, dict), "is no JSON object", "write one"
    ):
        return {}
    known = [task.official_name for task in made_for.tasks.values()]
    for name, official in document.items():
        ledger.hold(
            "models are mapped to the checker's names",
            path,
            official in known,
            f"'{name}' is mapped to {official!r}, which is no benchmark of {made_for.name}",
            f"map it to {' or '.join(known)}",
        )
    return {name: value for name, value in document.items() if value in known}
