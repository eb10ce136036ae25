"""Mutants of detectors' submissions: mAP, its targets, and the numbers of MLPerf's yolo."""

import shutil

from harness.mlperf import log

from ..broken_tree import DETAIL, OFFLINE, Tree
from .changes import ACCURACY_DETAIL, ACCURACY_TEXT, ANSWERS, Change, Named, logged, written

OPEN, CLOSED = "yolo", "yolo closed"
_MAP = r"mAP=[\d.]+%"
_TABLE = (
    " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.531\n"
    "mAP=53.103%\nfound 1525 results\nfound 1525 images\nfound 381 images with no results\nignored 0 dupes\n"
)


def _scored(text: str) -> Change:
    """Let all scenarios state another score."""

    def apply(tree: Tree) -> None:
        for path in tree.model.glob(f"*/{ACCURACY_TEXT}"):
            tree.replace(path, _MAP, text)

    return apply


def _called(name: str, text: str | None = None) -> Change:
    def apply(tree: Tree) -> None:
        if text is not None:
            _scored(text)(tree)
        tree.rename(tree.model, name)

    return apply


def _as(kind: str) -> Change:
    return lambda tree: tree.set(tree.system, system_type=kind)


def _without(place: str) -> Change:
    def apply(tree: Tree) -> None:
        path = tree.model / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def _unlike(baseline: str, compliance: str) -> Change:
    """Let TEST01 have found other answers, and an accuracy for each."""

    def apply(tree: Tree) -> None:
        folder = tree.scenario() / "TEST01"
        tree.replace(folder / "verify_accuracy.txt", "TEST PASS", "TEST FAIL")
        for name, score in (("baseline", baseline), ("compliance", compliance)):
            tree.write(folder / "accuracy" / f"{name}_accuracy.txt", f"mAP={score}%\n")

    return apply


def _mapped(value: str) -> Change:
    return lambda tree: tree.set(tree.home / "model_mapping.json", spotter=value)


def _open() -> Named:
    yield OPEN, "is untouched", lambda tree: None
    for value in ("yolo-99", "yolo", "resnet", "retinanet"):
        yield OPEN, f"the model is mapped to '{value}'", _mapped(value)
    for text in (
        "mAP=12.000%",
        "accuracy=53.103%, good=810, total=1525",
        "mAP=101.000%",
        "mAP: 53.1",
        "mAP=nan%",
    ):
        yield OPEN, f"the score is {text!r}", _scored(text)
    yield OPEN, "accuracy.txt is of the official script with --verbose", _scored(_TABLE)
    yield OPEN, "accuracy.txt has two scores", _scored("mAP=53.103%\nmAP=20.000%")
    yield OPEN, "accuracy.txt is empty", written(f"{OFFLINE}/{ACCURACY_TEXT}", "")
    yield OPEN, "the accuracy log is missing", _without(f"{OFFLINE}/{ANSWERS}")
    for kind in ("datacenter", "datacenter,edge"):
        yield OPEN, f"the system type is {kind!r}", _as(kind)
    for key, value, scenario, file in (
        ("effective_performance_sample_count", 63, OFFLINE, DETAIL),
        ("effective_samples_per_query", 1524, OFFLINE, DETAIL),
        ("effective_min_duration_ms", 599_999, "SingleStream", DETAIL),
        ("early_stopping_met", False, "MultiStream", DETAIL),
        ("effective_accuracy_sample_count", 1524, OFFLINE, ACCURACY_DETAIL),
        ("qsl_reported_total_count", 1524, OFFLINE, ACCURACY_DETAIL),
    ):
        yield OPEN, f"{key} is {value!r} in {scenario}", logged(key, value, file, scenario)


def _closed() -> Named:
    yield CLOSED, "is untouched", lambda tree: None
    for name, text in (
        ("yolo-95", "mAP=50.730%"),
        ("yolo-95", "mAP=50.729%"),
        ("yolo-99", "mAP=52.866%"),
        ("yolo-99", "mAP=52.865%"),
        ("yolo", None),
        ("resnet50", None),
    ):
        yield CLOSED, f"it enters {name} with {text or 'its mAP'}", _called(name, text)
    for kind in ("datacenter", "datacenter,edge"):
        yield CLOSED, f"the system type is {kind!r}", _as(kind)
    for place in ("MultiStream", f"{OFFLINE}/TEST01", f"{OFFLINE}/TEST01/accuracy/{log.ACCURACY_TEXT}"):
        yield CLOSED, f"{place} is missing", _without(place)
    yield (
        CLOSED,
        "it has Server, too",
        lambda tree: shutil.copytree(tree.model / OFFLINE, tree.model / "Server"),
    )
    yield CLOSED, "TEST01 answered otherwise", _unlike("53.103", "50.000")
    yield CLOSED, "TEST01 answered otherwise, as accurately", _unlike("53.103", "53.000")
    for key, value, scenario in (
        ("effective_performance_sample_count", 63, OFFLINE),
        ("effective_samples_per_query", 1524, OFFLINE),
        ("effective_samples_per_query", 4, "MultiStream"),
        ("effective_min_query_count", 661, "MultiStream"),
        ("effective_target_latency_percentile", 0.5, "SingleStream"),
        ("result_validity", "INVALID", "MultiStream"),
    ):
        yield CLOSED, f"{key} is {value!r} in {scenario}", logged(key, value, DETAIL, scenario)
    yield (
        CLOSED,
        "TEST01 logged other answers than by its seed",
        logged("effective_accuracy_log_rng_seed", 1, f"TEST01/{DETAIL}", OFFLINE),
    )


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _open()
    yield from _closed()
