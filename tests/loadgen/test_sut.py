"""The systems under test, driven without LoadGen."""

import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from conftest import CLASSES, PATIENCE_S, SIZE, grey_of, oracle_model
from openvino import opset13 as ops

from harness.backend import graph
from harness.backend.settings import CompileSettings
from harness.loadgen.qsl import Qsl
from harness.loadgen.sut import MultiStreamSut, OfflineSut, ServerSut, SingleStreamSut, make_sut
from harness.loadgen.sut.lane import LabelLane, Lane
from harness.loadgen.sut.offline import cut
from harness.mlperf.scenario import Scenario
from harness.model.card import Card
from harness.task import classification


class Slot:
    def __init__(self, address: int, length: int) -> None:
        self.address, self.length = address, length
        self.id = -1


class Answers:
    """Collects (id, label) as LoadGen would copy them."""

    def __init__(self, count: int) -> None:
        self.labels: dict[int, float] = {}
        self._count = count
        self._lock = threading.Lock()
        self.finished = threading.Event()

    def complete(self, slots: list[Any]) -> None:
        with self._lock:
            for slot in slots:
                assert slot.id not in self.labels
                assert slot.length == classification.ANSWER_BYTES
                raw = ctypes.string_at(slot.address, slot.length)
                self.labels[slot.id] = float(np.frombuffer(raw, classification.ANSWER)[0])
            if len(self.labels) == self._count:
                self.finished.set()


def compiled(
    batch: int = 1, hint: str = "THROUGHPUT", streams: int | None = None, **options: int
) -> graph.Compiled:
    card = _card()
    model = graph.deployed(oracle_model(batch=batch, **options), card, batch)
    return graph.compile_model(model, CompileSettings(hint, threads=2, streams=streams))


