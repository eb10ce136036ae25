"""The order of a round, in which variants take turns."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from harness.mlperf.scenario import Scenario

Key = tuple[int, str, Scenario]
"""Threads, variant's name, scenario."""


def groups(keys: Iterable[Key], number: int) -> Iterator[list[Key]]:
    """Yield what a round measures side by side: the variants of each number of threads and scenario.

    Every second round has them the other way round, so that a machine that slows down, or speeds up, all
    the time favours none: it would shift the ratios of all rounds alike, which no interval tells.

    Args:
        keys: in the order of the first round.
        number: of the round, from 1.
    """
    for _, group in groupby(keys, lambda key: (key[0], key[2])):
        yield list(group)[:: 1 if number % 2 else -1]
