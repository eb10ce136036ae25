"""Mutants of files and accuracy texts, and compliance tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.mlperf import log

from ..broken_tree import DETAIL, OFFLINE, RUN, SUMMARY, USER_CONF, Tree
from .changes import (
    ACCURACY_DETAIL,
    ACCURACY_TEXT,
    ANSWERS,
    Change,
    Named,
    changed,
    logged,
    moved,
    with_error,
    written,
)

_SCORE = "accuracy=76.000%, good=38000, total=50000\n"


_HASH = f"hash={'0' * 64}\n"


_SCENARIO_FILES = (
    *("measurements.json", USER_CONF, "README.md", DETAIL, SUMMARY, ACCURACY_DETAIL, ANSWERS, ACCURACY_TEXT),
    f"accuracy/{log.SUMMARY_LOG}",
)


_AUDIT_FILES = (
    *(f"TEST01/{name}" for name in (DETAIL, SUMMARY, "verify_accuracy.txt", "verify_performance.txt")),
    *(f"TEST01/{name}" for name in (ANSWERS, ACCURACY_TEXT)),
    *(f"TEST04/{name}" for name in (DETAIL, SUMMARY, "verify_performance.txt")),
)


def _files() -> Named:
    def at(file: str, change: Callable[[Tree, Path], Any]) -> Change:
        return lambda tree: change(tree, tree.model / OFFLINE / file)

    def into_folder(tree: Tree, path: Path) -> None:
        path.unlink()
        tree.write(path / "x", "x")

    def link(tree: Tree, path: Path) -> None:
        moved = path.rename(tree.home / "src" / "moved")
        path.symlink_to(moved)

    def relative_link(tree: Tree, path: Path) -> None:
        path.rename(tree.home / "src" / "moved")
        up = "../" * (len(path.relative_to(tree.home).parts) - 1)
        path.symlink_to(f"{up}src/moved")

    changes: dict[str, Callable[[Tree, Path], Any]] = {
        "is missing": lambda tree, path: path.unlink(),
        "is empty": lambda tree, path: tree.write(path, ""),
        "is cut": lambda tree, path: tree.change(path, lambda data: data[: len(data) // 2]),
        "is no text": lambda tree, path: tree.write(path, b"\xff\xfe\x00\x01"),
        "is a folder": into_folder,
        "is a relative link": relative_link,
    }
    for name in _SCENARIO_FILES:
        for what, change in changes.items():
            yield "offline", f"{name} {what}", at(name, change)
    for name in _AUDIT_FILES:
        for what in ("is missing", "is cut"):
            yield "closed", f"{name} {what}", at(name, changes[what])
    yield "offline", f"{DETAIL} is a link", at(DETAIL, link)
    for name in ("performance", RUN, "accuracy"):
        yield "offline", f"the folder {name} is missing", at(name, lambda tree, path: shutil.rmtree(path))
    for name in ("TEST01", "TEST04", "TEST01/accuracy", "TEST01/performance", "TEST04/performance"):
        yield "closed", f"the folder {name} is missing", at(name, lambda tree, path: shutil.rmtree(path))
    for name in ("SingleStream", "MultiStream", "Offline"):
        yield "closed", f"{name} is missing", _removed(name)
    for name in ("systems", "results", "src", "documentation"):
        yield "offline", f"the folder {name} is missing", _removed_at_home(name)
    yield "closed", "the folder documentation is missing", _removed_at_home("documentation")
    yield (
        "offline",
        "the answers are too many",
        changed(f"Offline/{ANSWERS}", lambda data: data + b" " * 4096),
    )
    yield "offline", "the answers are something else", changed(f"Offline/{ANSWERS}", lambda data: b"{}")
    yield "offline", "the description is missing", lambda tree: tree.system.unlink()


def _removed(scenario: str) -> Change:
    return lambda tree: shutil.rmtree(tree.model / scenario)


def _removed_at_home(folder: str) -> Change:
    return lambda tree: shutil.rmtree(tree.home / folder)


def _accuracy_texts() -> Named:
    judged = ("is below the target", "is at the target", "has a second line that is too low", "is of a part")
    verbose = "ILSVRC2012_val_00000001.JPEG, expected: 65, found 970\n"
    for what, text in (
        (
            "is of the official script with --verbose",
            f"{verbose}{_SCORE}found and ignored 0 dupes\n\n{_HASH}",
        ),
        ("has a second line that is too low", f"{_SCORE}accuracy=10.000%, good=5000, total=50000\n\n{_HASH}"),
        ("has a first line that is too low", f"accuracy=10.000%, good=5000, total=50000\n{_SCORE}\n{_HASH}"),
        ("has a second line of a part", f"{_SCORE}accuracy=76.000%, good=380, total=500\n\n{_HASH}"),
        ("has its line twice", f"{_SCORE}{_SCORE}\n{_HASH}"),
        ("has a second line that is no score", f"{_SCORE}accuracy=none\n\n{_HASH}"),
        ("has a second line that is no number", f"{_SCORE}accuracy=1.2.3%\n\n{_HASH}"),
        ("has its hash first", f"{_HASH}{_SCORE}"),
        ("has no score", f"\n{_HASH}"),
        ("has no hash", _SCORE),
        ("has a hash that is too short", f"{_SCORE}hash=abc\n"),
        ("has a hash without a value", f"{_SCORE}hash=\n"),
        ("has two hashes", f"{_SCORE}{_HASH}hash={'1' * 64}\n"),
        ("has its hash behind a blank", f"{_SCORE} {_HASH}"),
        ("has its score behind a blank", f" {_SCORE}\n{_HASH}"),
        ("has its score in a line of another", f"the accuracy is {_SCORE}\n{_HASH}"),
        ("is of another script", f'{{"accuracy": 76.0, "good": 38000, "total": 50000}}\n{_HASH}'),
        ("ends without a line end", f"{_SCORE}{_HASH}".rstrip("\n")),
        ("has lines that end as in Windows", f"{_SCORE}{_HASH}".replace("\n", "\r\n")),
        ("is below the target", f"accuracy=75.694%, good=37847, total=50000\n\n{_HASH}"),
        ("is at the target", f"accuracy=75.696%, good=37848, total=50000\n\n{_HASH}"),
        ("is of nothing", f"accuracy=0.000%, good=0, total=0\n\n{_HASH}"),
        ("is of a part", f"accuracy=76.000%, good=380, total=500\n\n{_HASH}"),
        ("contradicts itself", f"accuracy=77.000%, good=38000, total=50000\n\n{_HASH}"),
    ):
        for base in ("offline", "closed") if what in judged else ("offline",):
            yield base, f"accuracy.txt {what}", written(f"Offline/{ACCURACY_TEXT}", text)


def _audits() -> Named:
    passed, failed = "TEST PASS\n", "TEST FAIL\n"
    accuracies = {"baseline_accuracy.txt": "accuracy=76.000%, good=3800, total=5000\n"}
    accuracies["compliance_accuracy.txt"] = "accuracy=75.900%, good=3795, total=5000\n"

    def audit(answers: str, besides: dict[str, str]) -> Change:
        def apply(tree: Tree) -> None:
            test = tree.model / OFFLINE / "TEST01"
            tree.write(test / "verify_accuracy.txt", answers)
            for name, text in besides.items():
                tree.write(test / "accuracy" / name, text)

        return apply

    for what, text in (
        ("passed", passed),
        ("failed", failed),
        ("says PASS within a line", "the TEST PASSED\n"),
        ("says PASS and more", "TEST PASS with luck\n"),
        ("says PASS after blanks", "  TEST PASS  \n"),
        ("failed and passed", failed + passed),
    ):
        yield "closed", f"TEST01's accuracy {what}", audit(text, {})
        yield "closed", f"TEST01's accuracy {what}, beside accuracy files", audit(text, accuracies)
    for name in accuracies:
        yield "closed", f"TEST01's accuracy passed, beside {name}", audit(passed, {name: accuracies[name]})
        yield "closed", f"TEST01's accuracy failed, beside {name}", audit(failed, {name: accuracies[name]})
        for what, text in (
            ("empty", ""),
            ("too low", "accuracy=70.000%, good=3500, total=5000\n"),
            ("0", "accuracy=0.000%, good=0, total=5000\n"),
            ("no number", "accuracy=x\n"),
            ("of the script with --verbose", f"a.JPEG, expected: 1, found 2\n{accuracies[name]}"),
            ("in two lines", f"accuracy=10.000%, good=500, total=5000\n{accuracies[name]}"),
        ):
            yield (
                "closed",
                f"TEST01's accuracy failed and {name} is {what}",
                audit(failed, {**accuracies, name: text}),
            )
    for test in ("TEST01", "TEST04"):
        for what, text in (
            ("failed", failed),
            ("says PASS within a line", "the TEST PASSED\n"),
            ("says nothing", "\n"),
        ):
            yield (
                "closed",
                f"{test}'s performance {what}",
                written(f"Offline/{test}/verify_performance.txt", text),
            )
        for key, value in (
            *(("result_validity", "INVALID"), ("effective_min_duration_ms", 60_000)),
            *(("effective_scenario", "SingleStream"), ("effective_samples_per_query", 24_575)),
            *(("result_samples_per_second", 1000.0), ("num_errors", 1), ("effective_qsl_rng_seed", 1)),
            *(("effective_performance_issue_same", test == "TEST01"), ("early_stopping_met", False)),
            ("effective_accuracy_log_sampling_target", None),
        ):
            yield (
                "closed",
                f"{key} is {value!r} in {test}",
                logged(key, value, f"{test}/{DETAIL}", "Offline"),
            )
        yield "closed", f"an error in {test}", with_error(f"{test}/{DETAIL}")
        yield "closed", f"{test} of another scenario", moved(f"MultiStream/{test}", f"Offline/{test}")
        yield "closed", f"{test} is the performance run", moved(f"Offline/{RUN}", f"Offline/{test}/{RUN}")


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _files()
    yield from _accuracy_texts()
    yield from _audits()
