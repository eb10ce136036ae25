"""What was computed of networks before there were blocks of several forms.

`python tests/old_networks.py` wrote it down, on the commit before.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from harness.model import resnet
from harness.model.architecture import Architecture, resnet50
from harness.search.accuracy.inheritance import inherit
from harness.search.latency import table
from harness.search.latency.prediction import Design
from harness.search.latency.terms import terms
from harness.search.space.revisions import Space

PATH = Path(__file__).parent / "fixtures" / "old_networks.json"
SPACES = {
    "imagenet": (resnet50(1000, 224), (192, 224)),
    "builtin": (resnet50(24, 64, 0.2), (64,)),
    "cifar": (resnet50(10, 32, 0.5, "3x3-pool"), (32,)),
}


def facts(baseline: Architecture, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return the keys of a space and of the networks of its table, and what three networks are made of."""
    space = Space(baseline, sizes)
    unseen = table.held_out(space)
    return {
        "space": space.key,
        "held out": digest([one.key for one in unseen]),
        "table": digest([one.key for one in Design(networks=40).wholes(space, unseen)]),
        "networks": [network(space, space.sample(random.Random(seed))) for seed in range(3)],
    }


def network(space: Space, one: Architecture) -> dict[str, Any]:
    seeded = resnet.seeded_state(5, one)
    found = {
        "architecture": one.to_dict(),
        "key": one.key,
        "macs": one.count_macs(),
        "parameters": one.count_parameters(),
        "terms": digest(sorted(map(repr, terms(one).items()))),
        "weights": of_state(seeded),
    }
    if one.size <= 64:  # so that it takes no long
        state = resnet.seeded_state(3, space.baseline)
        found["inherited"] = of_state(inherit(one, space.baseline, state))
        found["graph"] = graph(resnet.assemble(one, seeded))
    return found


def graph(model: Any) -> str:
    """Return what tells a graph from others: its operations, what they take, and all constants."""
    rows = []
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        shape = [] if kind == "Result" else list(op.output(0).shape)
        taken = [value.get_node().get_type_name() for value in op.input_values()]
        data = np.ascontiguousarray(op.get_data()).tobytes() if kind == "Constant" else b""
        rows.append(repr((kind, shape, taken, hashlib.sha256(data).hexdigest())))
    return digest(sorted(rows))


def of_state(state: resnet.State) -> str:
    return digest([[name, hashlib.sha256(value.tobytes()).hexdigest()] for name, value in state.items()])


def digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


if __name__ == "__main__":
    found = {name: facts(*given) for name, given in SPACES.items()}
    PATH.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
