"""What a run is going to do: the request, the estimates that LoadGen is told, and how long it will take."""

from dataclasses import dataclass, replace
from pathlib import Path

from harness import files
from harness.dataset.store import Store
from harness.errors import RunFailed
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings
from harness.measurement import advice
from harness.measurement.demands import Demands
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

    @property
    def told(self) -> advice.Told:
        return advice.Told(self.estimate, self.demands.rules.model, frozenset(self.demands.own))

    def corrected(self) -> "Plan | None":
        """Return the plan with another estimate, after a performance test that was not valid.

        Its user.conf is written. None if the estimate is the user's, which is not ours to change.
        """
        if self.demands.estimate_is_own:
            return None
        told = corrected(self.request.settings.scenario, self.estimate)
        files.write_text(self.user_conf, _text(self.request, self.demands, self.given, told))
        return replace(self, estimate=told)

    @property
    def offline_samples(self) -> int:
        """How many samples LoadGen will issue in a performance test of Offline."""
        return self.demands.offline_samples(self.estimate["target_qps"])

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
    if demands.estimate_is_own:
        return _text(request, demands, given, {}), {key: float(demands.own[key])}
    told = {key: _estimate(request, demands, probed)}
    return _text(request, demands, given, told), told


def corrected(scenario: Scenario, told: dict[str, float]) -> dict[str, float]:
    """Return what to tell LoadGen after a test that was not valid.

    A test that ended early, as after a probe that was disturbed, is cured when LoadGen expects a system
    twice as fast and so prepares enough; a server that missed its bound is asked for a little less.
    """
    factor = 0.5 if scenario.facts.is_latency else 2.0
    if scenario is Scenario.SERVER:
        factor = advice.RETRY_SHARE
    return {key: value * factor for key, value in told.items()}


def _text(request: Request, demands: Demands, given: conf.UserConf | None, told: dict[str, float]) -> str:
    values: dict[str, int | float] = {**told}
    if (count := demands.raised_query_count) is not None:
        values["min_query_count"] = count
    if given is not None and not values:
        return given.text
    text = conf.render_user_conf(request.card.benchmark, request.settings.scenario, **values)
    return text if given is None else given.text.rstrip("\n") + "\n" + text


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
            f"{request.card.name} answers {demands.latency_percentile:g} % of Server's queries within "
            f"{demands.latency_bound_ns / 1e6:g} ms at no rate{tried}: one that comes alone takes "
            f"{probed.latency_ns / 1e6:.1f} ms here. Use a quieter machine, more cores, or a smaller or "
            f"quantized model, or give a rate of your own below {probed.samples_per_second:.4g} (target_qps "
            f"in a --user-conf) to see by how much it fails."
        )
    return probed.target_qps * _MARGINS[scenario]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
