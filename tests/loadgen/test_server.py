"""The Server scenario through the real LoadGen, and the search for the rate that it holds."""

import math
import multiprocessing
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from conftest import PATIENCE_S, Oracle

from harness.cli import cli
from harness.errors import ConfError, RunFailed
from harness.loadgen import drive, rate
from harness.loadgen.job import Estimate, Trial
from harness.loadgen.qsl import Qsl
from harness.loadgen.settings import RunSettings
from harness.measurement import advice, probing, test
from harness.mlperf import log
from harness.mlperf.scenario import Mode, Scenario
from harness.process import child
from harness.run import session as run_session

PERFORMANCE = (Mode.PERFORMANCE,)


def request(
    oracle: Oracle, folder: Path, conf_text: str, modes: tuple[Mode, ...] = PERFORMANCE, **changes: Any
) -> run_session.Request:
    user_conf = folder / "mine.conf"
    user_conf.write_text(conf_text)
    settings = RunSettings(
        Scenario.SERVER, **{"duration_s": 0.3, "batch": 2, "streams": 1, "user_conf": user_conf, **changes}
    )
    return run_session.Request(oracle.card, oracle.store.path, settings, modes, folder / "out", system="here")


def test_an_easy_rate_is_held_and_every_answer_is_right(oracle: Oracle, tmp_path: Path) -> None:
    # A busy machine may well keep a thread waiting for the 15 ms of the rules.
    text = "resnet50.Server.target_qps = 500\nresnet50.Server.target_latency = 60000\n"
    document, folder = run_session.run(request(oracle, tmp_path, text, tuple(Mode), batch=4))
    performance = document.performance
    assert document.accuracy.text == "accuracy=95.000%, good=57, total=60"
    assert performance.valid, performance
    assert performance.score.name == "completed samples per second"
    assert performance.score.value == performance.samples_per_second
    scheduled = performance.scheduled_samples_per_second
    assert scheduled == pytest.approx(500, rel=0.05)
    # The last query came on schedule, and was answered within the greatest latency.
    earlier = performance.query_count - 1
    assert performance.samples_per_second >= earlier / (
        earlier / scheduled + performance.latency_ns.max / 1e9
    )
    assert performance.latency_ns.p99 <= performance.latency_bound_ns == 60_000_000_000
    assert performance.query_count >= 662
    detail = log.read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert detail["effective_target_qps"] == 500
    assert detail["requested_server_num_issue_query_threads"] == 0


def test_a_rate_beyond_reach_is_refused_before_it_is_tried(oracle: Oracle, tmp_path: Path) -> None:
    with pytest.raises(ConfError, match=r"line 1: .* INVALID after .*remove the line"):
        run_session.run(request(oracle, tmp_path, "resnet50.Server.target_qps = 900000\n"))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


Message = tuple[str, Any]


class Planned:
    """A child that sends each message so many seconds after the one before, on a clock of its own."""

    def __init__(self, steps: list[tuple[float, Message]]) -> None:
        self.now_s = 0.0
        self._steps = iter([*steps, (0.0, ("done", {}))])
        self._receiver, self._sender = multiprocessing.Pipe(duplex=False)

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, _: Any, timeout: float) -> None:
        seconds, message = next(self._steps)
        assert seconds < timeout
        self.now_s += seconds
        self._sender.send(message)

    def follow(
        self,
        monkeypatch: pytest.MonkeyPatch,
        stall_timeout_s: float,
        show: Callable[[child.Progress], None] = lambda _: None,
    ) -> dict[str, Any]:
        monkeypatch.setattr(child, "wait", self.wait)
        monkeypatch.setattr(child, "time", self)
        process = SimpleNamespace(sentinel=None, join=lambda _: None, exitcode=0)
        return child._follow(process, self._receiver, stall_timeout_s, Path("none"), show)


def beating(event: str) -> Planned:
    """Return a child that sends the same count for longer than a watchdog of 0.4 s waits."""
    return Planned([(0.0, ("phase", "running")), *[(0.05, (event, 1))] * 15])


def test_a_server_with_nothing_to_do_has_not_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    assert beating("idle").follow(monkeypatch, 0.4) == {}
    with pytest.raises(RunFailed, match="The test hung and was stopped") as raised:
        beating("completed").follow(monkeypatch, 0.4)
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    named = re.findall("`([a-z]+)`", str(raised.value).partition("--stall-timeout, which ")[2])
    assert set(named) == {
        name
        for name, command in commands.items()
        if command is not None and any("--stall-timeout" in one.opts for one in command.params)
    }


