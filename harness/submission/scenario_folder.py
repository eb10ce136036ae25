"""The folder of one scenario in a submission tree: its documents, its logs, and what has no place there."""

from pathlib import Path

from harness.mlperf import log
from harness.submission import agreement, compliance, logs, paperwork
from harness.submission.run_settings import Rules
from harness.submission.verdict import Ledger

_DOCUMENTS = ("measurements.json", "user.conf", "README.md")
_RUN = "performance/run_1"
_LOGS = (log.SUMMARY_LOG, log.DETAIL_LOG)
# LoadGen writes them too, and the checkers do not mind them.
_OPTIONAL_LOGS = (log.ACCURACY_LOG, log.TRACE_LOG)
_TOLERATED = "results.json"
"""What the checkers overlook beside logs (files_diff)."""


def check(ledger: Ledger, folder: Path, root: Path, scenario: str, rules: Rules) -> None:
    """Check the folder of `scenario`; paths are shown relative to `root`."""
    shown = folder.relative_to(root).as_posix()
    _check_files(ledger, folder, shown, rules.task.audits)
    for name in _DOCUMENTS:
        path = folder / name
        ledger.hold(
            "the file is there and not empty",
            f"{shown}/{name}",
            path.is_file() and path.stat().st_size > 0,
            "is missing or empty",
            "make the tree again with `harness submit`",
        )
    measurements = folder / "measurements.json"
    if measurements.is_file():
        path_shown = f"{shown}/measurements.json"
        document = paperwork.read_json(ledger, measurements, path_shown)
        if document is not paperwork.UNREADABLE:
            paperwork.check_measurements(ledger, document, path_shown, rules.round)
    detail = logs.check_performance(ledger, folder / _RUN, f"{shown}/{_RUN}", scenario, rules)
    user_conf, benchmark = f"{shown}/user.conf", rules.task.benchmark.name
    agreement.check_user_conf(ledger, folder / "user.conf", user_conf, benchmark, rules.division, detail)
    logs.check_accuracy(ledger, folder / "accuracy", f"{shown}/accuracy", scenario, rules, truncated=True)
    for test in rules.task.audits:
        path, path_shown = folder / test, f"{shown}/{test}"
        if path.is_dir():
            compliance.check(ledger, path, path_shown, test, rules, scenario, detail)
        elif rules.division == "closed":
            ledger.hold(
                "the compliance test is there", path_shown, False, "is missing", "run `harness compliance`"
            )


def _check_files(ledger: Ledger, folder: Path, shown: str, audits: tuple[str, ...]) -> None:
    """Check that nothing else lies there: a fault where the checkers list the files, elsewhere a warning."""
    listed = {"accuracy": {*_LOGS, *_OPTIONAL_LOGS, log.ACCURACY_TEXT}, _RUN: {*_LOGS, *_OPTIONAL_LOGS}}
    expected = {*_DOCUMENTS, "mlperf.conf"}
    for test in audits:
        listed[f"{test}/{_RUN}"] = {*_LOGS, *_OPTIONAL_LOGS}
        expected |= {f"{test}/{name}" for name in compliance.FILES[test]}
        for name in (name for name in compliance.FILES[test] if "/" in name):
            listed.setdefault(f"{test}/{name.rpartition('/')[0]}", set()).add(name.rpartition("/")[2])
    expected |= {f"{parent}/{name}" for parent, names in listed.items() for name in names}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and place.as_posix() not in expected:
            ledger.hold(
                "the file or folder is known",
                f"{shown}/{place.as_posix()}",
                False,
                "is unknown: it has no place in a scenario's folder",
                "move it elsewhere",
                warning=place.parent.as_posix() not in listed or place.name == _TOLERATED,
            )
    for power in (folder / "performance" / name for name in ("power", "ranging")):
        if power.is_dir():
            ledger.hold(
                "the result has no measured power",
                f"{shown}/performance/{power.name}",
                False,
                "is of measured power, which the harness cannot check",
                "have it checked by MLCommons' checkers, without this folder by the harness",
            )
