"""The probe before a series: what the model computes in, and what LoadGen is told to expect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.console import Bar
from harness.dataset.store import Store
from harness.errors import RunFailed
from harness.loadgen import work
from harness.loadgen.job import Estimate, Job
from harness.machine import system
from harness.measurement.demands import Demands
from harness.measurement.outlook import Outlook, refuse_hopeless
from harness.measurement.plan import Plan
from harness.mlperf import conf
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card
from harness.process import child

Show = Callable[[child.Progress], None]

_PROBE_S = 3.0
_OFFICIAL_PROBE_S = 15.0
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


@dataclass(frozen=True)
class Probed:
    """What a probe found."""

    precision: str
    """What most layers compute in."""
    kernels: Mapping[str, int]
    """Precision -> number of convolutions and matrix products."""
    openvino: Mapping[str, Any]
    """OpenVINO's properties of the compiled model."""
    estimate: Estimate


def show_on(bar: Bar, name: str) -> Show:
    """Return what tells on a bar how far the probe of a series is; `name` is what the series is of."""
    return lambda now: bar.update(description=f"{now.phase.capitalize()} {name}")


def begin(
    card: Card,
    store: Store,
    demands: Demands,
    given: conf.UserConf | None,
    modes: tuple[Mode, ...],
    user_conf: Path,
    staging: Path,
    show: Show,
) -> tuple[Plan, Probed]:
    """Measure without LoadGen what it wants to be told; return the plan, and what was found.

    Args:
        card: the model.
        store: its images.
        demands: what the rules and the user ask; what its settings leave open, the probe chooses.
        given: the user's own user.conf.
        modes: the tests that will be taken.
        user_conf: written, in an existing folder.
        staging: takes what the child prints.
        show: told the progress.

    Raises:
        RunFailed: the probe crashed, hung, or an inference failed, or found no rate for Server.
        ConfError: the performance test is sure to be INVALID, or costs time or memory out of all proportion.
        HarnessError: the model is unusable.
    """
    performance = Mode.PERFORMANCE in modes
    probed = _probe(card, store, demands, staging, show, search=performance and not demands.estimate_is_own)
    estimate, settings = probed.estimate, demands.settings
    key = settings.scenario.facts.estimate_key
    if demands.estimate_is_own:
        told = float(demands.own[key])
    else:
        told = _expected(card, demands, estimate, performance)
    if performance:
        refuse_hopeless(Outlook(demands, told, estimate), given, system.free_memory_bytes())
    if settings.is_left_to_probe:
        settings = settings.choose(estimate.batch, estimate.streams).answered_by(estimate.server)
    chosen = replace(demands, settings=settings)
    plan = Plan(card, store, chosen, user_conf, {key: told}, estimate.samples_per_second, given)
    plan.write()
    return plan, probed


def _probe(card: Card, store: Store, demands: Demands, staging: Path, show: Show, *, search: bool) -> Probed:
    settings = demands.settings
    probe_s = _OFFICIAL_PROBE_S if settings.official else min(_PROBE_S, settings.duration_s / 2)
    job = Job(
        card,
        store.path,
        settings,
        staging,
        mode=None,
        samples_per_query=demands.samples_per_query,
        probe_s=probe_s,
        latency_bound_ns=demands.latency_bound_ns,
        latency_percentile=demands.latency_percentile,
        search=search,
    )
    return Probed(**work.run(job, show))


def _expected(card: Card, demands: Demands, probed: Estimate, performance: bool) -> float:
    """Return what to tell LoadGen by the probe.

    Raises:
        RunFailed: no rate was found at which Server holds its latency bound.
    """
    scenario = demands.settings.scenario
    if scenario.facts.is_latency:
        assert probed.latency_ns is not None
        return probed.latency_ns * _MARGINS[scenario] / 1e6
    if scenario is Scenario.OFFLINE:
        margin = _MARGINS[scenario] if demands.settings.official else _SHORT_OFFLINE_MARGIN
        return probed.samples_per_second * margin
    if not performance:
        return probed.samples_per_second * _UNBOUND_SERVER_MARGIN
    if probed.target_qps is None:
        assert probed.latency_ns is not None
        assert demands.latency_bound_ns is not None
        least_qps = min((trial.target_qps for trial in probed.trials), default=None)
        tried = "" if least_qps is None else f" down to {least_qps:.2g} queries a second"
        raise RunFailed(
            f"{card.name} answers {demands.latency_percentile:g} % of Server's queries within "
            f"{demands.latency_bound_ns / 1e6:g} ms at no rate{tried}: one that comes alone takes "
            f"{probed.latency_ns / 1e6:.1f} ms here. Use a quieter machine, more cores, or a smaller or "
            f"quantized model, or give a rate of your own below {probed.samples_per_second:.4g} (target_qps "
            f"in a --user-conf) to see by how much it fails."
        )
    return probed.target_qps * _MARGINS[scenario]
