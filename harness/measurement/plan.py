"""What a series of tests runs with: settings, what LoadGen is told, and how long a test will take."""

from dataclasses import dataclass, replace
from pathlib import Path

from harness import files
from harness.dataset.store import Store
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.measurement import advice
from harness.measurement.demands import Demands
from harness.mlperf import conf
from harness.mlperf.log import Performance
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card

OFFLINE_MARGIN = 1.1
"""What LoadGen is told of an Offline rate that was measured, over that rate: no test is to end early."""


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a test."""

    card: Card
    store: Store
    demands: Demands
    """Its settings leave nothing open that a probe chooses."""
    user_conf: Path
    estimate: dict[str, float]
    """What user_conf tells LoadGen: target_latency in ms, or target_qps."""
    samples_per_second: float
    """About how fast the system answers when it has enough to do."""
    given: conf.UserConf | None = None
    """The user's own user.conf."""

    @property
    def settings(self) -> RunSettings:
        return self.demands.settings

    @property
    def told(self) -> advice.Told:
        return advice.Told(self.estimate, self.demands.rules.model, frozenset(self.demands.own))

    def job(self, logs: Path, mode: Mode) -> Job:
        """Return what a test's child is told; `logs` takes LoadGen's logs."""
        return Job(
            self.card,
            self.store.path,
            self.settings,
            logs,
            mode,
            self.user_conf,
            samples_per_query=self.demands.samples_per_query,
        )

    def write(self) -> None:
        """Write the user.conf for LoadGen; the user's own takes precedence."""
        told = {} if self.demands.estimate_is_own else self.estimate
        files.write_text(self.user_conf, self._text(told))

    def _text(self, told: dict[str, float]) -> str:
        values: dict[str, int | float] = {**told}
        if (count := self.demands.raised_query_count) is not None:
            values["min_query_count"] = count
        if self.given is not None and not values:
            return self.given.text
        text = conf.render_user_conf(self.card.benchmark, self.settings.scenario, **values)
        return text if self.given is None else self.given.text.rstrip("\n") + "\n" + text

    def corrected(self, measured: Performance) -> "Plan | None":
        """Return the plan with another estimate, after a performance test that was not valid.

        A test that ended early, as after a probe that was disturbed, is cured when LoadGen expects a system
        twice as fast, or as fast as was measured, and so prepares enough; a server that missed its bound is
        asked for a little less. One that is valid but for an error of another kind is repeated as it was.
        None if the estimate is the user's, which is not ours to change, or if the user's own limits cut the
        test short.
        """
        if advice.is_cut_short(measured):
            return None
        if not advice.is_of_the_estimate(measured):
            return self
        if self.demands.estimate_is_own:
            return None
        scenario = self.settings.scenario
        factor = 0.5 if scenario.facts.is_latency else 2.0
        if scenario is Scenario.SERVER:
            factor = advice.RETRY_SHARE
        told = {key: value * factor for key, value in self.estimate.items()}
        if scenario is Scenario.OFFLINE and measured.samples_per_second:
            told["target_qps"] = max(told["target_qps"], OFFLINE_MARGIN * measured.samples_per_second)
        return replace(self, estimate=told)

    @property
    def offline_samples(self) -> int:
        """How many samples LoadGen will issue in a performance test of Offline."""
        return self.demands.offline_samples(self.estimate["target_qps"])

    def seconds(self, mode: Mode) -> float:
        """Return about how long a test will take."""
        facts = self.settings.scenario.facts
        # LoadGen keeps to Server's schedule in accuracy mode as well (loadgen.cc, GenerateQueries).
        rate = self.samples_per_second
        if facts.paced:
            rate = min(rate, self.estimate["target_qps"])
        if mode is Mode.ACCURACY:
            return self.store.count / rate
        if not facts.timed:
            return self.offline_samples / rate
        queries = self.demands.min_query_count * self.demands.samples_per_query
        return max(self.demands.min_duration_s, queries / rate)

    def forecast(self, modes: tuple[Mode, ...]) -> str:
        """Return how long the tests will take, in words."""
        parts = [f"{mode} about {_minutes(self.seconds(mode))}" for mode in modes]
        if len(parts) > 1:
            parts.append(f"together {_minutes(sum(map(self.seconds, modes)))}")
        return f"Forecast for {self.settings.scenario}: {', '.join(parts)}."


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