def test_loading_is_no_part_of_the_time_that_a_test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[float, Message]] = []
    for phase, seconds in (("running", 0.1), ("loading", 0.3), ("running", 0.1)):
        steps += [(0.0, ("phase", phase)), (seconds, ("completed", 1))]
    shown: list[child.Progress] = []
    Planned(steps).follow(monkeypatch, 60, shown.append)
    last = {now.phase: now.running_s for now in shown}
    assert last == {"running": pytest.approx(0.2), "loading": pytest.approx(0.3)}


def test_samples_that_are_being_loaded_are_counted_and_are_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[tuple[str, Any]] = []

    class Slow:
        """Samples of which the second takes until the first has been counted."""

        shape = (3, 1, 1, 3)

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            deadline = time.monotonic() + PATIENCE_S
            while index == 1 and ("completed", 1) not in beats and time.monotonic() < deadline:
                time.sleep(0.001)
            return 0

    def report(event: str, content: Any) -> None:
        beats.append((event, content))

    def start(system: Any, library: Any, *rest: Any) -> None:
        library([0, 1, 2])

    monkeypatch.setattr(drive, "_HEARTBEAT_S", 0.001)
    monkeypatch.setattr(
        drive, "_test_settings", lambda job: SimpleNamespace(performance_sample_count_override=0)
    )
    sut = SimpleNamespace(completed=7, idle=False, samples_loaded=lambda: None, close=lambda: None)
    for name in ("ConstructFastSUT", "DestroyFastSUT", "DestroyQSL"):
        monkeypatch.setattr(drive.lg, name, lambda *_: None)
    monkeypatch.setattr(drive.lg, "ConstructQSL", lambda count, resident, load, unload: load)
    monkeypatch.setattr(drive.lg, "StartTestWithLogSettings", start)
    settings = SimpleNamespace(endpoint=None)
    job = SimpleNamespace(log_folder=Path(), audit_config=None, settings=settings)
    drive._start_test(job, Qsl(Slow()), sut, lambda *_: None, report)  # type: ignore[arg-type]
    phases = [content for event, content in beats if event == "phase"]
    assert phases == ["running", "loading", "running"]
    assert ("completed", 1) in beats
    last_phase = max(place for place, (event, _) in enumerate(beats) if event == "phase")
    assert ("completed", 7) in beats[last_phase:]


def test_the_accuracy_of_server_needs_no_search_for_a_rate(oracle: Oracle, tmp_path: Path) -> None:
    asked = request(oracle, tmp_path, "", (Mode.ACCURACY,), user_conf=None, batch=None, streams=None)
    document, _ = run_session.run(asked)
    assert document.accuracy.good == 57
    assert document.probe.trials == ()
    assert document.settings.batch in (1, 2, 4, 8)


def test_a_batch_that_was_asked_for_may_answer_more_than_single_samples(
    oracle: Oracle, tmp_path: Path
) -> None:
    asked = request(oracle, tmp_path, "", (Mode.ACCURACY,), user_conf=None, batch=4, streams=1)
    document, _ = run_session.run(asked)
    tried = {batch: rate for batch, _, rate in document.probe.candidates}
    assert set(tried) == {1, 4}
    assert document.probe.samples_per_second == max(tried.values())


def test_the_rate_that_the_search_found_is_told_to_loadgen(oracle: Oracle, tmp_path: Path) -> None:
    # A busy machine may well keep one query in a hundred waiting; half of them it does not.
    asked = request(oracle, tmp_path, "*.Server.target_latency_percentile = 50\n", batch=1, threads=1)
    document, folder = run_session.run(asked)
    found = document.probe.target_qps
    told = document.performance.estimate["target_qps"]
    # A busy neighbour can make a test INVALID, which is then repeated a little slower.
    assert told in [pytest.approx(found * advice.RETRY_SHARE**times) for times in range(test.ATTEMPTS)]
    detail = log.read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")
    assert detail["effective_target_qps"] == pytest.approx(told, rel=1e-4)
    assert found in [trial.target_qps for trial in document.probe.trials if trial.held]


class SimulatedTime:
    """A clock that stands still but for `sleep`, and one server that takes a while for each sample."""

    def __init__(self, service_s: float) -> None:
        self._now_ns = self._free_ns = 0
        self._service_ns = round(service_s * 1e9)
        self._due: deque[tuple[int, int]] = deque()

    def perf_counter_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        end_ns = self._now_ns + round(seconds * 1e9)
        while self._due and self._due[0][0] <= end_ns:
            self._now_ns, identity = self._due.popleft()
            self.completed += 1
            self._answer([SimpleNamespace(id=identity)])
        self._now_ns = end_ns

    def sut(self, complete: Any) -> Any:
        self._answer, self.completed = complete, 0
        return SimpleSut(self)

    def issue(self, identity: int) -> None:
        self._free_ns = max(self._free_ns, self._now_ns) + self._service_ns
        self._due.append((self._free_ns, identity))


