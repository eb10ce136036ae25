"""What a search knows of latencies: what was measured, and a model that has learned from that."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.model.architecture import Architecture, resnet50
from harness.search.latency.learning import Latencies, Timed
from harness.search.parts import Parts
from harness.search.space.revisions import Space

NETWORKS = Space(resnet50(24, 64, 0.2), (64,)).samples(1, 6)


def believed(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


def truth(architecture: Architecture) -> float:
    return 1.5 * believed(architecture)


def refit(timed: Sequence[Timed]) -> Callable[[Architecture], float]:
    """Return a model that is as far off as the first was, on average, the other way."""
    factor = sum(found_ms / believed(one) for one, found_ms in timed) / len(timed)
    return lambda one: factor * believed(one)


class Watch:
    """Measures the truth, and remembers what."""

    def __init__(self) -> None:
        self.seen: list[Architecture] = []

    def __call__(self, networks: Sequence[Architecture]) -> list[float]:
        self.seen += networks
        return list(map(truth, networks))


def test_each_network_is_measured_once_and_the_model_learns_from_all() -> None:
    watch = Watch()
    latencies = Latencies(believed, refit, watch)
    assert latencies.ms(NETWORKS[0]) == believed(NETWORKS[0])
    assert latencies.measure(NETWORKS[:2]) == NETWORKS[:2]
    assert latencies.measure([*NETWORKS[:3], NETWORKS[2]]) == [NETWORKS[2]]
    assert watch.seen == NETWORKS[:3]
    assert latencies.ms(NETWORKS[5]) == refit([(one, truth(one)) for one in watch.seen])(NETWORKS[5])
    assert latencies.foretold_ms(NETWORKS[5]) == believed(NETWORKS[5])
    assert [latencies.knows(one) for one in NETWORKS] == [True] * 3 + [False] * 3


def test_where_nothing_can_be_measured_only_what_others_measured_is_learned() -> None:
    latencies = Latencies(believed, refit)
    assert latencies.measure(NETWORKS) == []
    timed = [(one, truth(one)) for one in NETWORKS[:2]]
    latencies.learn(timed)
    assert latencies.ms(NETWORKS[0]) == truth(NETWORKS[0])
    assert latencies.ms(NETWORKS[5]) > believed(NETWORKS[5])


def test_what_an_earlier_call_measured_is_not_measured_again(tmp_path: Path) -> None:
    watch = Watch()
    for networks in (NETWORKS[:2], NETWORKS[:3]):
        Latencies(believed, refit, watch, Parts(tmp_path, {"form": 1})).measure(networks)
    assert watch.seen == NETWORKS[:3]
    elsewhere = Latencies(believed, refit, None, Parts(tmp_path, {"form": 1}))
    elsewhere.recall(NETWORKS)
    assert [elsewhere.knows(one) for one in NETWORKS] == [True] * 3 + [False] * 3
    assert elsewhere.ms(NETWORKS[0]) == truth(NETWORKS[0])


def test_a_model_that_cannot_learn_stays_as_it_is_beside_what_was_measured() -> None:
    latencies = Latencies(believed, measure=Watch())
    latencies.measure(NETWORKS[:1])
    assert latencies.ms(NETWORKS[0]) == truth(NETWORKS[0])
    assert latencies.ms(NETWORKS[1]) == believed(NETWORKS[1])
