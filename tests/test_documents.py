"""Every document that the harness reads again: whatever is damaged in it is one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from damage import refusals
from sample_comparison import comparison

from harness import typed
from harness.comparison import document, merge, output
from harness.comparison import session as comparing
from harness.dataset import builtin
from harness.dataset.store import open_store
from harness.frontier import report as frontier_report
from harness.frontier import speed
from harness.loadgen.settings import RunSettings
from harness.measurement import series, tuned
from harness.measurement.statistics import Interval
from harness.measurement.tuned import Key, Tuning
from harness.mlperf.scenario import Scenario
from harness.model.architecture import read_architecture, resnet50
from harness.profiling.stopwatch import Conditions
from harness.results import frame
from harness.search import report as search_report
from harness.search.parts import Parts

OLD = Path(__file__).parent / "fixtures" / "v0.1.0"
HERE = Conditions.of(Scenario.SINGLE_STREAM, 1)
SPAN = Interval(1.0, 0.9, 1.1, 5)
SPEED = speed.Timed("net", speed.Speed(SPAN, SPAN, SPAN, 0.1, ("a (f32)",), ("b (ref)",)), "")


class Document(NamedTuple):
    """A document that is whole, and what reads it."""

    path: Path
    read: Callable[[], Any]
    every: int = 1
    """Of its damages, each so-manieth is tried."""


def _compared(folder: Path) -> Document:
    output.write([comparison()], folder / "one")
    output.write([comparison()], folder / "two")
    path = folder / "one" / document.FILE_NAME

    def read() -> None:
        frame([folder / "one"])
        merge.merge([folder / "one", folder / "two"], folder / "merged")

    return Document(path, read, 20)


def _pages_of_a_comparison(folder: Path) -> Document:
    found = _compared(folder)
    return found._replace(read=lambda: output.write(document.read(found.path), folder / "pages"), every=60)


def _request_of_a_comparison(folder: Path) -> Document:
    shutil.copytree(OLD / "comparison", folder / "out")
    path = folder / "out" / comparing.REQUEST_NAME
    asked = json.loads(path.read_text())
    return Document(path, lambda: comparing._held(path, asked))


def _tuning(folder: Path) -> Document:
    key = Key("0" * 64, "cpu", ("avx2",), 2, "2026", "Offline", "f32", None)
    path = tuned.write(Tuning(key, "m", "2026-01-01", "0.2.0", {"streams": 2, "pinning": False}, "faster"))

    def read() -> None:
        found = tuned.find(key)
        assert found is not None
        found.apply(RunSettings(Scenario.OFFLINE))
        found.told()
        json.dumps(found.to_dict() | vars(found.reference()), default=vars)

    return Document(path, read)


def _series(folder: Path) -> Document:
    path = Path(shutil.copytree(OLD / "comparison/rounds/oracle/Offline/1-threads", folder / "series"))
    return Document(path / "series.json", lambda: series._read(path / "series.json"))


def _store(folder: Path) -> Document:
    path = Path(shutil.copytree(OLD / "store", folder / "store"))
    return Document(path / "manifest.json", lambda: open_store(path))


def _builtin(folder: Path) -> Document:
    builtin.generate(folder / "images", 4)
    (path,) = (folder / "images").glob("*.json")
    return Document(path, lambda: builtin.generate(folder / "images", 4), 5)


def _architecture(folder: Path) -> Document:
    path = folder / "architecture.json"
    path.write_text(json.dumps(resnet50(10, 64).to_dict()))
    return Document(path, lambda: read_architecture(path))


def _request_of_a_search(folder: Path) -> Document:
    asked = {"model": "x", "seed": 1, "conditions": {"threads": 1}}
    Parts(folder / "out", asked)
    return Document(folder / "out/parts/request.json", lambda: Parts(folder / "out", asked))


def _spent_on_a_search(folder: Path) -> Document:
    parts = Parts(folder / "out", {"model": "x"})
    with parts.timed("search"):
        pass

    def read() -> None:
        with parts.timed("search"):
            pass

    return Document(folder / "out/parts/spent.json", read)


def _search(folder: Path) -> Document:
    shutil.copytree(OLD / "search", folder / "out")
    return Document(folder / "out/result.json", lambda: search_report.text(folder / "out"), 97)


def _speed(folder: Path) -> Document:
    path = folder / "net.json"
    held = {"conditions": speed._conditions(HERE), "of": "weights", "timed": typed.unstructure(SPEED)}
    path.write_text(json.dumps(held))
    return Document(path, lambda: speed._held(path, "weights", HERE), 9)


def _frontier(folder: Path) -> Document:
    row = {**typed.unstructure(SPEED), "pixels": 224, "licence": "mit", "published": None, "race": None}
    found = {
        "format": 1,
        "harness": "0.2.0",
        "created": "2026-11-28T20:00:00+00:00",
        "machine": typed.unstructure(comparison().machine),
        "conditions": HERE.to_dict(),
        "target": 0.757,
        "data": None,
        "networks": [row],
        "not_timed": [],
        "race": None,
        "pick": None,
    }
    (folder / "frontier.json").write_text(json.dumps(found))
    return Document(
        folder / "frontier.json", lambda: (frontier_report.write(folder), frontier_report.text(folder)), 3
    )


DOCUMENTS = [
    pytest.param(make, id=make.__name__.strip("_").replace("_", " "))
    for make in (
        *(
            _compared,
            _pages_of_a_comparison,
            _request_of_a_comparison,
            _tuning,
            _series,
            _store,
            _builtin,
            _architecture,
        ),
        *(_architecture, _request_of_a_search, _spent_on_a_search, _search, _speed, _frontier),
    )
]


@pytest.mark.parametrize("make", DOCUMENTS)
def test_whatever_is_damaged_in_a_document_is_one_sentence(
    make: Callable[[Path], Document], tmp_path: Path
) -> None:
    found = make(tmp_path)
    refused, _ = refusals(found.path, found.read, found.every)
    assert refused >= 3, "at least those that are cut"
