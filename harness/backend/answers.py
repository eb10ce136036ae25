"""OpenVINO's part of each form of answers: the end of the deployed graph, and when two of its answers agree.

harness.task knows how answers are written and scored, and needs no OpenVINO; here stands how they come out
of a model's own output.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from harness.backend import ports
from harness.backend.detections import Detections
from harness.backend.labels import Labels
from harness.dataset.form import Form
from harness.dataset.store import Store
from harness.model.card import Card
from harness.task import task_of


class End(Protocol):
    """The end of one card's deployed graph.

    An answer to one sample is of a type of the task's own, which goes from one of these functions to another.
    """

    @property
    def words(self) -> str:
        """What an image's answer holds as the graph gives it, for people."""

    def fold(self, model: ov.Model, batch: int) -> ov.Model:
        """Return the model with its outputs replaced by the answers to a batch of samples.

        Raises:
            ModelError: the output is not what the card says of it.
        """

    def split(self, outputs: Sequence[npt.NDArray[Any]]) -> list[Any]:
        """Return the answer to each sample of a batch in all outputs of an inference."""

    def agree(self, known: Any, given: Any) -> bool:
        """Return whether an answer is the known one but for rounding."""

    def reader(self, store: Store) -> Callable[[Any, int], Any]:
        """Return what makes the answer that harness.task knows of one of these, given the sample's index.

        It raises ModelError where a score is NaN.
        """


ENDS: Mapping[Form, Callable[[Card], End]] = {Form.LABEL: Labels, Form.BOXES: Detections}
"""By the form of a card's task."""


def end_of(card: Card) -> End:
    """Return the end of a card's deployed graph."""
    return ENDS[task_of(card).FORM](card)


def tail(model: ov.Model, card: Card) -> ov.Model:
    """Return what follows the outputs of a card's model: these in, answers out, one sample at a time.

    Raises:
        ModelError: the outputs are not what the card says of them.
    """
    ports_of = ports.with_own_outputs(model, card).outputs
    given = [ops.parameter(port.partial_shape, port.element_type) for port in ports_of]
    outputs = ov.Model([ops.result(one) for one in given], given, model.get_friendly_name())
    return end_of(card).fold(outputs, 1)
