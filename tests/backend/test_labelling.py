from collections.abc import Callable

import numpy as np
import pytest
from conftest import Oracle

from harness.backend import graph, labelling
from harness.backend.settings import CompileSettings
from harness.errors import RunFailed
from harness.model import file as model_file


def compiled(oracle: Oracle) -> graph.Compiled:
    deployed = graph.deployed(model_file.read(oracle.card), oracle.card)
    return graph.compile_model(deployed, CompileSettings("THROUGHPUT", threads=2, streams=2))


def test_labels_come_in_the_order_asked_for_whatever_the_streams(oracle: Oracle) -> None:
    samples = oracle.store.samples(oracle.card.input.recipe)
    indices = np.random.default_rng(1).permutation(oracle.store.count)[:31]
    told = []
    found = labelling.labels(compiled(oracle), samples, indices, lambda: told.append(1))
    # The oracle tells the grey, which the first three images' labels belie.
    assert found.tolist() == [index % 10 for index in indices]
    assert len(told) == 31
    assert labelling.labels(compiled(oracle), samples, []).tolist() == []


def test_an_inference_that_fails_is_no_answer(new_oracle: Callable[..., Oracle]) -> None:
    oracle = new_oracle(count=20, poison=7)
    samples = oracle.store.samples(oracle.card.input.recipe)
    with pytest.raises(RunFailed, match="Inference failed while images were answered"):
        labelling.labels(compiled(oracle), samples, range(20))
