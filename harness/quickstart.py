"""The whole story on a bare machine: what INT8 does to a trained model, and how fast ResNet-50 is here."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__, builtin, calibration, files, held, model_file, noise, result, run, system
from harness.card import SPEED_ONLY, Card, find_card, read_card
from harness.console import note
from harness.dataset import ImageList, find_images
from harness.errors import ModelError, OutputError
from harness.published import ROWS, SOURCE, PublishedRow
from harness.scenario import Mode, Scenario
from harness.settings import RunSettings
from harness.store import Store, prepare

BUILTIN_MODEL = "builtin-resnet50"
SEARCHED_MODEL = "builtin-searched"
"""Found by `benchmarks/search.py`."""
UNIFORM_MODEL = "builtin-uniform"
"""Its control: the baseline with fewer blocks, narrowed until it was just not faster, trained alike."""
CONTROL = "uniform"
"""The control's row, which is there to be compared with: it may miss what all others must reach."""
SPEED_MODEL = "resnet50-seeded"

_MARKER = "quickstart.json"
_RESULTS = "results"
_FORMAT = 1
_NEEDED_BYTES = 500_000_000
# p90 over p50 from which on a row is worth a remark: the queries are alike, so the machine was not.
_MOST_SPREAD = 1.25


@dataclass(frozen=True)
class Effort:
    """How much of everything; the defaults take a few minutes on two cores."""

    test_count: int = builtin.TEST_COUNT
    calibration_count: int = 312
    speed_count: int = 128
    """Images for the speed-only model, whose store is large for each."""
    speed_calibration_count: int = 16
    duration_s: float = 3.0
    """LoadGen's least duration of each performance test."""


FULL = Effort()


@dataclass(frozen=True)
class Row:
    """One model in one precision; None where it was not measured."""

    task: str
    variant: str
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    samples_per_second: float | None = None
    accuracy: float | None = None
    not_run: str = ""
    """Why the row could not be run."""
    invalid: str = ""
    """Why LoadGen refuses the row."""
    missed: str = ""
    """By how much the row misses the accuracy that it must reach."""
    noise: Sequence[dict[str, Any]] = ()
    """What went on around each performance test (noise.Noise)."""


