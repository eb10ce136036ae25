"""One tuning, start to finish: pilot, successive halving, re-check against the default, the file."""

import datetime
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__, files, typed
from harness.console import note, progress
from harness.dataset.store import Store
from harness.endpoint import host
from harness.endpoint.address import Endpoint
from harness.errors import HarnessError, ModelError, OutputError, RunFailed
from harness.loadgen import served, work
from harness.loadgen.job import Job
from harness.loadgen.settings import STALL_TIMEOUT_S, RunSettings, within_limits
from harness.machine import noise, system
from harness.measurement import data, series, statistics, tuned
from harness.measurement.plan import OFFLINE_MARGIN
from harness.measurement.probing import show_on
from harness.measurement.round import Round
from harness.measurement.statistics import Outcome
from harness.measurement.tuned import Key, Tuning
from harness.mlperf.scenario import Scenario
from harness.model.card import Card
from harness.process import child
from harness.tuner import DEFAULT_BUDGET_MIN, report
from harness.tuner.budget import LEAST_ROUNDS, PILOT_S, Schedule, share_out
from harness.tuner.candidates import BATCHES, call_candidates, candidates
from harness.tuner.halving import halve, measurement_count

# LoadGen issues Offline's samples for 1.1 times the duration (test_settings_internal.cc), at the rate that it
# is told.
_OFFLINE_STRETCH = 1.1 * OFFLINE_MARGIN

_PLAN = "plan.json"
_TESTS = "tests"


@dataclass(frozen=True)
class Request:
    """What to tune."""

    card: Card
    store: Path
    scenario: Scenario
    precisions: tuple[str, ...] = ("f32",)
    """Those that the user allows; each has a tuning of its own."""
    endpoint: Endpoint | None = None
    """A served model in place of one compiled here; then calls at a time, and their batch, are tuned."""
    threads: int | None = None
    """None: all CPUs that this process may use, or fewer where that is faster."""
    budget_min: float = DEFAULT_BUDGET_MIN
    stall_timeout_s: float = STALL_TIMEOUT_S
    """As RunSettings has it."""
    replace: bool = False
    """Whether a finished tuning may be made anew."""


def tune(request: Request, clock: Callable[[], float] = time.monotonic) -> list[Tuning]:
    """Tune, and keep what was found; return one tuning for each precision.

    Finished tests are kept until the tuning is finished: after an interruption the same request goes on.

    Args:
        request: what to tune.
        clock: seconds, which the budget counts.

    Raises:
        RunFailed: the default settings cannot be measured.
        HarnessError: the request does not fit the model, the store, the machine or the time.
    """
    if request.endpoint is not None and request.scenario.facts.streams == 1:
        raise HarnessError(
            f"{request.scenario} asks an endpoint one sample at a time, which leaves nothing to tune: give "
            f"another --scenario, or tune the model itself and export it anew."
        )
    machine = system.describe()
    store = data.open_for(request.card, request.store)
    asked = [
        within_limits(
            RunSettings(
                request.scenario,
                precision,
                threads=request.threads,
                stall_timeout_s=request.stall_timeout_s,
                endpoint=request.endpoint,
            ),
            machine,
        )
        for precision in request.precisions
    ]
    budget_s = 60 * request.budget_min / len(asked)
    found = []
    for precision, settings in zip(request.precisions, asked, strict=True):
        key = tuned.key_of(request.card, replace(settings, threads=request.threads), machine)
        held = None if request.replace else tuned.find(key)
        if held is not None:
            note(f"{request.card.name} {request.scenario} {precision} is tuned: --replace tunes again.")
        found.append(held or _Session(request, settings, key, store, budget_s, clock).tune())
    return found


