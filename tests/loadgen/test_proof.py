"""Whatever is compiled to be measured is proven first: faults planted wherever the harness compiles."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Oracle

from harness.backend import graph
from harness.explain import ways
from harness.frontier.answering import Answers
from harness.loadgen import drive, probe, work
from harness.loadgen.job import AnsweredWrongly
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.mlperf.scenario import Scenario
from harness.submission.compliance import audit_config
from loadgen.test_known_answers import job_of, wrongly_compiled

Place = Callable[[Backend], dict[str, Any]]

PLACES = [
    *(pytest.param(probe.measure, scenario, id=f"the probe of {scenario}") for scenario in Scenario),
    pytest.param(
        partial(ways.measure, order=ways.WAYS, seconds=0.05), Scenario.OFFLINE, id="a round of explain"
    ),
    pytest.param(
        partial(ways.profile, kinds=(), seconds=0.05), Scenario.SINGLE_STREAM, id="the layers of explain"
    ),
]


def wrong_at_first(backend: Backend, *, place: Place, times: int) -> dict[str, Any]:
    """Do what is done at a place; all that is compiled there is wrong so many times."""
    right: Callable[..., graph.Compiled] = backend.compile
    made: Counter[tuple[int | None, int, bool]] = Counter()

    def compile_model(settings: RunSettings, size: int, *, profile: bool = False) -> graph.Compiled:
        key = (settings.streams, size, profile)
        made[key] += 1
        if made[key] <= times:
            return wrongly_compiled(backend.deployed(size).clone(), settings.compile_settings)
        return right(settings, size, profile=profile)

    backend.compile = compile_model  # type: ignore[assignment,method-assign]
    place(backend)
    return {"made": made}


def run(
    oracle: Oracle, folder: Path, place: Place, scenario: Scenario, times: int, **changes: Any
) -> Counter[Any]:
    job = replace(
        job_of(oracle, folder, scenario),
        samples_per_query=8 if scenario is Scenario.MULTI_STREAM else 1,
        probe_s=0.2,
        latency_bound_ns=10**8,
        latency_percentile=99.0,
        **changes,
    )
    found: Counter[Any] = work.run(job, work=partial(wrong_at_first, place=place, times=times))["made"]
    return found


@pytest.mark.parametrize(("place", "scenario"), PLACES)
def test_what_answers_wrongly_is_compiled_again(
    oracle: Oracle, tmp_path: Path, place: Place, scenario: Scenario
) -> None:
    made = run(oracle, tmp_path, place, scenario, times=1)
    assert made
    assert set(made.values()) == {2}


def test_a_batch_that_nobody_asked_for_is_not_left_out_because_it_answers_wrongly(
    oracle: Oracle, tmp_path: Path
) -> None:
    wanted = (
        r"^OpenVINO compiled model 'oracle' for \d stream\(s\) and 4 time\(s\), and each time it answered"
    )
    with pytest.raises(AnsweredWrongly, match=wanted):
        run(oracle, tmp_path, probe.measure, Scenario.MULTI_STREAM, times=1000)


def test_a_compliance_test_is_proven_as_any_other(oracle: Oracle, tmp_path: Path) -> None:
    audit = tmp_path / "audit.config"
    audit.write_text(audit_config("TEST04", 64))
    made = run(oracle, tmp_path, drive.perform, Scenario.OFFLINE, times=1, audit_config=audit)
    assert set(made.values()) == {2}


def test_the_frontiers_race_asks_only_what_answers_rightly(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, made = Backend.compile, []

    def compile_model(self: Backend, settings: RunSettings, size: int, **options: Any) -> graph.Compiled:
        made.append(size)
        if len(made) < 3:
            return wrongly_compiled(self.deployed(size).clone(), settings.compile_settings)
        return right(self, settings, size, **options)

    monkeypatch.setattr(Backend, "compile", compile_model)
    hits = Answers(oracle.card, oracle.store, tmp_path, 2).hits(np.arange(oracle.store.count))
    assert np.flatnonzero(~hits).tolist() == [0, 1, 2], "the three images that the oracle is wrong about"
    assert len(made) == 3
