"""Initial weights of any revision of a baseline, cut out of the baseline's trained ones.

Channels are kept by importance, as BootstrapNAS sorts them: an output's share in what follows, here the size
of its batch normalisation (which is its standard deviation once `norms.liven` has run) times the L1 norm of
the weights that take it. The batch-normalisation statistics that come along fit only the unrevised baseline:
`norms.recalibrate` must follow.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.model import resnet
from harness.model.architecture import Architecture
from harness.model.layers import (
    INPUT,
    BlockLayers,
    Concatenation,
    Convolution,
    Layers,
    Norm,
    SqueezeExcite,
)
from harness.model.nodes import BN_EPSILON, BN_PARTS

Floats = NDArray[np.floating]
Indices = NDArray[np.intp]

_NEW = 1 << 30
"""Number of the first channel behind a stage that the baseline has not."""
_AROUND = ("bottleneck", "inverted")
"""Forms of blocks that differ only behind their last convolution."""


def inherit(wanted: Architecture, baseline: Architecture, state: resnet.State) -> resnet.State:
    """Return f32 weights for `wanted` from those of `baseline`, of which it is a revision.

    - Widths: the most important channels, the same ones in all that adds to or reads one residual stream.
    - Depth: the later blocks of a stage go.
    - Middle convolution: grouped and depthwise ones take those weights of the dense one that their groups
      still connect, with the channels so grouped that large weights stay; kernels are padded or cropped.
    - A wider middle or stream gets channels whose effect is zero at first; a new squeeze-excite is the
      identity, and one that the baseline has keeps the gates of the channels that stay.
    - Activations stay as they are. A stem of another kind is new (`stem.fit` trains it), as is a shortcut
      that the baseline has not, a block that it has not or has in another form, and the classifier behind
      another number of stages. New blocks that add to their input start as what they add to.

    What is new comes from `resnet.seeded_state`. The baseline inherits itself, bit for bit.
    """
    return _Heir(wanted, baseline, state).state()


def stream(wanted: Architecture, baseline: Architecture, state: resnet.State, stage: int) -> Indices:
    """Return which of the baseline's channels behind a stage (0: the stem) `wanted` keeps, in order.

    Numbers beyond the baseline's channels stand for new ones: all are, behind a stage that it has not.
    """
    width = wanted.stages[stage - 1].width if stage else wanted.stem_width
    if stage > len(baseline.stages):
        return np.arange(_NEW, _NEW + width)
    importance = _stream_importance(baseline.layers(), state, stage)
    return _first(importance, width)


@dataclass(frozen=True)
class _Middle:
    """The inside of a baseline's block: what the middle channels are made of and go to."""

    into: Floats
    """[mid, in, 1, 1], of the first convolution."""
    dense: Floats
    """[mid, mid, k, k], of the second, groups filled up with zeros."""
    out: Floats
    """[out, mid, 1, 1], of the third."""
    norms: tuple[dict[str, Floats], dict[str, Floats]]

    def importance(self) -> tuple[Floats, Floats]:
        """Of the channels before and behind the middle convolution."""
        before, behind = (np.abs(norm["weight"]) for norm in self.norms)
        return before * _l1(self.dense, 1), behind * _l1(self.out, 1)

    def affinity(self) -> Floats:
        """[behind, before]: how much of each output comes from each input."""
        made: Floats = np.abs(self.dense).sum((2, 3)) * np.abs(self.norms[0]["weight"])
        return made


