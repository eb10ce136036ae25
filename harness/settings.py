"""What one run was asked to do, resolved once and stored with its result."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.scenario import Scenario

PRECISIONS = ("f32", "bf16")


@dataclass(frozen=True)
class CompileSettings:
    """What we ask of OpenVINO; None leaves the choice to it."""

    hint: str
    """PERFORMANCE_HINT: LATENCY or THROUGHPUT."""
    precision: str = "f32"
    """INFERENCE_PRECISION_HINT of the layers that are not quantized; never left to OpenVINO."""
    threads: int | None = None
    streams: int | None = None


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
    duration_s: float = 10.0
    """LoadGen's minimum duration of an unofficial performance run."""
    official: bool = False
    """Whether the durations and counts of mlperf.conf apply."""
    user_conf: Path | None = None
    """Estimates that take the place of the probe's."""
    stall_timeout_s: float = 120.0
    """A test in which no sample is finished for so long is stopped and reported as hung."""

    def __post_init__(self) -> None:
        facts = self.scenario.facts
        if facts.batch == facts.streams == 1:
            if self.batch not in (None, 1):
                raise HarnessError(f"{facts.query}: leave out --batch or use another scenario.")
            if self.streams not in (None, 1):
                raise HarnessError(
                    f"{self.scenario} runs one query at a time: leave out --streams or use another scenario."
                )
        if self.threads is not None and self.streams is not None and self.streams > self.threads:
            raise HarnessError(
                f"{self.streams} streams need at least as many threads, but --threads is {self.threads}."
            )

    @property
    def compile_settings(self) -> CompileSettings:
        return CompileSettings(self.scenario.facts.hint, self.precision, self.threads, self.streams)

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

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, without paths of this machine."""
        values = asdict(self)
        values["user_conf"] = None if self.user_conf is None else self.user_conf.name
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunSettings":
        """Return the settings of a result document; the user.conf is the one in its folder."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**known | {"scenario": Scenario(values["scenario"]), "user_conf": None})
