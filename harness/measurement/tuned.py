"""Tunings: the OpenVINO settings that `harness tune` found fastest, kept for `run` and `compare`.

A tuning is found by what it depends on: the model and its input size, the CPU and its instruction sets, the
CPUs allowed, of which kind they are and by what quota, the version of OpenVINO, the scenario, the
precision and the threads asked for; of a served model also by its endpoint. Where any of it differs there is
no tuning. What an older one does not say counts as equal, but for the quota, under which nothing may be
pinned.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import files, resources, typed
from harness.errors import HarnessError, OutputError
from harness.loadgen.settings import TUNABLE, RunSettings, in_words
from harness.machine import identity, system
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card
from harness.typed import LEFT_OUT, Scalar

FILE_NAME = "tuning.json"
FORMAT = 1

_DIGITS = 16
_UNSAID: dict[str, Any] = dict.fromkeys(["cpu_signature", "cores", "performance_cpus", "whole", "input_size"])
"""Of a key, what older tunings do not say, as None."""


@dataclass(frozen=True)
class Key:
    """What a tuning is of."""

    model_sha256: str
    cpu_model: str | None
    isa: tuple[str, ...] | None
    usable_cpus: int
    openvino: str | None
    scenario: str
    precision: str
    threads: int | None
    """The threads that the user asked for; None when that was left open."""
    cpu_signature: str | None = None
    cores: int | None = None
    """Physical cores that the CPUs allowed are on."""
    performance_cpus: int | None = None
    """CPUs allowed on P cores, on hybrids only."""
    whole: bool | None = None
    """Whether no quota takes a part of the CPUs allowed."""
    quota_cores: float | None = field(default=None, metadata=LEFT_OUT)
    """The quota that does, in CPUs."""
    input_size: int | None = None
    """Pixels of an image's side."""
    endpoint: str | None = field(default=None, metadata=LEFT_OUT)
    """The address of a served model, as it was asked for; None: the model is compiled here."""

    @property
    def values(self) -> dict[str, Any]:
        """What documents say of it; an endpoint or a quota is left out where there is none."""
        said: dict[str, Any] = typed.unstructure(self)
        return said

    @property
    def folder(self) -> Path:
        """The folder of the tuning and of the tests behind it; it need not exist."""
        values = {key: value for key, value in self.values.items() if value is not None or key not in _UNSAID}
        digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        return resources.cache_folder() / "tunings" / f"{self.scenario}-{self.precision}-{digest[:_DIGITS]}"


@dataclass(frozen=True)
class Reference:
    """What a result says of the tuning that it was made with."""

    created: str
    key: Key
    file: str
    """The tuning's, in the folder of tunings."""
    settings: dict[str, Scalar]
    """What it sets, of settings.TUNABLE."""
    verdict: str


@dataclass(frozen=True)
class Tuning:
    """What was found."""

    key: Key
    model: str
    """Name on the card."""
    created: str
    harness: str
    settings: dict[str, Scalar]
    """What to set, of settings.TUNABLE; empty: nothing was faster than the default."""
    verdict: str
    """The re-check of the fastest candidate against the default, in words."""
    details: dict[str, Any] = field(default_factory=dict)
    """The measurements: default, metric, candidates, trials, rounds, speed-up, remarks."""

    @property
    def path(self) -> Path:
        return self.key.folder / FILE_NAME

    @property
    def is_served(self) -> bool:
        """Whether it is of calls to a server."""
        return self.key.endpoint is not None

    @property
    def text(self) -> str:
        """What it sets, in words."""
        return (
            in_words(self.settings, served=self.is_served)
            or "the default settings, as nothing measured was faster"
        )

    def told(self, of: str = "") -> str:
        """Return the note of what uses it, `of` whatever needs to be said."""
        return f"Tuning of {self.created}{of}: {self.text} ({self.path}; without it: --no-tuning)."

    def apply(self, settings: RunSettings) -> RunSettings:
        """Return the settings with the tuning's wherever the user left one open.

        Raises:
            HarnessError: the tuning's settings do not go together, which only a damaged file can cause.
        """
        values = dict(self.settings)
        threads = values.get("threads")
        if settings.streams is not None and isinstance(threads, int) and threads < settings.streams:
            del values["threads"]
        return settings.fill(values)

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "key": self.key.values}

    def reference(self) -> Reference:
        """Return what a result says of the tuning that it was made with."""
        file = f"{self.key.folder.name}/{FILE_NAME}"
        return Reference(self.created, self.key, file, self.settings, self.verdict)


def key_of(card: Card, settings: RunSettings, machine: system.Machine) -> Key:
    """Return what a tuning for these settings, as the user gave them, is found by.

    Raises:
        ModelError: the model's file is missing.
    """
    return Key(
        model_sha256=model_file.sha256(card),
        **{name: getattr(machine, name) for name in identity.CPU},
        usable_cpus=machine.usable_cpus,
        openvino=machine.versions["openvino"],
        scenario=str(settings.scenario),
        precision=settings.precision,
        threads=settings.threads,
        cores=machine.cores_allowed,
        performance_cpus=machine.performance_cpus_allowed,
        whole=not machine.is_under_quota,
        quota_cores=machine.quota_cores,
        input_size=card.input.size,
        endpoint=None if settings.endpoint is None else str(settings.endpoint),
    )


def find(key: Key) -> Tuning | None:
    """Return the tuning of that key, or an older one that does not contradict it; None when there is none.

    Raises:
        OutputError: its file is damaged, or of a newer format.
    """
    return _read(key) or (_read(replace(key, **_UNSAID)) if key.whole else None)


def _read(key: Key) -> Tuning | None:
    """Return the tuning of exactly that key."""
    path = key.folder / FILE_NAME
    try:
        document = files.read_json(path)
        form = document["format"]
        if isinstance(form, int) and form > FORMAT:
            raise OutputError(
                f"The tuning {path} has format {form}, newer than this harness knows: update the harness, "
                f"or leave it out with --no-tuning."
            )
        if form != FORMAT or _UNSAID | document["key"] != json.loads(json.dumps(key.values)):
            raise ValueError("it is of something else")
        found = Tuning(**{name: document[name] for name in Tuning.__dataclass_fields__} | {"key": key})
        _check(found, key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"The tuning {path} is damaged ({error!r}): repeat `harness tune` with --replace, or leave it "
            f"out with --no-tuning."
        ) from error
    return found


def write(tuning: Tuning) -> Path:
    """Write a finished tuning into its folder, in place of an older one, and return its file.

    Raises:
        OutputError: the folder cannot be written.
    """
    files.make_writable_folder(tuning.path.parent)
    files.write_json(tuning.path, tuning.to_dict())
    return tuning.path


def _check(tuning: Tuning, key: Key) -> None:
    kinds = {"pinning": bool, "smt": bool, "core_type": str}
    for name, value in tuning.settings.items():
        kind = kinds.get(name, int)
        if name not in TUNABLE or type(value) not in (kind, type(None)):
            raise ValueError(f"{name} = {value!r}")
        if kind is int and value is not None and int(value) < 1:
            raise ValueError(f"{name} = {value!r}")
    if (tuning.settings.get("threads") or 1) > key.usable_cpus:  # type: ignore[operator]
        raise ValueError("more threads than CPUs")
    # RunSettings knows what goes together.
    try:
        tuning.apply(RunSettings(Scenario(key.scenario), key.precision, threads=key.threads))
    except HarnessError as error:
        raise ValueError(str(error)) from error
