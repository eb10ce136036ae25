"""For each variant, scenario and number of threads one series of performance tests, kept on disk."""

import datetime
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.backend.settings import effective
from harness.console import note
from harness.dataset.store import Store
from harness.errors import OutputError
from harness.loadgen.settings import RunSettings, in_words
from harness.machine import system
from harness.machine.noise import Noise
from harness.measurement import advice
from harness.measurement.demands import Demands
from harness.measurement.plan import Plan
from harness.measurement.probing import Show, begin
from harness.measurement.round import Round
from harness.measurement.test import take, take_place, until_valid
from harness.mlperf import log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card

_SERIES = "series.json"
_ROUND = "round.json"
_USER_CONF = "user.conf"
_PERCENTILES = ("50.00", "80.00", "90.00", "95.00", "97.00", "99.00", "99.90")


@dataclass(frozen=True)
class Facts:
    """What a series is of: series.json."""

    model_sha256: str
    precision: str
    """What most layers compute in."""
    kernels: Mapping[str, int]
    """Precision -> number of convolutions and matrix products."""
    openvino: Mapping[str, Any]
    """OpenVINO's properties of the compiled model."""
    asked: Mapping[str, typed.Scalar]
    """What was asked for, of settings.TUNABLE."""
    batch: int | None
    streams: int | None
    settings: Mapping[str, Any]
    """How the tests are run."""
    estimate: Mapping[str, float]
    """What LoadGen is told: target_latency in ms, or target_qps."""

    @property
    def effective(self) -> dict[str, typed.Scalar]:
        """What OpenVINO made of what was left to it."""
        return effective(self.openvino)

    @property
    def version(self) -> str:
        """Of the served model that answered; empty where none did, or it says none."""
        return (self.settings.get("endpoint") or {}).get("version") or ""


@dataclass(frozen=True)
class Series:
    """The tests of one variant in one scenario on one number of threads: all with the same settings."""

    plan: Plan
    folder: Path
    facts: Facts

    @property
    def card(self) -> Card:
        return self.plan.card

    @property
    def settings(self) -> RunSettings:
        return self.plan.settings

    @property
    def user_conf(self) -> Path:
        return self.plan.user_conf

    @property
    def effective(self) -> dict[str, Any]:
        """What the tests run with, of settings.TUNABLE; what was left to OpenVINO is what it chose."""
        return self.settings.tunable | {
            name: value
            for name, value in self.facts.effective.items()
            if getattr(self.settings, name) is None
        }


def prepare(
    card: Card, store: Store, settings: RunSettings, folder: Path, staging: Path, show: Show
) -> Series:
    """Return the series in `folder`, after a probe for its estimates unless it is there already.

    Raises:
        OutputError: the folder holds tests of another model, or with other settings.
        RunFailed: the probe crashed, hung, or an inference failed, or found no rate for Server.
        HarnessError: the model is unusable.
    """
    settings = settings.with_defaults()
    asked = settings.tunable
    if asked["pinning"] is None:
        asked["pinning"] = system.default_pinning()
    demands = Demands.of(card.benchmark, settings)
    path = folder / _SERIES
    if path.exists():
        facts = _read(path)
        if facts.model_sha256 != model_file.sha256(card):
            raise OutputError(
                f"{folder} holds tests of another model than '{card.name}' is now: give another --out."
            )
        if facts.asked != asked:
            raise OutputError(
                f"{folder} holds tests with other settings ({_words(facts.asked)}) than are asked "
                f"for ({_words(asked)}): give another --out, or --no-tuning if a tuning made the difference."
            )
        pinned = settings.choose(facts.batch, facts.streams).of_version(facts.version)
        chosen = replace(demands, settings=pinned)
        return Series(_known(card, store, chosen, folder, facts), folder, facts)
    folder.mkdir(parents=True, exist_ok=True)
    plan, probed = begin(card, store, demands, None, (Mode.PERFORMANCE,), folder / _USER_CONF, staging, show)
    facts = Facts(
        model_sha256=model_file.sha256(card),
        precision=probed.precision,
        kernels=probed.kernels,
        openvino=probed.openvino,
        asked=asked,
        batch=plan.settings.batch,
        streams=plan.settings.streams,
        settings=plan.settings.to_dict(),
        estimate=plan.estimate,
    )
    return _kept(Series(plan, folder, facts))


def beside(series: Series, settings: RunSettings, told: Mapping[str, float], folder: Path) -> Series:
    """Return the series in `folder` of the same model with other settings, without a probe of its own.

    Args:
        series: one whose probe stands for both.
        settings: with nothing left open that a probe would choose.
        told: what to tell LoadGen, unless the folder holds the series already: target_latency in ms or
            target_qps.
        folder: its folder, which is made.
    """
    plan, path = series.plan, folder / _SERIES
    settings = settings.of_version(series.facts.version)
    demands = replace(plan.demands, settings=settings)
    if path.exists():
        facts = _read(path)
        return Series(_known(plan.card, plan.store, demands, folder, facts), folder, facts)
    facts = replace(
        series.facts,
        batch=settings.batch,
        streams=settings.streams,
        asked=settings.tunable,
        settings=settings.to_dict(),
        estimate=told,
    )
    folder.mkdir(parents=True, exist_ok=True)
    plan = _known(plan.card, plan.store, demands, folder, facts)
    plan.write()
    return _kept(Series(plan, folder, facts))


