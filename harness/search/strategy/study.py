"""A study on disk: Optuna's journal, whose it is, and what is finished in it."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import HarnessError, OutputError
from harness.model.architecture import Architecture
from harness.search.strategy.front import Point

_NAME = "search"
_DIRECTIONS = ("minimize", "maximize")
"""Of latency and score."""
_KEY = "architecture"
_WORDS = {
    "space": "search space",
    "table": "latency table",
    "estimator": "accuracy estimator",
    "weights": "set of scouts",
    "seed": "seed",
    "population": "population",
    "cap_ms": "wanted latency",
}


def require_optuna() -> Any:
    """Return the module optuna, quiet.

    Raises:
        HarnessError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise HarnessError(
            "The search needs Optuna, which is not installed: pip install 'inference-harness[search]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(path: Path, identity: Mapping[str, Any]) -> Any:
    """Return the study whose journal is `path`, made where there is none, with a sampler to be replaced.

    Args:
        path: a file; what a killed process left half-written at its end is cut off.
        identity: what the study depends on, in JSON values; see _WORDS.

    Raises:
        OutputError: the journal is of another study, damaged, or cannot be written.
    """
    optuna = require_optuna()
    wanted = json.loads(json.dumps(dict(identity)))
    try:
        journal = _Journal(path)
        journal.mend()
        storage = optuna.storages.JournalStorage(journal)
        study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            directions=_DIRECTIONS,
            sampler=optuna.samplers.RandomSampler(),
            load_if_exists=True,
        )
    except OSError as error:
        raise OutputError(
            f"Cannot write the study {path} ({error.strerror}): {files.elsewhere(path)}."
        ) from error
    except (ValueError, KeyError) as error:
        raise OutputError(f"The study {path} is damaged ({error}): delete it to search anew.") from error
    found = study.user_attrs
    unlike = [word for key, word in _WORDS.items() if key in found and found[key] != wanted.get(key)]
    if unlike:
        raise OutputError(
            f"The study {path} is of another {' and '.join(unlike)}: choose another --out, or delete it to "
            "search anew."
        )
    for key, value in wanted.items():
        if key not in found:
            study.set_user_attr(key, value)
    return study


def abandon(study: Any) -> None:
    """Mark what killed processes left unfinished as failed, and let it be tried again if it was enqueued."""
    optuna = require_optuna()
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        # `enqueue` would skip it: Optuna counts failed trials, too, among those that exist.
        if decisions := trial.system_attrs.get("fixed_params"):
            study.enqueue_trial(dict(decisions))


def enqueue(study: Any, decisions: Sequence[Mapping[str, Any]]) -> None:
    """Let these decisions be tried next, as far as they have not been."""
    for one in decisions:
        study.enqueue_trial(dict(one), skip_if_exists=True)


def finished(study: Any) -> list[Any]:
    """Return the finished trials by number; they are Optuna's own and not to be changed."""
    optuna = require_optuna()
    found: list[Any] = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return found


def finish(study: Any, trial: Any, point: Point, violation: float) -> None:
    """Record what a trial gave; `violation` above 0 says that the point is not allowed."""
    trial.set_user_attr(_KEY, point.architecture.to_dict())
    trial.set_constraint("latency", violation)
    study.tell(trial, (point.latency_ms, point.score))


def point_of(trial: Any) -> Point:
    """Return what a finished trial found."""
    latency_ms, score = trial.values
    return Point(Architecture.from_dict(trial.user_attrs[_KEY]), latency_ms, score)


class _Journal:
    """Optuna's journal file, but written for speed and for processes that may be killed.

    Optuna's own waits for the disk after each parameter of each trial, and 30 s for the lock of a killed
    process. Here the kernel has the lock, and writes when it likes: a power cut may cost the last trials.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = require_optuna().storages.journal.JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        found: Iterator[dict[str, Any]] = self._reader.read_logs(log_number_from)
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(f"{json.dumps(entry, separators=(',', ':'))}\n" for entry in logs)
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(lines.encode())

    def mend(self) -> None:
        """Cut off a last line without its end, which would become damage once another follows."""
        with self._path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
