"""What operations cost in INT8 on this CPU, and what that says about revising a network."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import openvino as ov

from harness.backend import graph, kernels
from harness.backend.graph import Compiled
from harness.backend.kernels import Layer as KernelLayer
from harness.console import progress
from harness.model import file as model_file
from harness.model.architecture import STEMS, Architecture, resnet50
from harness.model.blocks import KINDS, Block
from harness.model.card import Card
from harness.model.layers import Convolution, SqueezeExcite, pooled
from harness.profiling import stopwatch
from harness.profiling.chains import Layer, chain, stem
from harness.profiling.conditions import Conditions
from harness.profiling.int8 import Network
from harness.profiling.stopwatch import Timer

_CHAIN = 5
_PROFILED_INFERENCES = 100
_EXPECTED_SAVING = 0.05
"""Times that differ by less are called equal: about what one measurement differs from the next."""

Ratio = Callable[[Network], float]
"""Time of a network over that of the reference."""


@dataclass(frozen=True)
class Cost:
    """The marginal time of one operation among its likes."""

    operation: str
    size: int
    """Of the square image that it makes, in pixels."""
    channels: int
    stride: int
    activation: str | None
    macs: int
    time_us: float

    @property
    def ms_per_gmac(self) -> float:
        return self.time_us * 1e6 / self.macs

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ms_per_gmac": self.ms_per_gmac}


@dataclass(frozen=True)
class Kernels:
    """How OpenVINO runs a candidate in INT8."""

    int8_share: float | None
    """Of the time of convolutions and matrix products."""
    wide: tuple[KernelLayer, ...]
    """Convolutions and matrix products that do not compute in 8 bits."""
    fallbacks: tuple[KernelLayer, ...]
    """Layers that run in reference or plain gemm kernels."""
    total_us: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def costs(size: int, conditions: Conditions, timer: Timer | None = None) -> list[Cost]:
    """Return what the operations of the search space cost at the shapes of a ResNet-50.

    Operations are timed as the difference that more of them make to a chain; a stem as what it adds to a
    network without one.

    Args:
        size: of the network's input, in pixels.
        conditions: under which to measure.
        timer: how to measure; default: `stopwatch.timer`.

    Raises:
        HarnessError: the machine is too busy to measure.
    """
    reference = resnet50(1000, size)
    places = [(size // (4 << stage), 64 << stage) for stage in range(4) if size >> (stage + 2)]
    operations = sum(1 for _ in _operations(*places[0]))
    found = []
    with (
        (timer or stopwatch.timer)(reference, conditions) as watch,
        progress("Timing operations", len(places) * operations + len(STEMS)) as bar,
    ):
        for place in places:
            for name, stride, activation in _operations(*place):
                found.append(_cost(watch.ratio, *place, name, stride, activation))
                bar.advance()
        nothing = watch.ratio(chain(size, []))
        for name in STEMS:
            found.append(_stem_cost(watch.ratio, name, size, nothing))
            bar.advance()
        return [replace(cost, time_us=cost.time_us * watch.quiet_ms) for cost in found]


def kernels_of(network: Architecture, conditions: Conditions) -> Kernels:
    """Return which kernels a candidate's layers run in, quantized with random weights, and how long."""
    return _kernels(stopwatch.compiled(network, conditions, profile=True), network.size)


def kernels_of_card(card: Card, conditions: Conditions) -> Kernels:
    """Return which kernels the layers of a card's model run in as it is, and how long.

    Raises:
        ModelError: the model is missing or unusable.
    """
    return kernels_of_deployed(graph.deployed(model_file.read(card), card), conditions)


def kernels_of_deployed(deployed: ov.Model, conditions: Conditions) -> Kernels:
    """Return which kernels the layers of a model with u8 [1, size, size, 3] in run in, and how long."""
    compiled = graph.compile_model(deployed, conditions.compile_settings, profile=True)
    return _kernels(compiled, deployed.input(0).shape[1])


def times_us(deployed: ov.Model, conditions: Conditions) -> dict[str, float]:
    """Return the time of each layer by its name, of a model with u8 [1, size, size, 3] in."""
    compiled = graph.compile_model(deployed, conditions.compile_settings, profile=True)
    return {one.name: one.time_us or 0.0 for one in _profiled(compiled, deployed.input(0).shape[1])}


def _profiled(compiled: Compiled, size: int) -> list[KernelLayer]:
    return kernels.profiled(compiled.model, [stopwatch.noise_image(size)], _PROFILED_INFERENCES)


def _kernels(compiled: Compiled, size: int) -> Kernels:
    layers = _profiled(compiled, size)
    return Kernels(
        kernels.int8_share(layers),
        tuple(kernels.left_wide(layers)),
        tuple(kernels.fallbacks(layers)),
        kernels.total_us(layers),
    )


def findings(found: list[Cost]) -> list[str]:
    """Say in words which revisions of a network the costs favour."""
    plain = [cost for cost in found if cost.activation != "hswish"]
    said = [_versus_dense(kind, plain) for kind in KINDS if kind != "dense"]
    said.append(_strides(plain))
    said += _activation(found)
    said.append(_excite(found))
    said.append(_stems(found))
    return said


def _operations(size: int, channels: int) -> Iterator[tuple[str, int, str]]:
    """Yield name, stride and activation of what is timed at a place."""
    for stride in (1, 2):
        for name in ("1x1", *KINDS):
            yield name, stride, "relu"
    for name in ("1x1", "dw3"):
        yield name, 1, "hswish"
    yield "squeeze-excite", 1, "relu"


