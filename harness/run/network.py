"""What MLPerf's Network division adds to a system description, for results of a server on another machine."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from harness import files
from harness.console import note
from harness.machine import hardware
from harness.machine.hardware import Hardware
from harness.mlperf.rules import NETWORK_FIELDS, NETWORK_KEY
from harness.run.document import RunResult

FILE_NAME = "network.toml"
_TRUE = "true"
"""The checker compares a text (system_check.py)."""
_PROTOCOLS = {"grpc": "gRPC (HTTP/2)", "http": "HTTP/1.1"}


def write(found: RunResult, folder: Path) -> None:
    """Write the fields beside the result of a served model, unless server and LoadGen were on one host.

    Of what nothing here tells, what somebody has stated there stays.

    Raises:
        OutputError: the file cannot be written.
    """
    if found.is_of_this_host:
        return
    path = folder / FILE_NAME
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        note(f"{path} is no TOML any more ({error}), and stays as it is: correct it, or remove it.")
        return
    files.write_text(path, text(found, hardware.describe(), stated))


def text(found: RunResult, parts: Hardware, stated: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the fields as TOML: what the result and the LoadGen machine tell, and "" for what they do not.

    Args:
        found: the result of a served model.
        parts: of the machine that LoadGen ran on.
        stated: of what these do not tell, what somebody does.
    """
    told = {name: value for name, value in stated.items() if name in NETWORK_FIELDS}
    told |= {name: value for name, value in _told(found, parts).items() if value}
    lines = [
        "# Further fields of the system description for MLPerf's Network division (submission_rules.adoc).",
        '# State what is "": it is about the network, or the machine of the server.',
        "# The division wants two machines with Ethernet, Wi-Fi, Infiniband or 3GPP between them.",
        *(f"# Not admissible there: {fault}." for fault in _faults(found)),
    ]
    fields = {name: told.get(name, "") for name in NETWORK_FIELDS}
    return "\n".join(lines) + "\n" + tomli_w.dumps(fields)


def _told(found: RunResult, parts: Hardware) -> dict[str, str]:
    endpoint, machine = found.settings.endpoint, found.machine
    assert endpoint is not None
    cards = sorted(set(parts.networks))
    protocol = _PROTOCOLS["grpc" if endpoint.is_grpc else "http"] + (", TLS" if endpoint.is_secure else "")
    return {
        NETWORK_KEY: _TRUE,
        "nic_loadgen": ", ".join(cards),
        "number_nic_loadgen": str(len(parts.networks)) if cards else "",
        "net_software_stack_loadgen": f"TCP of the kernel {machine.kernel}" if machine.kernel else "",
        "network_protocol": f"{protocol} over TCP/IP",
        "number_connections": str(found.settings.streams or ""),
    }


def _faults(found: RunResult) -> Iterator[str]:
    """Yield what the QDL may not do and did (inference_rules.adoc, QDL Constraints)."""
    if (batch := found.settings.batch or 1) > 1:
        yield f"the client put {batch} samples into a call, and the QDL may not batch"
    if not found.settings.official:
        yield "it was no official run"
