"""Changes that several kinds of mutants share."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

from harness.mlperf import log

from ..broken_tree import Tree

Change = Callable[[Tree], Any]
Named = Iterator[tuple[str, str, Change]]
"""Base, name, change."""
ACCURACY_TEXT = f"accuracy/{log.ACCURACY_TEXT}"
ACCURACY_DETAIL = f"accuracy/{log.DETAIL_LOG}"
ANSWERS = f"accuracy/{log.ACCURACY_LOG}"


def changed(file: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda tree: tree.change(tree.model / file, change)


def with_error(file: str) -> Change:
    return lambda tree: tree.error(file)


def logged(key: str, value: Any, file: str, scenario: str) -> Change:
    return lambda tree: tree.log(key, value, file, scenario)


def again(key: str, value: Any, file: str, scenario: str, *, first: bool) -> Change:
    return lambda tree: tree.again(key, value, file, scenario, first=first)


def written(file: str, content: str) -> Change:
    return lambda tree: tree.write(tree.model / file, content)


def moved(source: str, target: str) -> Change:
    return lambda tree: (
        shutil.rmtree(tree.model / target),
        shutil.copytree(tree.model / source, tree.model / target),
    )
