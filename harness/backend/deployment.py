"""The deployed graph as a file, for servers that read OpenVINO's format."""

from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from harness.backend import folding, graph, ports
from harness.endpoint.contract import Tensor, datatype_of
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model.card import Card, OutputSpec

INPUT = "image"
SCORES = "scores"


@dataclass(frozen=True)
class Interface:
    """What a written model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def write(card: Card, path: Path, batch: int = 1, *, scores: bool = False) -> Interface:
    """Write a card's deployed graph as IR: u8 [batch, size, size, 3] RGB pixels in, answers or scores out.

    Args:
        card: the model.
        path: ends in .xml; the weights lie beside it, in .bin.
        batch: images that a call holds.
        scores: give the model's own output in place of the answers of its task.

    Raises:
        ModelError: the model contradicts its card, does not admit the batch, or has no scores to give.
    """
    if scores and isinstance(card.output, OutputSpec) and card.output.kind == "label":
        raise ModelError(f"Model '{card.name}' gives labels and has no scores to serve: leave out --scores.")
    source = model_file.read(card)
    if scores:
        model = folding.folded(graph.fold_input(source, card, batch))
        if len(model.outputs) == 1:
            model.output(0).set_names({SCORES})
    else:
        model = graph.deployed(source, card, batch)
    model.input(0).set_names({INPUT})
    # Servers must compute what was measured: weights stay as they are.
    ov.save_model(model, path, compress_to_fp16=False)
    return Interface(tuple(map(_tensor, model.inputs)), tuple(map(_tensor, model.outputs)))


def _tensor(port: ov.Output) -> Tensor:
    shape = tuple(-1 if one.is_dynamic else one.get_length() for one in port.get_partial_shape())
    return Tensor(ports.port_name(port), datatype_of(port.get_element_type().to_dtype()), shape)
