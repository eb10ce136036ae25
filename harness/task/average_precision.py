"""Mean average precision by pycocotools, and how much of a difference of two is chance."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("index", "ymin", "xmin", "ymax", "xmax", "score", "category")
"""Columns of an answer, f32 [found, 7], as MLPerf's accuracy-coco.py reads it; coordinates are 0..1."""
SCORE, CATEGORY = 5, 6

_RESAMPLES = 1000
_SEED = 1
_LEVEL = 0.95
_AT_ONCE = 100


@dataclass(frozen=True)
class Truth:
    """The boxes that are right, in images in the order of their sample indices."""

    document: Mapping[str, Any]
    """A file in COCO's format."""
    image_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def coco(self) -> Any:
        """pycocotools' index of the boxes."""
        from pycocotools.coco import COCO

        made = COCO()
        made.dataset = self.document
        with contextlib.redirect_stdout(io.StringIO()):
            made.createIndex()
        return made

    @cached_property
    def categories(self) -> frozenset[int]:
        return frozenset(self.coco.getCatIds())

    def __getitem__(self, places: Sequence[int]) -> "Truth":
        """Return what is right for the samples at these places, in their order."""
        made = Truth(self.document, tuple(self.image_ids[place] for place in places))
        made.__dict__["coco"] = self.coco
        return made


@dataclass(frozen=True)
class Interval:
    """What a difference may be, by a bootstrap over images."""

    difference: float
    low: float
    high: float


def evaluate(answers: Sequence[NDArray[np.float32]], truth: Truth) -> Any:
    """Return a pycocotools.COCOeval of the answers to all samples, accumulated.

    Boxes become pixels in float32, as accuracy-coco.py computes them.
    """
    from pycocotools.cocoeval import COCOeval

    found = []
    for image_id, answer in zip(truth.image_ids, answers, strict=True):
        image = truth.coco.imgs[image_id]
        height, width = np.float32(image["height"]), np.float32(image["width"])
        top, left, bottom, right = (
            answer[:, 1] * height,
            answer[:, 2] * width,
            answer[:, 3] * height,
            answer[:, 4] * width,
        )
        columns = (left, top, right - left, bottom - top, answer[:, SCORE], answer[:, CATEGORY])
        found.append(np.column_stack([np.full(len(answer), image_id), *columns]).astype(np.float64))
    with contextlib.redirect_stdout(io.StringIO()):
        results = truth.coco.loadRes(np.concatenate(found)) if any(map(len, found)) else _nothing(truth)
        made = COCOeval(truth.coco, results, "bbox")
        made.params.imgIds = list(truth.image_ids)
        made.evaluate()
        made.accumulate()
        made.summarize()
    return made


def means(evaluation: Any) -> tuple[float, float]:
    """Return mAP over the overlaps 0.5 to 0.95, and at 0.5, as fractions; 0 where there is no box to find."""
    overall, at_half = (max(0.0, float(value)) for value in evaluation.stats[:2])
    return overall, at_half


def difference(first: Any, second: Any) -> Interval:
    """Return by how much a second evaluation of the same images is better, and what chance makes of it.

    The images are drawn anew, with replacement, for both together (paired bootstrap: Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 10).
    """
    images = len(first.params.imgIds)
    draws = np.random.default_rng(_SEED).multinomial(images, np.full(images, 1 / images), _RESAMPLES)
    changes = _resampled(second, draws) - _resampled(first, draws)
    low, high = np.quantile(changes, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(means(second)[0] - means(first)[0]), float(low), float(high))


def _resampled(evaluation: Any, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return mAP for each draw of the images, [draws]; with each image once it is pycocotools' own."""
    areas = evaluation.params.areaRngLbl.index("all")
    images = len(evaluation._paramsEval.imgIds)
    count = len(evaluation._paramsEval.areaRng) * images
    sums, kinds = np.zeros(len(draws)), np.zeros(len(draws))
    for place in range(len(evaluation._paramsEval.catIds)):
        start = place * count + areas * images
        seen = evaluation.evalImgs[start : start + images]
        category = _Category.of(seen)
        if category is not None:
            for first in range(0, len(draws), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                precision, there = category.precision(draws[part])
                sums[part] += precision
                kinds[part] += there
    return np.divide(sums, kinds, out=np.zeros_like(sums), where=kinds > 0)


@dataclass(frozen=True)
class _Category:
    """All boxes of one category, the best score first."""

    image: NDArray[np.int64]
    """[found]: the place of the image."""
    is_right: NDArray[np.bool_]
    """[overlaps, found]"""
    is_wrong: NDArray[np.bool_]
    """[overlaps, found]; what pycocotools ignores is neither."""
    wanted: NDArray[np.int64]
    """[images]: boxes to find."""

    @classmethod
    def of(cls, seen: Sequence[Any]) -> "_Category | None":
        """Return the boxes in pycocotools' evaluations of the images, or None where none is to be found."""
        wanted = np.array([0 if one is None else np.count_nonzero(one["gtIgnore"] == 0) for one in seen])
        if not wanted.any():
            return None
        there = [(place, one) for place, one in enumerate(seen) if one is not None]
        scores = np.concatenate([one["dtScores"] for _, one in there])
        order = np.argsort(-scores, kind="mergesort")
        images = np.concatenate([np.full(len(one["dtScores"]), place, np.int64) for place, one in there])
        matches = np.concatenate([one["dtMatches"] for _, one in there], axis=1)[:, order]
        ignored = np.concatenate([one["dtIgnore"] for _, one in there], axis=1)[:, order].astype(bool)
        return cls(images[order], (matches != 0) & ~ignored, (matches == 0) & ~ignored, wanted)

    def precision(self, draws: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the average precision for each draw, 0 where it has no box to find, and where it has some.

        (COCOeval.accumulate, at the places of right boxes alone, where the recall rises.)
        """
        wanted = draws @ self.wanted
        there = wanted > 0
        each = draws[:, self.image].astype(np.float64)
        total = np.zeros(len(draws))
        for is_right, is_wrong in zip(self.is_right, self.is_wrong, strict=True):
            places = np.flatnonzero(is_right)
            right = np.cumsum(each[:, places], axis=1)
            seen = np.cumsum(each * (is_right | is_wrong), axis=1)[:, places]
            precision = right / (seen + np.spacing(1))
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recalls = right / np.maximum(wanted, 1)[:, None]
            reached = np.searchsorted(_RECALLS, recalls, side="right") * (recalls > 0)
            total += (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1)
        return total / (len(_RECALLS) * len(self.is_right)), there


_RECALLS = np.linspace(0.0, 1.00, 101)
"""Of COCOeval's Params."""


def _nothing(truth: Truth) -> Any:
    """Return pycocotools' index of no boxes at all, which its loadRes cannot make."""
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = {**truth.document, "annotations": []}
    made.createIndex()
    return made
