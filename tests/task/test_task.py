"""A task of another kind, whose answers differ in length, goes where classification does."""

import struct
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S, Oracle

from harness.backend import answers, graph
from harness.backend.settings import CompileSettings
from harness.commands import prepare
from harness.comparison import variants
from harness.dataset.form import Form
from harness.dataset.store import Store
from harness.errors import DataError, HarnessError
from harness.measurement.data import open_for
from harness.mlperf import log
from harness.mlperf.benchmark import BENCHMARKS, Benchmark
from harness.model import file as model_file
from harness.model.card import AccuracySpec, Card, read_card, write_card
from harness.model.card_parts import OUTPUTS
from harness.run.document import AccuracySection
from harness.run.measuring import judged
from harness.submission import accuracy_text, compliance
from harness.submission.verdict import Ledger
from harness.task import TASKS, PairedAnswers, Stated, Task, Verdict, task_of

# Each sample's answer is as many float32 as its index, so the first has none.
LOADGEN = """
import sys
import numpy as np
import mlperf_loadgen as lg

values = np.arange(8, dtype="<f4")
settings = lg.TestSettings()
settings.mode = lg.TestMode.AccuracyOnly

def issue(samples):
    lg.QuerySamplesComplete(
        [lg.QuerySampleResponse(one.id, values.ctypes.data, 4 * one.index) for one in samples]
    )

sut = lg.ConstructSUT(issue, lambda: None)
qsl = lg.ConstructQSL(8, 8, lambda _: None, lambda _: None)
output = lg.LogOutputSettings()
output.outdir = sys.argv[1]
logs = lg.LogSettings()
logs.log_output = output
logs.enable_trace = False
lg.StartTestWithLogSettings(sut, qsl, settings, logs, sys.argv[1] + "/no-audit.config")
lg.DestroyQSL(qsl)
lg.DestroySUT(sut)
"""


@dataclass(frozen=True)
class Share:
    fraction: float
    total: int

    @property
    def counts(self) -> dict[str, int]:
        return {"total": self.total}

    @property
    def text(self) -> str:
        return f"lengths={100 * self.fraction:.3f}%"


