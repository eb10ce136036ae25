"""MLCommons' own submission checkers, run from a checkout of mlcommons/inference."""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.mlperf.rules import Round

_FOLDER = Path("tools", "submission")
_TIMEOUT_S = 600
_SHOWN_LINES = 20
# A KeyError: submission_checker_old.py has no Offline samples (OFFLINE_MIN_SPQ_SINCE_V4) of yolo.
_BROKEN = re.compile(r"caused exception in check_performance_dir: '([\w.-]+)'")


@dataclass(frozen=True)
class OfficialVerdict:
    """What one of the official checkers says of a tree."""

    checker: str
    passed: bool
    output: str
    """The last lines that it printed."""
    breaks_on: str | None = None
    """The benchmark on whose name it ends by itself, as it does not know it: then its verdict is none."""


def check(root: Path, checkout: Path, made_for: Round, python: str = sys.executable) -> list[OfficialVerdict]:
    """Run the modular checker and, where the checkout has it, the older and stricter one.

    Raises:
        HarnessError: `checkout` holds no submission checker, or it lacks a library.
    """
    folder = checkout / _FOLDER
    if not (folder / "submission_checker" / "main.py").is_file():
        raise HarnessError(
            f"{checkout} holds no {_FOLDER}/submission_checker: give a checkout of mlcommons/inference."
        )
    verdicts = [_run("submission_checker", ["-m", "submission_checker.main"], root, folder, made_for, python)]
    if (folder / "submission_checker_old.py").is_file():
        arguments = ["submission_checker_old.py"]
        verdicts.append(_run("submission_checker_old.py", arguments, root, folder, made_for, python))
    return verdicts


def render(verdict: OfficialVerdict) -> str:
    """Return an official verdict, with what was printed when it is not good."""
    if verdict.breaks_on is not None:
        return f"{verdict.checker} (official): says nothing, as it breaks on {verdict.breaks_on}"
    if verdict.passed:
        return f"{verdict.checker} (official): the submission looks OK"
    return f"{verdict.checker} (official): the submission has errors\n{verdict.output}"


def _run(
    name: str, arguments: list[str], root: Path, folder: Path, made_for: Round, python: str
) -> OfficialVerdict:
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *(python, "-B", *arguments, "--input", str(root.resolve()), "--version", made_for.name),
            *("--csv", str(Path(scratch, "summary.csv"))),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"{name} did not end within {_TIMEOUT_S} s: run it by hand.") from error
    output = done.stdout + done.stderr
    if "ModuleNotFoundError" in output:
        missing = output.rsplit("ModuleNotFoundError", 1)[1].strip(": \n")
        raise HarnessError(f"{name} lacks a library ({missing}): install it (`pip install PyYAML`).")
    last = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
    passed = done.returncode == 0 and "submission looks OK" in output
    broken = None if passed else _BROKEN.search(output)
    breaks_on = broken[1] if broken is not None and broken[1] in made_for.tasks else None
    return OfficialVerdict(name, passed, last, breaks_on)