class SimpleSut:
    """The server of a `SimulatedTime`."""

    def __init__(self, clock: SimulatedTime) -> None:
        self._clock = clock

    @property
    def completed(self) -> int:
        return self._clock.completed

    def samples_loaded(self) -> None:
        pass

    def issue(self, ids: list[int], indices: list[int]) -> None:
        self._clock.issue(ids[0])

    def close(self) -> None:
        pass


def p99_of_a_queue(load: float, service_s: float, count: int = 20_000) -> float:
    """Return the 99th percentile of latency of one server with random arrivals, by Lindley's recursion."""
    random = np.random.default_rng(0)
    gaps = random.exponential(service_s / load, count)
    waits = np.zeros(count)
    for place in range(1, count):
        waits[place] = max(0.0, waits[place - 1] + service_s - gaps[place])
    return float(np.quantile(waits + service_s, 0.99))


def search(
    monkeypatch: pytest.MonkeyPatch, service_s: float, bound_s: float, trial_s: float
) -> tuple[float | None, tuple[Trial, ...]]:
    clock = SimulatedTime(service_s)
    monkeypatch.setattr(rate, "time", clock)
    seen: list[int] = []
    found = rate.find_rate(clock.sut, range(8), 1 / service_s, round(bound_s * 1e9), 99, trial_s, seen.append)
    assert seen == sorted(seen)
    return found


@pytest.mark.parametrize("bounds", [3, 5, 10])
def test_the_search_finds_the_rate_that_queueing_theory_foretells(
    monkeypatch: pytest.MonkeyPatch, bounds: int
) -> None:
    service_s = 0.002
    qps, trials = search(monkeypatch, service_s, bounds * service_s, 20)
    loads = [
        load for load in np.arange(0.02, 1, 0.02) if p99_of_a_queue(load, service_s) <= bounds * service_s
    ]
    assert qps is not None
    # The search keeps a tenth of the bound and a twentieth of the rate in hand.
    assert 0.65 * max(loads) <= qps * service_s <= max(loads)
    assert qps == max(trial.target_qps for trial in trials[6:] if trial.held)
    assert 7 <= len(trials) <= 10


@pytest.mark.parametrize("seed", range(5))
def test_a_rate_is_found_where_hardly_two_queries_may_come_together(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(rate, "_SEED", seed)
    qps, _ = search(monkeypatch, 0.007, 0.015, 1)
    highest = max(load for load in np.arange(0.02, 1, 0.01) if p99_of_a_queue(load, 0.007) <= 0.015)
    assert qps is not None
    assert 0.25 * highest <= qps * 0.007 <= 1.1 * highest


def test_a_bound_below_the_latency_is_held_at_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    qps, trials = search(monkeypatch, 0.002, 0.001, 1)
    assert qps is None
    assert trials[-1].target_qps < 500 / 16
    assert not any(trial.held for trial in trials)


def test_an_overloaded_trial_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimulatedTime(0.002)
    monkeypatch.setattr(rate, "time", clock)
    arrivals = rate._Arrivals(clock.sut, range(8), 99, lambda _: None)
    assert arrivals.latency_ns(5000, 100_000, 50, math.inf) == float("inf")
    assert arrivals.sut.completed < 100
    monkeypatch.setattr(rate._Arrivals, "latency_ns", lambda *_: float("inf"))
    _, trials = rate.find_rate(clock.sut, range(8), 500.0, 1_000_000, 99, 1, lambda _: None)
    assert {trial.latency_ns for trial in trials} == {None}
    assert not any(trial.held for trial in trials)


def test_a_trial_with_few_arrivals_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimulatedTime(0.01)
    monkeypatch.setattr(rate, "time", clock)
    told_at_s: list[float] = []
    arrivals = rate._Arrivals(
        clock.sut, range(8), 99, lambda _: told_at_s.append(clock.perf_counter_ns() / 1e9)
    )
    arrivals.latency_ns(1, 50, 1000, math.inf)
    assert max(np.diff(told_at_s)) < 10


def test_a_model_too_slow_for_the_bound_is_told_with_its_latency(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Estimate(20.0, 1, 1, latency_ns=36.04e6, target_qps=None)
    monkeypatch.setattr(probing, "_probe", lambda *_, **__: probing.Probed("f32", {}, {}, slow))
    with pytest.raises(
        RunFailed, match=r"oracle answers 99 % of Server's queries within 15 ms at no rate: .* 36.0 ms"
    ):
        run_session.run(request(oracle, tmp_path, "", user_conf=None))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
