"""The documents beside the logs, held against the rules of a round."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from harness import files
from harness.mlperf.names import OFFICIAL
from harness.mlperf.rules import NETWORK_KEY, STATUSES, Round
from harness.submission.verdict import Ledger

UNREADABLE = object()
"""In place of a document that could not be read; None is the document 'null'."""

NO_DATACENTER = (
    "neither resnet50 nor yolo is a datacenter benchmark, and the older checker (submission_checker_old.py) "
    "refuses them"
)

# The checkers lower these, or join them with texts (log_result in submission_checker_old.py, results.py).
_TEXTS = (
    *("division", "submitter", "status", "system_type", "system_name", "host_processor_model_name"),
    *("accelerator_model_name", "framework", "operating_system", "hw_notes", "sw_notes"),
)


def read_json(ledger: Ledger, file: Path, path: str) -> Any:
    """Return the document in a file, or UNREADABLE, which is noted."""
    cure = "make the tree again with `harness submit`"
    try:
        return files.read_json(file)
    except FileNotFoundError:
        ledger.hold("the file is there", path, False, "is missing", cure)
    except (OSError, ValueError) as error:
        ledger.hold("the file is JSON", path, False, f"is cut off or no JSON ({error})", cure)
    return UNREADABLE


def check_power_description(ledger: Ledger, file: Path, path: str) -> None:
    """Check a <system>_power.yaml, which the modular checker loads even where no power was measured."""
    fault = ""
    try:
        yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        fault = re.sub(r"\s+", " ", str(error))
    ledger.hold("the file is YAML", path, not fault, f"is no YAML ({fault})", "correct it, or remove it")


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
        _check_type(ledger, key, document[key], path)
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
    _check_values(ledger, document, path)


def _check_type(ledger: Ledger, key: str, value: Any, path: str) -> None:
    must_be_text = key in _TEXTS
    number = isinstance(value, int | float) and not isinstance(value, bool)
    ledger.hold(
        f"the field {key} is a text",
        path,
        isinstance(value, str) or (number and not must_be_text),
        f"'{key}' is {json.dumps(value)}, not a text"
        + (", on which the checkers break" if must_be_text else ""),
        "write it as a text",
        warning=not must_be_text,
    )


def _check_values(ledger: Ledger, document: dict[str, Any], path: str) -> None:
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
        "the benchmarks are of edge systems",
        path,
        kind != "datacenter",
        NO_DATACENTER,
        "use --system-type edge",
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
    _check_network(ledger, document.get(NETWORK_KEY), path)


def _check_network(ledger: Ledger, value: Any, path: str) -> None:
    """Take only what the checkers take: they lower the value as a text and ask whether it is empty."""
    if isinstance(value, str | None):
        fault = f"'{NETWORK_KEY}' is set, and any text demands the network division's fields"
    else:
        fault = f"'{NETWORK_KEY}' is {json.dumps(value)}, no text, on which the checkers break"
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
            bool(value.strip() if isinstance(value, str) else value),
            f"'{key}' is {value!r}, not a text",
            'state it ("No" for no)',
        )
        ledger.hold(
            f"the field {key} is a text",
            path,
            not value or isinstance(value, str),
            f"'{key}' is {json.dumps(value)}, not a text",
            "write it as a text",
            warning=True,
        )


def check_mapping(ledger: Ledger, document: Any, path: str, made_for: Round) -> dict[str, str]:
    """Check a model_mapping.json; return its sound part."""
    if not ledger.hold(
        "it is a JSON object", path, isinstance(document, dict), "is no JSON object", "write one"
    ):
        return {}
    known = OFFICIAL[made_for.name]
    ours = [task.official_name for task in made_for.tasks.values()]
    sound = {name: value for name, value in document.items() if isinstance(value, str) and value in known}
    for name, official in document.items():
        ledger.hold(
            "models are mapped to the checker's names",
            path,
            name in sound,
            f"'{name}' is mapped to {official!r}, which is no benchmark of {made_for.name}",
            f"map it to {' or '.join(ours)}",
        )
        ledger.hold(
            "no benchmark's own name is mapped",
            path,
            name not in known,
            f"'{name}' is a benchmark's own name, which the checkers take before the mapping",
            "rename the model's folder and map its new name",
            warning=True,
        )
    return sound
