"""What a scenario's folder holds already: finished tests are kept, and what contradicts them is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import files
from harness.console import note
from harness.errors import HarnessError, OutputError
from harness.loadgen.settings import TUNABLE, in_words
from harness.machine import identity
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode
from harness.run import result
from harness.run.document import Asked, Identity, RunResult
from harness.task import task_of

PERFORMANCE_LOGS = Path("performance", "run_1")
ACCURACY_LOGS = Path("accuracy")

_IDENTITY = ("harness", "model", "data")
_SETTINGS = ("scenario", "precision", "endpoint", *TUNABLE)
PERFORMANCE_SETTINGS = ("official", "user_conf", "user_conf_sha256", "duration_s", "stall_timeout_s")
"""What only a performance test depends on: with the accuracy of one run goes the speed of another."""
_MACHINE = ("cpu_model", "cpu_signature", "isa", "usable_cpus", "quota_cores", "versions")


class OtherResult(OutputError):
    """A folder's result is of something else than is asked for."""

    def __init__(self, folder: Path, kind: str, unlike: list[str], cure: str) -> None:
        self.what = " and ".join(unlike)
        super().__init__(
            f"The {kind}result in {folder} is of another {self.what}, and one folder holds the accuracy and "
            f"performance of one thing: {cure}."
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from testing in a scenario's folder, which need not exist, but its parent must.

    Raises:
        OutputError: another one is at it, or nothing can be written there.
    """
    with files.alone(folder, lock=lock_of(folder)):
        yield


def lock_of(folder: Path) -> Path:
    """Return the file beside a scenario's folder that `alone_in` locks; a killed process leaves it there."""
    return folder.with_name(f".{folder.name}.lock")


def differences(held: Identity, asked: Identity) -> list[str]:
    """Return what keeps two results from being about the same thing.

    A setting that the one asked for leaves open is the same as one that a probe chose, and what an older
    result does not say of its machine is the same, too.
    """
    unlike = [part for part in _IDENTITY if getattr(held, part) != getattr(asked, part)]
    for key in _SETTINGS:
        value, wanted = _in_force(held, key), _in_force(asked, key)
        if value != wanted and not (wanted is None and key in held.settings.chosen):
            unlike.append(key)
    unlike += identity.unlike(held.machine, asked.machine, _MACHINE)
    return [_WORDS.get(part, part) for part in unlike]


def _in_force(identity: Identity, key: str) -> Any:
    """Return a setting; under a CPU quota nothing is pinned, said or not (system.default_pinning)."""
    value = getattr(identity.settings, key)
    if key == "pinning" and value is None and identity.machine.is_under_quota:
        return False
    return value


_WORDS = {
    "harness": "version of the harness",
    "versions": "set of library versions",
    "cpu_model": "CPU",
    "cpu_signature": "family, model or stepping of the CPU",
    "isa": "set of CPU instructions",
    "usable_cpus": "number of usable CPUs",
    "quota_cores": "CPU quota",
    "official": "kind (official or not)",
    "duration_s": "duration",
    "user_conf_sha256": "user.conf",
}


def tests_to_keep(
    folder: Path,
    asked: Asked,
    modes: tuple[Mode, ...],
    replace: bool,
    truth: Any,
) -> tuple[RunResult | None, tuple[Mode, ...]]:
    """Return the result that is there, and which of its tests stay: None when nothing does.

    A test of the same model, data, settings and machine stays when it is finished, valid and sound, so that
    an interrupted run goes on where it was; any other is run again, and a note says why.

    Args:
        folder: the scenario's folder.
        asked: what is asked for.
        modes: the tests that are asked for.
        replace: whether these may take the place of any that are there.
        truth: what is right for each sample of the store, as the card's task has it.

    Raises:
        OtherResult: the folder holds a result of something else.
        OutputError: it holds one that is damaged, and not to be replaced.
    """
    path = folder / result.FILE_NAME
    if not path.exists():
        return None, ()
    try:
        held = result.read(path)
    except result.Damaged as error:
        if not replace:
            raise
        note(f"Replaced, with all that it said of its tests: {error.fault}.")
        return None, ()
    present = [mode for mode in Mode if held.section(mode) is not None]
    others = [mode for mode in present if mode not in modes]
    unlike = differences(held.identity, asked.identity)
    if replace:
        if others and unlike:
            raise OtherResult(folder, "", unlike, "give another --out, or both modes with --replace")
        return (held, tuple(others)) if others else (None, ())
    # What is not valid is run again anyway, and the advice may well have been another user.conf.
    if Mode.PERFORMANCE in modes and held.performance is not None and held.performance.valid:
        unlike_test = unlike + [_WORDS[key] for key in _test_differences(held, asked)]
        if unlike_test:
            cure = f"give --replace or another --out{_about_tuning(held, asked)}"
            raise OtherResult(folder, "performance ", unlike_test, cure)
    if present and unlike:
        cure = f"give another --out, or both modes with --replace{_about_tuning(held, asked)}"
        raise OtherResult(folder, "", unlike, cure)
    kept = list(others)
    for mode in present:
        if mode in modes and not (fault := unsound(held, mode, folder, truth)):
            kept.append(mode)
        elif mode in modes:
            note(f"Run again: the {held.scenario} {mode} test in {folder}, as {fault}.")
    return (held, tuple(kept)) if kept else (None, ())


def unsound(held: RunResult, mode: Mode, folder: Path, truth: Any = None) -> str:
    """Return why a test of a result is not finished, valid and sound, or an empty text.

    A missed accuracy target is a result like any other, unless it is missed by so much that something else
    is wrong.

    Args:
        held: the result in the folder.
        mode: a test that it holds.
        folder: the scenario's folder.
        truth: what is right for each sample of the store, as the card's task has it; for an accuracy test.
    """
    try:
        if mode is Mode.PERFORMANCE:
            return _unsound_performance(held, folder)
        return _unsound_accuracy(held, folder, truth)
    except HarnessError as error:
        return error.fault if isinstance(error, log.LogFault) else str(error).rstrip(".")


def _unsound_performance(held: RunResult, folder: Path) -> str:
    section = held.performance
    if section is None or not section.valid:
        return "it is not valid"
    log.require_summary(folder / PERFORMANCE_LOGS / log.SUMMARY_LOG)
    measured = log.read_performance(folder / PERFORMANCE_LOGS / log.DETAIL_LOG)
    if unlike := section.unlike(measured):
        return f"result.json and its log tell other figures ({', '.join(unlike)})"
    stated = conf.read_user_conf(folder / "user.conf", held.benchmark).values(held.scenario)
    if any(stated.get(key, value) != value for key, value in section.estimate.items()):
        return "user.conf is not the one of its log"
    return ""


def _unsound_accuracy(held: RunResult, folder: Path, truth: Any) -> str:
    section, task = held.accuracy, task_of(held)
    if section is None or section.errors:
        return "LoadGen logged an error"
    logs = folder / ACCURACY_LOGS
    log.require_summary(logs / log.SUMMARY_LOG)
    log.require_end(log.read_detail(logs / log.DETAIL_LOG))
    score = task.score(logs / log.ACCURACY_LOG, truth, len(truth))
    if score.counts != {name: getattr(section, name) for name in score.counts}:
        return f"result.json says {section.text}, and its log {score.text}"
    if log.read_text(logs / log.ACCURACY_TEXT).strip() != score.text:
        return "accuracy.txt is not of its log"
    missed = [one for one in section.verdicts if task.is_far_off(score.fraction, one.target)]
    return f"it is so far off its target that something was wrong ({missed[0].text})" if missed else ""


def _test_differences(held: RunResult, asked: Asked) -> list[str]:
    """Return what two performance tests of the same thing differ in."""
    one, other = held.settings, asked.identity.settings
    keys = ["official", "user_conf_sha256", *([] if one.official else ["duration_s"])]
    return [key for key in keys if getattr(one, key) != getattr(other, key)]


def _about_tuning(held: RunResult, asked: Asked) -> str:
    """Return what to know of two results when a tuning sets one apart from the other."""
    there, wanted = held.tuning, asked.tuning
    if (there and there.settings) == (wanted and wanted.settings):
        return ""
    if wanted is None:
        return "" if there is None else f" (a tuning of {there.created} is in use there)"
    words = in_words(wanted.settings, served=wanted.key.endpoint is not None)
    return f" (the tuning of {wanted.created} sets {words or 'nothing'}: --no-tuning)"
