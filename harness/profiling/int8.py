"""Networks as they would be deployed in INT8, before anybody trains them."""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import openvino as ov

from harness.backend import calibration, graph
from harness.dataset.recipe import MEAN, SCALE, Recipe
from harness.errors import RunFailed
from harness.machine import system
from harness.model import file as model_file
from harness.model import resnet
from harness.model.architecture import Architecture
from harness.model.card import Card, FileSpec, InputSpec, OutputSpec
from harness.process import workers

_SEED = 1
_INPUTS = 2
"""Random images for NNCF's statistics: they set the scales, not what is quantized."""
_FEW = 8
"""So few networks are quantized before other processes would have started."""
_MOST_PROCESSES = 8
_AHEAD = 4
"""Networks that each process quantizes before the next are measured; a large one's file has 25 MB."""

Network: TypeAlias = Architecture | ov.Model | Card
"""An architecture, which gets random weights, a model with f32 [1, 3, size, size] in and logits out, or a
card's model."""


def quantized(network: Network) -> ov.Model:
    """Return a network quantized by NNCF, with u8 [1, size, size, 3] in and the label out.

    Biases are not corrected, and an architecture gets random weights: neither changes what is computed.
    """
    if isinstance(network, Card):
        return quantized_card(network)
    plain: ov.Model = network
    if isinstance(network, Architecture):
        plain = resnet.assemble(network, resnet.seeded_state(_SEED, network))
    noise = np.random.default_rng(_SEED).standard_normal((_INPUTS, *plain.input(0).shape)).astype(np.float32)
    return graph.deployed(calibration.quantize_uncorrected(plain, noise), _card(plain))


def quantized_card(card: Card) -> ov.Model:
    """Return a card's model as `quantized` has it; one that is quantized already stays as it is."""
    plain = model_file.read(card)
    if card.quantization:
        return graph.deployed(plain, card)
    graph.unquantize(plain)
    size = card.input.size
    noise = np.random.default_rng(_SEED).integers(0, 256, (_INPUTS, 1, size, size, 3), np.uint8)
    inputs = (graph.model_input(one, card) for one in noise)
    return graph.deployed(calibration.quantize_uncorrected(plain, inputs), card)


def quantized_ahead(architectures: Sequence[Architecture]) -> Iterator[ov.Model]:
    """Yield each network as `quantized` has it, some made ahead, by several processes.

    These rest whenever the caller has a network, so that it can be measured.

    Raises:
        RunFailed: a process died.
    """
    count = min(system.usable_cpus(), _MOST_PROCESSES)
    if count == 1 or len(architectures) < _FEW:
        yield from map(quantized, architectures)
        return
    with TemporaryDirectory(prefix="harness-int8-") as folder, workers.pool(count) as pool:
        for start in range(0, len(architectures), count * _AHEAD):
            some = architectures[start : start + count * _AHEAD]
            paths = [Path(folder, f"{number}.xml") for number in range(start, start + len(some))]
            try:
                list(pool.map(_write, some, paths))
            except BrokenProcessPool as error:
                raise RunFailed(
                    "A process that quantizes networks was killed, perhaps for want of memory: repeat the "
                    "command to go on."
                ) from error
            for path in paths:
                yield _read(path)


def _write(architecture: Architecture, path: Path) -> None:
    ov.save_model(quantized(architecture), path, compress_to_fp16=False)


def _read(path: Path) -> ov.Model:
    """Return a model and take its files away; what the model has mapped of them stays until it goes."""
    model = ov.Core().read_model(path)
    for file in (path, path.with_suffix(".bin")):
        file.unlink()
    return model


def _card(model: ov.Model) -> Card:
    size, classes = model.input(0).shape[2], model.output(0).shape[1]
    return Card(
        name=model.get_friendly_name(),
        benchmark="resnet50",
        file=FileSpec(),
        input=InputSpec.of(Recipe(size, "area", 1.0), "NCHW", "f32", "RGB", MEAN, SCALE),
        output=OutputSpec("logits", classes),
    )
