"""LoadGen, with the harness's settings, before a system that takes a given time for each sample."""

import multiprocessing
import resource
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlperf_loadgen as lg

from harness.loadgen import drive
from harness.loadgen.settings import RunSettings
from harness.mlperf.scenario import Mode, Scenario


class System:
    """One server with a queue; the answer of every so many-th sample is kept back for a while."""

    def __init__(self, service_s: float, slow_every: int, slow_s: float) -> None:
        self._service_s, self._slow_every, self._slow_s = service_s, slow_every, slow_s
        self._free_s = 0.0
        self._count = 0
        self._due: list[tuple[float, list[int]]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._answer, daemon=True).start()

    def issue(self, ids: list[int], indices: list[int]) -> None:
        with self._changed:
            self._free_s = max(self._free_s, time.perf_counter()) + self._service_s * len(ids)
            self._count += 1
            kept_back = self._slow_every and self._count % self._slow_every == 0
            self._due.append((self._free_s + (self._slow_s if kept_back else 0), list(ids)))
            self._due.sort()
            self._changed.notify()

    def _answer(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                wait_s = self._due[0][0] - time.perf_counter()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                _, ids = self._due.pop(0)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(identity, 0, 0) for identity in ids])


@dataclass(frozen=True)
class Run:
    folder: Path
    """Holds user.conf and LoadGen's logs."""
    grown_bytes: int
    """By how much the process grew during the test."""


# LoadGen reads its rules once a process; what is imported already makes a process cheap.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["harness.loadgen.drive"])


def perform(
    folder: Path,
    scenario: Scenario,
    user_conf: str,
    *,
    duration_s: float = 0.5,
    service_s: float = 0.0005,
    slow_every: int = 0,
    slow_s: float = 0.0,
) -> Run:
    """Run one performance test that is not official in a process of its own."""
    folder.mkdir()
    (folder / "user.conf").write_text(user_conf)
    receiver, sender = _FORKS.Pipe(duplex=False)
    settings = RunSettings(scenario, duration_s=duration_s)
    times = {"service_s": service_s, "slow_every": slow_every, "slow_s": slow_s}
    process = _FORKS.Process(target=_main, args=(folder, settings, sender), kwargs=times)
    process.start()
    sender.close()
    grown_bytes = receiver.recv()
    process.join(60)
    assert process.exitcode == 0
    return Run(folder, grown_bytes)


def _main(folder: Path, settings: RunSettings, sender: Connection, **times: Any) -> None:
    card = SimpleNamespace(benchmark="resnet50")
    job = SimpleNamespace(card=card, settings=settings, mode=Mode.PERFORMANCE, user_conf=folder / "user.conf")
    logs = lg.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    sut = lg.ConstructFastSUT(System(**times).issue, lambda: None)
    qsl = lg.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
    told = drive._test_settings(job)  # type: ignore[arg-type]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lg.StartTestWithLogSettings(sut, qsl, told, logs, str(folder / "no-audit.config"))
    sender.send(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
