"""The systems under test: they answer LoadGen's queries with what OpenVINO computes."""

from collections.abc import Sequence

from harness.backend.graph import Compiled
from harness.loadgen.qsl import Qsl
from harness.loadgen.sut.boxes import BoxLane
from harness.loadgen.sut.lane import (
    Complete,
    Fail,
    Issue,
    LabelLane,
    Lane,
    MakeLane,
    MakeSlot,
    Sut,
    Tap,
    windows,
)
from harness.loadgen.sut.offline import OfflineSut
from harness.loadgen.sut.server import ServerSut
from harness.loadgen.sut.stream import MultiStreamSut, SingleStreamSut
from harness.mlperf.scenario import Scenario

__all__ = [
    "BoxLane",
    "Complete",
    "Issue",
    "LabelLane",
    "Lane",
    "MakeLane",
    "MakeSlot",
    "MultiStreamSut",
    "OfflineSut",
    "ServerSut",
    "SingleStreamSut",
    "Sut",
    "Tap",
    "make_sut",
    "windows",
]

_KINDS: dict[Scenario, type[Sut]] = {
    Scenario.SINGLE_STREAM: SingleStreamSut,
    Scenario.MULTI_STREAM: MultiStreamSut,
    Scenario.SERVER: ServerSut,
    Scenario.OFFLINE: OfflineSut,
}


def make_sut(
    scenario: Scenario,
    compiled: Sequence[Compiled],
    qsl: Qsl,
    make_slot: MakeSlot,
    complete: Complete,
    fail: Fail,
    samples_per_query: int = 1,
    make_lane: MakeLane | None = None,
) -> Sut:
    """Return the SUT that fits the scenario, warmed up.

    Args:
        scenario: what LoadGen will issue.
        compiled: the model by rising batch; only Server uses more than the last.
        qsl: where the samples are.
        make_slot: makes a response.
        complete: answers LoadGen.
        fail: reports a failed inference.
        samples_per_query: samples in a MultiStream query.
        make_lane: makes what computes; None: lanes that answer with labels.
    """
    return _KINDS[scenario](compiled, qsl, make_slot, complete, fail, samples_per_query, make_lane)
