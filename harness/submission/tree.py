"""The submission tree: built aside, checked, and only then put in place."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
from harness import files, resources
from harness.errors import DataError, OutputError
from harness.mlperf import log
from harness.mlperf.rules import DIVISIONS, Round
from harness.model import file as model_file
from harness.model.card import Card, write_card
from harness.submission import archive, check, compliance, documentation
from harness.submission.eligibility import calibration_record
from harness.submission.results import PERFORMANCE, Result, sure_entry_of
from harness.submission.truncation import copy_truncated
from harness.submission.verdict import faults, refusal

_LEFT_OUT = ("__pycache__", "data")
_SMALL_BYTES = 1_000_000


@dataclass(frozen=True)
class Submission:
    """What goes into a tree."""

    results: Sequence[Result]
    cards: Mapping[str, Card]
    """Model name -> card."""
    round: Round
    division: str
    submitter: str
    descriptions: Mapping[str, Mapping[str, str]]
    """System -> its JSON."""

    @property
    def home(self) -> Path:
        """The submitter's folder in the tree."""
        return Path(self.division, self.submitter)

    def card(self, one: Result) -> Card:
        return self.cards[one.document.model.name]


def require_free_target(root: Path, homes: Iterable[Path], *, replace_it: bool) -> None:
    """Refuse a target that is no submission, or that holds one of the `homes` which must not be replaced.

    Raises:
        OutputError: says which.
    """
    if not root.exists() and not root.is_symlink():
        return
    names = {path.name for path in root.iterdir()} if root.is_dir() and not root.is_symlink() else {root.name}
    if strange := sorted(names - set(DIVISIONS)):
        raise OutputError(
            f"{root} holds {strange[0]}, so it is not a submission that may be added to or replaced: "
            f"give another --out."
        )
    taken = [root / home for home in homes if (root / home).exists()]
    if taken and not replace_it:
        raise OutputError(f"{taken[0]} exists already: give --replace or another --out.")


def write(
    submissions: Sequence[Submission], root: Path, *, replace_it: bool = False, packed: Path | None = None
) -> list[str]:
    """Write a tree, check it, and put it at `root`; return its files, relative to `root`.

    Submissions of another division or submitter that are at `root` stay beside the new ones. What is
    replaced goes only when the new tree is complete.

    Args:
        submissions: what to write, each of another division.
        root: the tree's folder.
        replace_it: whether what is at `root` of the same division and submitter may go.
        packed: also write the whole tree there, packed.

    Raises:
        OutputError: the target exists or cannot be written, or another process writes it.
        HarnessError: the new tree does not pass `check.check_tree`; nothing is written.
    """
    homes = [one.home for one in submissions]
    if packed is not None:
        files.make_writable_folder(packed.absolute().parent)
    try:
        with _writing(root) as staging:
            require_free_target(root, homes, replace_it=replace_it)
            built = staging / "new"
            built.mkdir()
            for there in root.glob("*/*"):
                if (kept := there.relative_to(root)) not in homes:
                    shutil.copytree(there, built / kept, symlinks=True)
            for one in submissions:
                _build(one, built / one.home)
            wrong = faults(check.check_tree(built, submissions[0].round))
            if wrong:
                raise refusal("The tree does not pass `harness check`", [one.sentence for one in wrong])
            listed = sorted(str(path.relative_to(built)) for path in built.rglob("*") if path.is_file())
            if packed is None:
                _take_place(built, root, staging / "old")
            else:
                with files.replacing(packed) as unfinished:
                    archive.pack(built, unfinished)
                    _take_place(built, root, staging / "old")
    except OSError as error:
        if (lost := _lost_source(error, submissions)) is not None:
            raise DataError(
                f"{lost} was removed meanwhile: make it again, and repeat the command."
            ) from error
        raise OutputError(f"Cannot write {root} ({error}): choose another --out.") from error
    return listed


def _lost_source(error: OSError, submissions: Sequence[Submission]) -> Path | None:
    """Return the file that an error says is missing, where it is one of a result."""
    if not isinstance(error, FileNotFoundError) or not error.filename:
        return None
    path = Path(error.filename)
    folders = (result.folder for one in submissions for result in one.results)
    return path if any(path.is_relative_to(folder) for folder in folders) else None


@contextmanager
def _writing(root: Path) -> Iterator[Path]:
    """Yield an empty folder beside a tree's, on the same disk, to this process alone.

    Raises:
        OutputError: another process writes the same tree, or nothing can be written there.
    """
    place = root.absolute()
    parent = files.make_writable_folder(place.parent)
    lock = parent / f".{place.name}{files.LOCK}"
    with files.alone(root, "`harness submit`", lock=lock), files.staging(parent, place.name) as staging:
        yield staging


