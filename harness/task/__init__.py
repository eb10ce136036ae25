"""What an answer is and how it is scored: a family, with one module for each task.

A module is a task: what it must hold is `Task`. What OpenVINO has to compute for it is in harness.backend.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.dataset.form import Form
from harness.mlperf.benchmark import Benchmark, find_benchmark
from harness.task import classification, detection
from harness.task.scoring import (
    Paired,
    PairedAnswers,
    PairedBoxes,
    Score,
    Stated,
    Verdict,
    difference,
    mcnemar,
)

if TYPE_CHECKING:
    from harness.dataset.store import Store

__all__ = [
    "CLASSIFICATION",
    "DETECTION",
    "TASKS",
    "Paired",
    "PairedAnswers",
    "PairedBoxes",
    "Score",
    "Stated",
    "Task",
    "Verdict",
    "difference",
    "mcnemar",
    "of_benchmark",
    "task_of",
]


class Task(Protocol):
    """One kind of question that a model answers about an image.

    `truth` is what a store holds, in the order of its samples; `answers` are what a log holds, likewise. Both
    are of a type of the task's own, which goes from one of its functions to another.
    """

    @property
    def METRIC(self) -> str:
        """What a card's accuracy is measured in; `target_fraction` is a share of its reference in it."""

    @property
    def FORM(self) -> Form:
        """In which form a store says what is right, and what a card's [output] and its deployed graph are."""

    def answer_bytes(self, card: Any) -> int:
        """Return how long an answer is at most that LoadGen logs."""

    def truth(self, store: "Store") -> Any:
        """Return what is right for each sample: its len is their number, a list of places gives a part."""

    def require_fit(self, card: Any, store: "Store") -> None:
        """Hold what a store says is right against what a card's model can answer.

        Raises:
            DataError: the model cannot give an answer that is right.
        """

    def require_comparable(self, first: Any, other: Any) -> None:
        """Hold the cards of two models of this task against each other.

        Raises:
            HarnessError: they answer different questions.
        """

    def answers(self, log_path: Path, count: int) -> Any:
        """Return the answers to `count` samples in mlperf_log_accuracy.json.

        Raises:
            RunFailed: the log is unreadable or empty, lacks samples, or has entries that are not answers.
        """

    def score(self, log_path: Path, truth: Any, count: int) -> Score:
        """Return the score of mlperf_log_accuracy.json.

        Raises:
            DataError: the truth is of another number of samples.
            RunFailed: as `answers`.
        """

    def score_some(self, log_path: Path, truth: Any, only: Collection[int]) -> Score | None:
        """Return the score on some samples, or None when the log answers none of them.

        Raises:
            RunFailed: the log is unreadable.
        """

    def is_same(self, one: bytes, other: bytes) -> bool:
        """Return whether two logged answers to a sample say the same, as TEST01 asks."""

    def rates(self, answers: Any, truth: Any) -> tuple[float, list[float]]:
        """Return how right the answers to some samples are together, and each of them, from 0 to 1.

        NNCF's accuracy control asks for both. The truths are of the samples of the answers, in their order.
        """

    def compare(self, first: Any, second: Any, truth: Any) -> Paired:
        """Compare two variants' answers to the same samples."""

    @property
    def LINE(self) -> str:
        """What the line of MLPerf's accuracy script looks like, for people."""

    def score_lines(self, text: str) -> list[str]:
        """Return the different lines that MLPerf's checkers take for a score."""

    def read_line(self, line: str) -> Stated | None:
        """Return what a line of MLPerf's accuracy script states, or None where it is another."""

    def verdict(self, score: Any, reference: float, target_fraction: float) -> Verdict:
        """Hold a score of this task against `target_fraction` of the `reference` (both fractions)."""

    def is_far_off(self, reached: float, target: float) -> bool:
        """Return whether a target is missed by so much that it is no matter of the model's quality."""

    def advice(self, score: Any, target: float, quantized: bool) -> str:
        """Return by how much a score of this task misses its target, and what to change."""


class HasBenchmark(Protocol):
    """A card, or whatever else names MLPerf's benchmark."""

    @property
    def benchmark(self) -> str: ...


_CLASSIFICATION: Task = classification
_DETECTION: Task = detection
CLASSIFICATION, DETECTION = "classification", "detection"
TASKS: Mapping[str, Task] = {CLASSIFICATION: _CLASSIFICATION, DETECTION: _DETECTION}


def task_of(card: HasBenchmark) -> Task:
    """Return the task of a card: that of its benchmark.

    Raises:
        ConfError: there is no such benchmark.
    """
    return of_benchmark(find_benchmark(card.benchmark))


def of_benchmark(benchmark: Benchmark) -> Task:
    """Return the task of a benchmark of MLPerf."""
    return TASKS[benchmark.task]
