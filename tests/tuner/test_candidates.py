"""What a tuning tries, and how it finds the best of it with few measurements."""

import math
import random
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.loadgen.settings import RunSettings, doublings, in_words
from harness.machine.system import Allowance
from harness.mlperf.scenario import Scenario
from harness.tuner.candidates import candidates
from harness.tuner.halving import halve, measurement_count, rung_sizes

DEFAULT = {"threads": 2, "streams": 2, "batch": 1, "pinning": True, "smt": False, "core_type": "any"}
TWO_CORES = Allowance(cpus=2, cores=2, performance_cpus=None, whole=True)
XEON = Allowance(cpus=16, cores=8, performance_cpus=None, whole=True)
HYBRID = Allowance(cpus=16, cores=12, performance_cpus=8, whole=True)


def tried(scenario: Scenario, allowed: Allowance, **settings: Any) -> list[RunSettings]:
    return candidates(RunSettings(scenario, **settings), DEFAULT, allowed, 8)


@pytest.mark.parametrize("seed", range(20))
def test_halving_finds_one_of_the_best_with_few_measurements_on_a_restless_machine(seed: int) -> None:
    generator = random.Random(seed)
    true = [generator.uniform(50, 100) for _ in range(40)]
    best = generator.randrange(40)
    true[best] = 125
    spent: list[int] = []

    def measure(candidate: int, turn: int) -> float:
        spent.append(candidate)
        # A noisy machine that drifts, and now and then stands still for a while.
        drift = 1 + 0.2 * math.sin(turn)
        return true[candidate] * drift * generator.gauss(1, 0.03) * generator.choice([1] * 9 + [0.7])

    # The best may stand still in the first turn, which is the only one to judge by.
    found = halve(40, measure)
    assert found is not None
    assert true[found] >= sorted(true)[-4]
    assert len(spent) == measurement_count(40)
    finalists = {candidate for candidate in spent if spent.count(candidate) == 1 + 3 + 9 + 27}
    assert len(finalists) == 2
    # Measuring each as often as the finalists takes 40 x 40.
    assert len(spent) < 0.2 * 40 * 40


@pytest.mark.parametrize("seed", range(20))
def test_without_disturbance_the_planted_best_is_always_found(seed: int) -> None:
    generator = random.Random(seed)
    true = [generator.uniform(50, 100) for _ in range(23)]
    best = generator.randrange(23)
    true[best] = 110
    assert halve(23, lambda one, turn: true[one] * (1 + 0.3 * turn) * generator.gauss(1, 0.01)) == best


def test_candidates_that_cannot_be_measured_drop_out() -> None:
    assert halve(7, lambda candidate, rung: None if candidate != 3 else 1.0) == 3
    assert halve(7, lambda candidate, rung: None) is None
    assert halve(1, lambda candidate, rung: 1.0) == 0


def test_when_time_is_up_the_best_so_far_is_left() -> None:
    for limit in range(1, 14):
        seen: list[int] = []

        def measure(candidate: int, rung: int, seen: list[int] = seen) -> float:
            seen.append(candidate)
            return float(candidate + 1)

        found = halve(9, measure, lambda limit=limit, seen=seen: len(seen) < limit)
        assert len(seen) <= limit
        assert found == max(seen)
    assert rung_sizes(9) == [9, 3]
    assert halve(9, lambda candidate, rung: 1.0, lambda: False) is None


@pytest.mark.parametrize("scenario", list(Scenario))
@pytest.mark.parametrize("allowed", [TWO_CORES, XEON, HYBRID, Allowance(3, 3, None, False)])
def test_no_candidate_uses_more_than_we_may(scenario: Scenario, allowed: Allowance) -> None:
    found = tried(scenario, allowed)
    assert found
    for one in found:
        assert one.threads is not None
        assert one.threads <= allowed.cpus
        assert (one.streams or 1) <= one.threads
        assert one.smt is not False or one.threads <= allowed.cores
        assert one.core_type != "performance" or one.threads <= (allowed.performance_cpus or 0)
        assert allowed.whole or not one.pinning
    assert len({in_words(one.tunable) for one in found}) == len(found)


def test_the_default_is_not_tried_and_one_stream_is() -> None:
    found = [one.tunable for one in tried(Scenario.OFFLINE, TWO_CORES)]
    assert not any((one["batch"], one["streams"], one["pinning"]) == (1, 2, True) for one in found)
    assert any((one["batch"], one["streams"], one["pinning"]) == (1, 1, True) for one in found)
    assert any((one["batch"], one["streams"], one["pinning"]) == (32, 2, False) for one in found)


def test_threads_that_the_user_fixed_stay() -> None:
    assert {one.threads for one in tried(Scenario.OFFLINE, XEON, threads=4)} == {4}
    assert {one.smt for one in tried(Scenario.OFFLINE, XEON, threads=4)} == {True, False}
    assert {one.smt for one in tried(Scenario.OFFLINE, XEON, threads=12)} == {True}


def test_latency_may_be_best_on_fewer_cores() -> None:
    assert {one.threads for one in tried(Scenario.SINGLE_STREAM, XEON)} == {1, 2, 4, 8, 16}
    assert {(one.batch, one.streams) for one in tried(Scenario.SINGLE_STREAM, XEON)} == {(1, 1)}


def test_smt_and_core_types_are_tried_where_there_are_any() -> None:
    assert {(one.threads, one.smt) for one in tried(Scenario.OFFLINE, XEON)} == {(16, True), (8, False)}
    assert {one.core_type for one in tried(Scenario.OFFLINE, HYBRID)} == {None, "performance"}
    assert {one.core_type for one in tried(Scenario.OFFLINE, TWO_CORES)} == {None}


def test_a_query_of_multi_stream_is_never_cut_into_more_parts_than_streams_can_use() -> None:
    for one in tried(Scenario.MULTI_STREAM, XEON):
        assert one.batch is not None
        assert one.streams is not None
        assert one.streams <= -(-8 // one.batch)


def test_settings_are_said_in_words() -> None:
    settings = RunSettings(Scenario.OFFLINE, batch=4, streams=1, threads=2, pinning=False, smt=True)
    assert in_words(settings.tunable) == "batch 4, 1 stream, 2 threads, not pinned, with SMT"
    assert in_words({"core_type": "performance"}) == "performance cores"
    assert doublings(6) == [1, 2, 4, 6]


def test_a_core_type_that_is_unknown_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"'perfomance' is not known\. Did you mean 'performance'"):
        RunSettings(Scenario.OFFLINE, core_type="perfomance")
