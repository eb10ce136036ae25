"""The strategy on planted problems: what it must find is known, and nothing is measured."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError, OutputError, RunFailed
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.search.space.revisions import Space
from harness.search.strategy import study as studies
from harness.search.strategy.evolution import Effort, Problem, nsga2, random_search, starting_points
from harness.search.strategy.searching import search

pytest.importorskip("optuna", reason="the search extra (Optuna) is not installed")

BASELINE = Architecture(24, 64, "7x7-pool", 16, (Stage(64, (Block(16),) * 3), Stage(128, (Block(32),) * 3)))
SPACE = Space(BASELINE, (64,))
IDENTITY = {"table": "planted", "estimator": "planted"}


class Planted:
    """Latency is the number of blocks plus one for each of a wrong kind; score is the blocks, less the same.

    So the front is known: d blocks of the planted kind alone take d ms and score d, for each possible d.
    """

    def __init__(self, kind: str = "dw3") -> None:
        self.kind = kind

    def wrong(self, architecture: Architecture) -> int:
        return sum(block.kind != self.kind for stage in architecture.stages for block in stage.blocks)

    def blocks(self, architecture: Architecture) -> int:
        return sum(len(stage.blocks) for stage in architecture.stages)

    def predict_ms(self, architecture: Architecture) -> float:
        return self.blocks(architecture) + self.wrong(architecture)

    def score(self, architecture: Architecture) -> float:
        return self.blocks(architecture) - self.wrong(architecture)


def planted(kind: str = "dw3", cap_ms: float = 14.0, space: Space = SPACE) -> Problem:
    made = Planted(kind)
    return Problem(space, made.predict_ms, made.score, cap_ms)


def quick(trials: int, seed: int = 1, workers: int = 1) -> Effort:
    return Effort(trials, seed, workers, population=20)


@pytest.mark.parametrize("kind", ["dw3", "dw5"])
def test_the_planted_front_is_found_better_than_by_chance_and_changes_with_the_table(
    kind: str, tmp_path: Path
) -> None:
    outcome = search(planted(kind), quick(120), tmp_path, IDENTITY)
    assert [(p["latency_ms"], p["score"]) for p in outcome["front"]] == [(d, d) for d in (2, 3, 4, 5, 6)]
    for point in outcome["front"]:
        found = Architecture.from_dict(point["architecture"])
        assert {block.kind for stage in found.stages for block in stage.blocks} == {kind}
    assert len({run["seed"] for run in outcome["runs"]}) == 3
    for run in outcome["runs"]:
        assert run["trials"] > run["bred"] == 120
        assert run["hypervolume"] > run["random_hypervolume"]


def test_one_worker_gives_the_same_answer_to_the_same_seed(tmp_path: Path) -> None:
    def keys(name: str, seed: int) -> list[str]:
        points = nsga2(planted(), quick(60, seed), tmp_path / name, IDENTITY).points
        return [p.architecture.key for p in points]

    assert keys("one", 1) == keys("other", 1) != keys("another", 2)


def test_repeats_are_answered_from_memory(tmp_path: Path) -> None:
    asked: list[str] = []
    made = Planted()

    def score(architecture: Architecture) -> float:
        asked.append(architecture.key)
        return made.score(architecture)

    outcome = nsga2(Problem(SPACE, made.predict_ms, score, 14), quick(150), tmp_path / "journal", IDENTITY)
    assert outcome.repeats > 0
    assert len(asked) == len(set(asked)) == len(outcome.points)


def test_baseline_and_uniform_scalings_are_tried_first(tmp_path: Path) -> None:
    start = starting_points(SPACE)
    assert SPACE.baseline.canonical in start
    assert SPACE.uniform(0.5) in start
    points = nsga2(planted(), quick(len(start)), tmp_path / "journal", IDENTITY).points
    assert {p.architecture.key for p in points} == {one.key for one in start}
    assert random_search(planted(), quick(len(start))).points[0].architecture == start[0]


def test_random_search_tries_as_many_networks_from_end_to_end_of_the_space_each_once() -> None:
    start = starting_points(SPACE)
    found = random_search(planted(), quick(200))
    drawn = [point.architecture for point in found.points[len(start) :]]
    assert found.trials == len({point.architecture.key for point in found.points}) == 200
    assert drawn == SPACE.samples(1, 200 - len(start), unlike=start)


def test_a_uniform_scaling_that_nothing_beats_is_on_the_front(tmp_path: Path) -> None:
    plain = SPACE.uniform(0.5, 1 / 3)

    def score(architecture: Architecture) -> float:
        return float(architecture == plain)

    problem = Problem(SPACE, Planted().predict_ms, score, cap_ms=14)
    assert plain not in starting_points(SPACE)
    outcome = search(problem, quick(20), tmp_path, IDENTITY, seeds=1)
    assert plain.key in {point["key"] for point in outcome["front"]}


def test_latency_is_a_constraint(tmp_path: Path) -> None:
    outcome = search(planted(cap_ms=5), quick(60), tmp_path, IDENTITY, seeds=1)
    assert outcome["front"]
    assert all(point["latency_ms"] <= 5 for point in outcome["front"])


def test_a_target_that_nobody_reaches_ends_with_the_nearest_point(tmp_path: Path) -> None:
    message = r"tried reaches 1\.5 ms: the nearest, \w+, is predicted to take \d ms"
    with pytest.raises(HarnessError, match=message):
        search(planted(cap_ms=1.5), quick(60), tmp_path, IDENTITY, seeds=1)


class Stops(Planted):
    """Says so when some trials are done, and does no more."""

    def __init__(self, sign: Path) -> None:
        super().__init__()
        self._sign = sign
        self._scored = 0

    def score(self, architecture: Architecture) -> float:
        self._scored += 1
        if self._scored == 20:
            self._sign.touch()
            time.sleep(60)
        return super().score(architecture)


def search_that_stops(journal: Path, sign: Path) -> None:
    made = Stops(sign)
    nsga2(Problem(SPACE, made.predict_ms, made.score, 14), quick(150), journal, IDENTITY)


def test_a_killed_search_is_gone_on_with_to_the_full_number_of_trials(tmp_path: Path) -> None:
    journal, sign = tmp_path / "journal", tmp_path / "sign"
    process = multiprocessing.get_context("spawn").Process(target=search_that_stops, args=(journal, sign))
    process.start()
    deadline = time.monotonic() + 60
    while not sign.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "torn')
    advanced: list[int] = []
    outcome = nsga2(planted(), quick(150), journal, IDENTITY, advanced.append)
    assert outcome.trials == 150
    assert 0 < advanced[0] < 150
    assert sum(advanced) == 150


def test_what_was_to_be_tried_first_when_a_search_was_killed_is_tried_yet(tmp_path: Path) -> None:
    start = starting_points(SPACE)
    nsga2(planted(), quick(2), tmp_path / "journal", IDENTITY)
    whole = {**IDENTITY, "space": SPACE.key, "seed": 1, "population": 20, "cap_ms": 14.0}
    interrupted = studies.open_study(tmp_path / "journal", whole).ask()
    assert interrupted.number == 2
    points = nsga2(planted(), quick(25), tmp_path / "journal", IDENTITY).points
    assert {one.key for one in start} <= {point.architecture.key for point in points}


def test_several_workers_share_a_study(tmp_path: Path) -> None:
    advanced: list[int] = []
    outcome = nsga2(planted(), quick(60, workers=2), tmp_path / "journal", IDENTITY, advanced.append)
    assert outcome.trials == 60
    assert sum(advanced) == 60
    assert len(outcome.points) + outcome.repeats == 60


def test_what_workers_finish_while_their_trials_are_counted_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = studies.finished

    def counted_and_then_overtaken(study: object) -> list[object]:
        trials = finished(study)
        for worker in multiprocessing.active_children():
            worker.join()
        return trials

    monkeypatch.setattr(studies, "finished", counted_and_then_overtaken)
    advanced: list[int] = []
    nsga2(planted(), quick(20, workers=2), tmp_path / "journal", IDENTITY, advanced.append)
    assert sum(advanced) == 20


class Interrupted(Planted):
    def score(self, architecture: Architecture) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return super().score(architecture)


def test_workers_leave_ctrl_c_to_the_search(tmp_path: Path) -> None:
    made = Interrupted()
    problem = Problem(SPACE, made.predict_ms, made.score, 14)
    assert nsga2(problem, quick(20, workers=2), tmp_path / "journal", IDENTITY).trials == 20


class Dies(Planted):
    def score(self, architecture: Architecture) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_killed_workers_are_told_of(tmp_path: Path) -> None:
    made = Dies()
    with pytest.raises(RunFailed, match=r"workers of the search .* ended with code -9"):
        nsga2(
            Problem(SPACE, made.predict_ms, made.score, 14),
            quick(20, workers=2),
            tmp_path / "journal",
            IDENTITY,
        )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"space": Space(BASELINE, (48, 64))}, "search space"),
        ({"cap_ms": 9.5}, "wanted latency"),
    ],
)
def test_a_study_of_another_problem_is_refused(change: dict[str, object], word: str, tmp_path: Path) -> None:
    nsga2(planted(), quick(3), tmp_path / "journal", IDENTITY)
    with pytest.raises(OutputError, match=f"is of another {word}"):
        nsga2(planted(**change), quick(3), tmp_path / "journal", IDENTITY)  # type: ignore[arg-type]


def test_a_study_with_another_table_is_refused(tmp_path: Path) -> None:
    nsga2(planted(), quick(3), tmp_path / "journal", IDENTITY)
    with pytest.raises(OutputError, match="is of another latency table"):
        nsga2(planted(), quick(3), tmp_path / "journal", {**IDENTITY, "table": "new"})


def test_every_decision_is_a_gene() -> None:
    genes = SPACE.all_decisions()
    assert set(SPACE.decisions(BASELINE)) == set(genes)
    assert all(len(options) == len(set(options)) for options in genes.values())
