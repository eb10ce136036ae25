"""Processes that share work: Ctrl-C is their parent's, and none outlives it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess


@contextmanager
def pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `count` processes, which are gone when the block ends or fails.

    One that dies raises concurrent.futures.process.BrokenProcessPool where a result is awaited.
    """
    # Spawned, because forking a process that has threads (progress bar, OpenVINO, PyTorch) may hang.
    found = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), serve_the_parent)
    try:
        with ctrl_c_held_back():
            while len(found._processes) < count:
                found.submit(int)  # starts a process, unless one has nothing to do
        yield found
    finally:
        found.shutdown(cancel_futures=True)


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Keep Ctrl-C from the processes that the block starts, until they call `serve_the_parent`."""
    # Its start lets Ctrl-C through, and comes with the first process that is spawned.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve_the_parent() -> None:
    """Leave Ctrl-C to the parent, which ends this process, and end when the parent is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
