"""The tests of a comparison: accuracy of each variant first, then performance in alternating rounds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from harness.comparison.document import Accuracy, Cell, count_threads
from harness.comparison.variants import Candidate
from harness.console import note, progress
from harness.dataset.store import Store
from harness.errors import HarnessError, ModelError, OutputError
from harness.loadgen.settings import RunSettings, within_limits
from harness.machine import system
from harness.measurement import series, tuned
from harness.measurement.order import Key, groups
from harness.measurement.probing import show_on
from harness.measurement.round import Round
from harness.measurement.tuned import Tuning
from harness.mlperf import log
from harness.mlperf.scenario import Mode, Scenario
from harness.model.card import Card
from harness.process import child
from harness.run import result
from harness.run import session as run_session
from harness.run.folder import ACCURACY_LOGS, OtherResult
from harness.task import task_of

# Start, compilation and the samples that LoadGen adds to a test's least duration.
_OVERHEAD_S = 3.0
_ACCURACY = "accuracy"


class OtherTests(OutputError):
    """A folder's tests are of something else than is asked for."""

    def __init__(self, out: Path, what: str) -> None:
        super().__init__(f"The tests in {out} are of another {what}: give another --out.")
        self.what = what


@dataclass
class Entry:
    """A candidate on its way to a variant."""

    candidate: Candidate
    card: Card
    origin: str
    calibration: str = ""
    no_accuracy: str = ""
    not_run: str = ""
    accuracy: Accuracy | None = None
    answers: Any = None
    """As the card's task reads them; None without an accuracy test."""
    computed: str | None = None
    """What most layers compute in; None where it was not run."""
    version: str = ""
    """Of the served model that answered first: all tests ask for it."""
    kernels: Mapping[str, int] | None = None

    @property
    def name(self) -> str:
        return self.candidate.name


@dataclass(frozen=True)
class Setting:
    """What all tests of a comparison share."""

    store: Store
    out: Path
    scenarios: tuple[Scenario, ...]
    threads: tuple[int, ...]
    threads_given: bool
    """Whether the user gave the numbers of threads."""
    rounds: int
    duration_s: float
    stall_timeout_s: float
    staging: Path
    """Takes what is under way."""
    machine: system.Machine
    tuned: bool
    """Whether to use the settings that `harness tune` found."""

    def run_settings(self, scenario: Scenario, candidate: Candidate, threads: int) -> RunSettings:
        settings = RunSettings(scenario, duration_s=self.duration_s, stall_timeout_s=self.stall_timeout_s)
        if candidate.endpoint is not None:
            return replace(settings, endpoint=candidate.endpoint)
        return replace(settings, precision=candidate.precision, threads=threads)

    def tuning_of(self, entry: Entry, scenario: Scenario, threads: int) -> Tuning | None:
        """Return the variant's tuning, if there is one and it is to be used."""
        if not self.tuned:
            return None
        asked = self.run_settings(scenario, entry.candidate, threads)
        if not self.threads_given:
            asked = replace(asked, threads=None)
        return tuned.find(tuned.key_of(entry.card, asked, self.machine))


def accuracies(entries: list[Entry], setting: Setting) -> None:
    """Run the accuracy test of every variant that can have one, all in one scenario on as many threads.

    These are those of the tests that are there already, so that a scenario or number of threads that is added
    repeats none; else Offline, where it is compared, and the most threads.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed.
        OtherTests: the folder holds tests of something else.
        HarnessError: a model is unusable.
    """
    scenario, threads = _accuracy_conditions(setting)
    store, out = setting.store, setting.out
    for entry in entries:
        if entry.no_accuracy:
            continue
        settings = setting.run_settings(scenario, entry.candidate, threads)
        request = run_session.Request(
            entry.card, store.path, settings, (Mode.ACCURACY,), out / _ACCURACY, entry.name, tuning=False
        )
        try:
            found, folder = run_session.run(request)
        except ModelError as error:
            _give_up(entry, error)
            continue
        except OtherResult as error:
            raise OtherTests(out, error.what) from error
        section = found.accuracy
        assert section is not None
        if found.probe.server is not None:
            entry.version = found.probe.server.model_version
        first = next(iter(section.verdicts), None)
        logs = folder / ACCURACY_LOGS
        entry.accuracy = Accuracy(
            good=section.good,
            map=None if section.good is not None else section.accuracy,
            total=section.total,
            passed=section.passed,
            target=first.target if first else None,
            verdict=first.text if first else "",
            valid=not section.errors,
            log=logs.relative_to(out).as_posix(),
        )
        entry.answers = task_of(entry.card).answers(logs / log.ACCURACY_LOG, store.count)


