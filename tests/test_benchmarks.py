"""The benchmarks' own statistics."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.files import read_json, write_json
from harness.measurement.statistics import Outcome
from harness.model.architecture import Architecture, resnet50


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


def write_search(folder: Path, networks: dict[str, list[Architecture]], looks: list[float]) -> None:
    """Write what a search leaves that has looked at networks, by part; `looks` in their order."""
    for part, some in networks.items():
        write_json(folder / "parts" / f"{part}.json", {"found": [one.to_dict() for one in some]})
    every = [one for some in networks.values() for one in some]
    for number, (one, accuracy) in enumerate(zip(every, looks, strict=True)):
        # A look at all images is kept as the brief training.
        kind = "brief" if number % 2 else "look"
        write_json(folder / "parts" / f"{kind}-{one.key}-epochs-1-images-128.json", accuracy)


def test_an_ablation_counts_what_turns_found_and_lends_what_they_did_not_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import ablation  # type: ignore[import-not-found]

    some = [resnet50(10, 32, width, "3x3") for width in (0.25, 0.5, 0.75, 1.0, 1.25)]
    networks = {"thoughts": some[:1], "scouts-0": some[1:3], "scouts-1": some[3:]}
    (tmp_path / "macs-1" / "parts").mkdir(parents=True)
    write_search(tmp_path / "macs-1", networks, [0.9, 0.5, 0.6, 0.7, 0.8])
    write_json(tmp_path / "macs-1" / "parts" / "request.json", {})
    found = ablation.found(tmp_path / "macs-1")
    assert found == ablation.Found((0.9,), (0.5, 0.6, 0.7, 0.8))
    assert (found.best, found.best_three) == pytest.approx((0.8, 0.7))
    write_json(tmp_path / "macs-1" / "parts" / "usual-ms.json", 2.0)
    for name, lent in (
        ("weighed-1", {"thoughts", "look", "brief", "usual"}),
        ("weighed-2", {"thoughts", "usual"}),
    ):
        own = tmp_path / name / "parts" / "usual-ms.json"
        own.parent.mkdir(parents=True)
        write_json(own, 3.0)
        ablation.lend(tmp_path, tmp_path / name, int(name[-1]))
        assert read_json(own) == 2.0, "all must be as fast"
        assert {path.stem.split("-")[0] for path in (tmp_path / name / "parts").iterdir()} == lent
    mean, half = ablation.interval([1.0, 2.0, 3.0])
    assert (mean, half) == pytest.approx((2.0, 4.303 / 3**0.5), rel=1e-3)
    assert math.isnan(ablation.interval([1.0])[1])
