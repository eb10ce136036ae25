"""One benchmark run, start to finish: probe, forecast, LoadGen tests, verdicts, files."""

import datetime
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness import __version__, files
from harness.console import note, progress
from harness.dataset.store import Store
from harness.endpoint.host import ON_THIS_HOST
from harness.errors import ConfError, HarnessError, OutputError, RunFailed
from harness.loadgen.job import Estimate
from harness.loadgen.settings import RunSettings, within_limits
from harness.machine import system
from harness.measurement import tuned
from harness.measurement.data import open_for
from harness.measurement.demands import Demands
from harness.measurement.plan import Plan
from harness.measurement.probing import begin, show_on
from harness.measurement.test import take_place, take_with_bar
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card, doubts
from harness.run import network, result
from harness.run.document import (
    AccuracySection,
    Asked,
    Data,
    Identity,
    Model,
    PerformanceSection,
    Precision,
    RunResult,
    Settings,
)
from harness.run.folder import PERFORMANCE_SETTINGS, alone_in, differences, tests_to_keep
from harness.run.measuring import judged, take_test
from harness.task import task_of

_FORECAST_FROM_S = 60.0


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
class _Conditions:
    """What all tests of a result were made with."""

    settings: Settings
    precision: Precision
    probe: Estimate


def run(request: Request) -> tuple[RunResult, Path]:
    """Run the modes asked for; return the result and the scenario's folder.

    Each finished test is kept, even when a later one fails; a finished and valid test of the same model,
    data, settings and machine is not repeated unless the request says so.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed.
        HarnessError: the request does not fit the model, the store or what is in the folder already.
    """
    card = request.card
    if request.system is not None:
        files.require_plain_name(request.system, "The system's name")
    store = open_for(card, request.store)
    if request.settings.official:
        store.require_sound(card.input.recipe)
    for doubt in doubts(card):
        note(doubt)
    if card.speed_only and Mode.ACCURACY in request.modes:
        raise HarnessError(
            f"Model '{card.name}' has no trained weights, so no accuracy: use --mode performance."
        )
    machine = system.describe()
    found = tuned.find(tuned.key_of(card, request.settings, machine)) if request.tuning else None
    settings = request.settings if found is None else found.apply(request.settings)
    request = replace(request, settings=within_limits(settings, machine).with_defaults())
    demands, given = _demands(request)
    folder = (
        files.make_writable_folder(request.out)
        / (system.slug(machine) if request.system is None else request.system)
        / _variant(card, request.settings)
        / request.settings.scenario
    )
    if found is not None:
        note(found.told())
    asked = Asked(
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        card.benchmark,
        None if found is None else found.reference(),
        _identity(request, store, machine, given),
    )
    files.make_writable_folder(folder.parent)
    with alone_in(folder):
        return _carry_out(request, demands, given, store, folder, asked), folder


def _carry_out(
    request: Request,
    demands: Demands,
    given: conf.UserConf | None,
    store: Store,
    folder: Path,
    asked: Asked,
) -> RunResult:
    """Take the tests that `folder` does not hold yet; return the result with all of them."""
    truth = task_of(request.card).truth(store)
    held, kept = tests_to_keep(folder, asked, request.modes, request.replace, truth)
    modes = tuple(mode for mode in request.modes if mode not in kept)
    if held is not None:
        held = _judged_anew(held, request, store, folder)
    for mode in request.modes:
        if held is not None and mode in kept:
            note(f"Reused: the finished {held.scenario} {mode} test in {folder}{_missed(held, mode)}.")
    if held is not None and not modes:
        return held
    files.make_writable_folder(folder)
    sections = {} if held is None else {mode: held.section(mode) for mode in Mode if mode not in modes}
    with _staging(folder) as staging, _way_on(request) as finished:
        plan, conditions = _prepare(request, modes, demands, given, store, folder, staging, asked, held)
        if request.settings.official or sum(map(plan.seconds, modes)) > _FORECAST_FROM_S:
            note(plan.forecast(modes))
        for mode in modes:
            sections[mode] = take_test(plan, mode, folder, staging)
            found = _result(asked, conditions, sections, store)
            result.write(folder / result.FILE_NAME, found)
            finished.append(mode)
            network.write(found, folder)
    return found