class _Heir:
    def __init__(self, wanted: Architecture, baseline: Architecture, state: resnet.State) -> None:
        self._wanted, self._baseline, self._old = wanted, baseline, state
        self._layers, self._base = wanted.layers(), baseline.layers()
        self._new = resnet.seeded_state(0, wanted)
        self._streams = [stream(wanted, baseline, state, stage) for stage in range(len(wanted.stages) + 1)]

    def state(self) -> resnet.State:
        if self._wanted.stem == self._baseline.stem:
            self._inherit_stem()
        old_blocks = {block.name: block for block in self._base.blocks}
        for block in self._layers.blocks:
            stage, place = (int(part) for part in block.name.removeprefix("layer").split("."))
            into = self._streams[stage - 1 if place == 0 else stage]
            out, old = self._streams[stage], old_blocks.get(block.name)
            if old is not None and block.form in _AROUND and old.form in _AROUND:
                self._inherit_block(block, old, into, out)
            elif old is not None and block.form == old.form:
                self._inherit_chain(block, old, into, out)
            elif block.damped is not None:
                self._new[f"{block.damped}.weight"] = np.zeros_like(self._new[f"{block.damped}.weight"])
        if len(self._wanted.stages) == len(self._baseline.stages):
            everything = np.arange(self._wanted.classes)
            self._new["fc.weight"] = self._cut("fc.weight", everything, self._streams[-1])
            self._new["fc.bias"] = self._old["fc.bias"]
        return {name: np.ascontiguousarray(value, np.float32) for name, value in self._new.items()}

    def _cut(self, name: str, out: Indices, into: Indices, old: Floats | None = None) -> Floats:
        """Return the baseline's weight [out, in, ...] for these channels, of the wanted network's `name`.

        New outputs have seeded weights of the old inputs; nothing takes new inputs yet.

        Args:
            name: of the tensor.
            out: channels, those beyond the baseline's new.
            into: likewise.
            old: what to cut from; default: the baseline's tensor of that name.
        """
        old = self._old[name] if old is None else old
        if out.max(initial=0) < old.shape[0] and into.max(initial=0) < old.shape[1]:
            return old[np.ix_(out, into)]
        rows, columns = out < old.shape[0], into < old.shape[1]
        found: Floats = self._new[name].copy()
        found[:, ~columns] = 0
        found[np.ix_(rows, columns)] = old[np.ix_(out[rows], into[columns])]
        return found

    def _inherit_stem(self) -> None:
        into = np.arange(3)
        for number, (new, old) in enumerate(zip(self._layers.stem, self._base.stem, strict=True)):
            if number == len(self._base.stem) - 1:
                out = self._streams[0]
            else:
                following = self._base.stem[number + 1]
                out = _first(
                    _strength(self._old, old.norm) * _l1(_effective(self._old, following), 1), new.out
                )
            self._new[f"{new.name}.weight"] = self._cut(f"{new.name}.weight", out, into)
            self._take_norm(new.norm, self._norm(old.norm), out)
            into = out

    def _inherit_block(self, new: BlockLayers, old: BlockLayers, into: Indices, out: Indices) -> None:
        first, second, third = new.convolutions
        middle = self._middle(old, second.out)
        before, behind = _chosen(middle, second)
        self._new[f"{first.name}.weight"] = self._cut(f"{first.name}.weight", before, into, middle.into)
        self._new[f"{second.name}.weight"] = _fitted(middle.dense, before, behind, second)
        self._new[f"{third.name}.weight"] = self._cut(f"{third.name}.weight", out, behind, middle.out)
        self._take_norm(first.norm, middle.norms[0], before)
        self._take_norm(second.norm, middle.norms[1], behind)
        self._take_norm(third.norm, self._norm(old.convolutions[2].norm), out)
        if new.shortcut is not None and old.shortcut is not None:
            self._new[f"{new.shortcut.name}.weight"] = self._cut(f"{new.shortcut.name}.weight", out, into)
            self._take_norm(new.shortcut.norm, self._norm(old.shortcut.norm), out)
        self._inherit_excite(new, old, behind)

    def _inherit_chain(self, new: BlockLayers, old: BlockLayers, into: Indices, out: Indices) -> None:
        """Inherit a block of dense convolutions."""
        last, excited = new.convolutions[-1], into
        known = {INPUT: (into, old.convolutions[0].into)}
        places = {node.layer: place for place, node in enumerate(new.nodes)}
        for layer, before in zip(new.convolutions, old.convolutions, strict=True):
            taken, _ = _given(new, new.nodes[places[layer]].takes[0], known)
            made = out
            if layer is not last and not new.folded:
                following = old.convolutions[old.convolutions.index(before) + 1]
                # Of what is read side by side, the last was made last.
                read = _l1(_effective(self._old, following), 1)[-before.out :]
                made = _first(_strength(self._old, before.norm) * read, layer.out)
            self._new[f"{layer.name}.weight"] = self._cut(f"{layer.name}.weight", made, taken)
            self._take_norm(layer.norm, self._norm(before.norm), made)
            known[places[layer]] = made, before.out
            if layer is not last or new.excites_end:
                excited = made
        if new.shortcut is not None and old.shortcut is not None:
            self._new[f"{new.shortcut.name}.weight"] = self._cut(f"{new.shortcut.name}.weight", out, into)
            self._take_norm(new.shortcut.norm, self._norm(old.shortcut.norm), out)
        for one in new.norms:
            if one in {Norm(known.norm, one.channels) for known in old.norms}:
                self._take_norm(one.norm, self._norm(one.norm), out)
        self._inherit_excite(new, old, excited)

    def _inherit_excite(self, new: BlockLayers, old: BlockLayers, behind: Indices) -> None:
        """Inherit the gates of the channels `behind` a convolution, or let new ones change nothing."""
        gates, last = new.squeeze_excite, new.convolutions[-1]
        if gates is None:
            return
        if old.squeeze_excite is not None:
            self._inherit_gates(gates, old.squeeze_excite, behind)
            return
        # The sigmoid starts at 1/2 everywhere, which the last convolution, or its norm, makes good.
        name = f"{gates.name}.expand.weight"
        self._new[name] = np.zeros_like(self._new[name])
        tensors = [f"{last.name}.weight"]
        if new.excites_end:
            tensors = [f"{last.norm}.weight", f"{last.norm}.bias"]
        for name in tensors:
            self._new[name] = 2 * self._new[name]

    def _inherit_gates(self, new: SqueezeExcite, old: SqueezeExcite, behind: Indices) -> None:
        """Take over the gates of the channels kept; those of new ones, which nothing reads, are at 1/2."""
        inner, outer = (self._old[f"{old.name}.{part}.weight"] for part in ("reduce", "expand"))
        hidden = _top(_l1(inner, 0) * _l1(outer, 1), min(new.reduced, old.reduced))
        rows, places = np.arange(len(hidden)), np.flatnonzero(behind < old.channels)
        channels = behind[places]
        reduce, expand = f"{new.name}.reduce", f"{new.name}.expand"
        self._new[f"{reduce}.weight"][rows] = 0
        self._new[f"{reduce}.weight"][np.ix_(rows, places)] = inner[np.ix_(hidden, channels)]
        self._new[f"{reduce}.bias"][rows] = self._old[f"{old.name}.reduce.bias"][hidden]
        self._new[f"{expand}.weight"][:] = 0
        self._new[f"{expand}.weight"][np.ix_(places, rows)] = outer[np.ix_(channels, hidden)]
        self._new[f"{expand}.bias"][places] = self._old[f"{old.name}.expand.bias"][channels]

    def _middle(self, block: BlockLayers, mid: int) -> _Middle:
        """Return the inside of the baseline's block, with new channels at its end if it has fewer than `mid`.

        The new ones read their input, but nothing reads them yet.
        """
        first, second, third = block.convolutions
        dense = _dense(self._old[f"{second.name}.weight"], second.groups)
        into, out = self._old[f"{first.name}.weight"], self._old[f"{third.name}.weight"]
        norms = self._norm(first.norm), self._norm(second.norm)
        if (missing := mid - second.out) > 0:
            source = np.random.default_rng(zlib.crc32(block.name.encode()))
            into = np.concatenate([into, _he_normal(source, (missing, *into.shape[1:]))])
            dense = np.concatenate([dense, _he_normal(source, (missing, *dense.shape[1:]))])
            dense = np.pad(dense, ((0, 0), (0, missing), (0, 0), (0, 0)))
            new = np.arange(second.out, mid)
            dense[new, new] = _he_normal(source, (missing, *dense.shape[2:]))
            out = np.pad(out, ((0, 0), (0, missing), (0, 0), (0, 0)))
            unit = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
            norms = tuple(  # type: ignore[assignment]
                {part: np.concatenate([norm[part], np.full(missing, unit[part])]) for part in BN_PARTS}
                for norm in norms
            )
        return _Middle(into, dense, out, norms)

    def _norm(self, name: str) -> dict[str, Floats]:
        return {part: self._old[f"{name}.{part}"] for part in BN_PARTS}

    def _take_norm(self, name: str, norm: dict[str, Floats], kept: Indices) -> None:
        old = kept < len(norm["weight"])
        for part in BN_PARTS:
            found = self._new[f"{name}.{part}"].astype(norm[part].dtype)
            found[old] = norm[part][kept[old]]
            self._new[f"{name}.{part}"] = found