def _layer(name: str, channels: int, stride: int, activation: str) -> Convolution:
    kernel, groups = (1, 1) if name == "1x1" else (KINDS[name], Block(channels, name).groups)
    return Convolution("", "", channels, channels, kernel, stride, groups, activation)


def _cost(measure: Ratio, size: int, channels: int, name: str, stride: int, activation: str) -> Cost:
    start = Convolution("", "", 3, channels, 1, activation="relu")
    if name == "squeeze-excite":
        excite = SqueezeExcite.of("", channels)
        macs = 2 * excite.channels * excite.reduced
        plain = _layer("1x1", channels, 1, "relu")
        time_us = _marginal(measure, size, start, [plain, excite]) - _marginal(measure, size, start, [plain])
        return Cost(name, size, channels, stride, None, macs, time_us)
    layer = _layer(name, channels, stride, activation)
    if stride == 1:
        time_us = _marginal(measure, size, start, [layer])
    else:
        without = measure(chain(size * stride, [start]))
        time_us = 1e3 * (measure(chain(size * stride, [start, layer])) - without)
    return Cost(name, size, channels, stride, activation, size * size * layer.weights, time_us)


def _marginal(measure: Ratio, size: int, start: Convolution, layers: list[Layer]) -> float:
    one, many = measure(chain(size, [start, *layers])), measure(chain(size, [start, *layers * _CHAIN]))
    return 1e3 * (many - one) / (_CHAIN - 1)


def _stem_cost(measure: Ratio, name: str, size: int, nothing: float) -> Cost:
    width = 64
    layers = stem(name, width)
    macs, inner = 0, size
    for layer in layers:
        if isinstance(layer, Convolution):
            inner = layer.after(inner)
            macs += inner * inner * layer.weights
        else:
            inner = pooled(inner)
    time_us = 1e3 * (measure(chain(size, layers)) - nothing)
    return Cost(f"stem {name}", inner, width, STEMS[name].stride, "relu", macs, time_us)


def _versus_dense(kind: str, found: list[Cost]) -> str:
    dense = {cost.size: cost for cost in found if cost.operation == "dense" and cost.stride == 1}
    pairs = [(cost, dense[cost.size]) for cost in found if cost.operation == kind and cost.stride == 1]
    shares = [cost.time_us / whole.time_us for cost, whole in pairs]
    work = [cost.macs / whole.macs for cost, whole in pairs]
    price = [cost.ms_per_gmac / whole.ms_per_gmac for cost, whole in pairs]
    worth = [cost.size for cost, whole in pairs if cost.time_us < (1 - _EXPECTED_SAVING) * whole.time_us]
    verdict = (
        "favoured in place of dense at every size"
        if len(worth) == len(pairs)
        else f"favoured at {', '.join(map(str, worth))} px only"
        if worth
        else "not favoured"
    )
    return (
        f"{kind}: {_range(shares)} of the time of a dense 3x3 of as many channels for {_range(work)} of its "
        f"arithmetic, which costs {min(price):.1f} to {max(price):.1f} times as much: {verdict}."
    )


def _strides(found: list[Cost]) -> str:
    by = {(cost.operation, cost.size, cost.stride): cost.time_us for cost in found}
    ratios = [
        time_us / by[name, size, 1]
        for (name, size, stride), time_us in by.items()
        if stride == 2 and (name, size, 1) in by
    ]
    return (
        f"stride 2: {min(ratios):.2f} to {max(ratios):.2f} times the time of the operation with stride 1 "
        "that makes as large an image."
    )


def _activation(found: list[Cost]) -> list[str]:
    said = []
    for name in ("1x1", "dw3"):
        by = {
            (cost.size, cost.activation): cost.time_us
            for cost in found
            if cost.operation == name and cost.stride == 1
        }
        more = [by[size, "hswish"] / by[size, "relu"] - 1 for size, kind in by if kind == "hswish"]
        verdict = "free" if max(more) < _EXPECTED_SAVING else "not free"
        said.append(f"hswish: {min(more):+.0%} to {max(more):+.0%} over ReLU behind a {name}: {verdict}.")
    return said


def _excite(found: list[Cost]) -> str:
    added = [cost for cost in found if cost.operation == "squeeze-excite"]
    plain = {
        cost.size: cost.time_us
        for cost in found
        if (cost.operation, cost.stride, cost.activation) == ("1x1", 1, "relu")
    }
    times = [cost.time_us for cost in added]
    shares = [cost.time_us / plain[cost.size] for cost in added]
    cheapest = added[shares.index(min(shares))]
    return (
        f"squeeze-excite: {min(times):.0f} to {max(times):.0f} us a block, {min(shares):.1f} to "
        f"{max(shares):.1f} times a 1x1 of as many channels, least at {cheapest.size} px."
    )


def _stems(found: list[Cost]) -> str:
    by_stride: dict[int, list[Cost]] = {}
    for cost in found:
        if cost.operation.startswith("stem "):
            by_stride.setdefault(cost.stride, []).append(cost)
    parts = []
    for stride, stems in sorted(by_stride.items(), reverse=True):
        ordered = sorted(stems, key=lambda cost: cost.time_us)
        fastest, slowest = ordered[0], ordered[-1]
        parts.append(
            f"among those that shrink {stride}x {fastest.operation.removeprefix('stem ')} is the fastest "
            f"({fastest.time_us:.0f} us, {slowest.operation.removeprefix('stem ')} {slowest.time_us:.0f} us)"
            if len(stems) > 1
            else f"of those that shrink {stride}x there is {fastest.operation.removeprefix('stem ')} only "
            f"({fastest.time_us:.0f} us)"
        )
    return f"stems: {'; '.join(parts)}."


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.1%}", f"{max(values):.1%}"
    return low if low == high else f"{low} to {high}"
