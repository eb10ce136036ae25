"""Scouts: what an estimator flatters is seen, and the search looks elsewhere."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.search.accuracy.weighing import Seen, unlikeness
from harness.search.decision import Bar, Candidate
from harness.search.latency.learning import Latencies
from harness.search.parts import Parts
from harness.search.space.revisions import Space
from harness.search.strategy.scouting import Band, Scouted, Scouting, thoughts

STAGES = tuple(Stage(width, (Block(width // 4),) * depth) for width, depth in ((64, 2), (128, 3)))
SPACE = Space(Architecture(24, 64, "7x7-pool", 16, STAGES), (64,))


def mega_macs(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


CAP = mega_macs(SPACE.uniform(0.5))


class Flattering:
    """Believes that depthwise blocks cost little beside width and depth."""

    name = "flattering"

    def costs(self, architecture: Architecture) -> dict[str, float]:
        pairs = list(zip(architecture.stages, SPACE.baseline.stages, strict=True))
        return {
            "kind": 0.1 * depthwise(architecture),
            "width": sum(1 - stage.width / base.width for stage, base in pairs),
            "depth": 0.3 * sum(len(base.blocks) - len(stage.blocks) for stage, base in pairs),
        }

    def score(self, architecture: Architecture) -> float:
        return -sum(self.costs(architecture).values())


def depthwise(architecture: Architecture) -> float:
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    return sum(block.kind.startswith("dw") for block in blocks) / len(blocks)


def truth(architecture: Architecture) -> float:
    costs = Flattering().costs(architecture)
    return 0.95 - 4 * costs["kind"] - 0.05 * (costs["width"] + costs["depth"])


def each(look: Callable[[Architecture], float]) -> Callable[[Sequence[Architecture]], list[float]]:
    return lambda networks: list(map(look, networks))


Kept = Callable[..., Any]


def plain(_: str, make: Callable[[], Any], **__: Any) -> Any:
    return make()


SPENT = {"images": 1}
NOT_KEPT = Bar(baseline=1.0, max_drop=0.01, images=10_000, hope=100)
"""What no look is expected to keep: turns stay where they are."""


def scouting(
    look: Callable[[Architecture], float] = truth,
    kept: Kept = plain,
    cap: float = CAP,
    latencies: Latencies | None = None,
    bar: Bar = NOT_KEPT,
) -> Scouting:
    band = Band(cap, Band.NEAR if cap <= CAP else Band.FAR)
    return Scouting(
        SPACE, band, latencies or Latencies(mega_macs), bar, Flattering(), 1, each(look), kept, SPENT
    )


def scouted(count: int, **given: Any) -> Scouted:
    return scouting(**given).scout(count)


@pytest.fixture(scope="module")
def sixteen() -> tuple[Scouted, list[str]]:
    """Sixteen scouts, or a few more, and the names of the parts that were kept."""
    names: list[str] = []

    def kept(name: str, make: Callable[[], Any], **spent: Any) -> Any:
        names.append(name)
        assert spent == ({} if name == "thoughts" else SPENT), "turns hang on what looks showed"
        return make()

    found = scouted(16, kept=kept)
    return found, [name for name in names if name != "thoughts"]


def test_scouts_see_what_the_estimator_flatters_and_mend_it(sixteen: tuple[Scouted, list[str]]) -> None:
    found, names = sixteen
    turn = [depthwise(one) for one, _ in found.seen[-4 * len(names) :]]
    assert min(turn[:4]) > 0.4
    assert max(turn[4:]) < 0.1
    assert max(accuracy for _, accuracy in found.seen[-8:]) > max(accuracy for _, accuracy in found.seen[:-8])
    assert found.taus()["flattering, weighed"] > 0.9 > 0.7 > found.taus()["flattering"]


def test_all_scouts_are_near_the_wanted_latency_and_each_is_seen_once(
    sixteen: tuple[Scouted, list[str]],
) -> None:
    found, _ = sixteen
    first = len(thoughts(SPACE, mega_macs, Band(CAP, Band.NEAR)))
    assert first + 16 <= len(found.seen) < first + 20
    assert len({one.key for one, _ in found.seen}) == len(found.seen)
    assert all(mega_macs(one) <= CAP for one, _ in found.seen)
    assert SPACE.uniform(0.5).key in {one.key for one, _ in found.seen}


def test_what_is_expected_of_a_network_is_by_all_that_was_measured_before_its_turn() -> None:
    def slow(architecture: Architecture) -> float:
        return 1.2 * mega_macs(architecture)

    def refit(timed: Sequence[tuple[Architecture, float]]) -> Callable[[Architecture], float]:
        factor = sum(found_ms / mega_macs(one) for one, found_ms in timed) / len(timed)
        return lambda one: factor * mega_macs(one)

    latencies = Latencies(mega_macs, refit, each(slow))
    found = scouted(4, latencies=latencies)
    seen = found.to_dict(latencies)["seen"]
    assert all(row["latency_ms"] == pytest.approx(row["measured_ms"] / 1.2) for row in seen)
    first, later = seen[: found.thoughts], seen[found.thoughts :]
    assert all(row["expected_ms"] == row["latency_ms"] for row in first)
    assert len(later) >= 4
    assert all(row["expected_ms"] == pytest.approx(row["measured_ms"]) for row in later)


def test_without_a_wish_scouts_go_where_much_faster_networks_are() -> None:
    whole = mega_macs(SPACE.baseline)
    found = scouted(12, cap=whole)
    shares = [mega_macs(one) / whole for one, _ in found.seen]
    assert max(shares) == 1.0
    for turn in range(found.thoughts, len(shares) - 3, 4):
        assert min(shares[turn : turn + 4]) < 0.45 < 0.7 < max(shares[turn : turn + 4])


def test_turns_go_where_looks_say_that_the_fastest_lies_that_keeps_the_bar() -> None:
    whole, bar = mega_macs(SPACE.baseline), Bar(0.95, 0.02, 10_000)

    def share(architecture: Architecture) -> float:
        return mega_macs(architecture) / whole

    def look(architecture: Architecture) -> float:
        """Return what is expected to be safe from 0.55 of the baseline's work on."""
        return 0.95 - max(0.0, 1.5 * (0.7 - share(architecture))) ** 2

    found = scouted(16, look=look, cap=whole, bar=bar)
    later = [share(one) for one, _ in found.seen[-8:]]
    assert 0.4 < min(later) < 0.55 <= max(later) < 0.6


