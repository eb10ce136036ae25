"""Measuring: for each variant, scenario and number of threads one series of LoadGen tests, kept on disk."""

import datetime
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.backend.settings import effective
from harness.console import note, progress
from harness.errors import OutputError
from harness.loadgen import work
from harness.loadgen.job import Estimate, Job
from harness.loadgen.settings import RunSettings, in_words
from harness.machine import system
from harness.machine.noise import Noise, Watch
from harness.measurement import advice
from harness.measurement.demands import Demands
from harness.measurement.plan import ATTEMPTS, Request, corrected, estimates
from harness.measurement.round import Round
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card
from harness.process import child

_SERIES = "series.json"
_ROUND = "round.json"
_DETAIL = log.DETAIL_LOG
_SUMMARY = log.SUMMARY_LOG
_USER_CONF = "user.conf"
_FACTS = ("model_sha256", "precision", "kernels", "batch", "streams")
_PROBE_S = 3.0
_OFFICIAL_PROBE_S = 15.0
# A test that was too short still says how fast the system is.
_OFFLINE_MARGIN = 1.1
_PERCENTILES = ("50.00", "80.00", "90.00", "95.00", "97.00", "99.00", "99.90")

Show = Callable[[child.Progress], None]


@dataclass(frozen=True)
class Series:
    """The tests of one variant in one scenario on one number of threads: all with the same settings."""

    card: Card
    store: Path
    settings: RunSettings
    samples_per_query: int
    folder: Path
    facts: dict[str, Any]
    """precision, kernels, openvino and estimate, as the probe found them."""

    @property
    def user_conf(self) -> Path:
        return self.folder / _USER_CONF

    @property
    def effective(self) -> dict[str, Any]:
        """What the tests run with, of settings.TUNABLE; what was left to OpenVINO is what it chose."""
        return self.settings.tunable | {
            name: value
            for name, value in effective(self.facts["openvino"]).items()
            if getattr(self.settings, name) is None
        }


