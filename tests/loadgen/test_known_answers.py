"""A model that was compiled wrongly is found: planted faults, through real LoadGen and OpenVINO."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from conftest import BRIEF_S, CLASSES, Oracle
from openvino import opset13 as ops

from harness.backend import graph
from harness.dataset.store import Store
from harness.errors import ModelError, RunFailed
from harness.loadgen import drive, known_answers, work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.mlperf import conf
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card
from harness.run import session


def job_of(oracle: Oracle, folder: Path, scenario: Scenario, **settings: Any) -> Job:
    user_conf = folder / "user.conf"
    told = (
        {"target_qps": 2000.0} if scenario in (Scenario.OFFLINE, Scenario.SERVER) else {"target_latency": 1.0}
    )
    user_conf.write_text(conf.render_user_conf("resnet50", scenario, **told))
    chosen = RunSettings(scenario, threads=2, duration_s=BRIEF_S, **settings).with_defaults()
    return Job(
        oracle.card, oracle.store.path, chosen, folder, Mode.PERFORMANCE, user_conf, samples_per_query=8
    )


def wrongly_compiled(model: ov.Model, settings: Any) -> graph.Compiled:
    """Compile the oracle with the greys of its classes in reverse."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_output_size() and list(node.shape) == [1, CLASSES]:
            ov.utils.replace_node(node, ops.constant(np.ascontiguousarray(node.get_data()[:, ::-1])))
    return graph.compile_model(model, settings)


def perform_with_wrong_compilations(
    backend: Backend,
    *,
    batch: int,
    count: int,
    make: Callable[[ov.Model, Any], graph.Compiled] = wrongly_compiled,
) -> dict[str, Any]:
    """Perform the job's test; the first `count` compilations for a batch are wrong."""
    right, wrong = backend.compile, []

    def compile_model(settings: RunSettings, size: int) -> graph.Compiled:
        if size == batch and len(wrong) < count:
            wrong.append(size)
            return make(backend.deployed(size).clone(), settings.compile_settings)
        return right(settings, size)

    backend.compile = compile_model  # type: ignore[method-assign]
    return drive.perform(backend)


SETUPS = [
    pytest.param(Scenario.SINGLE_STREAM, {}, 1, 1, id="single stream"),
    pytest.param(Scenario.MULTI_STREAM, {"batch": 4, "streams": 2}, 4, 2, id="multi stream, in parts"),
    pytest.param(Scenario.MULTI_STREAM, {"batch": 8, "streams": 1}, 8, 1, id="multi stream, whole"),
    pytest.param(Scenario.OFFLINE, {"batch": 3, "streams": 2}, 3, 2, id="offline"),
    pytest.param(Scenario.SERVER, {"batch": 4, "streams": 2}, 2, 6, id="server, the middle of its ladder"),
]


@pytest.mark.parametrize(("scenario", "settings", "batch", "requests"), SETUPS)
def test_a_model_that_was_compiled_wrongly_is_compiled_again(
    oracle: Oracle, tmp_path: Path, scenario: Scenario, settings: dict[str, int], batch: int, requests: int
) -> None:
    job = job_of(oracle, tmp_path, scenario, **settings)
    done = work.run(job, work=partial(perform_with_wrong_compilations, batch=batch, count=3))
    assert done["known_answers"] == {
        "samples": 2,
        "requests": requests,
        "compilations": 4,
        "checked_after_the_test": True,
    }


def test_a_model_that_is_compiled_wrongly_again_and_again_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    job = job_of(oracle, tmp_path, Scenario.OFFLINE, streams=2)
    with pytest.raises(ModelError) as caught:
        work.run(job, work=partial(perform_with_wrong_compilations, batch=1, count=4))
    assert str(caught.value) == (
        "OpenVINO compiled model 'oracle' for 2 stream(s) and 4 time(s), and each time it answered known "
        "samples wrongly, the last time in 2 of 2 requests: use --streams 1 or another version of OpenVINO."
    )
    assert not list(tmp_path.glob("mlperf_log_*"))


