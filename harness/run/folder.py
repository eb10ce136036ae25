"""What a scenario's folder holds already: finished tests are kept, and what contradicts them is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import OutputError
from harness.loadgen.settings import TUNABLE, in_words
from harness.mlperf.scenario import Mode
from harness.run import result

PERFORMANCE_LOGS = Path("performance", "run_1")
ACCURACY_LOGS = Path("accuracy")

_LOGS = {
    Mode.PERFORMANCE: PERFORMANCE_LOGS / "mlperf_log_detail.txt",
    Mode.ACCURACY: ACCURACY_LOGS / "mlperf_log_accuracy.json",
}
_IDENTITY = ("harness", "model", "data")
_SETTINGS = ("scenario", "precision", *TUNABLE)
PERFORMANCE_SETTINGS = ("official", "user_conf", "user_conf_sha256", "duration_s", "stall_timeout_s")
"""What only a performance test depends on: with the accuracy of one run goes the speed of another."""
_MACHINE = ("cpu_model", "cpu_signature", "isa", "usable_cpus", "versions")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from testing in a scenario's folder, which need not exist, but its parent must.

    Raises:
        OutputError: another one is at it, or nothing can be written there.
    """
    busy = OutputError(f"Another process is at work on {folder}: wait for it, or give another --out.")
    with files.locked(lock_of(folder), busy):
        yield


def lock_of(folder: Path) -> Path:
    """Return the file beside a scenario's folder that `alone_in` locks; a killed process leaves it there."""
    return folder.with_name(f".{folder.name}.lock")


def differences(held: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Return what keeps two documents from being about the same thing.

    A setting that the one asked for leaves open is the same as one that a probe chose, and what an older
    document does not say of its machine is the same, too.
    """
    unlike = [part for part in _IDENTITY if held[part] != asked[part]]
    chosen = held["settings"].get("chosen", [])
    for key in _SETTINGS:
        value, wanted = _in_force(held, key), _in_force(asked, key)
        if value != wanted and not (wanted is None and key in chosen):
            unlike.append(key)
    here, there = asked["machine"], asked["machine"] | held["machine"]
    unlike += [key for key in _MACHINE if there[key] != here[key]]
    return [_WORDS.get(part, part) for part in unlike]


def _in_force(document: dict[str, Any], key: str) -> Any:
    """Return a setting; under a CPU quota nothing is pinned, said or not (system.default_pinning)."""
    value, machine = document["settings"].get(key), document["machine"]
    if key == "pinning" and value is None and machine["usable_cpus"] < machine.get("cpus_allowed", 0):
        return False
    return value


_WORDS = {
    "harness": "version of the harness",
    "versions": "set of library versions",
    "cpu_model": "CPU",
    "cpu_signature": "family, model or stepping of the CPU",
    "isa": "set of CPU instructions",
    "usable_cpus": "number of usable CPUs",
    "official": "kind (official or not)",
    "duration_s": "duration",
    "user_conf_sha256": "user.conf",
}


def tests_to_keep(
    folder: Path, asked: dict[str, Any], modes: tuple[Mode, ...], replace: bool
) -> tuple[dict[str, Any] | None, tuple[Mode, ...]]:
    """Return the document that is there, and which of its tests stay: None when nothing does.

    A test of the same model, data, settings and machine stays when it is finished and valid, so that an
    interrupted run goes on where it was; one that is not valid is run again.

    Args:
        folder: the scenario's folder.
        asked: the document of the run that is asked for, without results.
        modes: the tests that are asked for.
        replace: whether these may take the place of any that are there.

    Raises:
        OutputError: the folder holds a result of something else.
    """
    path = folder / result.FILE_NAME
    if not path.exists():
        return None, ()
    held = result.read(path)
    present = [mode for mode in Mode if held[mode] is not None]
    others = [mode for mode in present if mode not in modes]
    unlike = differences(held, asked)
    if replace:
        if others and unlike:
            raise _refusal(folder, "", unlike, "give another --out, or both modes with --replace")
        return (held, tuple(others)) if others else (None, ())
    # What is not valid is run again anyway, and the advice may well have been another user.conf.
    if Mode.PERFORMANCE in present and Mode.PERFORMANCE in modes and held[Mode.PERFORMANCE]["valid"]:
        unlike_test = unlike + [_WORDS[key] for key in _test_differences(held, asked)]
        if unlike_test:
            cure = f"give --replace or another --out{_about_tuning(held, asked)}"
            raise _refusal(folder, "performance ", unlike_test, cure)
    if present and unlike:
        cure = f"give another --out, or both modes with --replace{_about_tuning(held, asked)}"
        raise _refusal(folder, "", unlike, cure)
    kept = tuple(mode for mode in present if mode in others or _is_finished(held, mode, folder))
    return (held, kept) if kept else (None, ())


def _test_differences(held: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Return what two performance tests of the same thing differ in."""
    one, other = held["settings"], asked["settings"]
    keys = ["official", "user_conf_sha256", *([] if one["official"] else ["duration_s"])]
    return [key for key in keys if one.get(key) != other[key]]


def _about_tuning(held: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return what to know of two results when a tuning sets one apart from the other."""
    there, wanted = (one and one["settings"] for one in (held.get("tuning"), asked["tuning"]))
    if there == wanted:
        return ""
    if wanted is None:
        return f" (a tuning of {held['tuning']['created']} is in use there)"
    return f" (the tuning of {asked['tuning']['created']} sets {in_words(wanted) or 'nothing'}: --no-tuning)"


def _is_finished(held: dict[str, Any], mode: Mode, folder: Path) -> bool:
    """Return whether a test need not be repeated; a missed accuracy target is a result like any other."""
    section = held[mode]
    return (folder / _LOGS[mode]).exists() and (
        section["valid"] if mode is Mode.PERFORMANCE else not section["errors"]
    )


def _refusal(folder: Path, what: str, unlike: list[str], cure: str) -> OutputError:
    return OutputError(
        f"The {what}result in {folder} is of another {' and '.join(unlike)}, and one folder holds the "
        f"accuracy and performance of one thing: {cure}."
    )
