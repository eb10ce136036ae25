"""The network that is narrowed, in OpenVINO, in PyTorch, and written back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import files
from harness.backend import graph, ports
from harness.backend.settings import CompileSettings
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model.card import Card, FileSpec
from harness.model.twin import Twin
from harness.training.data import normalised

_TOLERANCE = 1e-3
_TOLERANCE_OF_BYTES = 0.01


def source(card: Card) -> Any:
    """Return a card's network, an openvino.Model in floating point for one image.

    Raises:
        ModelError: it is missing, or quantized.
    """
    model = model_file.read(card)
    graph.unquantize(model)
    if graph.quantizers(model):
        raise ModelError(
            f"Model '{card.name}' is quantized, and only floating-point weights can learn: give the model "
            "that it was made from."
        )
    model = ports.with_own_outputs(model, card)
    graph.set_batch_of_one(model, card)
    return model


def built(card: Card) -> Twin:
    """Return a card's network in PyTorch, of which `read` has made sure.

    Raises:
        ModelError: it cannot be told in PyTorch.
    """
    twin = Twin(source(card), card)
    twin.eval()
    return twin


def read(card: Card) -> Twin:
    """Return a card's network in PyTorch, held against what OpenVINO computes.

    Raises:
        ModelError: it cannot be told in PyTorch, or something else comes out there.
    """
    model, twin = source(card), built(card)
    size = card.input.size
    pixels = np.random.default_rng(1).integers(0, 256, (1, size, size, 3), np.uint8)
    compiled = graph.compile_model(model, CompileSettings("LATENCY", streams=1)).model
    wanted = torch.from_numpy(compiled(graph.model_input(pixels, card))[0].copy()).flatten(1)[
        :, -twin.classes :
    ]
    with torch.no_grad():
        found = twin(normalised(torch.from_numpy(pixels), torch.device("cpu")))
    tolerance = _TOLERANCE * float(wanted.abs().max())
    if card.classifier.kind == "probabilities":
        # They may be rounded to 8 bits, of whatever scale.
        found, wanted, tolerance = found.softmax(1), wanted.float(), _TOLERANCE_OF_BYTES
        wanted = wanted * (found * wanted).sum() / wanted.square().sum()
    difference = float((found - wanted).abs().max())
    if not difference <= tolerance:
        raise ModelError(
            f"Model '{card.name}' cannot learn here: in PyTorch its scores differ by {difference:.2g}, more "
            f"than {tolerance:.2g}; give another network."
        )
    return twin


def written(card: Card, twin: Twin, path: Path) -> Card:
    """Write a network beside the card's other facts, and return a card of it that is not written."""
    model_file.save(twin.write(), path)
    digest = files.sha256_file(path, path.with_suffix(".bin"))
    return replace(card, file=FileSpec(path=path.name, sha256=digest), folder=path.parent.resolve())
