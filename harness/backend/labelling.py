"""A deployed model's labels for some of a store's samples, without LoadGen."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from harness.backend.graph import Compiled, last_line
from harness.errors import RunFailed


def labels(
    compiled: Compiled,
    samples: npt.NDArray[np.uint8],
    indices: Sequence[int] | npt.NDArray[np.intp],
    done: Callable[[], None] = lambda: None,
) -> npt.NDArray[np.int64]:
    """Return the label of each sample, in the order of `indices`; all streams work at once.

    Args:
        compiled: of batch 1.
        samples: u8 [count, size, size, 3].
        indices: which of them.
        done: is called after each.

    Raises:
        RunFailed: an inference failed.
    """
    requests = [compiled.model.create_infer_request() for _ in range(compiled.streams)]
    found = np.zeros(len(indices), np.int64)

    def take(place: int) -> None:
        request: Any = requests[place % len(requests)]
        request.wait()
        found[place] = int(request.get_output_tensor().data.reshape(-1)[0])
        done()

    try:
        for place, index in enumerate(indices):
            if place >= len(requests):
                take(place - len(requests))
            request = requests[place % len(requests)]
            request.set_input_tensor(ov.Tensor(np.ascontiguousarray(samples[index : index + 1])))
            request.start_async()
        for place in range(max(0, len(indices) - len(requests)), len(indices)):
            take(place)
    except RuntimeError as error:
        raise RunFailed(
            f"Inference failed while images were answered: {last_line(error)}; export the model again."
        ) from error
    return found
