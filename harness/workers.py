"""Processes that share work."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `count` processes, which are gone when the block ends or fails.

    One that dies raises concurrent.futures.process.BrokenProcessPool where a result is awaited.
    """
    # Spawned, because forking a process that has threads (progress bar, OpenVINO, PyTorch) may hang.
    found = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), ignore_interrupt)
    try:
        yield found
    finally:
        found.shutdown(cancel_futures=True)


def ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
