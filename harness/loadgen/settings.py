"""What one run was asked to do, resolved once and stored with its result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import typed
from harness.backend.settings import CORE_TYPES, CompileSettings
from harness.endpoint.address import Endpoint
from harness.endpoint.meeting import ServedBy
from harness.errors import HarnessError, did_you_mean
from harness.machine import system
from harness.mlperf.scenario import Scenario
from harness.typed import LEFT_OUT

MOST_CALLS = 64
"""So many calls to a server are tried at a time, at most."""

STALL_TIMEOUT_S = 120.0
"""After which a test in which nothing is finished is stopped, where nobody says otherwise."""
TUNABLE = ("threads", "streams", "batch", "pinning", "smt", "core_type")
"""What a tuning may set; whatever of it the user gives stays as given."""


@dataclass(frozen=True)
class RunSettings:
    """How a scenario is run."""

    scenario: Scenario
    precision: str = "f32"
    """Arithmetic of the layers that are not quantized: f32 or bf16."""
    threads: int | None = None
    """CPU threads for inference; None leaves the choice to OpenVINO within the CPUs we may use."""
    streams: int | None = None
    """Parallel inference streams; None leaves the choice to OpenVINO (Offline) or the probe."""
    batch: int | None = None
    """Samples computed by one inference, in Server at most; None: 1 in Offline, else the probe's choice."""
    pinning: bool | None = None
    """Whether each thread keeps to one CPU; this and the next two: None leaves the choice to OpenVINO."""
    smt: bool | None = None
    """Whether two threads may share a core."""
    core_type: str | None = None
    """The cores to use where there are several types: any, performance or efficiency."""
    duration_s: float = 10.0
    """LoadGen's minimum duration of an unofficial performance run."""
    official: bool = False
    """Whether the durations and counts of mlperf.conf apply."""
    user_conf: Path | None = None
    """Estimates that take the place of the probe's."""
    stall_timeout_s: float = STALL_TIMEOUT_S
    """A test in which no sample is finished for so long is stopped and reported as hung."""
    endpoint: Endpoint | None = field(default=None, metadata=LEFT_OUT)
    """A served model in place of one compiled here; then `streams` are calls in flight."""

    def __post_init__(self) -> None:
        facts = self.scenario.facts
        if self.endpoint is not None:
            self._require_remote(self.endpoint)
        if facts.batch == facts.streams == 1:
            if self.batch not in (None, 1):
                raise HarnessError(f"{facts.query}: leave out --batch or use another scenario.")
            if self.streams not in (None, 1):
                option = "--streams" if self.endpoint is None else "--concurrency"
                raise HarnessError(
                    f"{self.scenario} runs one query at a time: leave out {option} or use another scenario."
                )
        if self.core_type not in (None, *CORE_TYPES):
            raise HarnessError(
                f"Core type '{self.core_type}' is not known.{did_you_mean(self.core_type or '', CORE_TYPES)}"
            )
        if self.threads is not None and self.streams is not None and self.streams > self.threads:
            raise HarnessError(
                f"{self.streams} streams need at least as many threads, but --threads is {self.threads}."
            )

    def _require_remote(self, endpoint: Endpoint) -> None:
        """Raise HarnessError for what only concerns a model that is compiled here."""
        if self.official:
            raise HarnessError(
                f"--official with --endpoint {endpoint}: MLPerf's Network division wants systems that are "
                f"physically apart, and entries that this harness does not make: leave out one of the two."
            )
        local = {
            "--precision": self.precision != "f32",
            "--threads": self.threads is not None,
            "--pinning": self.pinning is not None,
            "--smt": self.smt is not None,
            "--core-type": self.core_type is not None,
        }
        if given := [name for name, is_given in local.items() if is_given]:
            raise HarnessError(
                f"{given[0]} with --endpoint {endpoint}: the server was started with its own: leave it out."
            )

    @property
    def is_left_to_probe(self) -> bool:
        """Whether the probe chooses the batch and the streams that nobody gave."""
        return self.scenario.facts.batch is None or self.endpoint is not None

    @property
    def compile_settings(self) -> CompileSettings:
        return CompileSettings(
            self.scenario.facts.hint,
            self.precision,
            self.threads,
            self.streams,
            self.pinning,
            self.smt,
            self.core_type,
        )

    @property
    def words(self) -> str:
        """What a tuning may set, as it stands, in words."""
        return in_words(self.tunable, served=self.endpoint is not None)

    @property
    def tunable(self) -> dict[str, int | bool | str | None]:
        """Return what a tuning may set, as it stands."""
        return {name: getattr(self, name) for name in TUNABLE}

    def with_defaults(self) -> "RunSettings":
        """Return the settings with what the scenario fixes; what is None then, the probe chooses."""
        facts = self.scenario.facts
        return self.choose(facts.batch, facts.streams)

    def choose(self, batch: int | None, streams: int | None) -> "RunSettings":
        """Return the settings with these choices wherever the user left one open."""
        return replace(
            self,
            batch=batch if self.batch is None else self.batch,
            streams=streams if self.streams is None else self.streams,
        )

    def answered_by(self, server: ServedBy | None) -> "RunSettings":
        """Return the settings that ask for the version that answered, where an endpoint names none.

        So all tests of one result are of one version.
        """
        return self.of_version("" if server is None else server.model_version)

    def of_version(self, version: str) -> "RunSettings":
        """Return the same for a version, if it is known, where an endpoint names none."""
        if self.endpoint is None or self.endpoint.version or not version:
            return self
        return replace(self, endpoint=replace(self.endpoint, version=version))

    def fill(self, values: Mapping[str, int | bool | str | None]) -> "RunSettings":
        """Return the settings with these values, by field name, wherever the user left one open.

        Raises:
            HarnessError: what the user gave does not go with them.
        """
        given: dict[str, Any] = {key: value for key, value in values.items() if getattr(self, key) is None}
        return replace(self, **given)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, without paths of this machine."""
        values = asdict(self)
        del values["endpoint"]
        if self.endpoint is not None:
            values["endpoint"] = typed.unstructure(self.endpoint)
        values["user_conf"] = None if self.user_conf is None else self.user_conf.name
        return values


def doublings(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below the limit, and the limit."""
    return [*(1 << power for power in range(limit.bit_length()) if 1 << power < limit), limit]


