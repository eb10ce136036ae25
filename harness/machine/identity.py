"""What makes two machines the same: each user names the facts that matter to it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from harness.machine.system import Machine

CPU = ("cpu_model", "cpu_signature", "isa")
"""What decides how fast a network is."""
HARDWARE = ("architecture", "cpu_model", "cpu_signature", "sockets", "physical_cores")
"""What cannot change without another machine."""

LATER: Mapping[str, None] = MappingProxyType(
    dict.fromkeys(("cpu_signature", "cores_allowed", "performance_cpus_allowed"))
)
"""Facts that the first documents do not state."""


def unlike(one: Machine, other: Machine, facts: Sequence[str]) -> list[str]:
    """Return which of the facts tell two machines apart; what older documents do not state is the same."""
    return [
        name
        for name in facts
        if (pair := (getattr(one, name), getattr(other, name)))[0] != pair[1]
        and not (None in pair and name in LATER)
    ]


def values(machine: Machine, facts: Sequence[str]) -> dict[str, Any]:
    """Return the facts as JSON values, for a document's key."""
    found = {name: getattr(machine, name) for name in facts}
    return found | ({"isa": list(machine.isa or ())} if "isa" in found else {})
