"""Mutants of what holds several parts: systems, divisions, measured and inferred scenarios."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from ..broken_tree import ABSENT, DETAIL, OFFLINE, RUN, SUMMARY, USER_CONF, Tree
from .changes import ACCURACY_DETAIL, ACCURACY_TEXT, Change, Named

HERE, THERE = "this-machine", "that-machine"
SOURCE, INFERRED = "SingleStream", ("MultiStream", OFFLINE)


def _untouched(tree: Tree) -> None:
    """Leave the tree as `harness submit` made it."""


def _of(change: Change, *, division: str = "*", system: str = "*") -> Change:
    return lambda tree: change(tree.part(division, system))


def _described(key: str, value: object) -> Change:
    return lambda tree: tree.set(tree.system, **{key: value})


def _without(file: str) -> Change:
    def apply(tree: Tree) -> None:
        path = tree.model / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def _emptied(tree: Tree) -> None:
    model = tree.model
    shutil.rmtree(model)
    model.mkdir()


def _damages() -> Iterator[tuple[str, Change]]:
    """Yield faults that any part may have."""
    yield "an INVALID run", lambda tree: tree.log("result_validity", "INVALID")
    yield "an error in performance", lambda tree: tree.error(DETAIL)
    yield "no accuracy", _without(f"{OFFLINE}/accuracy")
    yield "no description", lambda tree: tree.system.unlink()
    yield "no scenarios", _emptied
    yield "another submitter in its description", _described("submitter", "Them")
    yield "another division in its description", _described("division", "network")
    yield "no memory in its description", _described("host_memory_capacity", ABSENT)
    yield (
        "an accuracy of 10 %",
        lambda tree: tree.replace(
            tree.scenario() / ACCURACY_TEXT, r"accuracy=[\d.]+%, good=\d+", "accuracy=10.000%, good=5000"
        ),
    )
    yield "seeds of another round", lambda tree: tree.log("effective_qsl_rng_seed", 7)


def _systems() -> Named:
    yield "systems", "is untouched", _untouched
    for system in (HERE, THERE):
        for what, change in _damages():
            yield "systems", f"{system} has {what}", _of(change, system=system)
        for scenario in (SOURCE, OFFLINE):
            yield "systems", f"{system} lacks {scenario}", _of(_without(scenario), system=system)
    yield "systems", "their descriptions are swapped", _swapped
    yield "systems", "one has no results", lambda tree: shutil.rmtree(tree.part(system=THERE).model.parent)
    yield "systems", "one is called as the other in capitals", _in_capitals
    yield "systems", "one is of another type", _of(_described("system_type", "datacenter"), system=THERE)
    yield (
        "systems",
        "one has a model more",
        _of(lambda tree: shutil.copytree(tree.model, tree.model.with_name("mine")), system=THERE),
    )
    yield (
        "systems",
        "one has the benchmark under its other name",
        _of(lambda tree: tree.rename(tree.model, "resnet"), system=THERE),
    )


def _swapped(tree: Tree) -> None:
    one, other = tree.part(system=HERE).system, tree.part(system=THERE).system
    first, second = one.read_bytes(), other.read_bytes()
    tree.write(one, second)
    tree.write(other, first)


def _in_capitals(tree: Tree) -> None:
    there = tree.part(system=THERE)
    folder = there.model.parent
    tree.rename(there.system, f"{HERE.upper()}.json")
    tree.rename(folder, HERE.upper())


def _inferred() -> Named:
    yield "inferred", "is untouched", _untouched
    yield "inferred", "the measured scenario is missing", _without(SOURCE)
    for target in INFERRED:
        yield "inferred", f"{target} is missing", _without(target)
        for file in (
            "TEST01",
            "TEST04",
            "accuracy",
            RUN,
            USER_CONF,
            "measurements.json",
            "README.md",
            SUMMARY,
        ):
            yield "inferred", f"{target} has no {file}", _without(f"{target}/{file}")
        for file in (DETAIL, ACCURACY_DETAIL, f"TEST01/{DETAIL}", f"TEST04/{DETAIL}"):
            yield "inferred", f"{target} has an error in {file}", _failed(target, file)
        yield "inferred", f"{target}'s run is INVALID", _logged(target, "result_validity", "INVALID")
        yield (
            "inferred",
            f"{target} is of a scenario that is none",
            _logged(target, "effective_scenario", "X"),
        )
        yield "inferred", f"{target} is of Server", _logged(target, "effective_scenario", "Server")
        yield (
            "inferred",
            f"{target} is of another duration than its source",
            _logged(target, "effective_min_duration_ms", 700_000),
        )


def _logged(scenario: str, key: str, value: object) -> Change:
    return lambda tree: tree.log(key, value, scenario=scenario)


def _failed(scenario: str, file: str) -> Change:
    return lambda tree: tree.error(file, scenario)


def _divisions() -> Named:
    yield "both", "is untouched", _untouched
    for division in ("closed", "open"):
        for what, change in _damages():
            yield "both", f"{division} has {what}", _of(change, division=division)
        yield "both", f"{division} lacks its sources", _of(_away("src"), division=division)
        yield "both", f"{division} lacks its systems", _of(_away("systems"), division=division)
        yield "both", f"{division} lacks its results", _of(_away("results"), division=division)
        yield "both", f"{division} lacks its submitter", _of(_away("."), division=division)
    yield "both", "closed is described as open", _of(_described("division", "open"), division="closed")
    yield "both", "open is described as closed", _of(_described("division", "closed"), division="open")
    yield (
        "both",
        "closed has the models' mapping of open",
        lambda tree: shutil.copy(
            tree.part("open").home / "model_mapping.json", tree.part("closed").home / "model_mapping.json"
        ),
    )
    yield "both", "closed has the results of open", _results_moved("open", "closed")
    yield "both", "open has the results of closed, too", _results_moved("closed", "open")


def _away(name: str) -> Change:
    return lambda tree: shutil.rmtree(tree.home / name)


def _results_moved(source: str, target: str) -> Change:
    def apply(tree: Tree) -> None:
        found: Path = tree.part(source).model
        shutil.copytree(found, tree.part(target).model.with_name(found.name))

    return apply


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _systems()
    yield from _inferred()
    yield from _divisions()