def _stream_importance(layers: Layers, state: resnet.State, stage: int) -> Floats:
    """Return the importance of each channel of the stream behind a stage (0: the stem)."""
    inside = [block for block in layers.blocks if stage and block.name.startswith(f"layer{stage}.")]
    if stage:
        makers = [one.norm for block in inside for one in block.makers]
        makers += [block.shortcut.norm for block in inside if block.shortcut is not None]
    else:
        makers = [layers.stem[-1].norm]
    made = np.sqrt(sum(_strength(state, norm) ** 2 for norm in makers))
    after = [block for block in layers.blocks if block.name == f"layer{stage + 1}.0"]
    taken = np.zeros_like(made) if after else np.abs(state["fc.weight"]).sum(0)
    for block in [*inside[1:], *after]:
        taken = taken + sum(_l1(_effective(state, reader), 1) for reader in block.readers)
    importance: Floats = made * taken
    return importance


def _given(block: BlockLayers, place: int, known: Mapping[int, tuple[Indices, int]]) -> tuple[Indices, int]:
    """Return which of the baseline's channels a node gives, in order, and how many the baseline's gives.

    Args:
        block: with the node.
        place: of the node.
        known: the same of what the block takes and of its convolutions.
    """
    if place in known:
        return known[place]
    node = block.nodes[place]
    parts = [_given(block, one, known) for one in node.takes]
    if not isinstance(node.layer, Concatenation):
        return parts[0]
    found, whole = [], 0
    for kept, width in parts:
        found.append(np.where(kept < width, kept + whole, _NEW))
        whole += width
    return np.concatenate(found), whole


