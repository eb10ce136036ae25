"""What each decision of the search space costs in accuracy, one by one, in a table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import OutputError
from harness.model.architecture import Architecture
from harness.search.space.ranges import interpolated
from harness.search.space.revisions import Space, is_width

Costs = dict[str, dict[Any, float]]
"""By name and option of a decision of `Space.build`, as measured; nats, 0 for what the baseline does."""

_FORMAT = 1


@dataclass(frozen=True)
class Table:
    """Costs of single decisions, such that an architecture's is their sum; widths lie between measured ones.

    An integer program may take them as they are: one variable for each option of each decision, and those of
    a block counting only where the stage's depth reaches it.
    """

    space: Space
    costs: Costs
    identity: dict[str, Any] = field(default_factory=dict)
    """What the costs were measured with."""

    def cost(self, architecture: Architecture) -> float:
        """Return the sum over the decisions that lead to `architecture`, in nats; less is better.

        Raises:
            HarnessError: it is no point of the space.
        """
        return sum(self.by_kind(architecture).values())

    def by_kind(self, architecture: Architecture) -> dict[str, float]:
        """Return what goes into `cost` for each kind of decision: the last word of its name, or "stem"."""
        found = dict.fromkeys(self._kinds.values(), 0.0)
        for name, option in self.space.decisions(architecture).items():
            found[self._kinds[name]] += self._whole[name][option]
        return found

    @cached_property
    def _whole(self) -> Costs:
        """The costs of all options."""
        return {name: interpolated(found) if is_width(name) else found for name, found in self.costs.items()}

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """By the names of decisions; a search asks for them thousands of times."""
        return {name: "stem" if name.startswith("stem") else name.rpartition(".")[2] for name in self.costs}


def save(path: Path, costs: Costs, identity: Mapping[str, Any]) -> None:
    """Write costs to `path`, atomically."""
    rows = [[name, option, cost] for name, options in costs.items() for option, cost in options.items()]
    files.write_json(path, {"format": _FORMAT, "identity": identity, "costs": rows})


def load(path: Path, identity: Mapping[str, Any]) -> Costs:
    """Return the costs that `path` holds; none if it does not exist.

    Raises:
        OutputError: the file is damaged, or was measured with something else.
    """
    if not path.exists():
        return {}
    costs: Costs = {}
    try:
        document = files.read_json(path)
        found = dict(document["identity"])
        for name, option, cost in document["costs"]:
            costs.setdefault(name, {})[option] = float(cost)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"Cannot read the table of accuracy costs {path} ({error!r}): delete it, then start afresh."
        ) from error
    wanted = json.loads(json.dumps(identity))
    if document.get("format") != _FORMAT or found != wanted:
        differing = [key for key in wanted if found.get(key) != wanted[key]] or ["format"]
        raise OutputError(
            f"The table of accuracy costs {path} was measured with something else "
            f"({', '.join(differing)}): {files.elsewhere(path)}, or delete it."
        )
    return costs