def _accuracy_conditions(setting: Setting) -> tuple[Scenario, int]:
    """Return those of the tests that are there; what is damaged goes, so that it is run again."""
    held = []
    for path in sorted((setting.out / _ACCURACY).glob(f"*/*/*/{result.FILE_NAME}")):
        try:
            held.append(result.read(path).settings)
        except result.Damaged as error:
            note(f"Run again: the accuracy test in {path.parent}, as {error.fault}.")
            path.unlink()
    if held:
        # A served variant has no threads of its own.
        known = (one.threads for one in held if one.threads is not None)
        return held[0].scenario, next(known, setting.threads[-1])
    scenarios = setting.scenarios
    return Scenario.OFFLINE if Scenario.OFFLINE in scenarios else scenarios[0], setting.threads[-1]


def performance(entries: list[Entry], baseline: str, setting: Setting) -> tuple[Cell, ...]:
    """Probe every series once, then run the rounds in turn: A B C, C B A, A B C, ...

    What an earlier call left of a round counts if it holds all variants, valid: figures of a round are
    compared with each other, so they must be of one time.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed.
        HarnessError: too little is left that this machine can run, or a model is unusable.
    """
    every, tunings = _all_series(entries, setting)
    able = [entry for entry in entries if not entry.not_run]
    for entry in entries:
        if entry.not_run and (entry.name == baseline or len(able) < 2):
            raise HarnessError(f"Variant '{entry.name}' cannot be run here: {entry.not_run}")
    for (threads, name, scenario), found in tunings.items():
        note(found.told(f" for {name}, {scenario}, {count_threads(threads)}"))
    done: dict[Key, dict[int, Round]] = {key: {} for key in every}
    left: list[tuple[int, list[Key]]] = []
    for number in range(1, setting.rounds + 1):
        for group in groups(every, number):
            held = {key: one for key in group if (one := series.held(every[key].folder, number))}
            if len(held) < len(group):
                left.append((number, group))
                continue
            for key, finished in held.items():
                done[key][number] = finished
    _measure(every, left, done, setting)
    return tuple(
        Cell(
            scenario,
            threads,
            name,
            tuple(entry for _, entry in sorted(done[threads, name, scenario].items())),
            one.user_conf.relative_to(setting.out).as_posix(),
            one.effective,
            tunings[threads, name, scenario].reference() if (threads, name, scenario) in tunings else None,
        )
        for (threads, name, scenario), one in every.items()
    )


def _measure(
    every: dict[Key, series.Series],
    left: list[tuple[int, list[Key]]],
    done: dict[Key, dict[int, Round]],
    setting: Setting,
) -> None:
    """Run what is left of the rounds, in its order, in place of what lies there."""
    total, left_count = len(every) * setting.rounds, sum(len(group) for _, group in left)
    if left_count < total:
        note(f"Reused: {total - left_count} of {total} performance tests.")
    if not left:
        return
    plans = [every[key].plan for _, group in left for key in group]
    minutes = sum(plan.seconds(Mode.PERFORMANCE) + _OVERHEAD_S for plan in plans) / 60
    note(f"Forecast: {left_count} performance tests in alternating rounds, about {minutes:.0f} min.")
    with progress("Rounds", total) as bar:
        bar.advance(total - left_count)
        for number, group in left:
            for key in group:
                series.forget(every[key].folder, number)
            for key in group:
                title = f"Round {number} of {setting.rounds}: {key[1]} {key[2]}"

                def show(now: child.Progress, title: str = title) -> None:
                    bar.update(description=title, rate=now.phase)

                every[key], entry = series.measure(every[key], number, setting.out, setting.staging, show)
                done[key][number] = entry
                bar.advance()
        bar.update(description="Rounds", rate="")


def _all_series(entries: list[Entry], setting: Setting) -> tuple[dict[Key, series.Series], dict[Key, Tuning]]:
    """Return the series in the order of a round, after their probes, and the tunings that they use."""
    every, tunings = {}, {}
    with progress("Probing", None, counts=False) as bar:
        for threads, scenario, entry in product(setting.threads, setting.scenarios, entries):
            if entry.not_run:
                continue
            show = show_on(bar, entry.name)
            settings = setting.run_settings(scenario, entry.candidate, threads)
            found = setting.tuning_of(entry, scenario, threads)
            if found is not None:
                if not setting.threads_given:
                    settings = replace(settings, threads=None)
                settings = within_limits(found.apply(settings), setting.machine)
            settings = settings.of_version(entry.version)
            folder = setting.out / "rounds" / entry.name / scenario / f"{threads}-threads"
            try:
                one = series.prepare(entry.card, setting.store, settings, folder, setting.staging, show)
            except ModelError as error:
                _give_up(entry, error)
                continue
            entry.computed, entry.kernels = one.facts.precision, one.facts.kernels
            entry.version = entry.version or one.facts.version
            every[threads, entry.name, scenario] = one
            if found is not None:
                tunings[threads, entry.name, scenario] = found
    return every, tunings


def _give_up(entry: Entry, error: ModelError) -> None:
    """Leave out a variant whose precision this CPU does not have; anything else is the user's fault."""
    if entry.candidate.precision != "bf16":
        raise error
    entry.not_run = str(error)