def test_where_more_speed_than_is_wanted_keeps_the_bar_scouts_go_on_to_it() -> None:
    kept = Bar(0.95, 0.02, 10_000)
    near, on = (scouted(8, look=lambda one: 0.95, bar=bar).seen[-4:] for bar in (NOT_KEPT, kept))
    assert max(mega_macs(one) for one, _ in on) < 0.7 * CAP < max(mega_macs(one) for one, _ in near)


def test_a_band_goes_down_to_what_is_lost_and_keeps_a_width() -> None:
    bar = Bar(0.95, 0.02, 10_000)
    seen = [Candidate(SPACE.uniform(step / 10), step / 10, 0.95) for step in range(5, 11)]
    lost = [Candidate(SPACE.uniform(0.2), found_ms, 0.5) for found_ms in (0.2, 0.45)]
    band = Band(1.0, Band.FAR)
    assert band.narrowed(lost, bar) == band
    assert band.narrowed(seen[:2], bar) == Band(0.6, pytest.approx(0.4**0.5))
    assert band.narrowed([*seen, lost[0]], bar) == Band(0.6, pytest.approx(0.4**0.5))
    assert band.narrowed([*seen, *lost], bar) == Band(0.6, pytest.approx(0.75**0.5))
    assert Band(0.55, Band.NEAR).narrowed([*seen, *lost], bar) == Band(0.5, Band.NEAR)


def test_short_searches_are_kept_and_looks_decide_what_follows(
    sixteen: tuple[Scouted, list[str]],
) -> None:
    found, names = sixteen
    assert names == [f"scouts-{turn}" for turn in range(len(names))]
    document = found.to_dict(Latencies(mega_macs))
    assert len(document["seen"]) == len(found.seen)
    assert document["seen"][0]["accuracy"] == truth(found.seen[0][0])
    assert set(document["taus"]) == {"flattering", "flattering, weighed", "MACs"}


def test_scouts_that_only_guess_are_known() -> None:
    assert not scouted(4).at_chance(1000)
    assert scouted(4, look=lambda one: 1 / 24 + 1e-4 * depthwise(one)).at_chance(1000)


def test_a_latency_that_nobody_reaches_is_one_sentence() -> None:
    with pytest.raises(
        HarnessError, match=r"^None of the [\d,]+ architectures tried reaches 1e-06 ms: the nearest"
    ):
        scouted(8, cap=1e-6)


def test_where_only_one_network_is_fast_enough_there_is_nothing_to_search() -> None:
    narrowest = SPACE.uniform(0.25, 1 / 3)
    seen: list[Architecture] = []

    def look(architecture: Architecture) -> float:
        seen.append(architecture)
        return truth(architecture)

    def nothing_more(name: str, make: Callable[[], Any], **_: Any) -> Any:
        return make() if name == "thoughts" else {"found": [], "measured": []}

    with pytest.raises(HarnessError, match=r"^Only one network that was tried keeps .* ask for less"):
        scouted(24, look=look, kept=nothing_more, cap=mega_macs(narrowest))
    assert seen == [narrowest]
    assert len(scouted(0).seen) >= 2