@contextmanager
def _way_on(request: Request) -> Iterator[list[Mode]]:
    """Yield a list for the tests that are finished; what interrupts the others is told how to go on."""
    finished: list[Mode] = []
    try:
        yield finished
    except BaseException as end:
        if request.replace and finished:
            # The same command would replace the finished tests once more.
            end.add_note("repeat the command without --replace to go on")
        raise


def _judged_anew(held: RunResult, request: Request, store: Store, folder: Path) -> RunResult:
    """Return the result, whose accuracy is held against the targets that the card has by now."""
    if held.accuracy is None:
        return held
    found = replace(held, accuracy=judged(held.accuracy, request.card, store))
    if found != held:
        result.write(folder / result.FILE_NAME, found)
    return found


def _missed(held: RunResult, mode: Mode) -> str:
    """Return what to know of a test that is reused though it misses its target."""
    accuracy = held.accuracy
    if mode is not Mode.ACCURACY or accuracy is None or accuracy.passed is not False:
        return ""
    return f", though it {accuracy.verdicts[0].text} (--replace runs it again)"


def _variant(card: Card, settings: RunSettings) -> str:
    """Return the folder's name: another precision than f32, or a server, makes another model of a card."""
    if settings.endpoint is not None:
        return f"{card.name}-served"
    return card.name if settings.precision == "f32" else f"{card.name}-{settings.precision}"


def repeat_performance(
    card: Card, store: Path, folder: Path, audit_config: Path, out: Path
) -> log.Performance:
    """Repeat the performance test of a result, with LoadGen's audit file of a compliance test.

    Args:
        card: the model of the result.
        store: its data.
        folder: the scenario's folder, with result.json and user.conf; settings and estimates are theirs.
        audit_config: existing file that overrides LoadGen's settings.
        out: takes LoadGen's logs when the test is finished; must not exist.

    Returns:
        What LoadGen measured.

    Raises:
        RunFailed: the test crashed, hung, an inference failed, or LoadGen did not heed the audit file.
        HarnessError: there is no such result, or it is of another model, data or machine.
    """
    if out.exists():
        raise OutputError(f"{out} exists already: remove it or {files.elsewhere(out)}.")
    if not audit_config.is_file():
        raise OutputError(f"No audit file {audit_config}: check the path.")
    held = result.read(folder / result.FILE_NAME)
    if held.performance is None:
        raise OutputError(f"{folder} holds no performance result: run the scenario first.")
    settings = held.settings.asked
    request = Request(card, store, settings, (Mode.PERFORMANCE,), folder)
    images = open_for(card, store)
    unlike = differences(held.identity, _identity(request, images, system.describe(), None))
    if unlike:
        raise OutputError(
            f"The result in {folder} is of another {' and '.join(unlike)}: repeat its test with the model "
            f"and the data and on the machine that it was made with."
        )
    demands, _ = _demands(replace(request, settings=replace(settings, user_conf=folder / "user.conf")))
    plan = Plan(card, images, demands, folder / "user.conf", dict(held.performance.estimate), 1.0)
    files.make_writable_folder(out.parent)
    with _staging(out) as staging:
        job = replace(plan.job(staging / Mode.PERFORMANCE, Mode.PERFORMANCE), audit_config=audit_config)
        take_with_bar(job, (held.performance.duration_ns or 0) / 1e9, timed=True)
        detail = log.read_detail(job.log_folder / log.DETAIL_LOG)
        if not any("Found Audit Config file" in warning for warning in detail.warnings):
            raise RunFailed(f"LoadGen did not heed the audit file {audit_config}: check its syntax.")
        measured = log.read_performance(detail.path)
        take_place(job.log_folder, out)
    return measured


def _identity(
    request: Request, store: Store, machine: system.Machine, given: conf.UserConf | None
) -> Identity:
    card, settings = request.card, request.settings
    return Identity(
        harness=__version__,
        model=Model(
            name=card.name,
            sha256=model_file.sha256(card),
            note=SPEED_ONLY if card.speed_only else "",
            quantization=card.quantization or None,
            input=card.input,
            output=card.output,
        ),
        data=Data(
            dataset=store.dataset,
            count=store.count,
            recipe=card.input.recipe,
            pixels_sha256=store.sha256(card.input.recipe),
            list_sha256=store.manifest.list_sha256,
        ),
        settings=Settings.of(settings, None if given is None else given.sha256),
        machine=machine,
    )


