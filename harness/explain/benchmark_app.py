"""OpenVINO's own benchmark_app on a deployed graph."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RunFailed
from harness.machine import system

NAME = "benchmark_app"
_SHOWN_CHARACTERS = 300
_UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}


@dataclass(frozen=True)
class Measured:
    """What it printed."""

    median_ns: float
    samples_per_second: float


def find() -> str | None:
    """Return the program beside this interpreter or on the path; None when it is not installed."""
    return shutil.which(NAME, path=str(Path(sys.executable).parent)) or shutil.which(NAME)


def run(program: str, model: Path, precision: str, seconds: float, arguments: list[str]) -> Measured:
    """Run it on the CPU, with inputs that it makes itself.

    Args:
        program: as `find` returned it.
        model: an IR's .xml.
        precision: INFERENCE_PRECISION_HINT.
        seconds: whole seconds, rounded up.
        arguments: more of them: what to measure, as "-hint throughput", or "-hint none -nstreams 1".

    Raises:
        RunFailed: it failed, or printed no result.
    """
    command = [program, "-m", str(model), "-d", "CPU", "-t", str(max(1, -int(-seconds // 1)))]
    command += ["-infer_precision", precision, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    median = re.search(r"Median:\s+([\d.]+) (us|ms|s)\b", done.stdout)
    if done.returncode != 0 or rate is None or median is None:
        words = " ".join((done.stdout + done.stderr).split())[-_SHOWN_CHARACTERS:]
        raise RunFailed(f"{NAME} measured nothing (exit code {done.returncode}), and ended with: {words}")
    return Measured(float(median[1]) * _UNITS_NS[median[2]], float(rate[1]))


def latency_arguments(threads: int) -> list[str]:
    """Return the arguments for one inference at a time."""
    return [*_usual_arguments(threads, 1), "-api", "sync", "-nireq", "1"]


def throughput_arguments(threads: int, streams: int) -> list[str]:
    """Return the arguments for as many inferences at a time as there are streams."""
    return [*_usual_arguments(threads, streams), "-api", "async"]


def _usual_arguments(threads: int, streams: int) -> list[str]:
    # So that all ways run alike.
    pinning = ["-pin", "NO"] if system.default_pinning() is False else []
    return ["-hint", "none", "-nstreams", str(streams), "-nthreads", str(threads), *pinning]
