"""MLPerf's scenarios and modes: their names, and in one table what tells the scenarios apart."""

from dataclasses import dataclass
from enum import StrEnum

from harness.errors import HarnessError, did_you_mean


@dataclass(frozen=True)
class Facts:
    """What one scenario asks of the settings, the probe and the result."""

    query: str
    """What a query is, as the start of a sentence."""
    hint: str
    """OpenVINO's PERFORMANCE_HINT: LATENCY or THROUGHPUT."""
    batch: int | None
    """Samples that one inference computes unless the user says otherwise; None: the probe finds out."""
    streams: int | None
    """Parallel streams unless the user says otherwise; None: OpenVINO or the probe finds out."""
    estimate_key: str
    """Key of user.conf that the probe's estimate belongs to: target_latency (ms) or target_qps (1/s)."""
    score_key: str
    """Key of the score in the detail log (results.cc:710-752)."""
    score_name: str
    """A pattern, in which {percentile} stands for that of the latency, such as p90."""
    score_unit: str
    """'ns' or 'samples/s'."""
    paced: bool = False
    """Whether queries arrive by LoadGen's clock, so that a system with nothing to do is in order."""
    timed: bool = True
    """Whether time ends a performance test; if not, LoadGen fixes the number of samples beforehand."""
    short_queries: int | None = None
    """min_query_count of a run that is not official; None leaves the rule's."""

    @property
    def is_latency(self) -> bool:
        """Whether the score is a latency, and less of it is better."""
        return self.score_unit == "ns"


class Scenario(StrEnum):
    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    SERVER = "Server"
    OFFLINE = "Offline"

    @property
    def facts(self) -> Facts:
        return _FACTS[self]


SEARCHED = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)
"""The scenarios that networks are searched for: those of the published results."""


class Mode(StrEnum):
    PERFORMANCE = "performance"
    ACCURACY = "accuracy"


LEAST_SERVER_QUERIES = 662
"""With p99 at 99 % confidence, early stopping allows one late query among so many (results.cc:157-225)."""

_FACTS = {
    Scenario.SINGLE_STREAM: Facts(
        query="A SingleStream query holds one sample",
        hint="LATENCY",
        batch=1,
        streams=1,
        estimate_key="target_latency",
        score_key="early_stopping_latency_ss",
        score_name="early-stopping estimate of {percentile} latency",
        score_unit="ns",
    ),
    Scenario.MULTI_STREAM: Facts(
        query="A MultiStream query holds a few samples, 8 by the rules",
        hint="LATENCY",
        batch=None,
        streams=None,
        estimate_key="target_latency",
        score_key="early_stopping_latency_ms",
        score_name="early-stopping estimate of {percentile} query latency",
        score_unit="ns",
    ),
    Scenario.SERVER: Facts(
        query="A Server query holds one sample",
        hint="THROUGHPUT",
        batch=None,
        streams=None,
        estimate_key="target_qps",
        score_key="result_completed_samples_per_sec",
        score_name="completed samples per second",
        score_unit="samples/s",
        paced=True,
        short_queries=LEAST_SERVER_QUERIES,
    ),
    Scenario.OFFLINE: Facts(
        query="The Offline query holds all samples",
        hint="THROUGHPUT",
        batch=1,
        streams=None,
        estimate_key="target_qps",
        score_key="result_samples_per_second",
        score_name="samples per second",
        score_unit="samples/s",
        timed=False,
        short_queries=1,
    ),
}


def parse_scenario(text: str) -> Scenario:
    """Return the scenario of that name; case and hyphens do not matter.

    Raises:
        HarnessError: no scenario has this name.
    """
    plain = text.replace("-", "").replace("_", "").lower()
    for scenario in Scenario:
        if scenario.lower() == plain:
            return scenario
    raise HarnessError(f"Scenario '{text}' is not known.{did_you_mean(text, [str(s) for s in Scenario])}")
