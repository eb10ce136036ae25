"""Where results come home to: OUT/<machine>/<models>/<settings>/, each folder whole or not there."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.errors import OutputError
from harness.fleet.duty import Outcome
from harness.fleet.member import Member

TASK = "task.json"
RESULTS = "results"
FORMAT = 1
_UNDER_WAY = "under-way"


@dataclass(frozen=True)
class Task:
    """What a machine measured for a fleet (task.json)."""

    machine: str
    kind: str
    host: str
    hostname: str
    command: tuple[str, ...]
    """Words after `harness`, as they were given."""
    started: str
    ended: str
    """Times of the machine, in ISO 8601, UTC."""
    niceness: int
    affinity: tuple[int, ...]
    """CPUs that it might run on."""
    exit_code: int
    """0, or 1 where a test is invalid or misses its target."""
    output: str
    """What the command printed with --json."""


def folder_of(out: Path, member: Member, models: str, settings: str) -> Path:
    """Return the folder of one machine's results; the other two are hex digests."""
    return out / member.name / models[:12] / settings[:12]


def read(folder: Path) -> Task | None:
    """Return what was measured into a folder; None when nothing is there.

    Raises:
        OutputError: task.json is damaged.
    """
    path = folder / TASK
    if not path.exists():
        return None
    try:
        document = files.read_json(path)
        if (found := document.pop("format", None)) != FORMAT:
            raise ValueError(f"its format is {found!r}, not {FORMAT}")
        return typed.structure(document, Task)
    except (AttributeError, OSError, ValueError) as error:
        raise OutputError(
            f"Cannot use {path} ({error}): remove the folder {folder}, and it is measured again."
        ) from error


def write(out: Path, folder: Path, member: Member, command: Sequence[str], outcome: Outcome) -> Task:
    """Bring an outcome home, and return its task.json.

    Raises:
        OutputError: it cannot be written, or what came is no archive.
    """
    task = Task(
        machine=member.name,
        kind=member.kind,
        host=member.host,
        hostname=member.hostname,
        command=tuple(command),
        started=outcome.started,
        ended=outcome.ended,
        niceness=outcome.niceness,
        affinity=outcome.affinity,
        exit_code=outcome.exit_code,
        output=outcome.stdout,
    )
    with files.staging(out, _UNDER_WAY) as staged:
        whole = staged / "whole"
        (whole / RESULTS).mkdir(parents=True)
        _unpack(outcome.archive, whole / RESULTS)
        files.write_json(whole / TASK, {"format": FORMAT, **typed.unstructure(task)})
        folder.parent.mkdir(parents=True, exist_ok=True)
        whole.replace(folder)
    return task


def _unpack(archive: bytes, folder: Path) -> None:
    if not archive:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            opened.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise OutputError(
            f"Cannot write {folder} ({error}): free some space, or give another --out."
        ) from error


def to_dict(task: Task) -> dict[str, Any]:
    """Return what tells of a task in a list, without the document that it printed."""
    return {name: value for name, value in typed.unstructure(task).items() if name != "output"}