class Spoilt:
    """A compiled model one of whose requests answers with the next label once it is spoilt."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.output = model.output
        self.requests: list[SpoiltRequest] = []

    def create_infer_request(self) -> "SpoiltRequest":
        self.requests.append(SpoiltRequest(self._model.create_infer_request()))
        return self.requests[-1]


class SpoiltRequest:
    def __init__(self, request: Any) -> None:
        self._request = request
        self.is_spoilt = False
        self.set_input_tensor = request.set_input_tensor

    def set_output_tensor(self, tensor: Any) -> None:
        self._labels = tensor.data
        self._request.set_output_tensor(tensor)

    def infer(self, **options: Any) -> None:
        self._request.infer(**options)
        if self.is_spoilt:
            self._labels += 1


def perform_and_spoil(backend: Backend) -> dict[str, Any]:
    """Perform the job's test; while LoadGen runs, one of the model's requests goes wrong."""
    (compiled,) = backend.compile_ladder(backend.job.settings)
    spoilt = Spoilt(compiled.model)
    load = backend.qsl.load

    def load_and_spoil(indices: list[int]) -> None:
        load(indices)
        spoilt.requests[-1].is_spoilt = True

    backend.qsl.load = load_and_spoil  # type: ignore[assignment,method-assign]
    return drive.perform(backend, [replace(compiled, model=spoilt)])


def test_a_test_whose_model_went_wrong_meanwhile_does_not_count(oracle: Oracle, tmp_path: Path) -> None:
    job = job_of(oracle, tmp_path, Scenario.OFFLINE, streams=2)
    with pytest.raises(RunFailed) as caught:
        work.run(job, work=perform_and_spoil)
    assert str(caught.value) == (
        "Model 'oracle' answered rightly before the test and wrongly after it in 1 of 2 infer requests, so "
        "the test does not count: repeat the command."
    )


def test_a_result_says_what_was_checked(oracle: Oracle, tmp_path: Path) -> None:
    settings = RunSettings(Scenario.OFFLINE, streams=2, threads=2, duration_s=BRIEF_S)
    modes = (Mode.PERFORMANCE, Mode.ACCURACY)
    document, _ = session.run(
        session.Request(oracle.card, oracle.store.path, settings, modes, tmp_path, system="here")
    )
    for mode in modes:
        section = document.section(mode)
        assert section is not None
        assert section.known_answers == {
            "samples": 2,
            "requests": 2,
            "compilations": 1,
            "checked_after_the_test": True,
        }


def rounded(model: ov.Model, settings: Any, change: float) -> graph.Compiled:
    """Compile the oracle such that all of its scores are higher by a share of its best score's height."""
    scores = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Negative")
    height = (CLASSES - 1) * (CLASSES + 1) * 20 / (4 * CLASSES)
    shifted = ops.add(scores, np.float32(change * height))
    for target in list(scores.output(0).get_target_inputs()):
        if target.get_node() != shifted:
            target.replace_source_output(shifted.output(0))
    return graph.compile_model(model, settings)


@pytest.mark.parametrize(("change", "compilations"), [(0.004, 1), (0.05, 2)])
def test_scores_count_as_well_as_labels_and_may_differ_by_rounding(
    oracle: Oracle, tmp_path: Path, change: float, compilations: int
) -> None:
    job = job_of(oracle, tmp_path, Scenario.OFFLINE, streams=2)
    make = partial(rounded, change=change)
    done = work.run(job, work=partial(perform_with_wrong_compilations, batch=1, count=1, make=make))
    assert done["known_answers"]["compilations"] == compilations


def test_samples_come_from_all_over_the_store() -> None:
    assert known_answers.spread(1000) == [0, 999]
    assert known_answers.spread(2) == [0, 1]
    assert known_answers.spread(1) == [0]


def test_a_real_model_with_packed_weights_answers_rightly_in_two_streams(
    mobilenet: tuple[Card, Store], tmp_path: Path
) -> None:
    card, store = mobilenet
    settings = RunSettings(Scenario.OFFLINE, streams=2, threads=2, duration_s=BRIEF_S)
    document, _ = session.run(
        session.Request(card, store.path, settings, (Mode.ACCURACY,), tmp_path / "out", system="here")
    )
    assert document.accuracy.accuracy >= 0.88
    assert document.accuracy.known_answers["compilations"] == 1
    assert document.precision.kernels == {"f32": 53}
