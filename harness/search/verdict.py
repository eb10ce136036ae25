"""What pick and control differ by over several trainings of each: what the method gives, not two networks."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.backend import graph, labelling
from harness.backend.settings import CompileSettings
from harness.dataset.store import Store
from harness.model import file as model_file
from harness.model.card import Card
from harness.search.document import OverSeeds
from harness.task import task_of

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Pairing:
    """Which test images pick and control of one seed are right about: bool [images] each."""

    seed: int
    pick: NDArray[np.bool_]
    control: NDArray[np.bool_]


def over_seeds(pairs: Sequence[Pairing]) -> OverSeeds:
    """Return the mean difference of accuracies, in percentage points, with its 95 % interval.

    Two things make it uncertain: that other trainings would end otherwise, and that other images would be
    judged otherwise. The first is told by the spread between seeds, by Student's t; the second by the spread
    between images of what they lose or gain on average, by the normal distribution. The squares of both half
    widths are added, which counts what both tell twice and so is rather too wide. Of one seed only the second
    is known.

    Raises:
        ValueError: there are no pairs.
    """
    from scipy.stats import norm

    differences = np.stack([one.pick.astype(float) - one.control.astype(float) for one in pairs])
    seeds, images = differences.shape
    by_seed = differences.mean(axis=1)
    half = norm.ppf((1 + CONFIDENCE) / 2) * differences.mean(axis=0).std() / math.sqrt(images)
    if seeds > 1:
        half = math.hypot(half, half_width(by_seed.tolist()))
    return OverSeeds(
        seeds=tuple(one.seed for one in pairs),
        points=tuple(100 * float(one) for one in by_seed),
        mean=100 * float(by_seed.mean()),
        half_width=100 * float(half),
    )


def half_width(values: Sequence[float]) -> float:
    """Return half of the width of the 95 % interval of a mean, by Student's t, of two values or more."""
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def right(card: Card, store: Store) -> NDArray[np.bool_]:
    """Return bool [count]: which of the store's images a card's model is right about, in its own precision.

    Raises:
        HarnessError: the model or its recipe is missing, or an inference failed.
    """
    compiled = graph.compile_model(graph.deployed(model_file.read(card), card), CompileSettings("THROUGHPUT"))
    found = labelling.labels(compiled, store.samples(card.input.recipe), range(store.count))
    task = task_of(card)
    _, each = task.rates(found, task.truth(store))
    return np.array(each, bool)
