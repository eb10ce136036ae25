"""The results that `harness run` left in a folder, and the cards of their models."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import files
from harness.errors import HarnessError
from harness.mlperf.conf_syntax import SCENARIOS
from harness.mlperf.rules import Round, Task
from harness.model import file as model_file
from harness.model.card import Card, find_card
from harness.run import result
from harness.run.document import RunResult
from harness.run.folder import lock_of
from harness.task import of_benchmark

PERFORMANCE = Path("performance", "run_1")


@dataclass(frozen=True)
class Result:
    """One scenario's folder."""

    system: str
    model: str
    scenario: str
    folder: Path
    document: RunResult
    """result.json"""
    inferred: bool = False
    """Whether a run of another scenario, whose folder and document these are, stands in for this one."""
    accuracies: tuple[str, ...] = ()
    """The lines of all results of its model: these enter one benchmark, whose target each of them reaches."""

    @property
    def shown(self) -> str:
        return f"{self.system}/{self.model}/{self.scenario}"

    @property
    def measured(self) -> str:
        """The scenario that was run."""
        return str(self.document.scenario)


def entry_of(one: Result, made_for: Round) -> Task | None:
    """Return the benchmark of a round that a result enters, or None."""
    return made_for.entry(one.document.benchmark, lambda task: _reaches(one, task))


def _reaches(one: Result, task: Task) -> bool:
    """Return whether the accuracy of all results of a model reaches a target, as the checkers read it."""
    answers, benchmark = of_benchmark(task.benchmark), task.benchmark
    stated = [answers.read_line(line) for line in one.accuracies]
    return bool(stated) and all(
        line is not None
        and answers.verdict(line.score, benchmark.reference_accuracy, task.target_fraction).passed
        for line in stated
    )


def sure_entry_of(one: Result, made_for: Round) -> Task:
    """Return the benchmark that a result enters, which is known to be one of the round's."""
    task = entry_of(one, made_for)
    assert task is not None
    return task


def collect(*folders: Path) -> tuple[list[Result], list[str]]:
    """Return the results in each DIR/<system>/<model>/<Scenario>/ and what else lies there, as reasons.

    Raises:
        HarnessError: there is no such folder.
    """
    found: list[Result] = []
    reasons: list[str] = []
    first: dict[str, Path] = {}
    for folder in folders:
        there, its_reasons = _collect(folder)
        reasons += its_reasons
        for one in there:
            if (other := first.setdefault(one.shown, folder)) != folder:
                reasons.append(f"{one.shown}: is in {other} and in {folder}: leave one of them out.")
            else:
                found.append(one)
    lines: dict[str, tuple[str, ...]] = {}
    for one in found:
        if (section := one.document.accuracy) is not None:
            lines[one.model] = (*lines.get(one.model, ()), section.text)
    return [replace(one, accuracies=lines.get(one.model, ())) for one in found], reasons


def _collect(folder: Path) -> tuple[list[Result], list[str]]:
    if not folder.is_dir():
        raise HarnessError(f"No results at {folder}: give the folder that `harness run --out` wrote.")
    found: list[Result] = []
    reasons: list[str] = []
    for system in _folders(folder, folder, reasons, besides=("README.md",)):
        for model in _folders(system, folder, reasons):
            locks = [lock_of(model / scenario).name for scenario in SCENARIOS]
            for scenario in _folders(model, folder, reasons, besides=locks):
                shown = scenario.relative_to(folder)
                if scenario.name not in SCENARIOS:
                    reasons.append(f"{shown}: is no scenario ({', '.join(SCENARIOS)}): move it elsewhere.")
                    continue
                try:
                    document = result.read(scenario / result.FILE_NAME)
                except HarnessError as error:
                    reasons.append(f"{shown}: {error}")
                    continue
                found.append(Result(system.name, model.name, scenario.name, scenario, document))
    if not found and not reasons:
        reasons.append(f"{folder}: holds no result: run `harness run --official --out {folder}` first.")
    return found, reasons


def find_cards(found: Sequence[Result], given: Sequence[str]) -> tuple[dict[str, Card], list[str]]:
    """Return model name -> card, of the cards given and the shipped ones, and what is wrong with them."""
    cards = {card.name: card for card in map(find_card, given)}
    reasons: list[str] = []
    for name in sorted({one.document.model.name for one in found} - set(cards)):
        try:
            cards[name] = find_card(name)
        except HarnessError:
            reasons.append(f"{name}: is not a shipped model: give its card with --model CARD.")
    for one in found:
        model = one.document.model
        if model.name not in cards:
            continue
        try:
            held = model_file.sha256(cards[model.name])
        except HarnessError as error:
            reasons.append(f"{one.shown}: {error}")
            continue
        if held != model.sha256:
            reasons.append(
                f"{one.shown}: was measured on another file than the card of '{model.name}' names now ("
                f"SHA-256 {model.sha256[:12]}... and {held[:12]}...): give the card of the model measured."
            )
    return cards, list(dict.fromkeys(reasons))


def _folders(parent: Path, root: Path, reasons: list[str], besides: Collection[str] = ()) -> Iterator[Path]:
    for path in sorted(parent.iterdir()):
        shown = path.relative_to(root)
        if not path.is_dir():
            if path.name not in besides:
                reasons.append(f"{shown}: is a stray file: move it elsewhere.")
        elif not files.PLAIN_NAME.fullmatch(path.name):
            reasons.append(
                f"{shown}: folder names may hold only letters, digits, '.', '_', '+' and '-', so rename it."
                if " " in path.name or not path.name.startswith(".")
                else f"{shown}: is a stray folder, such as a run under way leaves: remove it."
            )
        else:
            yield path
