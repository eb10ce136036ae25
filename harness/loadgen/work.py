"""What is done with a job in a child process: LoadGen's test, the probe, or another measurement."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from harness import files
from harness.errors import RunFailed
from harness.loadgen.job import Job
from harness.machine import noise
from harness.process import child

if TYPE_CHECKING:
    from harness.loadgen.subject import Backend

_LOG_BYTES = 1_000_000
"""More than the logs of a test whose answers are not logged."""
_PURPOSE = "LoadGen's logs"
_ORIGIN = "harness.loadgen.origin"

Work = Callable[["Backend"], dict[str, Any]]
"""A function of a module, which measures a backend."""


def run(
    job: Job,
    show: Callable[[child.Progress], None] = lambda progress: None,
    work: Work | None = None,
) -> dict[str, Any]:
    """Do the job in a child process and return what it reports.

    Args:
        job: what to measure.
        show: called with the progress at least once a second.
        work: what to do with the job; None: LoadGen's test of the job's mode, or the probe.

    Raises:
        RunFailed: the child crashed, hung, or an inference failed.
        OutputError: the log folder takes no more bytes, so the logs are cut.
        HarnessError: the child refused the job.
    """
    files.require_free_space(job.log_folder, _LOG_BYTES, _PURPOSE)
    try:
        done = child.run(
            partial(_work, job, work), job.log_folder, job.settings.stall_timeout_s, show, (_ORIGIN,)
        )
    except RunFailed:
        # LoadGen does not say that it could not write.
        files.require_room(job.log_folder, _PURPOSE)
        raise
    files.require_room(job.log_folder, _PURPOSE)
    noise.count_as_own(done.pop(child.CPU_S))
    return done


def _work(job: Job, work: Work | None, link: child.Link) -> dict[str, Any]:
    """Run in the child, where alone LoadGen and OpenVINO are loaded."""
    from harness.loadgen import drive, probe
    from harness.loadgen.served import ServedBackend
    from harness.loadgen.subject import Backend

    usual = probe.measure if job.mode is None else drive.perform
    kind = Backend if job.settings.endpoint is None else ServedBackend
    return (work or usual)(kind(job, link.report, link.fail))
