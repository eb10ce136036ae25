"""One LoadGen test, seen from the parent: watched, repeated while it is not valid, and put in its place."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import files
from harness.console import Bar, progress
from harness.loadgen import work
from harness.loadgen.job import Job
from harness.machine.noise import Noise, Watch
from harness.measurement.plan import Plan
from harness.mlperf import log
from harness.mlperf.scenario import Mode
from harness.process import child
from harness.task import task_of

# A performance test that is not valid is repeated, with a better estimate where that helps.
ATTEMPTS = 3
# An entry of LoadGen's accuracy log, with the longest indices and an empty answer.
_ENTRY_BYTES = 72


@dataclass(frozen=True)
class Taken:
    """What the child of a test reports, and what disturbed it."""

    noise: Noise
    energy: Mapping[str, Any] | None
    """`joules` during the test and the `domains` that they are of; None where nothing can be read."""
    known_answers: Mapping[str, Any]
    """What was checked of the answers (harness.loadgen.known_answers)."""


def take(job: Job, show: Callable[[child.Progress], None]) -> Taken:
    """Run one LoadGen test; its logs lie in the job's log folder, which is made.

    Raises:
        RunFailed: the test crashed, hung, or an inference failed.
    """
    job.log_folder.mkdir()
    watch = Watch()

    def shown(now: child.Progress) -> None:
        watch.sample()
        show(now)

    done = work.run(job, shown)
    noise = watch.stop()
    trace = job.log_folder / log.TRACE_LOG
    if trace.exists() and trace.stat().st_size == 0:
        trace.unlink()
    return Taken(noise, done["energy"], done["known_answers"])


def take_with_bar(job: Job, total: float, timed: bool) -> Taken:
    """Run one LoadGen test as `take` does, with a progress bar of its own.

    Args:
        job: what to do.
        total: seconds if `timed`, else samples, after which the test will end.
        timed: whether time ends the test.
    """
    if job.mode is Mode.ACCURACY:
        # Answers are hexadecimal there.
        entry_bytes = _ENTRY_BYTES + 2 * task_of(job.card).answer_bytes(job.card)
        files.require_free_space(job.log_folder.parent, round(total * entry_bytes), "the accuracy log")
    title = f"{job.card.name} {job.settings.scenario} {job.mode}"
    with progress(title, total, counts=not timed) as bar:
        taken = take(job, lambda now: _show(now, bar, total, timed))
        bar.update(total)
    return taken


def _show(now: child.Progress, bar: Bar, total: float, timed: bool) -> None:
    if now.phase != "running":
        return
    rate = f"{now.completed / now.running_s:.1f} samples/s" if now.running_s > 1 else ""
    bar.update(min(now.running_s if timed else now.completed, total), rate=rate)


def until_valid(
    plan: Plan,
    logs: Path,
    test: Callable[[Plan], Taken],
    retry: Callable[[Plan, Plan, log.Performance], None],
) -> tuple[Plan, log.Performance, Taken]:
    """Take a performance test, and again while it is not valid, with a better estimate where that helps.

    Args:
        plan: what it runs with.
        logs: takes LoadGen's logs of the last attempt.
        test: takes one test of a plan.
        retry: before each repetition, given the next plan, whose user.conf is written, then the plan
            that was not valid, and what was measured with it.

    Returns:
        The plan of the last attempt, and what came of it.

    Raises:
        RunFailed: a test crashed, hung, or an inference failed, or its logs hold no result.
    """
    for attempt in range(1, ATTEMPTS + 1):
        taken = test(plan)
        measured = log.read_performance(logs / log.DETAIL_LOG)
        if measured.valid or attempt == ATTEMPTS or (better := plan.corrected(measured)) is None:
            break
        shutil.rmtree(logs)
        better.write()
        retry(better, plan, measured)
        plan = better
    return plan, measured, taken


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
