"""What the rules and the user's own user.conf ask of a test."""

from dataclasses import dataclass, replace

from harness.loadgen.settings import RunSettings
from harness.mlperf import conf
from harness.mlperf.benchmark import BENCHMARKS
from harness.mlperf.early_stopping import least_queries
from harness.mlperf.scenario import Scenario


@dataclass(frozen=True)
class Demands:
    """What the rules and the user's own user.conf ask of a test."""

    rules: conf.ScenarioRules
    own: dict[str, int | float]
    """What the user's user.conf sets for the scenario; times in ms."""
    settings: RunSettings

    @classmethod
    def of(cls, benchmark: str, settings: RunSettings, given: conf.UserConf | None = None) -> "Demands":
        """Return what is asked of a test with these settings; `given` is the user's own user.conf."""
        rules = conf.read_rules().scenario(benchmark, settings.scenario)
        return cls(rules, {} if given is None else given.values(settings.scenario), settings)

    @property
    def estimate_is_own(self) -> bool:
        """Whether the user's user.conf holds what LoadGen is to expect, in place of the probe's estimate."""
        return self.settings.scenario.facts.estimate_key in self.own

    @property
    def min_duration_s(self) -> float:
        if not self.settings.official:
            return self.settings.duration_s
        return self.own.get("min_duration", self.rules.min_duration_ms) / 1000

    @property
    def min_query_count(self) -> int:
        """Queries that a test has at least; Offline: samples."""
        short = self.settings.scenario.facts.short_queries
        own = self.own.get("min_query_count")
        if not self.settings.official and short is not None:
            return max(short, self.raised_query_count or (int(own or 0) if self.latency_percentile else 0))
        return int(self.raised_query_count or own or self.rules.min_query_count)

    @property
    def raised_query_count(self) -> int | None:
        """What LoadGen must be told as min_query_count: early stopping needs more, or LoadGen lacks the rule.

        None where its own rules do, or the user's user.conf has one.
        """
        percentile = self.latency_percentile
        if "min_query_count" in self.own:
            return None
        if percentile is None:
            untold = BENCHMARKS[self.rules.model].untold_offline_samples
            return untold if self.settings.official else None
        least = least_queries(1, percentile)
        return least if least > self.rules.min_query_count else None

    def without_effect(self, given: conf.UserConf) -> list[str]:
        """Return a sentence for each line of the user's user.conf that only an official test heeds."""
        if self.settings.official:
            return []
        heeded = {"min_duration": 1000 * self.min_duration_s, "min_query_count": self.min_query_count}
        return [
            f"{given.path}, {entry.words} has no effect without --official: here --duration says how long a "
            f"test lasts."
            for key, entry in given.in_force(self.settings.scenario).items()
            if entry.value != heeded.get(key, entry.value)
        ]

    @property
    def latency_percentile(self) -> float | None:
        """The percentile of the latency that counts, in per cent; None in Offline."""
        rule = self.rules.target_latency_percentile
        return None if rule is None else float(self.own.get("target_latency_percentile", rule))

    @property
    def samples_per_query(self) -> int:
        """Samples in a query of any scenario but Offline."""
        return int(self.own.get("samples_per_query", self.rules.samples_per_query or 1))

    def offline_samples(self, target_qps: float) -> int:
        """Return how many samples LoadGen issues in a performance test of Offline."""
        rules = replace(self.rules, min_query_count=self.min_query_count)
        return rules.offline_samples(target_qps, round(self.min_duration_s * 1000))

    @property
    def latency_bound_ns(self) -> int | None:
        """What Server's latency percentile is held against; None elsewhere."""
        if self.settings.scenario is not Scenario.SERVER:
            return None
        bound_ms = self.own.get("target_latency", self.rules.target_latency_ms)
        return None if bound_ms is None else round(bound_ms * 1e6)
