"""What a run is going to do: the request, the estimates that LoadGen is told, and how long it will take."""

from dataclasses import dataclass, replace
from pathlib import Path

from harness import files
from harness.dataset.store import Store
from harness.errors import RunFailed
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.measurement import advice
from harness.mlperf import conf
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card

# What LoadGen is told, as a share of what the probe measured. SingleStream and MultiStream prepare
# 2 x duration / target_latency queries and must not run out of them (loadgen.cc). Offline issues
# 1.1 x duration x target_qps samples (test_settings_internal.cc), and they must last for the minimum
# duration: this leaves room for a probe slowed by 15 % by a busy neighbour. In Server the search has seen to
# it that the rate is held.
_MARGINS = {
    Scenario.SINGLE_STREAM: 0.8,
    Scenario.MULTI_STREAM: 0.8,
    Scenario.SERVER: 1.0,
    Scenario.OFFLINE: 1.05,
}
# A probe of a second or less may be slowed by more, and a short run may well be a little longer.
_SHORT_OFFLINE_MARGIN = 1.3
# Without a bound to hold, a server need not be spared, only not be drowned.
_UNBOUND_SERVER_MARGIN = 0.8

# A performance test that is not valid is repeated, each time with a better estimate.
ATTEMPTS = 3


@dataclass(frozen=True)
class Request:
    """What to run, and where the result goes."""

    card: Card
    store: Path
    settings: RunSettings
    modes: tuple[Mode, ...]
    out: Path
    system: str | None = None
    """Name of the system's folder; None derives it from the machine."""
    replace: bool = False
    """Whether tests that are there already may be replaced."""
    tuning: bool = True
    """Whether to use the settings that `harness tune` found, where it was run."""


@dataclass(frozen=True)
class Demands:
    """What the rules and the user's own user.conf ask of a test."""

    rules: conf.ScenarioRules
    own: dict[str, int | float]
    """What the user's user.conf sets for the scenario; times in ms."""
    settings: RunSettings

    @property
    def min_duration_s(self) -> float:
        if not self.settings.official:
            return self.settings.duration_s
        return self.own.get("min_duration", self.rules.min_duration_ms) / 1000

    @property
    def min_query_count(self) -> int:
        short = self.settings.scenario.facts.short_queries
        if not self.settings.official and short is not None:
            return short
        return int(self.own.get("min_query_count", self.rules.min_query_count))

    @property
    def samples_per_query(self) -> int:
        """Samples in a query of any scenario but Offline."""
        return int(self.own.get("samples_per_query", self.rules.samples_per_query or 1))

    @property
    def latency_bound_ns(self) -> int | None:
        """What Server's p99 is held against; None elsewhere."""
        if self.settings.scenario is not Scenario.SERVER:
            return None
        bound_ms = self.own.get("target_latency", self.rules.target_latency_ms)
        return None if bound_ms is None else round(bound_ms * 1e6)


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first test."""

    request: Request
    demands: Demands
    store: Store
    folder: Path
    staging: Path
    user_conf: Path
    estimate: dict[str, float]
    """What user_conf tells LoadGen: target_latency in ms, or target_qps."""
    samples_per_second: float
    """About how fast the system answers when it has enough to do."""
    given: conf.UserConf | None = None
    """The user's own user.conf."""

    def corrected(self) -> "Plan | None":
        """Return the plan with another estimate, after a performance test that was not valid.

        Its user.conf is written. None if the estimate is the user's, which is not ours to change.
        """
        if self.request.settings.scenario.facts.estimate_key in self.demands.own:
            return None
        told = corrected(self.request.settings.scenario, self.estimate)
        files.write_text(self.user_conf, _text(self.request, self.given, told))
        return replace(self, estimate=told)

    @property
    def offline_samples(self) -> int:
        """How many samples LoadGen will issue in a performance test of Offline."""
        duration_ms = round(self.demands.min_duration_s * 1000)
        rules = replace(self.demands.rules, min_query_count=self.demands.min_query_count)
        return rules.offline_samples(self.estimate["target_qps"], duration_ms)

    def seconds(self, mode: Mode) -> float:
        """Return about how long a test will take."""
        settings = self.request.settings
        facts = settings.scenario.facts
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
        return f"Forecast for {self.request.settings.scenario}: {', '.join(parts)}."


def estimates(
    request: Request, demands: Demands, given: conf.UserConf | None, probed: Estimate
) -> tuple[str, dict[str, float]]:
    """Return the user.conf for LoadGen, and the estimate in it; the user's own takes precedence.

    Raises:
        RunFailed: no rate was found at which Server holds its latency bound.
    """
    key = request.settings.scenario.facts.estimate_key
    if key in demands.own:
        assert given is not None
        return given.path.read_text(encoding="utf-8"), {key: float(demands.own[key])}
    told = {key: _estimate(request, demands, probed)}
    return _text(request, given, told), told


def corrected(scenario: Scenario, told: dict[str, float]) -> dict[str, float]:
    """Return what to tell LoadGen after a test that was not valid.

    A test that ended early, as after a probe that was disturbed, is cured when LoadGen expects a system
    twice as fast and so prepares enough; a server that missed its bound is asked for a little less.
    """
    factor = 0.5 if scenario.facts.is_latency else 2.0
    if scenario is Scenario.SERVER:
        factor = advice.RETRY_SHARE
    return {key: value * factor for key, value in told.items()}


def _text(request: Request, given: conf.UserConf | None, told: dict[str, float]) -> str:
    text = conf.render_user_conf(request.card.benchmark, request.settings.scenario, **told)
    if given is not None:
        text = given.path.read_text(encoding="utf-8").rstrip("\n") + "\n" + text
    return text


def _estimate(request: Request, demands: Demands, probed: Estimate) -> float:
    scenario = request.settings.scenario
    if scenario.facts.is_latency:
        assert probed.latency_ns is not None
        return probed.latency_ns * _MARGINS[scenario] / 1e6
    if scenario is Scenario.OFFLINE:
        margin = _MARGINS[scenario] if demands.settings.official else _SHORT_OFFLINE_MARGIN
        return probed.samples_per_second * margin
    if Mode.PERFORMANCE not in request.modes:
        return probed.samples_per_second * _UNBOUND_SERVER_MARGIN
    if probed.target_qps is None:
        assert probed.latency_ns is not None
        assert demands.latency_bound_ns is not None
        least_qps = min((trial.target_qps for trial in probed.trials), default=None)
        tried = "" if least_qps is None else f" down to {least_qps:.2g} queries a second"
        raise RunFailed(
            f"{request.card.name} answers 99 % of Server's queries within "
            f"{demands.latency_bound_ns / 1e6:g} ms at no rate{tried}: one that comes alone takes "
            f"{probed.latency_ns / 1e6:.1f} ms here. Use a quieter machine, more cores, or a smaller or "
            f"quantized model, or give a rate of your own (target_qps in a --user-conf) to see by how much "
            f"it fails."
        )
    return probed.target_qps * _MARGINS[scenario]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