def _known(card: Card, store: Store, demands: Demands, folder: Path, facts: Facts) -> Plan:
    """Return the plan of a series of which it is known what LoadGen is told."""
    (told,) = facts.estimate.values()
    is_latency = demands.settings.scenario.facts.is_latency
    rate = 1000 * demands.samples_per_query / told if is_latency else told
    return Plan(card, store, demands, folder / _USER_CONF, dict(facts.estimate), rate)


def _kept(series: Series) -> Series:
    files.write_json(series.folder / _SERIES, typed.unstructure(series.facts))
    return series


def _read(path: Path) -> Facts:
    """Read what a series is of.

    Raises:
        OutputError: it is damaged.
    """
    try:
        facts = typed.structure(files.read_json(path), Facts)
        if len(facts.estimate) != 1 or not all(value > 0 for value in facts.estimate.values()):
            raise ValueError("it has no estimate above 0")
        _ = facts.effective
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged ({error!r}): delete the folder {path.parent} and repeat the command, which "
            f"runs its tests again."
        ) from error
    return facts


def held(folder: Path, number: int) -> Round | None:
    """Return a round of the series in `folder` if it is finished, valid and sound.

    Any other is to be run again. A note says why one that was finished is not sound.
    """
    path = _round_folder(folder, number) / _ROUND
    if not path.exists():
        return None
    try:
        entry = typed.structure(files.read_json(path), Round)
        fault = unsound(entry, path.parent) if entry.valid else ""
    except (OSError, ValueError) as error:
        fault = f"its {_ROUND} is damaged ({error})"
    if fault:
        note(f"Run again: round {number} in {folder}, as {fault}.")
        return None
    return entry if entry.valid else None


def unsound(entry: Round, logs: Path) -> str:
    """Return why the logs of a round are not those that it was made from, or an empty text."""
    try:
        measured, latencies_ns = _figures(logs)
        log.require_summary(logs / log.SUMMARY_LOG)
    except log.LogFault as error:
        return error.fault
    stated = (entry.valid, entry.latencies_ns, entry.samples_per_second)
    same = stated == (measured.valid, latencies_ns, measured.samples_per_second)
    return "" if same else f"its {_ROUND} and its log tell other figures"


def forget(folder: Path, number: int) -> None:
    """Delete a round of the series in `folder`, if there is one.

    What says that it is finished goes first: a call that is killed here leaves no half of it as a whole.
    """
    place = _round_folder(folder, number)
    (place / _ROUND).unlink(missing_ok=True)
    if place.exists():
        shutil.rmtree(place)


def measure(series: Series, number: int, root: Path, staging: Path, show: Show) -> tuple[Series, Round]:
    """Run a round, again while it is not valid (see test.until_valid), and put it in its place.

    Args:
        series: what to measure.
        number: of the round, from 1.
        root: the comparison's folder, which paths are relative to.
        staging: takes the logs of the test under way; on the same file system as the series.
        show: told the progress.

    Returns:
        The series as it is told to LoadGen from now on, and what came of the round last.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed.
    """
    logs = staging / "round"
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def retry(better: Plan, *_: Any) -> None:
        _kept(_told(series, better))

    plan, _, taken = until_valid(
        series.plan, logs, lambda plan: take(plan.job(logs, Mode.PERFORMANCE), show), retry
    )
    folder = _round_folder(series.folder, number)
    entry = replace(
        read_round(logs, plan.estimate, taken.noise),
        number=number,
        started=started,
        log=folder.relative_to(root).as_posix(),
        known_answers=taken.known_answers,
    )
    files.write_json(logs / _ROUND, typed.unstructure(entry))
    take_place(logs, folder)
    return _told(series, plan), entry


def _told(series: Series, plan: Plan) -> Series:
    return replace(series, plan=plan, facts=replace(series.facts, estimate=plan.estimate))


def read_round(logs: Path, estimate: Mapping[str, float], noise: Noise) -> Round:
    """Return what LoadGen's logs of a performance test say, which was told the estimate.

    Raises:
        RunFailed: the logs are missing or damaged, or hold no result.
    """
    measured, latencies_ns = _figures(logs)
    return Round(
        number=0,
        started="",
        log="",
        valid=measured.valid,
        reasons=tuple(advice.of_performance(measured, advice.Told(estimate))),
        latencies_ns=latencies_ns,
        samples_per_second=measured.samples_per_second,
        noise=noise,
    )


def _figures(logs: Path) -> tuple[log.Performance, dict[str, int]]:
    """Return what a performance test measured, and its latencies as a round names them."""
    path = logs / log.DETAIL_LOG
    detail, measured = log.read_detail(path), log.read_performance(path)
    of = "per_query_latency" if measured.scenario is Scenario.MULTI_STREAM else "latency"
    percentiles = {
        percentile: int(detail[key])
        for percentile in _PERCENTILES
        if (key := f"result_{percentile}_percentile_{of}_ns") in detail
    }
    return measured, {
        "min": measured.latency_min_ns,
        **percentiles,
        "max": measured.latency_max_ns,
        "mean": measured.latency_mean_ns,
    }


def _round_folder(folder: Path, number: int) -> Path:
    return folder / f"round_{number}"


def _words(tunable: Mapping[str, typed.Scalar]) -> str:
    return in_words(tunable) or "the default"