def _he_normal(source: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    fan_in = np.prod(shape[1:])
    values: Floats = source.standard_normal(shape) * np.sqrt(2 / fan_in)
    return values


def _strength(state: resnet.State, norm: str) -> Floats:
    return np.abs(state[f"{norm}.weight"])


def _effective(state: resnet.State, layer: Convolution) -> Floats:
    """Return a convolution's weights with the scale of its batch normalisation."""
    scale = state[f"{layer.norm}.weight"] / np.sqrt(state[f"{layer.norm}.running_var"] + BN_EPSILON)
    scaled: Floats = state[f"{layer.name}.weight"] * scale[:, None, None, None]
    return scaled


def _l1(weight: Floats, axis: int) -> Floats:
    """Return the L1 norm of the weights of each index along `axis`."""
    norm: Floats = np.abs(weight).sum(tuple(one for one in range(weight.ndim) if one != axis))
    return norm


def _top(importance: Floats, count: int) -> Indices:
    """Return the indices of the `count` most important, in ascending order."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _first(importance: Floats, count: int) -> Indices:
    """Return the `count` most important indices in ascending order, and new ones where there are too few."""
    return _top(importance, count) if count <= len(importance) else np.arange(count)


def _dense(weight: Floats, groups: int) -> Floats:
    """Return a grouped convolution's weight [out, in / groups, k, k] as a dense one's [out, in, k, k]."""
    if groups == 1:
        return weight
    out, width = weight.shape[:2]
    dense = np.zeros((out, width * groups, *weight.shape[2:]), weight.dtype)
    for row in range(out):
        start = row // (out // groups) * width
        dense[row, start : start + width] = weight[row]
    return dense


def _chosen(middle: _Middle, layer: Convolution) -> tuple[Indices, Indices]:
    """Return the channels to keep before and behind the middle convolution, in their new order."""
    first, second = middle.importance()
    behind = _top(second, layer.out)
    if layer.groups == 1:
        return _top(first, layer.into), behind
    affinity = middle.affinity()
    if layer.into == len(affinity) and _fits(affinity, layer.groups):
        return np.arange(layer.into), behind
    partners = linear_sum_assignment(affinity[behind], maximize=True)[1].astype(np.intp)
    order = _grouped(affinity[np.ix_(behind, partners)], layer.out // layer.groups)
    return partners[order], behind[order]


def _fits(affinity: Floats, groups: int) -> bool:
    """Return whether no output takes an input of another group: the convolution was grouped so before."""
    width = len(affinity) // groups
    same = np.kron(np.eye(groups, dtype=bool), np.ones((width, width), bool))
    return not affinity[~same].any()


def _grouped(affinity: Floats, width: int) -> Indices:
    """Return an order of pairs in which each run of `width` is a group with much affinity inside.

    Greedy: the strongest pair that is left starts a group, then joins who has most to do with the group.
    """
    both = affinity + affinity.T
    left = list(range(len(affinity)))
    order: list[int] = []
    while left:
        group = [max(left, key=lambda pair: affinity[pair, pair])]
        left.remove(group[0])
        while len(group) < width:
            ties = both[left][:, group].sum(1)
            group.append(left.pop(int(np.argmax(ties))))
        order += group
    return np.array(order, np.intp)


def _fitted(dense: Floats, before: Indices, behind: Indices, layer: Convolution) -> Floats:
    """Return the weight of the wanted convolution: what its groups connect, in its kernel."""
    width = layer.into // layer.groups
    rows = [
        dense[row][before[place // width * width : place // width * width + width]]
        for place, row in enumerate(behind)
    ]
    weight = np.stack(rows)
    pad = (layer.kernel - weight.shape[2]) // 2
    if pad > 0:
        weight = np.pad(weight, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return weight if pad >= 0 else weight[:, :, -pad:pad, -pad:pad]
