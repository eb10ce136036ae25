"""What a network's time is made of: for each kind of layer its number, arithmetic and memory traffic."""

from collections import Counter
from collections.abc import Iterator, Mapping

from harness.model.architecture import Architecture
from harness.model.layers import (
    INPUT,
    BlockLayers,
    Concatenation,
    Convolution,
    Node,
    Pool,
    SqueezeExcite,
    Sum,
    pooled,
)

Term = tuple[str, int, str]
"""Kind of layer, size of the image that it makes, and what is counted."""

_ANY_SIZE = 0
"""Of the image, in terms that all sizes share."""
_BY_SIZE = ("macs", "values")
"""What is also priced for each size of image by itself."""
_BEYOND = "beyond"

_CACHES = tuple(mebibytes << 20 for mebibytes in (1, 2, 4, 8, 16))
"""Bytes of INT8 weights; what a network has beyond such a size may not stay in a cache until the next image.

Fetching costs most where there is little to compute meanwhile: each image size has a price of its own, too.
Of the full ResNet-50 at 32 px, which does little with each weight, this halves the error on unseen networks.
"""


def terms(architecture: Architecture) -> "Counter[Term]":
    """Return how much there is of each term; all of them add up, over layers as over networks."""
    found: Counter[Term] = Counter()
    for kind, size, amounts in _amounts(architecture):
        for what, amount in amounts.items():
            found[kind, size, what] += amount
    return found


def beyond_caches(counted: Mapping[Term, int]) -> dict[Term, float]:
    """Return the terms of weights that do not fit into a cache, from the `terms` of a whole network."""
    found: Counter[Term] = Counter()
    weights = {(kind, size): amount for (kind, size, what), amount in counted.items() if what == "weights"}
    total = sum(weights.values())
    for cache in _CACHES:
        if total > cache:
            for (_, size), amount in weights.items():
                found[f"{_BEYOND} {cache} B", size, "weights"] += amount * (total - cache) // total
    return dict(found)


def priced(counted: Mapping[Term, float]) -> dict[Term, float]:
    """Return the terms that have a price, from those of a network, layer kind by layer kind.

    What all sizes of image share is priced once for each kind of layer, and once more for all convolutions
    that are dense, for all that are grouped and for all that are depthwise. By themselves sizes have prices
    for _BY_SIZE alone, and for weights that do not fit into a cache. Whoever prices each kind at each size by
    itself learns each price from the few networks that have it: on a core with AVX512-VNNI, 290 networks of
    the open space at 64 px then predicted 32 others 11.5 % off on average, and 5.4 % with these terms; in the
    usual space 60 networks do as well with these (5.2 %) as 150 did.
    """
    found: dict[Term, float] = {}
    convolutions = {(kind, size) for kind, size, what in counted if what == "macs"}
    for (kind, size, what), amount in counted.items():
        names = (kind, _family(kind)) if (kind, size) in convolutions else (kind,)
        sizes = (_ANY_SIZE, size) if what in _BY_SIZE or kind.startswith(_BEYOND) else (_ANY_SIZE,)
        for name in names:
            for one in sizes:
                found[name, one, what] = found.get((name, one, what), 0.0) + amount
    return {term: amount for term, amount in found.items() if amount}


def _family(kind: str) -> str:
    """Return what all convolutions with as many groups, or as few, are called."""
    families = ("dw", "group")
    return f"any {next((one for one in families if kind.startswith(one)), 'dense')}"


def _amounts(architecture: Architecture) -> Iterator[tuple[str, int, dict[str, int]]]:
    layers = architecture.layers()
    size = architecture.size
    for convolution in layers.stem:
        size = convolution.after(size)
        kind = f"stem {convolution.kernel}x{convolution.kernel}/{convolution.stride}"
        yield kind, size, _of(convolution, size * convolution.stride, size)
    if layers.pool:
        yield "pool", pooled(size), {"count": 1, "values": size * size * layers.stem[-1].out}
        size = pooled(size)
    for block in layers.blocks:
        yield from _of_block(block.deployed, size)
        size = block.after(size)
    weights = layers.features * architecture.classes
    yield "head", size, {"count": 1, "values": size * size * layers.features, "weights": weights}


def _of_block(block: BlockLayers, size: int) -> Iterator[tuple[str, int, dict[str, int]]]:
    sizes = block.sizes(size)
    active: dict[str, list[int]] = {}
    for node, after in zip(block.nodes, sizes, strict=True):
        layer = node.layer
        if isinstance(layer, Convolution):
            before = size if node.takes[0] == INPUT else sizes[node.takes[0]]
            yield _kind(node, layer), after, _of(layer, before, after)
        elif isinstance(layer, SqueezeExcite):
            values = after * after * layer.channels
            weights = 2 * layer.channels * layer.reduced
            yield "squeeze-excite", after, {"count": 1, "values": values, "weights": weights}
        elif isinstance(layer, Concatenation | Pool):
            kind = "concatenation" if isinstance(layer, Concatenation) else f"pool/{layer.stride}"
            yield kind, after, {"count": 1, "values": after * after * layer.channels}
        if isinstance(layer, Convolution | Sum) and layer.activation not in (None, "relu"):
            active.setdefault(str(layer.activation), []).append(after * after * _channels(block, node))
    # What ReLU costs is part of the layer that it follows.
    for activation, values_of in active.items():
        yield activation, sizes[-1], {"count": len(values_of), "values": sum(values_of)}


def _channels(block: BlockLayers, node: Node) -> int:
    """Return how many channels a node gives."""
    if isinstance(node.layer, Convolution):
        return node.layer.out
    return _channels(block, block.nodes[node.takes[0]])


def _kind(node: Node, layer: Convolution) -> str:
    if node.role == "shortcut":
        return f"shortcut/{layer.stride}"
    return _middle(layer) if node.role == "middle" else node.role


def _middle(convolution: Convolution) -> str:
    kernel, width = convolution.kernel, convolution.into // convolution.groups
    what = "dense" if convolution.groups == 1 else f"group{width}" if width > 1 else f"dw{kernel}"
    return f"{what}/{convolution.stride}"


def _of(convolution: Convolution, before: int, after: int) -> dict[str, int]:
    return {
        "count": 1,
        "macs": after * after * convolution.weights,
        "read": before * before * convolution.into,
        "written": after * after * convolution.out,
        "weights": convolution.weights,
    }
