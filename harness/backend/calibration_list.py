"""Which images a model is calibrated on, and which of MLPerf's lists they are."""

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness import resources
from harness.dataset.images import official_name
from harness.dataset.label_file import VAL_MAP
from harness.dataset.store import Store
from harness.errors import DataError

DEFAULT_SAMPLES = 500
"""As many as MLPerf's calibration lists hold, and as the published 2020 result used."""

NOT_OFFICIAL = "not the official list"

_SEED = 1
_IMAGENET = "ILSVRC2012_val_"


def choose(store: Store, samples: int | None, list_file: Path | None) -> list[int]:
    """Return the indices of the calibration samples, in calibration order.

    Without a list one comes, at random, from each of as many equal stretches of the store: one that is sorted
    by class, or goes round the classes, gives all of them.

    Raises:
        DataError: more samples than the store holds, or a listed image that it lacks.
    """
    if list_file is not None:
        return _listed(store, list_file)
    count = min(DEFAULT_SAMPLES, store.count) if samples is None else samples
    if not 1 <= count <= store.count:
        raise DataError(
            f"--samples {count} cannot be drawn from {store.path}: give 1 to {store.count}, which it holds."
        )
    return one_of_each_stretch(store.count, count)


def list_digest(names: Iterable[str]) -> str:
    """Return the SHA-256 of image names, one a line, by which an official list is recognised."""
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def official_list(names: Iterable[str]) -> str | None:
    """Return which of MLPerf's calibration lists these names are, or None."""
    lists = tomllib.loads((resources.CALIBRATION / "imagenet" / "official_lists.toml").read_text())
    digest = list_digest(names)
    for option, facts in lists.items():
        if facts["sha256"] == digest:
            return f"MLPerf ImageNet calibration {option.replace('_', ' ')} ({facts['file']})"
    return None


def one_of_each_stretch(length: int, count: int) -> list[int]:
    """Return `count` of the places 0 .. length-1, rising: one, at random, from each of as many stretches."""
    edges = np.linspace(0, length, count + 1).astype(int)
    source = np.random.default_rng(_SEED)
    return [int(source.integers(first, end)) for first, end in pairwise(edges)]


def _listed(store: Store, list_file: Path) -> list[int]:
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Cannot read the calibration list {list_file} ({error}): give a UTF-8 text with --list."
        ) from error
    wanted = [line.strip() for line in lines if line.strip()]
    if not wanted:
        raise DataError(f"The calibration list {list_file} is empty: give image names, one a line.")
    find = _finder(store.names)
    found = [find(line) for line in wanted]
    absent = [line for line, index in zip(wanted, found, strict=True) if index is None]
    if absent:
        raise DataError(
            f"{len(absent)} of the {len(wanted)} images in {list_file} are not in {store.path}, or several "
            f"have the name, first {absent[0]}: name them as {store.path / VAL_MAP} does, or prepare a store "
            f"that holds them."
        )
    return [index for index in found if index is not None]


def _finder(names: Sequence[str]) -> Callable[[str], int | None]:
    """Return what finds the place of the image that a line names, or None.

    A line is a name as the store has it, or one with more behind it, such as a label. A name may lack the
    first folders of the store's, or have others before them, where one image alone is then meant.
    """
    place = {name: index for index, name in enumerate(names)}
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(official_name(name), []).append(name)

    def find(line: str) -> int | None:
        for given in (line, line.split()[0]):
            if given in place:
                return place[given]
            official = official_name(given)
            found = [
                name
                for name in alike.get(official, ())
                if official.startswith(_IMAGENET) or _ends(given, name)
            ]
            if len(found) == 1:
                return place[found[0]]
        return None

    return find


def _ends(one: str, other: str) -> bool:
    """Return whether one path is the end of the other."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")
