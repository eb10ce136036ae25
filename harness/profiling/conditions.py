"""Under which conditions the time of a network is true."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import typed
from harness.backend.settings import CompileSettings
from harness.errors import HarnessError
from harness.machine import identity, system
from harness.mlperf.scenario import SEARCHED, Scenario
from harness.typed import LEFT_OUT

MACHINE = ("cpu", "cpu_signature", "isa")
"""What `Facts` say of the machine."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a time depends on besides the network."""

    cpu: str | None
    cpu_signature: str | None = field(default=None, metadata=LEFT_OUT)
    """None: an older record does not say."""
    isa: tuple[str, ...]
    openvino: str | None
    nncf: str | None
    scenario: Scenario
    hint: str
    threads: int


@dataclass(frozen=True)
class Conditions:
    """Under which conditions a time is true."""

    scenario: Scenario
    threads: int
    """CPU threads for inference."""
    elsewhere: Mapping[str, Any] | None = None
    """What `to_dict` gives of the MACHINE that times are of if it is not this one; none can be taken."""

    def __post_init__(self) -> None:
        if self.scenario not in SEARCHED:
            raise HarnessError(f"The search knows no times for {self.scenario}: use {' or '.join(SEARCHED)}.")
        if self.elsewhere is None and not 1 <= self.threads <= system.usable_cpus():
            raise HarnessError(
                f"--threads {self.threads} cannot be had: this process may use {system.usable_cpus()} CPU(s)."
            )

    @classmethod
    def of(cls, scenario: Scenario, threads: int | None = None) -> "Conditions":
        """Return the conditions; without `threads` one in SingleStream, as published, all in Offline."""
        usual = 1 if scenario is Scenario.SINGLE_STREAM else system.usable_cpus()
        return cls(scenario, threads or usual)

    @property
    def compile_settings(self) -> CompileSettings:
        streams = 1 if self.scenario is Scenario.SINGLE_STREAM else None
        return CompileSettings(self.scenario.facts.hint, threads=self.threads, streams=streams)

    @property
    def facts(self) -> Facts:
        """All that a time depends on besides the network."""
        machine = system.describe()
        here = identity.values(machine, identity.CPU)
        there = {"cpu": here.pop("cpu_model"), **here} if self.elsewhere is None else self.elsewhere
        return Facts(
            **{**there, "isa": tuple(there["isa"])},
            openvino=machine.versions["openvino"],
            nncf=machine.versions["nncf"],
            scenario=self.scenario,
            hint=self.compile_settings.hint,
            threads=self.threads,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values; what an older record does not say is left out."""
        values: dict[str, Any] = typed.unstructure(self.facts)
        return values