def _demands(request: Request) -> tuple[Demands, conf.UserConf | None]:
    """Read the rules, and the user.conf of the request if it has one."""
    settings, benchmark = request.settings, request.card.benchmark
    given = None if settings.user_conf is None else conf.read_user_conf(settings.user_conf, benchmark)
    demands = Demands.of(benchmark, settings, given)
    largest, resident = demands.samples_per_query, demands.rules.performance_sample_count
    if largest > resident:
        raise ConfError(
            f"{settings.user_conf}: samples_per_query is {largest:,}, and LoadGen keeps "
            f"{resident} samples in memory: give at most so many."
        )
    if settings.scenario is Scenario.MULTI_STREAM and (settings.batch or 1) > largest:
        raise HarnessError(f"A MultiStream query holds {largest} samples: give --batch 1 to {largest}.")
    return demands, given


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a folder for tests under way; it disappears with what was not finished."""
    try:
        with files.staging(folder.parent, folder.name) as staging:
            yield staging
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _prepare(
    request: Request,
    modes: tuple[Mode, ...],
    demands: Demands,
    given: conf.UserConf | None,
    store: Store,
    folder: Path,
    staging: Path,
    asked: Asked,
    held: RunResult | None,
) -> tuple[Plan, _Conditions]:
    """Find out what LoadGen wants to be told: from the tests that are kept, or from a probe."""
    card, user_conf, settings = request.card, staging / "user.conf", asked.identity.settings
    if held is not None:
        chosen = demands.settings.choose(held.settings.batch, held.settings.streams)
        chosen = chosen.answered_by(held.probe.server)
        demands, settings = replace(demands, settings=chosen), held.settings
        if (done := held.performance) is not None and Mode.PERFORMANCE not in modes:
            _take_user_conf(folder, user_conf)
            rate = done.sample_count / done.duration_ns * 1e9 if done.duration_ns else 1.0
            plan = Plan(card, store, demands, user_conf, dict(done.estimate), rate)
            return plan, _Conditions(settings, held.precision, held.probe)
        own = {key: getattr(asked.identity.settings, key) for key in PERFORMANCE_SETTINGS}
        settings = replace(settings, **own)
    if given is not None and Mode.PERFORMANCE in modes:
        for said in demands.without_effect(given):
            note(said)
    with progress(f"Probing {card.name}", None, counts=False) as bar:
        show = show_on(bar, card.name)
        plan, probed = begin(card, store, demands, given, modes, user_conf, staging, show)
    settings = replace(settings, batch=plan.settings.batch, streams=plan.settings.streams)
    precision = Precision(plan.settings.precision, probed.precision, probed.kernels, probed.openvino)
    return plan, _Conditions(settings, precision, probed.estimate)


def _take_user_conf(folder: Path, target: Path) -> None:
    try:
        shutil.copyfile(folder / "user.conf", target)
    except OSError as error:
        raise OutputError(
            f"Cannot read {folder / 'user.conf'} ({error.strerror}), which the performance test there ran "
            f"with: repeat the `harness run` with --mode both, which runs that test again."
        ) from error


def _result(
    asked: Asked,
    conditions: _Conditions,
    sections: Mapping[Mode, PerformanceSection | AccuracySection | None],
    store: Store,
) -> RunResult:
    """Return the result, with all that keeps it from being official."""
    identity = asked.identity
    performance, accuracy = sections.get(Mode.PERFORMANCE), sections.get(Mode.ACCURACY)
    assert not isinstance(performance, AccuracySection)
    assert not isinstance(accuracy, PerformanceSection)
    return RunResult(
        harness=identity.harness,
        created=asked.created,
        benchmark=asked.benchmark,
        scenario=conditions.settings.scenario,
        model=identity.model,
        data=identity.data,
        settings=conditions.settings,
        tuning=asked.tuning,
        precision=conditions.precision,
        probe=conditions.probe,
        machine=identity.machine,
        not_official_because=(
            *(() if performance is None else performance.not_official_because),
            *store.submittable_faults(),
            *([SPEED_ONLY] if identity.model.note else []),
            *([ON_THIS_HOST] if (server := conditions.probe.server) and server.is_on_this_host else []),
        ),
        performance=performance,
        accuracy=accuracy,
    )
