"""The benchmarks' own statistics."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.measurement.statistics import Outcome


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return benchmarks/record.py as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import record  # type: ignore[import-not-found]

    yield record
    del sys.modules["record"], sys.modules["overhead"]


def test_a_figure_that_fell_by_more_than_its_noise_became_slower(record: Any) -> None:
    dice = np.random.default_rng(1)
    before = list(np.exp(dice.normal(0, 0.01, 7)))
    slower = list(0.95 * np.exp(dice.normal(0, 0.01, 7)))
    found = record.change(slower, before)
    assert found.low < 0.95 * 1.01
    assert found.outcome is Outcome.SLOWER
    assert record.change(before, slower).outcome is Outcome.FASTER


def test_noise_alone_is_seldom_called_a_change(record: Any) -> None:
    dice = np.random.default_rng(2)
    calls = [
        record.change(list(np.exp(dice.normal(0, 0.02, 7))), list(np.exp(dice.normal(0, 0.02, 7)))).outcome
        for _ in range(400)
    ]
    assert 0.92 <= calls.count(Outcome.UNDECIDED) / 400 <= 0.98