def prepare(
    card: Card, store: Path, settings: RunSettings, folder: Path, staging: Path, show: Show
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
    demands = demands_of(card, settings)
    path = folder / _SERIES
    if path.exists():
        facts = _facts(path)
        if facts["model_sha256"] != model_file.sha256(card):
            raise OutputError(
                f"{folder} holds tests of another model than '{card.name}' is now: give another --out."
            )
        if facts.get("asked") != asked:
            raise OutputError(
                f"{folder} holds tests with other settings ({_words(facts.get('asked'))}) than are asked "
                f"for ({_words(asked)}): give another --out, or --no-tuning if a tuning made the difference."
            )
        settings = settings.choose(facts["batch"], facts["streams"])
        return Series(card, store, settings, demands.samples_per_query, folder, facts)
    search = settings.scenario is Scenario.SERVER
    probed = probe(card, store, settings, demands, staging, show, search=search)
    estimate: Estimate = probed["estimate"]
    if settings.is_left_to_probe:
        settings = settings.choose(estimate.batch, estimate.streams)
    request = Request(card, store, settings, (Mode.PERFORMANCE,), folder)
    _, told = estimates(request, demands, None, estimate)
    facts = {
        "model_sha256": model_file.sha256(card),
        "precision": probed["precision"],
        "kernels": probed["kernels"],
        "openvino": probed["openvino"],
        "asked": asked,
        "batch": settings.batch,
        "streams": settings.streams,
        "settings": settings.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return _expecting(Series(card, store, settings, demands.samples_per_query, folder, facts), told)


def probe(
    card: Card,
    store: Path,
    settings: RunSettings,
    demands: Demands,
    staging: Path,
    show: Show,
    *,
    search: bool,
) -> dict[str, Any]:
    """Measure without LoadGen what it wants to be told, and return what the child found.

    Args:
        card: the model.
        store: its images.
        settings: how it is run; what they leave open, the probe chooses.
        demands: what the rules and the user ask.
        staging: takes what the child prints.
        show: told the progress.
        search: Server: whether to find the highest rate that holds the bound.

    Raises:
        RunFailed: the probe crashed, hung, or an inference failed, or found no rate for Server.
        HarnessError: the model is unusable.
    """
    probe_s = _OFFICIAL_PROBE_S if settings.official else min(_PROBE_S, settings.duration_s / 2)
    job = Job(
        card,
        store,
        settings,
        staging,
        mode=None,
        samples_per_query=demands.samples_per_query,
        probe_s=probe_s,
        latency_bound_ns=demands.latency_bound_ns,
        latency_percentile=demands.latency_percentile,
        search=search,
    )
    return work.run(job, show)


def demands_of(card: Card, settings: RunSettings) -> Demands:
    """Return what the rules ask of a round."""
    return Demands(conf.read_rules().scenario(card.benchmark, settings.scenario), {}, settings)


def beside(series: Series, settings: RunSettings, told: dict[str, float], folder: Path) -> Series:
    """Return the series in `folder` of the same model with other settings, without a probe of its own.

    Args:
        series: one whose probe stands for both.
        settings: with nothing left open that a probe would choose.
        told: what to tell LoadGen, unless the folder holds the series already: target_latency in ms or
            target_qps.
        folder: its folder, which is made.
    """
    path = folder / _SERIES
    if path.exists():
        facts = _facts(path)
        return replace(series, settings=settings, folder=folder, facts=facts)
    more = {"batch": settings.batch, "streams": settings.streams, "asked": settings.tunable}
    folder.mkdir(parents=True, exist_ok=True)
    facts = series.facts | more | {"settings": settings.to_dict()}
    return _expecting(replace(series, settings=settings, folder=folder, facts=facts), told)


def _facts(path: Path) -> dict[str, Any]:
    """Read what a series is of.

    Raises:
        OutputError: it is damaged.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if missing := [name for name in _FACTS if name not in facts]:
            raise ValueError(f"it has no '{missing[0]}'")
        effective(facts["openvino"])
        estimate = {key: float(value) for key, value in facts["estimate"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(
            f"{path} is damaged ({error!r}): delete the folder {path.parent} and repeat the command, which "
            f"runs its tests again."
        ) from error
    return {**facts, "estimate": estimate}


def _expecting(series: Series, told: dict[str, float]) -> Series:
    facts = series.facts | {"estimate": told}
    text = conf.render_user_conf(series.card.benchmark, series.settings.scenario, **told)
    files.write_text(series.user_conf, text)
    files.write_json(series.folder / _SERIES, facts)
    return replace(series, facts=facts)


def held(folder: Path, number: int) -> Round | None:
    """Return a round of the series in `folder` if it is finished, valid and sound.

    Any other is to be run again. A note says why one that was finished is not sound.
    """
    path = _round_folder(folder, number) / _ROUND
    if not path.exists():
        return None
    try:
        entry = typed.structure(json.loads(path.read_text(encoding="utf-8")), Round)
        typed.structure(entry.noise, Noise)
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
        log.require_summary(logs / _SUMMARY)
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


def measure_until_valid(
    series: Series, number: int, root: Path, staging: Path, show: Show
) -> tuple[Series, Round]:
    """Run a round, and again with a better estimate while it is not valid; return what came of it last.

    Arguments and errors are those of `measure`.
    """
    entry = measure(series, number, root, staging, show)
    for _ in range(ATTEMPTS - 1):
        if entry.valid:
            break
        told = corrected(series.settings.scenario, series.facts["estimate"])
        if series.settings.scenario is Scenario.OFFLINE and entry.samples_per_second:
            told["target_qps"] = max(told["target_qps"], _OFFLINE_MARGIN * entry.samples_per_second)
        series = _expecting(series, told)
        entry = measure(series, number, root, staging, show)
    return series, entry


def measure(series: Series, number: int, root: Path, staging: Path, show: Show) -> Round:
    """Run one LoadGen performance test, and put its logs and what they say in their place.

    Args:
        series: what to measure.
        number: of the round, from 1.
        root: the comparison's folder, which paths are relative to.
        staging: takes the logs of the test under way; on the same file system as the series.
        show: told the progress.

    Raises:
        RunFailed: the test crashed, hung, or an inference failed.
    """
    logs = staging / "round"
    logs.mkdir()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    job = Job(
        series.card,
        series.store,
        series.settings,
        logs,
        Mode.PERFORMANCE,
        series.user_conf,
        samples_per_query=series.samples_per_query,
    )
    done = _taken(job, show)
    folder = _round_folder(series.folder, number)
    entry = replace(
        read_round(logs, series.facts["estimate"]),
        number=number,
        started=started,
        log=folder.relative_to(root).as_posix(),
        noise=done["noise"],
        known_answers=done["known_answers"],
    )
    files.write_json(logs / _ROUND, asdict(entry))
    take_place(logs, folder)
    return entry


def read_round(logs: Path, estimate: Mapping[str, float]) -> Round:
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
        noise={},
    )


def _figures(logs: Path) -> tuple[log.Performance, dict[str, int]]:
    """Return what a performance test measured, and its latencies as a round names them."""
    path = logs / _DETAIL
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


def _words(tunable: dict[str, Any] | None) -> str:
    return in_words(tunable or {}) or "the default"


# An entry of LoadGen's accuracy log, with the longest indices and one label.
_ANSWER_BYTES = 80


def run_test(job: Job, total: float, timed: bool) -> dict[str, Any]:
    """Run one LoadGen test with a progress bar; its logs lie in the job's log folder, which is made.

    Args:
        job: what to do.
        total: seconds if `timed`, else samples, after which the test will end.
        timed: whether time ends the test.

    Returns:
        What the child used and measured (precision, kernels, openvino, completed, energy), and the `noise`
        meanwhile.

    Raises:
        RunFailed: the test crashed, hung, or an inference failed.
    """
    logs = job.log_folder
    logs.mkdir()
    if job.mode is Mode.ACCURACY:
        files.require_free_space(logs, round(total * _ANSWER_BYTES), "the accuracy log")
    title = f"{job.card.name} {job.settings.scenario} {job.mode}"
    with progress(title, total, counts=not timed) as bar:
        done = _taken(job, lambda now: _show(now, bar, total, timed))
        bar.update(total)
    return done


def _taken(job: Job, show: Show) -> dict[str, Any]:
    """Run one LoadGen test, and return what the child used and measured, with the `noise` meanwhile."""
    watch = Watch()

    def shown(now: child.Progress) -> None:
        watch.sample()
        show(now)

    done = work.run(job, shown)
    noise = watch.stop()
    trace = job.log_folder / log.TRACE_LOG
    if trace.exists() and trace.stat().st_size == 0:
        trace.unlink()
    return {**done, "noise": noise.to_dict()}


def take_place(source: Path, target: Path) -> None:
    """Move what is finished to its place, in the stead of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        # What a call left that was killed while it cleared away.
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    source.rename(target)
    if old.exists():
        shutil.rmtree(old)


def _show(now: child.Progress, bar: Any, total: float, timed: bool) -> None:
    if now.phase != "running":
        return
    rate = f"{now.completed / now.running_s:.1f} samples/s" if now.running_s > 1 else ""
    bar.update(min(now.running_s if timed else now.completed, total), rate=rate)
