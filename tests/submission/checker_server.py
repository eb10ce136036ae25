"""Runs MLCommons' two checkers on one tree after another, each in a fork, which spares their start.

    python checker_server.py CHECKOUT ROUND

Reads the path of a tree from each line of stdin, and writes a JSON list for it: for each checker, whether it
takes the tree.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

MODULES = ("submission_checker.main", "submission_checker_old")


def main(checkout: Path, made_for: str) -> None:
    folder = checkout.resolve() / "tools" / "submission"
    sys.path.insert(0, str(folder))
    checkers = [importlib.import_module(name).main for name in MODULES]
    for line in sys.stdin:
        arguments = ["--input", line.strip(), "--version", made_for, "--csv", os.devnull]
        print(json.dumps([takes(checker, arguments) for checker in checkers]), flush=True)


def takes(checker: Callable[[], int], arguments: list[str]) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            sys.argv[1:] = arguments
            status = checker()
        finally:
            # An exception ends a checker as an error does, and the fork must not return.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
