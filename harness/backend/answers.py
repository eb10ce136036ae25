"""OpenVINO's part of each task: the end of the deployed graph, and when two of its answers agree.

harness.task knows how answers are written and scored, and needs no OpenVINO; here stands how they come out
of a model's own output.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import openvino as ov

from harness.backend.labels import Labels
from harness.errors import ModelError
from harness.model.card import Card

NOT_A_NUMBER = (
    "a score that is not a number (NaN): check its weights, and input.mean and input.scale of its card"
)


class End(Protocol):
    """The end of one card's deployed graph.

    An answer to one sample is of a type of the task's own, which goes from one of these functions to another.
    """

    def fold(self, model: ov.Model) -> ov.Model:
        """Return the model with its output replaced by the answers.

        Raises:
            ModelError: the output is not what the card says of it.
        """

    def split(self, outputs: Sequence[npt.NDArray[Any]]) -> list[Any]:
        """Return the answer to each sample of a batch in all outputs of an inference."""

    def agree(self, known: Any, given: Any) -> bool:
        """Return whether an answer is the known one but for rounding."""


ENDS: Mapping[str, Callable[[Card], End]] = {"classification": Labels}
"""By task."""


def end_of(card: Card) -> End:
    """Return the end of a card's deployed graph."""
    return ENDS[card.task](card)


def label_of(answer: npt.NDArray[Any], card: Card) -> int:
    """Return the label in one sample's output of the card's original model.

    Raises:
        ModelError: a score is NaN.
    """
    require_numbers(answer, card)
    best = answer.reshape(-1)[0] if card.classifier.kind == "label" else answer.argmax()
    return int(best) + card.classifier.label_offset


def require_numbers(answer: npt.NDArray[Any], card: Card) -> None:
    """Raise ModelError where scores or labels that a card's model has given are NaN."""
    if np.isnan(answer).any():
        raise ModelError(f"Model '{card.name}' gives {NOT_A_NUMBER}.")