def test_what_is_looked_at_was_measured_to_be_fast_enough_though_the_table_flatters_it() -> None:
    asked: list[Architecture] = []

    def true_ms(architecture: Architecture) -> float:
        return mega_macs(architecture) * (1.3 if depthwise(architecture) > 0.2 else 1.1)

    def measure(networks: Sequence[Architecture]) -> list[float]:
        asked.extend(networks)
        return list(map(true_ms, networks))

    latencies = Latencies(mega_macs, lambda timed: true_ms if len(timed) > 20 else mega_macs, measure)
    found = scouted(8, latencies=latencies)
    assert {one for one, _ in found.seen} < set(asked)
    assert len(asked) == len(set(asked))
    assert all(true_ms(one) <= CAP for one, _ in found.seen)
    assert max(true_ms(one) for one, _ in found.seen) > 0.93 * CAP
    rows = found.to_dict(latencies)["seen"]
    assert [row["measured_ms"] for row in rows] == [true_ms(one) for one, _ in found.seen]
    assert [row["latency_ms"] for row in rows] == [mega_macs(one) for one, _ in found.seen]


def test_a_search_that_goes_on_measures_nothing_again_and_finds_the_same(tmp_path: Path) -> None:
    parts: dict[str, Any] = {}
    calls: list[int] = []

    def kept(name: str, make: Callable[[], Any], **_: Any) -> Any:
        if name not in parts:
            parts[name] = make()
        return parts[name]

    def measure(networks: Sequence[Architecture]) -> list[float]:
        calls.append(len(networks))
        return [1.05 * mega_macs(one) for one in networks]

    def go(count: int) -> tuple[Seen, ...]:
        return scouted(
            count, kept=kept, latencies=Latencies(mega_macs, None, measure, Parts(tmp_path, {"form": 1}))
        ).seen

    first, again = go(4), go(4)
    measured = len(calls)
    more = go(8)
    assert first == again == more[: len(first)]
    assert 0 < measured < len(calls)


@pytest.mark.parametrize("calls_before", range(6))
def test_a_search_that_broke_off_while_it_measured_ends_as_if_it_had_not(
    calls_before: int, tmp_path: Path
) -> None:
    """A turn measures, learns and chooses anew: what it knew when it broke off must not end it."""

    def go(folder: Path, calls: int) -> tuple[Seen, ...]:
        parts = Parts(folder, {"form": 1})

        def measure(networks: Sequence[Architecture]) -> list[float]:
            nonlocal calls
            if calls == 0:
                raise KeyboardInterrupt
            calls -= 1
            return [(1.3 + 0.2 * depthwise(one)) * mega_macs(one) for one in networks]

        def refit(timed: Sequence[tuple[Architecture, float]]) -> Callable[[Architecture], float]:
            ratio = math.fsum(found_ms / mega_macs(one) for one, found_ms in timed) / len(timed)
            return lambda network: round(ratio, 9) * mega_macs(network)

        return scouted(4, kept=parts.kept, latencies=Latencies(mega_macs, refit, measure, parts)).seen

    whole = go(tmp_path / "whole", -1)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "broken", calls_before)
    assert go(tmp_path / "broken", -1) == whole


def test_where_all_is_slower_than_the_table_has_it_the_search_says_so_and_looks_at_nothing() -> None:
    looked_at: list[Architecture] = []

    def look(architecture: Architecture) -> float:
        looked_at.append(architecture)
        return truth(architecture)

    def measure(networks: Sequence[Architecture]) -> list[float]:
        return [CAP + mega_macs(one) for one in networks]

    with pytest.raises(HarnessError, match=r"^None of the \d+ architectures tried reaches .* ask for less"):
        scouted(4, look=look, latencies=Latencies(mega_macs, None, measure))
    assert looked_at == []


@pytest.mark.parametrize("share", [0.4, 0.5, 0.8])
def test_what_is_thought_of_first_is_as_wide_as_the_wanted_latency_lets_it_be(share: float) -> None:
    cap = share * mega_macs(SPACE.baseline)
    found = thoughts(SPACE, mega_macs, Band(cap, Band.NEAR))
    for depth in (1.0, 2 / 3, 1 / 3):
        ladder = [other for other in SPACE.scalings(depth) if SPACE.fault(other) is None]
        assert [other for other in ladder if mega_macs(other) <= cap][-1:] == [
            one for one in found if one in ladder
        ]
    assert found


def test_where_scouts_go_far_the_first_are_at_both_ends() -> None:
    cap = mega_macs(SPACE.baseline)
    near, far = (thoughts(SPACE, mega_macs, Band(cap, share)) for share in (Band.NEAR, Band.FAR))
    assert set(near) < set(far)
    assert all(mega_macs(one) <= Band.FAR * cap for one in set(far) - set(near))


def test_scouts_stay_near_what_was_seen_and_a_turn_sees_several_kinds(
    sixteen: tuple[Scouted, list[str]],
) -> None:
    found, names = sixteen
    networks = [one for one, _ in found.seen]
    first = len(networks) - 4 * len(names)
    for turn in range(first, len(networks), 4):
        before, chosen = networks[:turn], networks[turn : turn + 4]
        nearest = [min(unlikeness(SPACE.baseline, one, other) for other in before) for one in chosen]
        assert max(nearest) <= 1.0
        apart = [unlikeness(SPACE.baseline, *pair) for pair in itertools.combinations(chosen, 2)]
        assert max(apart) > 0.3
