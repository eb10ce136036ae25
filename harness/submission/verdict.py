"""Verdicts on a submission: values, which the command line renders."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import HarnessError

RUN_AGAIN = "run the test again with `harness run --replace`"
AUDIT_AGAIN = "run `harness compliance`, which repeats a test that failed"


@dataclass(frozen=True)
class Check:
    """One rule, held against one file or folder."""

    name: str
    """The rule, as a claim that is true when the check passed."""
    path: str
    """What it was held against, relative to the folder under check."""
    passed: bool
    detail: str = ""
    """What is wrong there."""
    cure: str = ""
    warning: bool = False
    """Whether a fault only counts in strict mode."""

    @property
    def sentence(self) -> str:
        return f"{self.path}: {self.detail}: {self.cure}."


class Ledger:
    """The checks made so far."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def hold(
        self, name: str, path: str, passed: bool, detail: str, cure: str, *, warning: bool = False
    ) -> bool:
        """Note one check, and return whether it passed; `detail` and `cure` count when it did not."""
        self.checks.append(
            Check(name, path, True, warning=warning)
            if passed
            else Check(name, path, False, detail, cure, warning)
        )
        return passed


def faults(checks: Iterable[Check], *, strict: bool = False) -> list[Check]:
    """Return the checks that count as faults."""
    return [check for check in checks if not check.passed and (strict or not check.warning)]


def report(checks: Sequence[Check], *, strict: bool = False) -> str:
    """Return the faults and warnings, one a line, and a last line with the verdict."""
    wrong = faults(checks, strict=strict)
    lines = [
        f"[{'FAIL' if check in wrong else 'WARN'}] {check.sentence}" for check in checks if not check.passed
    ]
    passed = sum(check.passed for check in checks)
    warnings = len(lines) - len(wrong)
    counts = [f"{passed} checks passed", f"{len(wrong)} failed"]
    if warnings:
        counts.append(f"{warnings} warned")
    lines.append(f"{', '.join(counts)}: {'the submission has faults' if wrong else 'the submission is good'}")
    return "\n".join(lines)


def to_dicts(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON values."""
    return [asdict(check) for check in checks]


def refusal(what: str, reasons: Sequence[str]) -> HarnessError:
    """Return the error that says all reasons at once."""
    if len(reasons) == 1:
        return HarnessError(f"{what}: {reasons[0]}")
    return HarnessError("\n".join([f"{what}, for {len(reasons)} reasons:", *(f"  - {r}" for r in reasons)]))
