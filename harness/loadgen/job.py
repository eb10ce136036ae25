"""What a child process is told, and what it answers."""

from dataclasses import dataclass, field
from pathlib import Path

from harness.endpoint.meeting import ServedBy
from harness.errors import ModelError
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Mode
from harness.model.card import Card
from harness.typed import LEFT_OUT


@dataclass(frozen=True)
class Job:
    """What a child process needs to know."""

    card: Card
    store: Path
    settings: RunSettings
    log_folder: Path
    """Existing folder that takes LoadGen's logs."""
    mode: Mode | None
    """None: measure without LoadGen, for the estimates that LoadGen wants to be told."""
    user_conf: Path | None = None
    audit_config: Path | None = None
    """LoadGen's audit file of a compliance test; None: none, even if one lies in the working directory."""
    samples_per_query: int = 1
    """Samples in a MultiStream query."""
    probe_s: float = 3.0
    """About how long a probe measures."""
    latency_bound_ns: int | None = None
    """Server: the percentile of the latency must be within this."""
    latency_percentile: float | None = None
    """In per cent; Server needs it."""
    search: bool = False
    """Server: whether the probe must find the highest rate that holds the bound."""


class AnsweredWrongly(ModelError):
    """OpenVINO compiled a model again and again, and never so that it answers rightly."""


@dataclass(frozen=True)
class Trial:
    """One attempt of the Server search."""

    target_qps: float
    latency_ns: float | None
    """The percentile that counts; None: broken off, as more samples waited than can be answered in time."""
    held: bool


@dataclass(frozen=True)
class Estimate:
    """What the probe measured, and with which settings."""

    samples_per_second: float
    """Highest rate over a window with all streams busy; in SingleStream and MultiStream samples a query
    over its latency."""
    batch: int
    streams: int
    latency_ns: float | None = None
    """Median latency of one query (SingleStream, MultiStream), or of one inference with all streams busy
    (Server)."""
    target_qps: float | None = None
    """Server: the rate found to hold the latency bound; None when none was found or asked for."""
    trials: tuple[Trial, ...] = ()
    candidates: tuple[tuple[int, int, float], ...] = ()
    """Settings that were compared: batch, streams, and latency in ns (MultiStream) or samples/s (Server)."""
    server: ServedBy | None = field(default=None, metadata=LEFT_OUT)
    """Who answered, where a served model was measured; None where it was compiled here."""
