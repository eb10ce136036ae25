"""The door to LoadGen: one test, in a process of its own.

LoadGen reads its built-in mlperf.conf only at the first FromConfig of a process (test_settings_internal.cc),
and an aborted test cannot be taken back; see harness.process.child for the parent's side.
"""

from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

import mlperf_loadgen as lg

from harness.backend.graph import Compiled
from harness.errors import ConfError
from harness.loadgen.job import Job
from harness.loadgen.known_answers import COMPILATIONS
from harness.loadgen.proof import Prover
from harness.loadgen.qsl import Qsl
from harness.loadgen.subject import Backend, Report
from harness.loadgen.sut import Issue, Sut, Tap, make_sut
from harness.machine.energy import Meter, open_meter
from harness.mlperf.benchmark import BENCHMARKS
from harness.mlperf.scenario import Mode, Scenario
from harness.process.undisturbed import undisturbed

_HEARTBEAT_S = 0.5
_SCENARIOS = {
    Scenario.SINGLE_STREAM: lg.TestScenario.SingleStream,
    Scenario.MULTI_STREAM: lg.TestScenario.MultiStream,
    Scenario.SERVER: lg.TestScenario.Server,
    Scenario.OFFLINE: lg.TestScenario.Offline,
}
_MODES = {Mode.PERFORMANCE: lg.TestMode.PerformanceOnly, Mode.ACCURACY: lg.TestMode.AccuracyOnly}


def perform(
    backend: Backend, compiled: Sequence[Compiled] | None = None, tap: Tap | None = None
) -> dict[str, Any]:
    """Compile, warm up, check, run the job's LoadGen test, and check again; return what was used.

    The energy of the test is among it where the machine lets us read it.

    Args:
        backend: what to test.
        compiled: the model by rising batch, if it is compiled already.
        tap: listens between LoadGen and the system under test.

    Raises:
        ModelError: OpenVINO compiles the model again and again so that it answers wrongly.
        RunFailed: the model answered wrongly after the test.
        HarnessError: the model or the user.conf is unusable.
    """
    job, qsl, report = backend.job, backend.qsl, backend.report
    tap = tap or Tap()

    def make(ladder: Sequence[Compiled]) -> Sut:
        report("phase", "warming up")
        return make_sut(
            job.settings.scenario,
            ladder,
            qsl,
            lambda address, length: lg.QuerySampleResponse(0, address, length),
            tap.complete(lg.QuerySamplesComplete),
            backend.inference_failed,
            job.samples_per_query,
            backend.make_lane,
        )

    given = None if compiled is None else lambda: compiled
    attempts = COMPILATIONS if compiled is None else 1
    sut, ladder, check = Prover(backend).prove(make, given, attempts=attempts)
    energy = _start_test(job, qsl, sut, tap.issue(sut.issue), report, backend.ask_name)
    report("phase", "checking")
    check.again(sut)
    sut.close()
    return {
        **backend.facts(ladder[0]),
        "completed": sut.completed,
        "energy": energy,
        "known_answers": check.to_dict(),
    }


def _start_test(
    job: Job,
    qsl: Qsl,
    sut: Sut,
    issue: Issue,
    report: Report,
    ask_name: Callable[[], str] | None = None,
) -> dict[str, Any] | None:
    settings = _test_settings(job)
    log_settings = lg.LogSettings()
    log_settings.log_output.outdir = str(job.log_folder)
    log_settings.log_output.copy_summary_to_stdout = False
    log_settings.enable_trace = False

    def load(indices: list[int]) -> None:
        # A phase of its own: it counts samples loaded, and is no part of the time that the test runs.
        report("phase", "loading")
        qsl.load(indices)
        sut.samples_loaded()
        report("phase", "running")
        report("completed", sut.completed)
        if meter is not None and job.mode is Mode.PERFORMANCE:
            # Loading, once and before the test's clock runs, is not what a sample costs.
            meter.start_anew()

    def unload(indices: list[int]) -> None:
        qsl.unload()

    meter = open_meter()
    performance_sample_count = min(qsl.count, settings.performance_sample_count_override or qsl.count)
    library = lg.ConstructQSL(qsl.count, performance_sample_count, load, unload)
    system, destroy = _system(issue, ask_name)
    # The audit file is always named, so that a stray audit.config in the working directory has no effect.
    audit_config = job.audit_config or job.log_folder / "no-audit.config"
    stop = Event()
    heart = Thread(target=_heartbeat, args=(sut, qsl, meter, stop, report), daemon=True)
    report("phase", "running")
    with undisturbed():
        heart.start()
        lg.StartTestWithLogSettings(system, library, settings, log_settings, str(audit_config))
        stop.set()
        heart.join()
        joules = None if meter is None else meter.read_joules()
    destroy(system)
    lg.DestroyQSL(library)
    if meter is None or joules is None:
        return None
    return {"joules": joules, "domains": meter.domains}


def _system(issue: Issue, ask_name: Callable[[], str] | None) -> tuple[Any, Callable[[Any], None]]:
    """Return LoadGen's handle of the system under test, and what gives it back."""
    if ask_name is None:
        return lg.ConstructFastSUT(issue, lambda: None), lg.DestroyFastSUT

    def issue_samples(samples: list[Any]) -> None:
        issue([sample.id for sample in samples], [sample.index for sample in samples])

    return lg.ConstructQDL(issue_samples, lambda: None, ask_name), lg.DestroyQDL


def _test_settings(job: Job) -> Any:
    assert job.mode is not None
    settings = lg.TestSettings()
    benchmark = BENCHMARKS[job.card.benchmark]
    scenario = job.settings.scenario
    code = settings.FromConfig(str(job.user_conf or ""), benchmark.name, str(scenario), 1)
    if code != 0:
        raise ConfError(f"LoadGen refuses {job.user_conf} (code {code}): correct its syntax.")
    settings.scenario = _SCENARIOS[scenario]
    settings.mode = _MODES[job.mode]
    if not job.settings.official:
        settings.min_duration_ms = int(job.settings.duration_s * 1000)
        if scenario.facts.short_queries is not None:
            # A user.conf may ask for more of Server's queries, not for all of Offline's samples.
            more = settings.min_query_count if scenario.facts.timed else 0
            settings.min_query_count = max(scenario.facts.short_queries, more)
    return settings


def _heartbeat(sut: Sut, qsl: Qsl, meter: Meter | None, stop: Event, report: Report) -> None:
    while not stop.wait(_HEARTBEAT_S):
        if meter is not None:
            # A counter wraps after some minutes under load.
            meter.read_joules()
        loading = qsl.loading
        if loading is None:
            report("idle" if sut.idle else "completed", sut.completed)
        else:
            report("completed", loading)