class Lengths:
    """How many things an image shows; the answer names each of them, in a float32."""

    METRIC = "lengths"
    FORM = Form.LABEL
    LINE = "lengths=...%"

    def answer_bytes(self, card: Any) -> int:
        return 4 * 8

    def truth(self, store: Store) -> list[int]:
        return list(range(store.count))

    def require_fit(self, card: Any, store: Store) -> None:
        if store.count > 8:
            raise DataError(f"The store {store.path} shows more than 8 things.")

    def require_comparable(self, first: Any, other: Any) -> None:
        if first.input.size != other.input.size:
            raise HarnessError("The models look at images of other sizes.")

    def answers(self, log_path: Path, count: int) -> list[int]:
        first: dict[int, int] = {}
        for _, index, data in log.read_accuracy(log_path):
            first.setdefault(index, len(data) // 4)
        return [first[index] for index in range(count)]

    def score(self, log_path: Path, truth: list[int], count: int) -> Share:
        found = self.answers(log_path, count)
        return Share(self.rates(found, truth)[0], count)

    def score_some(self, log_path: Path, truth: list[int], only: Collection[int]) -> Share | None:
        lengths = {index: len(data) // 4 for _, index, data in log.read_accuracy(log_path) if index in only}
        wanted = [truth[index] for index in lengths]
        return Share(self.rates(list(lengths.values()), wanted)[0], len(lengths)) if lengths else None

    def is_same(self, one: bytes, other: bytes) -> bool:
        return len(one) == len(other)

    def rates(self, answers: list[int], truth: list[int]) -> tuple[float, list[float]]:
        each = [float(answer == wanted) for answer, wanted in zip(answers, truth, strict=True)]
        return sum(each) / len(each), each

    def compare(self, first: list[int], second: list[int], truth: list[int]) -> PairedAnswers:
        changed = sum(one != other for one, other in zip(first, second, strict=True))
        return PairedAnswers(len(truth), changed, 0, 0, 1.0)

    def score_lines(self, text: str) -> list[str]:
        return [line for line in text.splitlines() if "=" in line and not line.startswith("hash=")]

    def is_far_off(self, reached: float, target: float) -> bool:
        return reached == 0 < target

    def read_line(self, line: str) -> Stated | None:
        name, _, rest = line.partition("=")
        if name != "lengths":
            return None
        percentage = float(rest.partition("%")[0])
        return Stated(Share(percentage / 100, 8), percentage, "" if percentage <= 100 else "says too much")

    def verdict(self, score: Share, reference: float, target_fraction: float) -> Verdict:
        margin = score.fraction - reference * target_fraction
        return Verdict(margin >= 0, reference * target_fraction, margin, f"margin {margin:.2f}")

    def advice(self, score: Share, target: float, quantized: bool) -> str:
        return f"Count again: {score.fraction} is less than {target}."


LENGTHS: Task = Lengths()


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a benchmark whose task has answers of different lengths."""
    benchmark = Benchmark("lengths", "things", 8, 0.9, 1.0, task="lengths")
    monkeypatch.setitem(TASKS, "lengths", LENGTHS)
    monkeypatch.setitem(BENCHMARKS, "lengths", benchmark)
    return benchmark.name


@pytest.fixture
def card(oracle: Oracle, lengths: str) -> Card:
    stated = AccuracySpec("lengths", reference=0.5, target_fraction=1.0)
    return replace(oracle.card, benchmark=lengths, task=lengths, accuracy=stated)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged")
    subprocess.run(
        [sys.executable, "-c", LOADGEN, str(folder)], check=True, capture_output=True, timeout=PATIENCE_S
    )
    return folder / "mlperf_log_accuracy.json"


def test_a_card_s_task_is_that_of_its_benchmark(oracle: Oracle, card: Card) -> None:
    assert task_of(oracle.card) is TASKS["classification"]
    assert task_of(card) is LENGTHS


def test_a_card_s_metric_is_its_task_s(card: Card, tmp_path: Path) -> None:
    write_card(card, tmp_path / "card.toml")
    assert read_card(tmp_path / "card.toml").accuracy == card.accuracy
    write_card(replace(card, benchmark="resnet50", task="classification"), tmp_path / "card.toml")
    with pytest.raises(HarnessError, match=r"'accuracy\.metric' .* Did you mean|top1"):
        read_card(tmp_path / "card.toml")


def test_every_form_has_its_part_in_a_card_and_in_openvino_and_every_benchmark_a_task() -> None:
    assert OUTPUTS.keys() == answers.ENDS.keys() == set(Form)
    assert {task.FORM for task in TASKS.values()} == set(Form)
    assert TASKS.keys() == {one.task for one in BENCHMARKS.values()}


def test_a_third_task_needs_its_module_and_a_card_alone(card: Card, oracle: Oracle, tmp_path: Path) -> None:
    write_card(replace(card, folder=Path()), card.folder / "third.toml")
    read = read_card(card.folder / "third.toml")
    assert read == card
    images = Path(oracle.store.manifest.images)
    outcome = CliRunner().invoke(
        prepare.command,
        [
            *("--dataset", "custom", "--images", str(images), "--out", str(tmp_path / "store")),
            "--model",
            str(card.folder / "third.toml"),
        ],
    )
    assert outcome.exit_code == 0, outcome.output
    pixels = oracle.store.samples(card.input.recipe)[5:6]
    deployed = graph.deployed(model_file.read(read), read)
    compiled = graph.compile_model(deployed, CompileSettings("LATENCY"))
    (answer,) = answers.end_of(read).split(list(compiled.model(pixels).values()))
    assert answers.end_of(read).reader(oracle.store)(answer, 5) == oracle.store.labels[5]


def test_answers_of_any_length_are_scored_from_loadgen_s_log(logged: Path) -> None:
    assert LENGTHS.answers(logged, 8) == list(range(8))
    assert LENGTHS.score(logged, list(range(8)), 8).fraction == 1.0
    assert LENGTHS.score(logged, [0] * 8, 8).text == "lengths=12.500%"


def test_an_empty_answer_is_the_same_as_an_empty_one_only(logged: Path, tmp_path: Path) -> None:
    assert compliance.verify_answers(logged, logged, LENGTHS).passed
    other = tmp_path / "mlperf_log_accuracy.json"
    other.write_text(f'[{{"seq_id": 0, "qsl_idx": 0, "data": "{struct.pack("<f", 1).hex()}"}}]')
    found = compliance.verify_answers(logged, other, LENGTHS)
    assert found.fault.startswith("1 samples were answered otherwise than in the accuracy run (samples 0)")
    assert not compliance.verify_answers(logged, other, TASKS["classification"]).passed


def test_a_store_is_held_against_the_task_of_the_card(card: Card, oracle: Oracle) -> None:
    with pytest.raises(DataError, match="shows more than 8 things"):
        open_for(card, oracle.store.path)


def test_models_are_compared_that_their_task_calls_comparable(card: Card) -> None:
    larger = replace(card, name="larger", input=replace(card.input, size=2 * card.input.size))
    with pytest.raises(HarnessError, match="images of other sizes"):
        variants.candidates([card, larger], [])
    more = replace(card, name="more", output=replace(card.output, classes=99))
    assert len(variants.candidates([card, more], [])) == 2


@pytest.mark.parametrize(("fraction", "passed"), [(0.5, True), (0.25, False)])
def test_a_score_is_judged_by_its_task_as_often_as_one_likes(
    card: Card, oracle: Oracle, fraction: float, passed: bool
) -> None:
    score = Share(fraction, 8)
    section = AccuracySection(score.text, 8, fraction, (), (), None, None, good=0)
    found = judged(section, card, oracle.store)
    assert found.passed is passed
    assert found.verdicts[0].advice == (None if passed else "Count again: 0.25 is less than 0.5.")
    assert judged(found, card, oracle.store) == found


def test_a_result_without_a_score_is_not_judged_again(oracle: Oracle) -> None:
    with pytest.raises(HarnessError, match=r"states no accuracy .* repeat the run with --replace"):
        judged(AccuracySection("mAP=50.0%", 2, 0.5, (), (), None, None, good=1), oracle.card, oracle.store)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("lengths=50.000%\n", []),
        (
            "accuracy=50.000%, good=4, total=8\n",
            ["has the line 'accuracy=50.000%, good=4, total=8', where 'lengths=...%' belongs"],
        ),
        ("lengths=101.000%\n", ["says too much"]),
    ],
)
def test_the_line_of_accuracy_txt_is_the_task_s(tmp_path: Path, text: str, faults: list[str]) -> None:
    (tmp_path / log.ACCURACY_TEXT).write_text(text)
    ledger = Ledger()
    score = accuracy_text.check(ledger, tmp_path, "accuracy", LENGTHS, "run it again", hashed=False)
    assert [check.detail for check in ledger.checks if not check.passed] == faults
    assert score == (None if faults else Share(0.5, 8))


def test_the_measured_process_loads_no_scipy() -> None:
    told = "import sys, harness.loadgen.work, harness.task; sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", told], check=True, timeout=PATIENCE_S)
