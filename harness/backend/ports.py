"""A model's input and output, held against its card."""

from math import isnan
from typing import Any

import numpy as np
import openvino as ov

from harness.errors import ModelError
from harness.model.card import ELEMENT_TYPES, Card, DetectionOutput

NOT_A_NUMBER = (
    "a score that is not a number (NaN): check its weights, and input.mean and input.scale of its card"
)


def require_number(value: float, card: Card) -> None:
    """Raise ModelError where a score, or a sum of them, that a card's model has given is NaN."""
    if isnan(value):
        raise ModelError(f"Model '{card.name}' gives {NOT_A_NUMBER}.")


def with_own_outputs(model: ov.Model, card: Card) -> ov.Model:
    """Return the model reduced to the output that its card names; a detector's are known by their shapes.

    Raises:
        ModelError: there is no such output, or there are several and the card names none.
    """
    if isinstance(card.output, DetectionOutput):
        return model
    outputs = model.outputs
    wanted = card.classifier.tensor
    if wanted is None and len(outputs) == 1:
        return model
    named = [port for port in outputs if wanted in port.get_names() or port_name(port) == wanted]
    if not named:
        names = ", ".join(f"'{port_name(port)}'" for port in outputs)
        fault = "has several outputs" if wanted is None else f"has no output '{wanted}'"
        raise ModelError(f"Model '{card.name}' {fault}: set the card's output.tensor to one of {names}.")
    return ov.Model([named[0].node], model.get_parameters(), model.get_friendly_name())


def input_port(model: ov.Model, card: Card) -> Any:
    """Return the model's only input, an openvino.Output.

    Raises:
        ModelError: it has several, or one of another name than the card's.
    """
    inputs = model.inputs
    wanted = card.input.tensor
    names = ", ".join(f"'{port_name(port)}'" for port in inputs)
    if len(inputs) != 1:
        raise ModelError(
            f"Model '{card.name}' has {len(inputs)} inputs ({names}), which is not supported: give a model "
            f"that takes one image."
        )
    if wanted is not None and wanted not in inputs[0].get_names():
        raise ModelError(f"The input of model '{card.name}' is called {names}: correct input.tensor.")
    return inputs[0]


def check_input(port: Any, card: Card) -> None:
    """Raise ModelError unless an input has the card's shape and element type, and these are supported."""
    given = card.input
    shape, kind = port.partial_shape, port.element_type.get_type_name()
    start = f"Input '{port_name(port)}' of model '{card.name}' has"
    if fault := _unsupported(shape):
        raise ModelError(
            f"{start} the shape {shape}: {fault} not supported; give a model of square images in three "
            f"channels."
        )
    expected = [-1, given.size, given.size, 3] if given.layout == "NHWC" else [-1, 3, given.size, given.size]
    if not all(
        want == -1 or dimension.is_dynamic or dimension.get_length() == want
        for want, dimension in zip(expected, shape, strict=True)
    ):
        raise ModelError(
            f"{start} the shape {shape}, but its card says {given.layout} at {given.size} px: "
            f"correct input.layout or input.size."
        )
    if kind not in ELEMENT_TYPES:
        raise ModelError(
            f"{start} the element type {kind}, which is not supported: give a model that takes "
            f"{', '.join(ELEMENT_TYPES[:-1])} or {ELEMENT_TYPES[-1]}."
        )
    if kind != given.element_type:
        raise ModelError(
            f"{start} the element type {kind}, but its card says {given.element_type}: "
            f"correct input.element_type."
        )


def check_output(port: Any, card: Card, batch: int, wanted: int) -> None:
    """Raise ModelError unless an output has `wanted` values a sample, and a place for each of the batch."""
    shape = list(port.shape) if port.partial_shape.is_static else None
    count = None if shape is None else int(np.prod(shape))
    if shape is not None and count == batch * wanted and (batch == 1 or shape[:1] == [batch]):
        return
    start = f"Output '{port_name(port)}' of model '{card.name}' has the shape {port.partial_shape}"
    if count in (wanted, batch * wanted):
        raise ModelError(f"{start}, in which a batch of {batch} has no place: use --batch 1.")
    stated = card.classifier
    raise ModelError(
        f"{start}, but its card's {stated.kind} with {stated.classes} classes need {wanted} "
        f"value(s) a sample: correct output.kind, output.classes or output.tensor."
    )


def _unsupported(shape: ov.PartialShape) -> str | None:
    """Return what about an input's shape no card can describe, in words before "not supported"."""
    if shape.rank.is_dynamic or len(shape) != 4:
        return "an input that has not four dimensions is"
    _, *rest = (None if dimension.is_dynamic else dimension.get_length() for dimension in shape)
    sides = [pair for channels, *pair in (rest, [rest[2], *rest[:2]]) if channels in (None, 3)]
    if not sides:
        return (
            "grey images, of one channel, are" if 1 in (rest[0], rest[2]) else "channels other than three are"
        )
    if all(None not in pair and pair[0] != pair[1] for pair in sides):
        return "images that are not square are"
    return None


def port_name(port: Any) -> str:
    """Return the tensor name of an input or output, or its node's name when it has none."""
    names = sorted(port.get_names())
    return names[0] if names else str(port.node.get_friendly_name())
