"""An additive estimator, weighed by networks whose accuracy was seen."""

import pickle
import random

import pytest

from harness.model.architecture import Architecture, resnet50
from harness.search.accuracy.estimator import kendall
from harness.search.accuracy.weighing import Weighed, left_out, unlikeness, weigh
from harness.search.space.revisions import Space

SPACE = Space(resnet50(24, 64, 0.2), (64,))


class Planted:
    """Says what kinds and depths cost, the kinds thirty times too cheap."""

    name = "planted"

    def costs(self, architecture: Architecture) -> dict[str, float]:
        blocks = [block for stage in architecture.stages for block in stage.blocks]
        missing = sum(len(stage.blocks) for stage in SPACE.baseline.stages) - len(blocks)
        return {"kind": 0.001 * sum(block.kind != "dense" for block in blocks), "depth": 0.03 * missing}

    def score(self, architecture: Architecture) -> float:
        return -sum(self.costs(architecture).values())


PLANTED = Planted()


def truth(architecture: Architecture, noise: float = 0.0) -> float:
    costs = PLANTED.costs(architecture)
    return 0.9 - 0.3 * (30 * costs["kind"] + costs["depth"]) + noise


def seen(count: int, noise: float = 0.0) -> list[tuple[Architecture, float]]:
    source = random.Random(3)
    return [(one, truth(one, source.gauss(0, noise))) for one in SPACE.samples(1, count)]


def test_weights_mend_what_the_costs_say_of_the_kinds() -> None:
    weighed = weigh(PLANTED, SPACE.baseline, seen(24, noise=0.003))
    assert weighed.weights["kind"] / weighed.weights["depth"] == pytest.approx(30, rel=0.25)
    unseen = SPACE.samples(2, 40)
    truths = [truth(one) for one in unseen]
    assert kendall([PLANTED.score(one) for one in unseen], truths) < 0.5
    assert kendall([weighed.score(one) for one in unseen], truths) > 0.9
    assert weighed.score(unseen[0]) == pytest.approx(truths[0], abs=0.02)


def test_a_network_left_out_does_not_help_to_predict_itself() -> None:
    some = seen(12)
    expected = left_out(PLANTED, SPACE.baseline, some)
    some[3] = (some[3][0], 0.1)
    again = left_out(PLANTED, SPACE.baseline, some)
    assert again[3] == expected[3]
    assert again[4] != expected[4]


def test_what_was_never_seen_to_cost_anything_is_not_free() -> None:
    dense = [(SPACE.uniform(0.5, depth), truth(SPACE.uniform(0.5, depth))) for depth in (1.0, 2 / 3, 1 / 3)]
    weighed = weigh(PLANTED, SPACE.baseline, dense)
    assert weighed.weights["kind"] > 0
    assert weighed.weights["kind"] == pytest.approx(weighed.weights["depth"], rel=0.5)


def test_networks_that_are_all_alike_leave_the_level() -> None:
    weighed = weigh(PLANTED, SPACE.baseline, [(SPACE.baseline, 0.8)])
    assert set(weighed.weights.values()) == {0.0}
    assert weighed.score(SPACE.uniform(0.5)) == pytest.approx(0.8)


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="no network was seen"):
        weigh(PLANTED, SPACE.baseline, [])


def test_the_weighed_estimator_can_go_to_worker_processes() -> None:
    weighed: Weighed = pickle.loads(pickle.dumps(weigh(PLANTED, SPACE.baseline, seen(8))))
    assert weighed.name == "planted, weighed"
    assert weighed.score(SPACE.baseline) == weigh(PLANTED, SPACE.baseline, seen(8)).score(SPACE.baseline)


def test_less_of_a_burden_than_any_that_was_seen_had_is_no_gain_and_more_costs() -> None:
    half, third, whole = (SPACE.uniform(0.5, depth) for depth in (2 / 3, 1 / 3, 1.0))
    weighed = weigh(PLANTED, SPACE.baseline, [(half, truth(half)), (third, truth(third))])
    assert truth(whole) > truth(half) > truth(third)
    assert weighed.expected(SPACE.uniform(0.5, 0.9))[0] <= truth(half) + 1e-6
    assert weighed.expected(whole)[0] <= truth(half) + 1e-6
    assert weighed.expected(SPACE.uniform(0.25, 1 / 3))[0] < truth(third) + 1e-6


def test_far_from_all_that_was_seen_no_more_is_promised_than_the_worst_of_it() -> None:
    shallow = [SPACE.uniform(share, 1 / 3) for share in (0.25, 0.35)]
    found = [(one, 0.7 + 0.1 * place) for place, one in enumerate(shallow)]
    weighed = weigh(PLANTED, SPACE.baseline, found)
    near, far = SPACE.uniform(0.3, 1 / 3), SPACE.uniform(1.0)
    assert min(unlikeness(SPACE.baseline, near, one) for one in shallow) < 1
    assert min(unlikeness(SPACE.baseline, far, one) for one in shallow) > 2
    assert weighed.promise(near) > 0.7 > weighed.promise(far) > 0.6
