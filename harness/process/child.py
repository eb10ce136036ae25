"""Runs work in a process of its own, and watches it: progress, crashes, hangs and Ctrl-C.

Each is forked from a server that has imported what the work needs, and has begun nothing: it starts at once.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError, RunFailed
from harness.process.workers import ctrl_c_held_back, serve_the_parent

OUTPUT_NAME = "output.txt"
CPU_S = "cpu_s"
"""Key of what `run` adds to the result: CPU seconds of the child, for whose end another process waits."""

_POLL_S = 1.0
_GRACE_S = 10.0
_SAFE_PATH = "PYTHONSAFEPATH"


@dataclass(frozen=True)
class Progress:
    """How far a child is."""

    phase: str
    completed: int
    running_s: float
    """Seconds in phases of this name, the present one included."""


class Link(Protocol):
    """What the work in the child tells its parent."""

    def report(self, event: str, content: Any) -> None:
        """Tell of an event: "phase" with its name, "completed" or "idle" with a number of samples."""

    def fail(self, message: str) -> None:
        """End the child at once, from whatever thread; the parent raises RunFailed with the message."""


Work = Callable[[Link], dict[str, Any]]
"""Picklable; its result is what `run` returns."""


def run(
    work: Work,
    folder: Path,
    stall_timeout_s: float,
    show: Callable[[Progress], None] = lambda progress: None,
    imported: Sequence[str] = (),
) -> dict[str, Any]:
    """Do the work in a child process and return what it reports, and CPU_S.

    Args:
        work: what to do.
        folder: an existing folder that takes what the child prints, while it lives.
        stall_timeout_s: a child that reports nothing new for so long is ended.
        show: called with the progress at least once a second.
        imported: modules that the first call imports for the children of all calls.

    Raises:
        RunFailed: the child crashed, hung, or failed.
        HarnessError: the child refused the work.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imported))
    receiver, sender = context.Pipe(duplex=False)
    output = folder / OUTPUT_NAME
    arguments = (work, sender, output, _Surroundings.present())
    process = context.Process(target=_main, args=arguments, daemon=True)
    with ctrl_c_held_back(), _no_module_of_the_working_folder():
        process.start()
    sender.close()
    try:
        return _follow(process, receiver, stall_timeout_s, output, show)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        receiver.close()
        output.unlink(missing_ok=True)


def _follow(
    process: Any, receiver: Connection, stall_timeout_s: float, output: Path, show: Callable[[Progress], None]
) -> dict[str, Any]:
    phase, completed = "starting", 0
    phase_start = last_change = time.monotonic()
    earlier_s: dict[str, float] = {}
    while True:
        wait([receiver, process.sentinel], timeout=_POLL_S)
        now = time.monotonic()
        while receiver.poll():
            try:
                event, content = receiver.recv()
            except EOFError:
                process.join(_GRACE_S)
                raise RunFailed(_crash_message(process.exitcode, phase, completed, output)) from None
            match event:
                case "phase":
                    earlier_s[phase] = earlier_s.get(phase, 0.0) + now - phase_start
                    phase, completed = content, 0
                    phase_start = last_change = now
                case "completed" | "idle":
                    # A system that has answered all it was asked has not hung.
                    if content != completed or event == "idle":
                        completed, last_change = content, now
                case "done":
                    return dict(content)
                case "refused":
                    raise content
                case "failed":
                    raise RunFailed(content)
        show(Progress(phase, completed, earlier_s.get(phase, 0.0) + now - phase_start))
        if now - last_change > stall_timeout_s:
            raise RunFailed(
                f"The test hung and was stopped: nothing was finished for {stall_timeout_s:.0f} s while "
                f"{phase} (after {completed} samples); stop other work and repeat the command, or, if one "
                f"step takes so long, give a longer --stall-timeout, which `run`, `compare`, `tune` and "
                f"`explain` have."
            )


def _crash_message(exit_code: int | None, phase: str, completed: int, output: Path) -> str:
    if exit_code is not None and exit_code < 0:
        cause = f"was killed by {signal.Signals(-exit_code).name}"
    else:
        cause = f"ended with exit code {exit_code}"
    text = output.read_text(encoding="utf-8", errors="replace").strip() if output.exists() else ""
    last_words = f"; its last words: {' | '.join(text.splitlines()[-3:])}" if text else ""
    return f"The test process {cause} while {phase} (after {completed} samples){last_words}."


@dataclass(frozen=True)
class _Surroundings:
    """What a child must have of its parent as it is now, where the server began earlier."""

    environ: Mapping[str, str]
    cpus: frozenset[int]

    @classmethod
    def present(cls) -> "_Surroundings":
        return cls(dict(os.environ), frozenset(os.sched_getaffinity(0)))

    def enter(self) -> None:
        os.environ.clear()
        os.environ.update(self.environ)
        os.sched_setaffinity(0, self.cpus)


@contextmanager
def _no_module_of_the_working_folder() -> Iterator[None]:
    """Keep a server that starts from importing what lies there by chance."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


class _Sender:
    """The child's end of the pipe."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._lock = threading.Lock()

    def report(self, event: str, content: Any) -> None:
        try:
            with self._lock:
                self._sender.send((event, content))
        except BrokenPipeError:
            os._exit(1)

    def fail(self, message: str) -> None:
        self.report("failed", message)
        os._exit(1)


def _main(work: Work, sender: Connection, output: Path, surroundings: _Surroundings) -> None:
    """Run in the child."""
    serve_the_parent()
    surroundings.enter()
    # LoadGen and OpenVINO print from C++; stdout belongs to the parent's result.
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    link = _Sender(sender)
    try:
        result = work(link)
        link.report("done", {**result, CPU_S: time.process_time()})
    except HarnessError as error:
        link.report("refused", error)
    sys.stdout.flush()
    # Threads of LoadGen and OpenVINO may outlive the test and abort a regular exit.
    os._exit(0)
