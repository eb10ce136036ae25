"""Networks quantized ahead, by other processes."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunFailed
from harness.machine import system
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.profiling import int8
from harness.search.space.revisions import Space

SPACE = Space(Architecture(10, 16, "3x3", 16, (Stage(32, (Block(16),) * 2),)), (16,))
NETWORKS = SPACE.samples(1, int8._FEW + 1)


def test_networks_quantized_ahead_are_those_quantized_one_by_one_and_leave_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(system, "usable_cpus", lambda: 2)
    monkeypatch.setattr(int8, "_AHEAD", 3)
    made = list(int8.quantized_ahead(NETWORKS))
    assert len(made) == len(NETWORKS)
    for network, found in zip(NETWORKS, made, strict=True):
        wanted = int8.quantized(network)
        assert weights(found) == weights(wanted)
        assert found.input(0).shape == wanted.input(0).shape == [1, 16, 16, 3]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_ends_the_measurement_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "usable_cpus", lambda: 2)
    monkeypatch.setattr(int8, "_write", die)
    with pytest.raises(RunFailed, match="A process that quantizes networks was killed"):
        list(int8.quantized_ahead(NETWORKS))


def weights(model: object) -> list[tuple[tuple[int, ...], bytes]]:
    """Return shape and bytes of each constant, however the graph is ordered."""
    return sorted(
        (tuple(op.output(0).shape), np.ascontiguousarray(op.data).tobytes())
        for op in model.get_ordered_ops()  # type: ignore[attr-defined]
        if op.get_type_name() == "Constant"
    )


def die(*_: object) -> None:
    os._exit(1)
