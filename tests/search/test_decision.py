"""The rule that decides what is trained to the end and what is chosen, and the control's latency."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.model.architecture import Architecture, Stage, resnet50
from harness.search.decision import (
    Bar,
    Candidate,
    bracket_ms,
    choose,
    expected,
    expected_error,
    hopeful,
    likely,
    next_to_train,
    remaining_share,
)
from harness.search.selection import control
from harness.search.space.revisions import Space

BAR = Bar(baseline=0.96, max_drop=0.01, images=10_000)
SPACE = Space(resnet50(24, 64, 0.2), (64,))


def candidates(*briefs: float) -> list[Candidate]:
    """Return candidates of 1 ms, 2 ms, ... with these accuracies after the brief training."""
    return [
        Candidate(resnet50(24, 64, number / 10), float(number), brief)
        for number, brief in enumerate(briefs, start=1)
    ]


def test_a_look_leaves_hope_as_long_as_a_twentieth_of_its_gap_is_allowed() -> None:
    lost, near, level = candidates(0.76, 0.77, 0.97)
    assert [hopeful(one, BAR) for one in (lost, near, level)] == [False, True, True]


def test_the_fastest_that_may_keep_the_bar_is_trained_first() -> None:
    given = candidates(0.80, 0.92, 0.94, 0.95)
    assert next_to_train(given, {}, BAR) == given[2]


def test_where_nobody_is_expected_to_keep_the_bar_the_most_accurate_is_trained_first() -> None:
    given = candidates(0.80, 0.90, 0.85)
    assert next_to_train(given, {}, BAR) == given[1]


def test_the_gap_that_training_leaves_is_learned_from_the_trained() -> None:
    given = candidates(0.80, 0.90)
    assert remaining_share(given, {}, BAR) == pytest.approx(1 / 3)
    share = remaining_share(given, {given[1].key: 0.945}, BAR)
    assert share == pytest.approx(0.25)
    assert expected(given[0], share, BAR) == pytest.approx(0.92)


def test_what_is_expected_is_surer_the_more_candidates_agree_and_the_nearer_the_baseline() -> None:
    given = candidates(0.80, 0.90, 0.92, 0.94)
    guessed = expected_error(given[0], given, {}, BAR)
    assert guessed == pytest.approx(math.hypot(0.16 / 6, BAR.standard_error / 3))
    assert expected_error(given[3], given, {}, BAR) < guessed
    alike = {given[1].key: 0.945, given[2].key: 0.950}
    apart = {given[1].key: 0.955, given[2].key: 0.930}
    errors = [expected_error(given[0], given, trained, BAR) for trained in (alike, apart)]
    assert errors[0] == pytest.approx(0.25 * BAR.standard_error)
    assert errors[1] > guessed


def test_one_that_ended_above_the_baseline_does_not_make_hopeless_ones_promising() -> None:
    far, near, best = candidates(0.60, 0.92, 0.93)
    trained = {best.key: 0.962}
    assert remaining_share([far, near, best], trained, BAR) == 1 / 20
    assert next_to_train([far, near, best], trained, BAR) == near


def test_the_fastest_that_keeps_the_bar_lies_between_what_is_lost_and_what_is_expected_to_be_safe() -> None:
    assert bracket_ms(candidates(0.5, 0.8, 0.93, 0.95, 0.8, 0.96), BAR) == (2.0, 6.0)
    assert bracket_ms(candidates(0.5, 0.8, 0.93, 0.95), BAR) == (2.0, 4.0)
    assert bracket_ms(candidates(0.95, 0.96, 0.96), BAR) == (0.0, 2.0)
    assert bracket_ms(candidates(0.5, 0.6, 0.93), BAR) is None


def test_a_network_that_a_faster_one_beats_does_not_tell_what_is_lost() -> None:
    assert bracket_ms(candidates(0.75, 0.7, 0.93, 0.95), BAR) == (1.0, 4.0)
    assert bracket_ms(candidates(0.75, 0.8, 0.93, 0.95), BAR) == (2.0, 4.0)


def test_what_a_look_lacks_counts_for_less_than_what_the_brief_training_lacks() -> None:
    looks = candidates(0.5, 0.8, 0.92, 0.93, 0.95)
    assert bracket_ms(looks, BAR) == (2.0, 5.0)
    assert bracket_ms(looks, replace(BAR, look=0.45)) == (2.0, 4.0)
    assert bracket_ms(candidates(0.5), replace(BAR, look=0.001)) == (0.0, 1.0)


def test_a_faster_one_is_trained_while_it_is_expected_to_keep_the_bar() -> None:
    given = candidates(0.80, 0.90, 0.93, 0.94)
    trained = {given[2].key: 0.957}
    assert next_to_train(given, trained, BAR) == given[1]
    trained[given[1].key] = 0.953
    assert next_to_train(given, trained, BAR) is None
    assert choose(given, trained, BAR) == given[1]


def test_one_that_keeps_the_bar_by_less_than_a_standard_error_is_not_chosen_for_its_speed() -> None:
    assert BAR.safe - BAR.least == pytest.approx(0.00217, abs=1e-5)
    given = candidates(0.80, 0.90, 0.93, 0.94)
    trained = {given[1].key: 0.952}
    assert trained[given[1].key] > BAR.least
    assert next_to_train(given, trained, BAR) == given[2]
    trained[given[2].key] = 0.954
    assert choose(given, trained, BAR) == given[2]


def test_a_slower_one_is_trained_when_the_bar_is_missed() -> None:
    given = candidates(0.80, 0.90, 0.94)
    trained = {given[1].key: 0.930}
    assert next_to_train(given, trained, BAR) == given[2]
    trained[given[2].key] = 0.951
    assert choose(given, trained, BAR) == given[2]


def test_where_nobody_keeps_the_bar_the_most_accurate_is_chosen() -> None:
    given = candidates(0.50, 0.60, 0.70)
    trained = {given[1].key: 0.62}
    assert next_to_train(given, trained, BAR) == given[2]
    trained[given[2].key] = 0.71
    assert next_to_train(given, trained, BAR) is None
    assert choose(given, trained, BAR) == given[2]


def test_one_that_may_be_more_accurate_is_trained_though_it_is_expected_to_be_a_little_less() -> None:
    given = candidates(0.60, 0.66, 0.665)
    trained = {given[2].key: 0.80}
    assert expected(given[1], remaining_share(given, trained, BAR), BAR) < 0.80
    assert next_to_train(given, trained, BAR) == given[1]
    assert [one.key for one in likely(given, BAR, 2)] == [given[2].key, given[1].key]


def test_nothing_is_trained_twice() -> None:
    given = candidates(0.90)
    assert next_to_train(given, {given[0].key: 0.90}, BAR) is None


@pytest.mark.parametrize("share", [0.0, 0.35, 0.6, 0.98])
def test_the_control_is_the_narrowest_that_is_not_faster(share: float) -> None:
    def measure(architecture: Architecture) -> float:
        asked.append(architecture.key)
        return macs_ms(architecture)

    asked: list[str] = []
    scalings = control.scalings(SPACE, 64)
    wanted = share * measure(scalings[-1])
    found, found_ms = control.of_latency(scalings, wanted, measure)
    slow = next(one for one in scalings if macs_ms(one) >= wanted)
    assert found == slow
    assert found_ms == macs_ms(slow)
    assert len(asked) < 13


def test_the_control_is_the_widest_of_those_that_take_one_time() -> None:
    def stairs_ms(architecture: Architecture) -> float:
        return float(sum(-(-block.mid // 64) for stage in architecture.stages for block in stage.blocks))

    scalings = control.scalings(SPACE, 64)
    wanted = 0.8 * stairs_ms(scalings[-1])
    found, found_ms = control.of_latency(scalings, wanted, stairs_ms)
    first = next(one for one in scalings if stairs_ms(one) >= wanted)
    assert found_ms == stairs_ms(found) == stairs_ms(first)
    assert found.count_macs() > first.count_macs()
    wider = scalings[scalings.index(found) + 1 :]
    assert all(stairs_ms(one) > found_ms for one in wider[:3])


def test_between_uniform_scalings_blocks_become_wider_one_after_another() -> None:
    narrow = Space(resnet50(10, 32, 0.5, "3x3"), (32,))
    uniform = {narrow.uniform(step / 100, 2 / 3).key for step in range(1, 101)}
    scalings = control.scalings(narrow, 32, 2 / 3)
    assert uniform < {one.key for one in scalings}
    plain = [one for one in scalings if one.key in uniform]
    assert largest_rise(scalings) - 1 < (largest_rise(plain) - 1) / 2
    assert all(len(one.stages[2].blocks) == 4 for one in scalings)


def largest_rise(scalings: Sequence[Architecture]) -> float:
    """Return the work of a network over that of the next smaller one, at most, from 40 million MACs on."""
    macs = [one.count_macs() for one in scalings if one.count_macs() > 40e6]
    return max(after / before for before, after in itertools.pairwise(macs))


def macs_ms(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


def test_controls_of_every_depth_have_no_less_time() -> None:
    latency_ms = 0.3 * macs_ms(SPACE.baseline)
    found = control.rivals(SPACE, latency_ms, macs_ms)
    assert [[len(stage.blocks) for stage in one.stages] for one, _ in found] == [
        [3, 4, 6, 3],
        [2, 3, 4, 2],
        [1, 1, 2, 1],
    ]
    assert all(one_ms == macs_ms(one) >= latency_ms for one, one_ms in found)
    widths = [one.stages[3].width for one, _ in found]
    assert widths == sorted(set(widths))


def test_depths_that_are_one_in_a_shallow_baseline_are_measured_once() -> None:
    asked: list[str] = []

    def measure(architecture: Architecture) -> float:
        asked.append(architecture.key)
        return macs_ms(architecture)

    stages = tuple(Stage(stage.width, stage.blocks[:2]) for stage in SPACE.baseline.stages)
    shallow = Space(replace(SPACE.baseline, stages=stages), (64,))
    found = control.rivals(shallow, 0.3 * macs_ms(shallow.baseline), measure)
    assert [[len(stage.blocks) for stage in one.stages] for one, _ in found] == [[2] * 4, [1] * 4]
    assert len(asked) == len(set(asked))


def test_a_depth_at_which_even_the_widest_is_faster_has_no_control() -> None:
    [(found, _)] = control.rivals(SPACE, 0.9 * macs_ms(SPACE.baseline), macs_ms)
    assert len(found.stages[2].blocks) == 6


def test_where_even_the_baseline_is_faster_it_is_the_control() -> None:
    [(found, found_ms)] = control.rivals(SPACE, 9.0, lambda one: 1.0 + (one == SPACE.baseline.canonical))
    assert (found, found_ms) == (SPACE.baseline.canonical, 2.0)