class _Session:
    """The tuning of one model for one scenario and precision."""

    def __init__(
        self,
        request: Request,
        settings: RunSettings,
        key: Key,
        store: Store,
        budget_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._settings = settings
        self._key = key
        self._store = store
        self._clock = clock
        self._budget_s = budget_s
        self._deadline = clock() + budget_s
        self._folder = key.folder
        self._trials: list[dict[str, Any]] = []
        self._speeds: dict[str, float] = {}
        """What settings, in words, did last."""

    def tune(self) -> Tuning:
        files.make_writable_folder(self._folder)
        of = f"tuning of {self._request.card.name} for {self._request.scenario}"
        with files.alone(self._folder, of, cure=""):
            return self._tune()

    def _tune(self) -> Tuning:
        self._batches = self._batches_taken()
        plan = self._claim()
        if self._batches and 1 not in self._batches:
            self._settings = replace(self._settings, batch=min(self._batches))
        with progress("Tuning", None) as self._bar:
            self._default = self._prepare_default()
            tried, schedule = self._plan(plan)
            winner = self._halving(tried, schedule)
            checked = [] if winner is None else self._check(tried[winner], schedule)
            self._bar.update(description="Tuning", rate="")
        found = self._conclude(None if winner is None else tried[winner], checked, schedule, len(tried))
        tuned.write(found)
        (self._folder / _PLAN).unlink(missing_ok=True)
        return found

    def _claim(self) -> dict[str, Any]:
        """Return the plan of an interrupted tuning of the same kind; any other is begun anew."""
        request = {
            "harness": __version__,
            "budget_s": self._budget_s,
            "pixels_sha256": self._store.sha256(self._request.card.input.recipe),
            # A server may have come to serve another export.
            **({"batches": list(self._batches)} if self._batches else {}),
        }
        path = self._folder / _PLAN
        if path.exists():
            try:
                held = files.read_json(path)
                if held["request"] == request:
                    if "schedule" in held:
                        typed.structure(held["schedule"], Schedule)
                    return dict(held)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"The plan {path} of an interrupted tuning is damaged ({error!r}): delete {self._folder} "
                    f"and repeat the command."
                ) from error
            note("The interrupted tuning had another budget, store, harness or server: begun anew.")
        if (self._folder / _TESTS).exists():
            shutil.rmtree(self._folder / _TESTS)
        files.write_json(path, {"request": request})
        return {"request": request}

    def _batches_taken(self) -> tuple[int, ...]:
        """Return the batches that a server takes; none where the model is compiled here."""
        if self._settings.endpoint is None:
            return ()
        with files.staging(self._folder, "under-way") as staging:
            job = Job(self._request.card, self._store.path, self._settings, staging, None)
            found = work.run(job, work=partial(served.batches_taken, batches=BATCHES))
        return tuple(found["batches"])

    def _prepare_default(self) -> series.Series:
        """Return the series of what runs untuned, with what its probe chose; the others stand beside it."""
        with files.staging(self._folder, "under-way") as staging:
            return series.prepare(
                self._request.card,
                self._store,
                replace(self._settings, duration_s=2 * PILOT_S),
                self._folder / _TESTS / "default",
                staging,
                show_on(self._bar, "the default"),
            )

    def _plan(self, plan: dict[str, Any]) -> tuple[list[RunSettings], Schedule]:
        """Return what to try, and for how long; a pilot with the default settings tells what time allows."""
        default = self._default
        resolved = replace(default.settings, duration_s=PILOT_S)
        tried = self._candidates()
        if "schedule" not in plan:
            # It is the time that a pilot takes now from which the schedule follows.
            shutil.rmtree(self._folder / _TESTS / "pilot", ignore_errors=True)
        start_s = self._clock()
        speed = self._test(resolved, "pilot", 1, PILOT_S)
        if speed is None:
            raise RunFailed(f"The default settings gave no valid test: {self._trials[-1]['failed']}")
        if "schedule" not in plan:
            pilot_s = self._clock() - start_s
            stretch = _OFFLINE_STRETCH if resolved.scenario is Scenario.OFFLINE else 1.0
            left_s = self._deadline - self._clock()
            schedule = share_out(
                len(tried),
                pilot_s,
                left_s,
                stretch,
                spent_s=self._budget_s - left_s,
                shares=len(self._request.precisions),
            )
            files.write_json(self._folder / _PLAN, plan | {"schedule": asdict(schedule)})
        else:
            schedule = Schedule(**plan["schedule"])
        if schedule.count < len(tried):
            note(f"The budget reaches for {schedule.count} of {len(tried)} candidates, chosen at random.")
        self._bar.update(total=measurement_count(schedule.count) + 2 * schedule.rounds)
        return tried[: schedule.count], schedule

    def _candidates(self) -> list[RunSettings]:
        default = self._default
        count = default.plan.demands.samples_per_query
        if self._settings.endpoint is not None:
            return call_candidates(default.settings, default.effective, self._batches, count)
        open_ = replace(self._settings, threads=self._request.threads)
        return candidates(open_, default.effective, system.allowance(), count)

    def _halving(self, tried: Sequence[RunSettings], schedule: Schedule) -> int | None:
        def measure(number: int, turn: int) -> float | None:
            return self._test(tried[number], "candidates", turn, schedule.test_s)

        return halve(len(tried), measure, lambda: self._clock() + schedule.reserve_s < self._deadline)

    def _check(self, winner: RunSettings, schedule: Schedule) -> list[tuple[Round, Round]]:
        """Measure the winner against the default in alternating rounds; return those valid for both.

        Every second round begins with the winner: a machine that slows down all the time favours neither.
        """
        pairs = []
        default = self._default.settings
        for number in range(1, schedule.rounds + 1):
            if number > LEAST_ROUNDS and self._clock() > self._deadline:
                note(f"The budget is used up: the re-check ends after {number - 1} rounds.")
                break
            turned = number % 2 == 0
            pair = (winner, default) if turned else (default, winner)
            self._forget_half(pair, number)
            first, second = (self._round(one, "check", number, schedule.check_s) for one in pair)
            if first is not None and second is not None:
                pairs.append((second, first) if turned else (first, second))
        return pairs

    def _forget_half(self, pair: tuple[RunSettings, RunSettings], number: int) -> None:
        """Delete what an interrupted call left of a round of the re-check, unless it holds both sides."""
        folders = [self._place(settings, "check", number) for settings in pair]
        if any(series.held(folder, 1) is None for folder in folders):
            for folder in folders:
                series.forget(folder, 1)
                shutil.rmtree(folder, ignore_errors=True)

    def _place(self, settings: RunSettings, stage: str, number: int) -> Path:
        words = settings.words.replace(", ", "-").replace(" ", "_")
        return self._folder / _TESTS / stage / words / str(number)

    def _test(self, settings: RunSettings, stage: str, number: int, seconds: float) -> float | None:
        entry = self._round(settings, stage, number, seconds)
        return None if entry is None else report.speed(settings.scenario, entry)

    def _round(self, settings: RunSettings, stage: str, number: int, seconds: float) -> Round | None:
        """Run one LoadGen test, or take the finished one; None when it cannot be run or is not valid.

        Args:
            settings: with nothing left open that a probe would choose.
            stage: pilot, candidates or check.
            number: the turn or round.
            seconds: LoadGen's minimum duration.
        """
        words = settings.words
        self._bar.update(description=f"{stage.capitalize()} {number}: {words}")
        folder = self._place(settings, stage, number)
        trial = {"settings": settings.tunable, "stage": stage, "number": number, "seconds": seconds}
        entry = None
        try:
            entry = self._measured(replace(settings, duration_s=seconds), folder, self._speeds.get(words))
            if entry.valid:
                trial |= {"value": report.value(settings.scenario, entry), "log": entry.log}
                self._speeds[words] = report.speed(settings.scenario, entry)
            else:
                trial |= {"failed": " ".join(entry.reasons), "log": entry.log}
        except (ModelError, RunFailed) as error:
            # A batch that the model does not admit, or a rate that cannot be held, is an answer.
            trial |= {"failed": str(error)}
        self._trials.append(trial)
        if stage != "pilot":
            self._bar.advance()
        return entry if entry is not None and entry.valid else None

    def _show(self, now: child.Progress) -> None:
        self._bar.update(rate=now.phase)

    def _measured(self, settings: RunSettings, folder: Path, speed: float | None) -> Round:
        """Return the test in `folder`, which is run unless it is there and valid.

        `speed` is what the settings did before, for LoadGen to expect; None: the default's.
        """
        with files.staging(self._folder, "under-way") as staging:
            if settings.scenario is Scenario.SERVER:
                # Its metric is the rate that a search finds.
                one = series.prepare(self._request.card, self._store, settings, folder, staging, self._show)
            else:
                told = dict(self._default.plan.estimate)
                if speed is not None and settings.scenario is Scenario.OFFLINE:
                    told = {"target_qps": speed * OFFLINE_MARGIN}
                one = series.beside(self._default, settings, told, folder)
            entry = series.held(folder, 1)
            if entry is None:
                _, entry = series.measure(one, 1, self._folder, staging, self._show)
        return entry

    def _conclude(
        self, winner: RunSettings | None, pairs: list[tuple[Round, Round]], schedule: Schedule, count: int
    ) -> Tuning:
        scenario = self._request.scenario
        speeds = [[report.speed(scenario, entry) for entry in side] for side in zip(*pairs, strict=True)]
        ratio = statistics.speedup(speeds[1], speeds[0]) if len(pairs) > 1 else None
        faster = ratio is not None and ratio.outcome is Outcome.FASTER
        chosen: dict[str, int | bool | str | None] = {}
        if faster and winner is not None:
            chosen = {name: value for name, value in winner.tunable.items() if value is not None}
            if self._request.threads is not None:
                del chosen["threads"]
        watched = {
            name: [pair[side].noise for pair in pairs]
            for side, name in enumerate(("the default", "the best candidate"))
        }
        if neighbour := self._neighbour():
            watched = {name: noise.without_others(noises) for name, noises in watched.items()}
        used = self._default.effective.get("threads")
        fewer = winner and winner.tunable.get("threads")
        return Tuning(
            key=self._key,
            model=self._request.card.name,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            harness=__version__,
            settings=chosen,
            verdict=report.verdict(scenario, winner, ratio, pairs),
            details={
                "default": self._default.effective,
                "data": {"dataset": self._store.dataset, "count": self._store.count},
                "metric": report.metric(scenario),
                "budget_s": self._budget_s,
                "schedule": asdict(schedule),
                "candidates": count,
                "trials": self._trials,
                "winner": None if winner is None else winner.tunable,
                "speedup": None if ratio is None else asdict(ratio),
                "rounds": [[report.value(scenario, entry) for entry in pair] for pair in pairs],
                "remarks": [
                    *noise.remarks(watched, used and dict(zip(watched, (used, fewer or used), strict=True))),
                    *neighbour,
                ],
            },
        )

    def _neighbour(self) -> list[str]:
        endpoint = self._settings.endpoint
        return [] if endpoint is None else host.remarks(str(endpoint), endpoint.host, endpoint.port)