def _take_place(built: Path, root: Path, old: Path) -> None:
    if root.exists():
        root.rename(old)
    try:
        built.rename(root)
    except OSError:
        if old.exists():
            old.rename(root)
        raise


def _build(submission: Submission, home: Path) -> None:
    (home / "systems").mkdir(parents=True)
    for system, described in submission.descriptions.items():
        files.write_json(home / "systems" / f"{system}.json", dict(described))
    records: dict[str, dict[str, Any] | None] = {}
    for one in submission.results:
        task = sure_entry_of(one, submission.round)
        folder = documentation.folder_name(one, task, submission.division)
        _write_scenario(submission, one, home / "results" / one.system / folder / one.scenario)
        card = submission.card(one)
        records[card.name] = calibration_record(card) if card.quantized_here else None
        if not (home / "src" / folder).exists():
            _write_model(submission, card, home / "src" / folder)
    (home / "documentation").mkdir()
    measured = [(one, submission.card(one)) for one in submission.results]
    int8 = {card.name for one, card in measured if documentation.is_int8(one, card)}
    files.write_text(home / "documentation" / "calibration.md", documentation.calibration(records, int8))
    if submission.division == "open":
        mapping = documentation.model_mapping(submission.results, submission.round)
        files.write_json(home / "model_mapping.json", mapping)
    _write_code(submission, home / "src")
    for path in home.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _write_scenario(submission: Submission, one: Result, target: Path) -> None:
    card, made_for, division = submission.card(one), submission.round, submission.division
    _copy_logs(one.folder / PERFORMANCE, target / PERFORMANCE)
    _copy_logs(one.folder / "accuracy", target / "accuracy")
    copy_truncated(one.folder / "accuracy", target / "accuracy")
    shutil.copyfile(one.folder / "user.conf", target / "user.conf")
    files.write_json(target / "measurements.json", documentation.measurements(one, card))
    files.write_text(target / "README.md", documentation.readme(one, card, made_for, division))
    if division == "closed":
        for test in sure_entry_of(one, made_for).audits:
            _write_audit(one.folder / test, target / test)


def _write_audit(source: Path, target: Path) -> None:
    _copy_logs(source / PERFORMANCE, target / PERFORMANCE)
    for name in (compliance.PERFORMANCE_FILE, compliance.ACCURACY_FILE):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if (source / "accuracy").is_dir():
        (target / "accuracy").mkdir()
        copy_truncated(source / "accuracy", target / "accuracy")
        for name in (compliance.BASELINE, compliance.COMPLIANCE):
            if (source / "accuracy" / name).exists():
                shutil.copyfile(source / "accuracy" / name, target / "accuracy" / name)


def _copy_logs(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in (log.SUMMARY_LOG, log.DETAIL_LOG):
        shutil.copyfile(source / name, target / name)


def _write_model(submission: Submission, card: Card, target: Path) -> None:
    """Write the card, and the model's files where the rules allow their size."""
    target.mkdir(parents=True)
    paths = model_file.files(card)
    if card.file.url is None and documentation.small_enough(paths, submission.round):
        for path in paths:
            # Where the file that the card names expects it.
            copied = target / path.relative_to(paths[0].parent)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
        if paths:
            card = replace(card, file=replace(card.file, path=paths[0].name, package=None))
    else:
        card = replace(card, file=replace(card.file, sha256=model_file.sha256(card)))
    if card.quantized_here:
        record = str(card.quantization["record"])
        shutil.copyfile(card.folder / record, target / Path(record).name)
        card = replace(card, quantization=card.quantization | {"record": Path(record).name})
    write_card(card, target / "card.toml")


def _write_code(submission: Submission, target: Path) -> None:
    """Write the harness itself, laid out as installed, so that others can repeat the runs with its code."""
    package = Path(harness.__file__).parent
    _copy_files(package, target / "harness", lambda path: path.suffix == ".py", without=_LEFT_OUT)
    for shipped in (resources.MODELS, resources.CALIBRATION, resources.PUBLISHED):
        _copy_files(shipped, target / "harness" / "data" / shipped.name, _is_small)
    for conf in (resources.USER_CONF, resources.MLPERF_CONF):
        shutil.copyfile(conf, target / "harness" / "data" / conf.name)
    systems = {one.system: one.document.machine.versions for one in submission.results}
    text = documentation.source_readme(systems, submission.results[0].document.harness)
    files.write_text(target / "README.md", text)


def _copy_files(
    source: Path, target: Path, wanted: Callable[[Path], bool], without: tuple[str, ...] = ()
) -> None:
    for folder, names, found in os.walk(source):
        names[:] = sorted(name for name in names if name not in without and not name.startswith("."))
        for name in sorted(found):
            path = Path(folder, name)
            if wanted(path) and not name.startswith("."):
                copied = target / path.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _SMALL_BYTES