def in_words(tunable: Mapping[str, int | bool | str | None], *, served: bool = False) -> str:
    """Return settings such as 'batch 4, 2 streams, not pinned'; what is None is left out.

    Of a served model the streams are calls in flight.
    """
    words = []
    if (batch := tunable.get("batch")) is not None:
        words.append(f"batch {batch}")
    for name in ("streams", "threads"):
        if (count := tunable.get(name)) is not None:
            named = "calls" if served and name == "streams" else name
            words.append(f"{count} {named.removesuffix('s') if count == 1 else named}")
    for name, yes, no in (("pinning", "pinned", "not pinned"), ("smt", "with SMT", "without SMT")):
        if (wanted := tunable.get(name)) is not None:
            words.append(yes if wanted else no)
    if (cores := tunable.get("core_type")) is not None:
        words.append(f"{cores} cores")
    return ", ".join(words)


def within_limits(settings: RunSettings, machine: system.Machine) -> RunSettings:
    """Hold the thread count against the CPUs this process may use.

    Raises:
        HarnessError: there are fewer.
    """
    if settings.endpoint is not None:
        return settings
    usable = machine.usable_cpus
    if settings.streams is not None and settings.streams > usable:
        raise HarnessError(
            f"--streams {settings.streams}: this process may use {usable} CPU(s), of which each "
            f"stream needs one: give at most {usable}."
        )
    if settings.threads is None:
        # OpenVINO counts the machine's CPUs, not the container's quota.
        return settings if usable >= (machine.cpus_present or usable) else replace(settings, threads=usable)
    if settings.threads > usable:
        raise HarnessError(
            f"--threads {settings.threads}: this process may use {usable} CPU(s), give at most that."
        )
    return settings
