"""Model cards: what a model is, where its file lies, what goes in and what comes out."""

import re
import shlex
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from harness import files, resources, typed
from harness.dataset.form import Form
from harness.errors import CardError, did_you_mean
from harness.mlperf.benchmark import BENCHMARKS, find_benchmark
from harness.model import card_rules
from harness.model.card_parts import (
    BUILDERS,
    ELEMENT_TYPES,
    OUTPUTS,
    AccuracySpec,
    DetectionOutput,
    FileSpec,
    InputSpec,
    Output,
    OutputSpec,
)
from harness.task import CLASSIFICATION, TASKS, task_of

__all__ = [
    "BUILDERS",
    "CARD_NAME",
    "ELEMENT_TYPES",
    "RESHAPED",
    "SPEED_ONLY",
    "AccuracySpec",
    "Card",
    "DetectionOutput",
    "FileSpec",
    "InputSpec",
    "Output",
    "OutputSpec",
    "doubts",
    "find_card",
    "read_card",
    "shipped_cards",
    "write_card",
]

CARD_NAME = "card.toml"
SPEED_ONLY = "speed only: no trained weights"
RESHAPED = "reshaped_from_sha256"
_ORIGIN = frozenset({"source", "revision", "weights_sha256", "timm", RESHAPED})
"""Facts in `training` that say where published weights are from: nobody trained these any further."""


@dataclass(frozen=True)
class Card:
    """One model, as its TOML card describes it."""

    name: str
    benchmark: str
    file: FileSpec
    input: InputSpec
    output: Output
    accuracy: AccuracySpec | None = None
    task: str = CLASSIFICATION
    """What is asked of the model (harness.task); `output` is of the class that OUTPUTS has for its form."""
    description: str = ""
    licence: str = ""
    speed_only: bool = False
    """True when the weights are not trained: such a model has a speed and no accuracy."""
    training: dict[str, Any] = field(default_factory=dict)
    """Free facts on how the weights were trained."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """Free facts on how the model was quantized, with the calibration record's path and hash."""
    folder: Path = field(default=Path(), metadata=typed.ELSEWHERE)
    """Where the card lies; `file.path` is relative to it."""
    toml: str = field(default=CARD_NAME, compare=False, metadata=typed.ELSEWHERE)
    """Name of the card's own file there."""

    @property
    def is_shipped(self) -> bool:
        """Whether it is a card that comes with the harness, and none that only has the name of one."""
        path = shipped_cards().get(self.name)
        return path is not None and path.resolve() == self.folder / self.toml

    @property
    def word(self) -> str:
        """What `find_card` takes it by: a shipped model's name, or its card's path."""
        return self.name if self.is_shipped else str(self.folder / self.toml)

    @property
    def named(self) -> str:
        """How a command line names it: its word, quoted where need be."""
        return shlex.quote(self.word)

    @property
    def is_retrained(self) -> bool:
        """Whether its facts on training tell of more than where published weights are from."""
        return bool(self.training.keys() - _ORIGIN)

    @property
    def quantized_here(self) -> bool:
        """Whether `harness quantize` made the model, rather than someone else who says how."""
        return "original_sha256" in self.quantization

    @property
    def classifier(self) -> OutputSpec:
        """What a classifier gives.

        Raises:
            CardError: the model has another task.
        """
        if not isinstance(self.output, OutputSpec):
            raise CardError(f"Model '{self.name}' is for {self.task}: give one for {Form.LABEL}.")
        return self.output

    @property
    def detector(self) -> DetectionOutput:
        """What a detector gives.

        Raises:
            CardError: the model has another task.
        """
        if not isinstance(self.output, DetectionOutput):
            raise CardError(f"Model '{self.name}' is for {self.task}: give one for {Form.BOXES}.")
        return self.output

    @property
    def path(self) -> Path | None:
        """The model file beside the card, or None when it is fetched, built, or brought by a package."""
        if self.file.path is None or self.file.package is not None:
            return None
        return self.folder / self.file.path


