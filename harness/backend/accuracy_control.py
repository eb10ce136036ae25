"""Quantization that gives layers back to floating point until a card's model keeps its accuracy.

NNCF ranks the layers by what each costs and gives them back one by one; here stands how accurate a model is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy.typing as npt

from harness.backend import answers, calibration_list, folding, graph, ports
from harness.backend.settings import CompileSettings
from harness.console import progress
from harness.dataset.store import Store
from harness.errors import DataError, HarnessError
from harness.model.card import Card
from harness.task import task_of

VALIDATION_SAMPLES = 5000
"""Of so many held-out images at most the accuracy is measured."""

Inputs = Callable[[Sequence[int]], Any]
"""Makes the model's inputs for samples of a store: a sequence that computes each when it is asked for."""


class _Indexed:
    """Pairs of index and model input: NNCF judges a model on any part of the images, and says not which."""

    def __init__(self, indices: Sequence[int], inputs: Any) -> None:
        self._indices = indices
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> tuple[int, npt.NDArray[Any]]:
        return self._indices[place], self._inputs[place]

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        return map(self.__getitem__, range(len(self)))


def held_out(card: Card, store: Store, indices: Sequence[int]) -> list[int]:
    """Return the samples that accuracy is measured on: of those not calibrated on, one of each stretch.

    Raises:
        HarnessError: the model has no trained weights, or no sample is left.
    """
    if card.speed_only:
        raise HarnessError(
            f"Model '{card.name}' has no trained weights, so no accuracy: leave out --max-drop."
        )
    used = set(indices)
    free = [index for index in range(store.count) if index not in used]
    if not free:
        raise DataError(
            f"All {store.count} images of {store.path} are used for calibration and none is left to measure "
            f"the drop: give fewer --samples."
        )
    count = min(len(free), VALIDATION_SAMPLES)
    return [free[place] for place in calibration_list.one_of_each_stretch(len(free), count)]


def quantize(
    nncf: Any,
    model: Any,
    card: Card,
    store: Store,
    indices: Sequence[int],
    inputs: Inputs,
    max_drop: float,
    **arguments: Any,
) -> tuple[Any, dict[str, Any]]:
    """Quantize a card's model, and give back layers until it loses at most `max_drop` (a fraction).

    Args:
        nncf: the module.
        model: openvino.Model in floating point, of a batch of 1 or a free one.
        card: says what its outputs mean.
        store: the images.
        indices: samples to calibrate on.
        inputs: makes the model's inputs.
        max_drop: of the accuracy on the held-out samples.
        arguments: NNCF's, beyond these.

    Returns:
        The quantized model, and what a calibration record has of it.

    Raises:
        HarnessError: as `held_out`.
    """
    judged = held_out(card, store, indices)
    measured: list[float] = []
    task, end = task_of(card), answers.end_of(card)
    truth, read = task.truth(store), end.reader(store)
    tail = answers.tail(graph.of_batch_of_one(model, card), card)
    last = graph.compile_model(tail, CompileSettings("LATENCY")).model.create_infer_request()

    def accuracy(compiled: Any, pairs: Iterable[tuple[int, Any]]) -> tuple[float, list[float]]:
        request = compiled.create_infer_request()
        seen: list[int] = []
        found: list[Any] = []
        with progress("Validating", len(judged)) as bar:
            for index, values in pairs:
                outputs = last.infer(list(request.infer([values], share_outputs=True).values()))
                seen.append(index)
                found += [read(one, index) for one in end.split(list(outputs.values()))]
                bar.advance()
        overall, each = task.rates(found, truth[seen])
        if len(seen) == len(judged):
            measured.append(overall)
        return overall, each

    # Only the card's own outputs count; NNCF hands us every output.
    quantized = nncf.quantize_with_accuracy_control(
        ports.with_own_outputs(model, card),
        nncf.Dataset(inputs(indices)),
        nncf.Dataset(_Indexed(judged, inputs(judged)), itemgetter(1)),
        accuracy,
        max_drop=max_drop,
        **arguments,
    )
    record = {
        "max_drop": max_drop,
        "validation_count": len(judged),
        "floating_point": measured[0],
        "given_back": sorted(folding.floating_point_layers(quantized)),
    }
    return quantized, record