def _card() -> Card:
    from harness.model.card import FileSpec, InputSpec, OutputSpec

    given = InputSpec(SIZE, "NHWC", "u8", "RGB", "none", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Card("oracle", "resnet50", FileSpec(path="x"), given, OutputSpec("logits", CLASSES))


def library(labels: list[int]) -> Qsl:
    pixels = np.stack([np.full((SIZE, SIZE, 3), grey_of(label), np.uint8) for label in labels])
    return Qsl(pixels)


def fail(index: int, error: Exception) -> None:
    raise AssertionError(f"sample {index}") from error


LABELS = [index * 7 % CLASSES for index in range(50)]


def offline_answers(batch: int, load_order: list[int], query: list[int]) -> dict[int, float]:
    answers = Answers(len(query))
    qsl = library(LABELS)
    sut = OfflineSut([compiled(batch)], qsl, Slot, answers.complete, fail)
    qsl.load(load_order)
    sut.samples_loaded()
    sut.issue([1000 + place for place in range(len(query))], query)
    assert answers.finished.wait(30)
    sut.close()
    assert sut.completed == len(query)
    return answers.labels


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(
    "case", ["load order", "load order twice and a bit", "shuffled", "one sample again and again"]
)
def test_offline_answers_each_sample_with_its_own_label(batch: int, case: str) -> None:
    order = np.random.default_rng(7).permutation(50).tolist()
    query = {
        "load order": order,
        "load order twice and a bit": (order * 3)[:117],
        "shuffled": np.random.default_rng(8).permutation(50).tolist(),
        "one sample again and again": [order[3]] * 20,
    }[case]
    labels = offline_answers(batch, order, query)
    assert [labels[1000 + place] for place in range(len(query))] == [LABELS[index] for index in query]


def test_offline_serves_one_query_after_another() -> None:
    qsl = library(LABELS)
    answers = Answers(50)
    sut = OfflineSut([compiled(4)], qsl, Slot, answers.complete, fail)
    for part in (list(range(30)), list(range(30, 50))):
        qsl.load(part)
        sut.samples_loaded()
        sut.issue(part, part)
        while sut.completed < part[-1] + 1:
            answers.finished.wait(0.01)
        qsl.unload()
    sut.close()
    assert [answers.labels[index] for index in range(50)] == LABELS


def test_single_stream_answers_each_query_with_its_own_label() -> None:
    qsl = library(LABELS)
    answers = Answers(50)
    sut = SingleStreamSut([compiled(1, "LATENCY")], qsl, Slot, answers.complete, fail)
    qsl.load(range(49, -1, -1))
    sut.samples_loaded()
    for index in range(50):
        sut.issue([index], [index])
    assert [answers.labels[index] for index in range(50)] == LABELS


@pytest.mark.parametrize("make", [SingleStreamSut, MultiStreamSut, ServerSut, OfflineSut])
def test_a_sample_that_was_not_loaded_is_a_failure_and_not_an_answer(make: Callable[..., Any]) -> None:
    failures: list[int] = []
    qsl = library(LABELS)
    answers = Answers(1)
    sut = make([compiled()], qsl, Slot, answers.complete, lambda index, error: failures.append(index))
    qsl.load([1, 2, 3])
    sut.samples_loaded()
    sut.issue([0], [9])
    deadline = time.monotonic() + PATIENCE_S
    while not failures and time.monotonic() < deadline:
        time.sleep(0.001)
    assert failures == [9]
    assert answers.labels == {}
    sut.close()


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("make", [SingleStreamSut, MultiStreamSut, ServerSut, OfflineSut])
def test_a_sample_whose_score_is_nan_is_a_failure_and_no_answer_but_what_fills_a_batch_is_none(
    make: Callable[..., Any], batch: int
) -> None:
    # Black is what a batch is filled up with, and what it is warmed up on.
    for nan_grey, broken in ((0, None), (grey_of(LABELS[8]), 8)):
        if make is SingleStreamSut and batch > 1:
            continue
        failures: list[tuple[int, str]] = []
        answers = Answers(7)
        sut = make(
            [compiled(batch, streams=1, nan_grey=nan_grey)], library(LABELS), Slot, answers.complete,
            lambda index, error, failures=failures: failures.append((index, str(error))),
        )  # fmt: skip
        sut._qsl.load(range(50))
        sut.samples_loaded()
        for query in [[index] for index in range(2, 9)] if make is SingleStreamSut else [list(range(2, 9))]:
            sut.issue(query, query)
        deadline = time.monotonic() + PATIENCE_S
        while not (failures or answers.finished.is_set()) and time.monotonic() < deadline:
            time.sleep(0.001)
        sut.close()
        if broken is None:
            assert answers.labels == {index: LABELS[index] for index in range(2, 9)}
            assert not failures
        else:
            assert [index for index, _ in failures] == [broken]
            assert "the model gives a score that is not a number (NaN)" in failures[0][1]
            assert broken not in answers.labels


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_cutting_a_query_agrees_with_looking_at_each_batch(batch: int) -> None:
    random = np.random.default_rng(batch)
    rows = np.concatenate([np.arange(13), np.arange(13), random.permutation(13), np.arange(4)])
    slow = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        in_order = len(part) == batch and all(
            later - former == 1 for former, later in itertools.pairwise(part)
        )
        slow.append((start, start + len(part), in_order))
    assert cut(rows, batch) == slow


def test_resident_samples_lie_in_load_order_and_are_freed_on_unload() -> None:
    qsl = library(LABELS)
    qsl.load([5, 3, 5, 9])
    assert qsl.positions([5, 3, 9, 4]).tolist() == [0, 1, 3, -1]
    assert qsl.block.shape == (4, SIZE, SIZE, 3)
    assert qsl.block[:, 0, 0, 0].tolist() == [grey_of(LABELS[index]) for index in (5, 3, 5, 9)]
    assert qsl.block.ctypes.data % 64 == 0
    qsl.unload()
    assert qsl.block.nbytes == 0
    assert qsl.positions([5, 3, 9]).tolist() == [-1, -1, -1]


def multi_stream_answers(
    batch: int, load_order: list[int], queries: list[list[int]], streams: int | None = None
) -> tuple[list[list[float]], Any]:
    qsl = library(LABELS)
    answers = Answers(sum(map(len, queries)))
    sut = MultiStreamSut([compiled(batch, "LATENCY", streams)], qsl, Slot, answers.complete, fail, 8)
    qsl.load(load_order)
    sut.samples_loaded()
    labels = []
    for number, query in enumerate(queries):
        ids = [100 * number + place for place in range(len(query))]
        sut.issue(ids, query)
        assert sut.completed == len(answers.labels)
        labels.append([answers.labels[one] for one in ids])
    return labels, sut


@pytest.mark.parametrize(("batch", "streams"), [(8, 1), (4, 2), (3, 2), (1, 1), (1, 2)])
def test_multi_stream_answers_each_sample_with_its_own_label(batch: int, streams: int) -> None:
    order = np.random.default_rng(7).permutation(50).tolist()
    padded = order + order[:7]
    queries = [padded[first : first + 8] for first in range(50)]
    queries += [[order[3]] * 8, order[8:0:-1], order[:5], order[:20]]
    labels, _ = multi_stream_answers(batch, padded, queries, streams)
    assert labels == [[LABELS[index] for index in query] for query in queries]


def test_every_window_of_a_padded_load_order_is_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    order = np.random.default_rng(7).permutation(50).tolist()
    padded = order + order[:7]
    assert (len(padded), len(set(padded))) == (57, 50)
    monkeypatch.setattr(Lane, "gather", lambda *_: pytest.fail("copied"))
    for batch in (8, 4, 1):
        multi_stream_answers(batch, padded, [padded[first : first + 8] for first in range(50)])


def test_a_window_begins_where_a_sample_stands_first() -> None:
    qsl = library(LABELS)
    qsl.load([4, 1, 7, 4, 1])
    assert qsl.window([4, 1, 7]) == 0
    assert qsl.window([7, 4, 1]) == 2
    assert qsl.window([1, 4]) is None
    assert qsl.window([9]) is None
    assert qsl.window([4, 1, 7, 4, 1, 7]) is None


@pytest.mark.parametrize("ladder", [[1], [1, 2, 4], [4]])
def test_server_answers_each_sample_with_its_own_label(ladder: list[int]) -> None:
    qsl = library(LABELS)
    answers = Answers(600)
    sut = ServerSut([compiled(batch) for batch in ladder], qsl, Slot, answers.complete, fail)
    qsl.load(range(50))
    sut.samples_loaded()
    assert sut.idle
    random = np.random.default_rng(3)
    for number in range(600):
        sut.issue([number], [number * 7 % 50])
        if random.random() < 0.05:
            time.sleep(0.002)
    assert answers.finished.wait(30)
    sut.close()
    assert sut.completed == 600
    assert sut.idle
    assert all(answers.labels[number] == LABELS[number * 7 % 50] for number in range(600))


def test_a_server_takes_what_waits_in_batches_and_one_alone_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    entered, release = threading.Event(), threading.Event()
    original = LabelLane.answers

    def answers_of(self: LabelLane, ids: list[int], indices: list[int]) -> list[Any]:
        sizes.append(len(ids))
        entered.set()
        assert release.wait(30)
        assert indices == ids
        return original(self, ids, indices)

    monkeypatch.setattr(LabelLane, "answers", answers_of)
    qsl = library(LABELS)
    answers = Answers(8)
    sut = ServerSut([compiled(batch, streams=1) for batch in (1, 2, 4)], qsl, Slot, answers.complete, fail)
    qsl.load(range(50))
    sut.samples_loaded()
    sut.issue([0], [0])
    assert entered.wait(30)
    assert not sut.idle
    for number in range(1, 8):
        sut.issue([number], [number])
    release.set()
    assert answers.finished.wait(30)
    sut.close()
    assert sizes == [1, 4, 2, 1]


def test_an_answer_is_the_first_number_of_a_row_of_the_deployed_graph() -> None:
    pixels = ops.parameter([2, SIZE, SIZE, 3], np.uint8)
    mean = ops.reduce_mean(ops.convert(pixels, np.float32), np.array([1, 2]), False)
    model = graph.compile_model(ov.Model([ops.result(mean)], [pixels]), CompileSettings("LATENCY"))
    rows: dict[int, list[float]] = {}

    def complete(slots: list[Slot]) -> None:
        for slot in slots:
            rows[slot.id] = np.frombuffer(ctypes.string_at(slot.address, slot.length), np.float32).tolist()

    qsl = library(LABELS)
    sut = make_sut(Scenario.MULTI_STREAM, [model], qsl, Slot, complete, fail, 2)
    qsl.load(range(8))
    sut.samples_loaded()
    sut.issue([70, 71], [3, 4])
    sut.close()
    assert rows == {
        identity: pytest.approx([qsl.copy([index])[0, :, :, 0].mean()])
        for identity, index in ((70, 3), (71, 4))
    }


def test_scenarios_have_their_own_sut() -> None:
    for scenario, kind in (
        (Scenario.SINGLE_STREAM, SingleStreamSut),
        (Scenario.MULTI_STREAM, MultiStreamSut),
        (Scenario.SERVER, ServerSut),
        (Scenario.OFFLINE, OfflineSut),
    ):
        made = make_sut(scenario, [compiled(1)], library(LABELS), Slot, lambda slots: None, fail)
        assert type(made) is kind
        made.close()