@dataclass(frozen=True)
class Story:
    """What a quickstart found."""

    folder: Path
    machine: system.Machine
    task: list[Row]
    """The built-in task on one core; its first row is the baseline."""
    resnet50: list[Row]
    """The true ResNet-50 at 224 px, likewise, for speed only; its first row is the baseline."""
    published: PublishedRow

    @property
    def good(self) -> bool:
        rows = (*self.task, *self.resnet50)
        return not any(row.invalid or (row.missed and row.variant != CONTROL) for row in rows)

    @property
    def remarks(self) -> list[str]:
        """What disturbed the tests, in words, whichever call made them."""
        rows = (*self.task, *self.resnet50)
        tests = (one for row in rows for one in row.noise)
        # Each test is a series of its own: their frequencies may differ by design.
        noises = {str(number): [noise.from_dict(one)] for number, one in enumerate(tests)}
        found = [*noise.remarks(noises), *_spread_remarks(rows)]
        if found:
            found.append(
                f"To measure again, delete {self.folder / _RESULTS} first; where it is never quiet, `harness "
                f"compare` is fairer, which measures in alternating rounds."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the story as JSON values."""
        return {
            "format": _FORMAT,
            "machine": self.machine.to_dict(),
            "task": [vars(row) for row in self.task],
            "resnet50": {"note": SPEED_ONLY, "threads": 1, "rows": [vars(row) for row in self.resnet50]},
            "published": {"source": SOURCE, **vars(self.published)},
            "remarks": self.remarks,
        }


def quickstart(out: Path, effort: Effort = FULL) -> Story:
    """Make the built-in set, its store and INT8 twin in `out`, run everything, and return what came out.

    What an earlier call with the same effort left in `out` is used again as far as it is still valid. Results
    of another machine, harness or set of libraries are removed and measured anew.

    Raises:
        OutputError: `out` holds something else, cannot be written, or has no room.
        RunFailed: a test broke.
    """
    _claim(out)
    busy = OutputError(f"Another quickstart is at work in {out}: wait for it, or choose another --out.")
    with files.locked(out / ".lock", busy):
        return _tell(out, effort)


def _tell(out: Path, effort: Effort) -> Story:
    with _numbered(7) as step:
        step("Drawing the built-in images")
        images = find_images(builtin.generate(out / "images", effort.test_count), len(builtin.CLASSES))
        training = builtin.generate(out / "training-images", effort.calibration_count, "train")
        step("Preparing them")
        card, big = find_card(BUILTIN_MODEL), find_card(SPEED_MODEL)
        store = prepare(images, card.input.recipe, out / "store", "builtin")
        # Calibration never sees the images that the accuracy is measured on.
        unseen = prepare(
            find_images(training, len(builtin.CLASSES)),
            card.input.recipe,
            out / "calibration-store",
            "builtin",
        )
        few = ImageList(images.names[: effort.speed_count], images.labels[: effort.speed_count], images.root)
        speed_store = prepare(few, big.input.recipe, out / "speed-store", "builtin")
        small = [card, find_card(SEARCHED_MODEL), find_card(UNIFORM_MODEL)]
        step("Quantizing " + ", ".join(one.name for one in small))
        small_int8 = [_int8(one, unseen, effort.calibration_count, out) for one in small]
        step(f"Quantizing {big.name}")
        big_int8 = _int8(big, speed_store, effort.speed_calibration_count, out)
        machine, results = system.describe(), out / _RESULTS
        for one in (card, *small_int8, big, replace(big, name=f"{big.name}-bf16"), big_int8):
            _remove_foreign(results / system.slug(machine) / one.name, machine)
        step("Running the built-in task on one core")
        measure = partial(_row, duration_s=effort.duration_s, results=results, threads=1)
        names = ("FP32", "INT8", "searched", CONTROL)
        task = [measure(*named, store) for named in zip(names, (card, *small_int8), strict=True)]
        step(f"Running ResNet-50 at 224 px on one core ({SPEED_ONLY})")
        resnet50 = [
            measure("FP32", big, speed_store),
            measure("BF16", big, speed_store, precision="bf16"),
            measure("INT8", big_int8, speed_store),
        ]
        step("Done")
    story = Story(out, machine, task, resnet50, next(row for row in ROWS if row.cores == 1))
    files.write_json(out / _MARKER, story.to_dict())
    return story


def _spread_remarks(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a remark where the p90 of some rows is far above their p50."""
    spreads = [
        (row.latency_p90_ms / row.latency_p50_ms, row)
        for row in rows
        if row.latency_p50_ms and row.latency_p90_ms
    ]
    wide = [f"{row.task} {row.variant} {ratio:.1f}" for ratio, row in spreads if ratio > _MOST_SPREAD]
    if wide:
        yield (
            f"p90 is far above p50 ({', '.join(wide)} times), so that other load may have made differences: "
            f"repeat on a quiet machine."
        )


def _claim(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: choose a folder with --out.")
    ours = (out / _MARKER).exists()
    if out.is_dir() and any(out.iterdir()) and not ours:
        raise OutputError(f"The folder {out} holds something else: choose a new or empty one with --out.")
    files.make_writable_folder(out)
    if not ours:
        files.require_free_space(out, _NEEDED_BYTES, "the quickstart")
        files.write_json(out / _MARKER, {"format": _FORMAT})


@contextmanager
def _numbered(count: int) -> Iterator[Callable[[str], None]]:
    done = 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        note(f"[{done}/{count}] {text}")

    yield step


def _int8(card: Card, store: Store, samples: int, out: Path) -> Card:
    """Return the card's INT8 twin, made now unless one of this very model is there."""
    target = out / "models" / f"{card.name}-int8.xml"
    card_path = target.with_suffix(".toml")
    if card_path.exists():
        made = read_card(card_path)
        is_whole = model_file.state(made) == model_file.PRESENT
        if is_whole and made.quantization.get("original_sha256") == model_file.sha256(card):
            note(f"{target} is up to date.")
            return made
    if target.parent.exists():
        for path in target.parent.glob(f"{target.stem}.*"):
            path.unlink()
    # No two calibrations need give the same model, and results are of one.
    for path in (out / _RESULTS).glob(f"*/{target.stem}"):
        shutil.rmtree(path)
    indices = calibration.choose(store, samples, None)
    made, _ = calibration.quantize(card, store, indices, calibration.CalibrationSettings(), target)
    return made


def _remove_foreign(results: Path, machine: system.Machine) -> None:
    """Remove a model's results unless each was made by this harness and these libraries on this machine."""
    paths = results.glob(f"*/{result.FILE_NAME}")
    unlike = {part: None for path in sorted(paths) for part in _differences(path, machine)}
    if unlike:
        note(f"The results in {results} are of another {' and '.join(unlike)}: they are measured anew.")
        shutil.rmtree(results)


def _differences(path: Path, machine: system.Machine) -> list[str]:
    """Return what sets the result at `path` apart from one that would be made now."""
    try:
        found = result.read(path)
    except OutputError:
        return ["format"]
    if found["harness"] != __version__:
        return ["version of the harness"]
    return held.differences(found, found | {"machine": json.loads(json.dumps(machine.to_dict()))})


def _row(
    variant: str,
    card: Card,
    data: Store,
    results: Path,
    duration_s: float,
    threads: int,
    precision: str = "f32",
) -> Row:
    task = "built-in task" if not card.speed_only else "ResNet-50, 224 px"
    documents = {}
    modes = (Mode.PERFORMANCE,) if card.speed_only else tuple(Mode)
    for scenario in (Scenario.SINGLE_STREAM, Scenario.OFFLINE):
        settings = RunSettings(scenario, precision=precision, threads=threads, duration_s=duration_s)
        try:
            documents[scenario], _ = run.run(
                run.Request(card, data.path, settings, modes, results, tuning=False)
            )
        except ModelError as error:
            # Only that a CPU, or a layer, has no BF16 is an answer.
            if precision != "bf16":
                raise
            return Row(task, variant, not_run=str(error))
    latency, throughput = (documents[scenario]["performance"] for scenario in documents)
    accuracies = {d["accuracy"]["accuracy"] for d in documents.values() if d["accuracy"] is not None}
    return Row(
        task,
        variant,
        latency["latency_ns"]["p50"] / 1e6,
        latency["latency_ns"]["p90"] / 1e6,
        throughput["samples_per_second"],
        min(accuracies, default=None),
        invalid="; ".join(
            f"{scenario} is INVALID: {' '.join(document['performance']['advice'])}"
            for scenario, document in documents.items()
            if not document["performance"]["valid"]
        ),
        missed="; ".join(
            f"{scenario}: {document['accuracy']['verdicts'][0]['text']}"
            for scenario, document in documents.items()
            if document["accuracy"] is not None and not document["accuracy"]["passed"]
        ),
        noise=[one["noise"] for one in (latency, throughput) if "noise" in one],
    )
