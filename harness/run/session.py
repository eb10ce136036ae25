"""One benchmark run, start to finish: probe, forecast, LoadGen tests, verdicts, files."""

import datetime
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.console import note, progress
from harness.dataset.store import Store
from harness.errors import ConfError, HarnessError, OutputError, RunFailed
from harness.loadgen import work
from harness.loadgen.job import Estimate, Job
from harness.loadgen.settings import RunSettings, within_limits
from harness.machine import system
from harness.measurement import tuned
from harness.measurement.data import open_for
from harness.measurement.demands import Demands
from harness.measurement.outlook import Outlook, refuse_hopeless
from harness.measurement.plan import Plan, Request, estimates
from harness.measurement.series import run_test, take_place
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card, doubts
from harness.run import result
from harness.run.folder import PERFORMANCE_SETTINGS, alone_in, differences, tests_to_keep
from harness.run.measuring import judged_again, take_test

__all__ = ["Request", "open_for", "repeat_performance", "run", "within_limits"]

_PROBE_S = 3.0
_OFFICIAL_PROBE_S = 15.0
_FORECAST_FROM_S = 60.0


def run(request: Request) -> tuple[dict[str, Any], Path]:
    """Run the modes asked for; return the result document and the scenario's folder.

    Each finished test is kept, even when a later one fails; a finished and valid test of the same model,
    data, settings and machine is not repeated unless the request says so.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed.
        HarnessError: the request does not fit the model, the store or what is in the folder already.
    """
    card = request.card
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
        / (request.system or system.slug(machine))
        / _variant(card, request.settings)
        / request.settings.scenario
    )
    document = _new_document(request, store, machine, given)
    if found is not None:
        note(found.told())
        document["tuning"] = found.reference()
    files.make_writable_folder(folder.parent)
    with alone_in(folder):
        return _carry_out(request, demands, given, store, folder, document), folder


def _carry_out(
    request: Request,
    demands: Demands,
    given: conf.UserConf | None,
    store: Store,
    folder: Path,
    document: dict[str, Any],
) -> dict[str, Any]:
    """Take the tests that `folder` does not hold yet; return the document with their results."""
    held, kept = tests_to_keep(folder, document, request.modes, request.replace)
    modes = tuple(mode for mode in request.modes if mode not in kept)
    for mode in request.modes:
        if mode in kept:
            note(f"Reused: the finished {request.settings.scenario} {mode} test in {folder}.")
    if held is not None:
        if held["accuracy"] is not None:
            # The targets are those that the card has by now.
            accuracy = held["accuracy"]
            verdicts = judged_again(request.card, store, accuracy["text"])
            if not modes and accuracy | verdicts != accuracy:
                files.write_json(folder / result.FILE_NAME, held | {"accuracy": accuracy | verdicts})
            held["accuracy"] = accuracy | verdicts
        if not modes:
            return held
        request = _adopt(request, document, held, kept)
    files.make_writable_folder(folder)
    with _staging(folder) as staging:
        plan = _prepare(replace(request, modes=modes), demands, given, store, folder, staging, document)
        if request.settings.official or sum(map(plan.seconds, modes)) > _FORECAST_FROM_S:
            note(plan.forecast(modes))
        for mode in modes:
            document[mode] = take_test(plan, mode)
            _conclude(document, plan)
    return document


def _variant(card: Card, settings: RunSettings) -> str:
    """Return the folder's name: another precision than f32 makes another model of one card."""
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
        raise OutputError(f"{out} exists already: remove it or choose another folder.")
    if not audit_config.is_file():
        raise OutputError(f"No audit file {audit_config}: check the path.")
    held = result.read(folder / result.FILE_NAME)
    if held["performance"] is None:
        raise OutputError(f"{folder} holds no performance result: run the scenario first.")
    settings = RunSettings.from_dict(held["settings"])
    machine = system.describe()
    request = Request(card, store, settings, (Mode.PERFORMANCE,), folder)
    asked = _new_document(request, open_for(card, store), machine, None)
    unlike = differences(held, asked)
    if unlike:
        raise OutputError(
            f"The result in {folder} is of another {' and '.join(unlike)}: repeat its test with the model "
            f"and the data and on the machine that it was made with."
        )
    demands, _ = _demands(replace(request, settings=replace(settings, user_conf=folder / "user.conf")))
    files.make_writable_folder(out.parent)
    with _staging(out) as staging:
        job = Job(
            card,
            store,
            settings,
            staging / Mode.PERFORMANCE,
            Mode.PERFORMANCE,
            folder / "user.conf",
            audit_config,
            demands.samples_per_query,
        )
        run_test(job, (held["performance"]["duration_ns"] or 0) / 1e9, timed=True)
        detail = log.read_detail(job.log_folder / "mlperf_log_detail.txt")
        if not any("Found Audit Config file" in warning for warning in detail.warnings):
            raise RunFailed(f"LoadGen did not heed the audit file {audit_config}: check its syntax.")
        measured = log.read_performance(detail.path)
        take_place(job.log_folder, out)
    return measured