def shipped_cards() -> dict[str, Path]:
    """Return name -> card path of the cards that come with the harness."""
    return {path.parent.name: path for path in sorted(resources.MODELS.glob(f"*/{CARD_NAME}"))}


def find_card(name_or_path: str) -> Card:
    """Return the card that a command line names: a shipped model's name, or the path of a TOML file."""
    known = shipped_cards()
    if name_or_path in known:
        return read_card(known[name_or_path])
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        return read_card(path)
    raise CardError(
        f"Model '{name_or_path}' is not known and no such card file exists."
        f"{did_you_mean(name_or_path, known)}"
    )


def read_card(path: Path) -> Card:
    """Read and validate a card.

    Raises:
        CardError: the file is missing, not TOML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CardError(f"No model card at {path}: check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"Cannot read the model card {path} ({error}): give a TOML text file.") from error
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"The model card {path} is not valid TOML ({error}): correct that line.") from error
    rules = card_rules.Rules(path)
    task = document.get("task", CLASSIFICATION)
    rules.require(isinstance(task, str), f"'task' must be a text, not {task!r},")
    rules.choice("task", task, TASKS)
    form = TASKS[task].FORM
    _refuse_other_form(document.get("output"), task, form, rules)
    try:
        card = typed.structure_toml(document, Card, output=OUTPUTS[form])
    except typed.Misfit as error:
        raise CardError(error.told_of(path)) from error
    _require_sound(card, rules)
    resolved = path.resolve()
    return replace(card, folder=resolved.parent, toml=resolved.name)


def doubts(card: Card) -> list[str]:
    """Return what may be wrong in a card that nothing contradicts, in sentences."""
    given = card.input
    # With a target, an accuracy far below it would tell.
    if card.accuracy is None and any(given.mean) and all(abs(value) <= 1 for value in given.mean):
        return [
            f"The mean {list(given.mean)} of model '{card.name}' is one of pixels 0..1, but 'input.mean' "
            "and 'input.scale' are of pixels 0..255: multiply both by 255, unless the model is made so."
        ]
    return []


def write_card(card: Card, path: Path) -> None:
    """Write `card` as TOML such that `read_card(path)` gives it back."""
    files.write_text(path, _toml(card))


def _refuse_other_form(output: Any, task: str, form: Form, rules: card_rules.Rules) -> None:
    """Raise CardError for an [output] with a key that only tasks of another form know."""
    known = {one: {item.name for item in fields(kind)} for one, kind in OUTPUTS.items()}
    for key in output if isinstance(output, dict) else ():
        for other, theirs in known.items():
            fits = key in known[form] or key not in theirs
            rules.require(fits, f"'output.{key}' is for {other}, and 'task' is '{task}'")


def _require_sound(card: Card, rules: card_rules.Rules) -> None:
    rules.require(
        re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", card.name) is not None,
        f"'name' is '{card.name}' but may hold only letters, digits, '.', '_' and '-'",
    )
    rules.choice("benchmark", card.benchmark, BENCHMARKS)
    asked = find_benchmark(card.benchmark).task
    rules.require(
        asked == card.task, f"'benchmark' is '{card.benchmark}', for {asked}, and 'task' is '{card.task}'"
    )
    card_rules.require_sound_input(card.input, rules)
    card_rules.require_sound_output(card.output, rules)
    if card.accuracy is not None:
        card_rules.require_sound_accuracy(card.accuracy, task_of(card).METRIC, rules)
    rules.require(
        not (card.speed_only and card.accuracy), "A speed_only model cannot have an [accuracy] table"
    )
    card_rules.require_sound_file(card.file, card.speed_only, rules)


def _toml(card: Card) -> str:
    document: dict[str, Any] = {}
    for item in fields(card):
        value = getattr(card, item.name)
        if item.metadata.get("elsewhere") or value in (None, {}, item.default):
            continue
        if isinstance(value, InputSpec):
            value = value.to_dict()
        document[item.name] = vars(value) if is_dataclass(value) else value
    return tomli_w.dumps(_without_none(document))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without the keys whose value TOML cannot say."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