def _new_document(
    request: Request, store: Store, machine: system.Machine, given: conf.UserConf | None
) -> dict[str, Any]:
    card, settings = request.card, request.settings
    chosen_later = [name for name in ("batch", "streams") if getattr(settings, name) is None]
    return {
        "format": result.FORMAT,
        "harness": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "benchmark": card.benchmark,
        "scenario": str(settings.scenario),
        "model": {
            "name": card.name,
            "sha256": model_file.sha256(card),
            "note": SPEED_ONLY if card.speed_only else "",
            "quantization": card.quantization or None,
            **json.loads(json.dumps({"input": card.input.to_dict(), "output": asdict(card.output)})),
        },
        "data": {
            "dataset": store.dataset,
            "count": store.count,
            "recipe": card.input.recipe.to_dict(),
            "pixels_sha256": store.sha256(card.input.recipe),
            "list_sha256": store.manifest.list_sha256,
        },
        "settings": {
            **settings.to_dict(),
            "user_conf_sha256": None if given is None else given.sha256,
            "chosen": chosen_later,
        },
        "tuning": None,
        "precision": None,
        "probe": None,
        "machine": json.loads(json.dumps(machine.to_dict())),
        "not_official_because": [],
        "performance": None,
        "accuracy": None,
    }


def _demands(request: Request) -> tuple[Demands, conf.UserConf | None]:
    """Read the rules, and the user.conf of the request if it has one."""
    settings, benchmark = request.settings, request.card.benchmark
    rules = conf.read_rules().scenario(benchmark, settings.scenario)
    given = None if settings.user_conf is None else conf.read_user_conf(settings.user_conf, benchmark)
    demands = Demands(rules, {} if given is None else given.values(settings.scenario), settings)
    largest = demands.samples_per_query
    if largest > rules.performance_sample_count:
        raise ConfError(
            f"{settings.user_conf}: samples_per_query is {largest:,}, and LoadGen keeps "
            f"{rules.performance_sample_count} samples in memory: give at most so many."
        )
    if settings.scenario is Scenario.MULTI_STREAM and (settings.batch or 1) > largest:
        raise HarnessError(f"A MultiStream query holds {largest} samples: give --batch 1 to {largest}.")
    return demands, given


def _adopt(
    request: Request, document: dict[str, Any], held: dict[str, Any], kept: tuple[Mode, ...]
) -> Request:
    """Go on with what is held: its finished tests, and the settings that its probe chose."""
    for mode in kept:
        document[mode] = held[mode]
    own = {key: document["settings"][key] for key in PERFORMANCE_SETTINGS}
    document["settings"] = held["settings"] if Mode.PERFORMANCE in kept else held["settings"] | own
    document["precision"], document["probe"] = held["precision"], held["probe"]
    settings = request.settings.choose(held["settings"]["batch"], held["settings"]["streams"])
    return replace(request, settings=settings)


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
    demands: Demands,
    given: conf.UserConf | None,
    store: Store,
    folder: Path,
    staging: Path,
    document: dict[str, Any],
) -> Plan:
    """Find out what LoadGen wants to be told: from the tests that are kept, or from a probe."""
    user_conf = staging / "user.conf"
    done = document["performance"]
    if done is not None and Mode.PERFORMANCE not in request.modes:
        shutil.copyfile(folder / "user.conf", user_conf)
        rate = done["sample_count"] / done["duration_ns"] * 1e9 if done["duration_ns"] else 1.0
        return Plan(request, demands, store, folder, staging, user_conf, done["estimate"], rate)
    probed = _probe(request, demands, staging)
    estimate: Estimate = probed["estimate"]
    text, told = estimates(request, demands, given, estimate)
    if Mode.PERFORMANCE in request.modes:
        outlook = Outlook(demands, told[request.settings.scenario.facts.estimate_key], estimate)
        refuse_hopeless(outlook, given, system.free_memory_bytes())
    files.write_text(user_conf, text)
    settings = request.settings
    if settings.scenario.facts.batch is None:
        settings = settings.choose(estimate.batch, estimate.streams)
    request = replace(request, settings=settings)
    document["settings"] |= {"batch": settings.batch, "streams": settings.streams}
    document["precision"] = {
        "requested": settings.precision,
        "computed": probed["precision"],
        "kernels": probed["kernels"],
        "openvino": probed["openvino"],
    }
    document["probe"] = asdict(estimate)
    rate = estimate.samples_per_second
    return Plan(request, demands, store, folder, staging, user_conf, told, rate, given)


def _probe(request: Request, demands: Demands, staging: Path) -> dict[str, Any]:
    settings = request.settings
    probe_s = _OFFICIAL_PROBE_S if settings.official else min(_PROBE_S, settings.duration_s / 2)
    job = Job(
        request.card,
        request.store,
        settings,
        staging,
        mode=None,
        samples_per_query=demands.samples_per_query,
        probe_s=probe_s,
        latency_bound_ns=demands.latency_bound_ns,
        latency_percentile=demands.latency_percentile,
        search=Mode.PERFORMANCE in request.modes and not demands.estimate_is_own,
    )
    with progress(f"Probing {request.card.name}", None, counts=False) as bar:
        return work.run(
            job, lambda now: bar.update(description=f"{now.phase} {request.card.name}".capitalize())
        )


def _conclude(document: dict[str, Any], plan: Plan) -> None:
    """Write the document as it stands."""
    document["not_official_because"] = [
        *([] if document["performance"] is None else document["performance"]["not_official_because"]),
        *plan.store.submittable_faults(),
        *([SPEED_ONLY] if plan.request.card.speed_only else []),
    ]
    document["official"] = document["settings"]["official"] and not document["not_official_because"]
    files.write_json(plan.folder / result.FILE_NAME, document)
