"""Which of a shortlist to train to the end, and which to choose: a rule, so that nobody picks by hand.

Every candidate's latency is measured, and its accuracy after a brief training is known. Training to the
end closes part of the gap to the baseline; how much of it stays is learned from the candidates trained so
far. The bar is the baseline's accuracy less the drop that is allowed. All accuracies are of held-out training
images: the fastest that keeps the bar there is near it by construction, and may as well miss it on others.
Safe is what keeps it by one standard error (in the manner of the rule by which Breiman et al.,
"Classification and Regression Trees", 1984, choose a tree).

1. The fastest candidate that is expected to be safe is trained to the end; before any was, `Bar.guess` of the
   gap is expected to stay. If none is expected to, the most accurate after the brief training is.
2. So it goes on while a faster one than the fastest safe one is expected to be safe, too, or none is safe yet
   and another may be more accurate, by what is expected and one standard error of that.
3. Chosen is the fastest safe one; if there is none, the most accurate.

The same rule says, by looks, between which latencies to look for it: see `bracket_ms`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.model.architecture import Architecture
from harness.typed import LEFT_OUT

SEARCHED, UNIFORM = "searched", "uniform"
"""Names of the models that come out: what is chosen, and its control."""


@dataclass(frozen=True)
class Candidate:
    """One that was looked at, or of the shortlist."""

    architecture: Architecture
    latency_ms: float
    """Measured end to end; foreseen where a look precedes the measurement."""
    brief: float
    """Accuracy after the look or, once there was one, the brief training; as a fraction."""

    @property
    def key(self) -> str:
        return self.architecture.key


@dataclass(frozen=True)
class Bar:
    """What must be kept."""

    baseline: float
    """The baseline's accuracy on the same images, as a fraction."""
    max_drop: float
    """Share of it that may be lost."""
    images: int
    """How many the accuracies are of."""
    guess: float = field(default=1 / 3, metadata=LEFT_OUT)
    """Share of a candidate's gap to the baseline that training to the end leaves, before any was
    trained."""
    hope: float = field(default=20, metadata=LEFT_OUT)
    """How many times as large as the gap that is allowed one may be after a look."""
    look: float = field(default=1.0, metadata=LEFT_OUT)
    """Share of the gap after a look that the brief training leaves; 1 where the look is that training."""

    @property
    def least(self) -> float:
        return (1 - self.max_drop) * self.baseline

    @property
    def standard_error(self) -> float:
        """That of an accuracy near the bar on so many images, as a fraction."""
        return math.sqrt(self.least * (1 - self.least) / self.images)

    @property
    def safe(self) -> float:
        """What keeps `least` by one standard error."""
        return self.least + self.standard_error


def remaining_share(candidates: Sequence[Candidate], trained: Mapping[str, float], bar: Bar) -> float:
    """Return which share of the gap to the baseline training to the end leaves, on average.

    It is one over `bar.hope` at least, as `hopeful` has it: one that ended better than the baseline says
    nothing about those that are far behind it.

    Args:
        candidates: the shortlist.
        trained: final accuracy of those trained to the end, by key.
        bar: with the baseline's accuracy.
    """
    gaps = [
        (bar.baseline - one.brief, bar.baseline - trained[one.key])
        for one in candidates
        if one.key in trained and one.brief < bar.baseline
    ]
    if not gaps:
        return bar.guess
    return max(1 / bar.hope, sum(after for _, after in gaps) / sum(before for before, _ in gaps))


def expected(candidate: Candidate, share: float, bar: Bar) -> float:
    """Return the accuracy that a candidate is expected to end with."""
    return bar.baseline - share * (bar.baseline - candidate.brief)


def expected_error(
    candidate: Candidate, candidates: Sequence[Candidate], trained: Mapping[str, float], bar: Bar
) -> float:
    """Return the standard error of `expected`, as a fraction.

    It has two sources: how much of the gap stays differs from candidate to candidate, and the accuracy after
    the brief training is of so many images.
    """
    share = remaining_share(candidates, trained, bar)
    gap = bar.baseline - candidate.brief
    return math.hypot(gap * _share_error(candidates, trained, bar), share * bar.standard_error)


def _share_error(candidates: Sequence[Candidate], trained: Mapping[str, float], bar: Bar) -> float:
    """Return the standard error of `remaining_share`."""
    shares = [
        (bar.baseline - trained[one.key]) / (bar.baseline - one.brief)
        for one in candidates
        if one.key in trained and one.brief < bar.baseline
    ]
    if len(shares) < 2:
        return bar.guess / 2
    return statistics.stdev(shares) / math.sqrt(len(shares))


def hopeful(candidate: Candidate, bar: Bar) -> bool:
    """Whether a first look leaves hope that the candidate can keep the bar in the end.

    A look is briefer than what `bar.guess` is of, and shows less: what would have to close nearly all of its
    gap has hope.
    """
    return bar.baseline - candidate.brief <= bar.hope * (bar.baseline - bar.least)


def bracket_ms(looks: Sequence[Candidate], bar: Bar) -> tuple[float, float] | None:
    """Return between which latencies the fastest lies that keeps the bar; None where looks do not tell yet.

    The upper one is that of the second fastest network that is expected to be safe, as one look may flatter,
    or of the only one. The lower one, 0 if nothing was seen there, is that of the slowest network which is
    faster than all that may keep the bar: that would, if training left as little of their gap as the
    geometric mean of what is expected and 1 / `bar.hope`, or as is expected where that is less. One that a
    faster network beats is only bad, and says nothing of what can be had at its latency.
    """
    share = bar.look * bar.guess
    little = math.sqrt(share * min(share, 1 / bar.hope))
    safe = sorted(one.latency_ms for one in looks if expected(one, share, bar) >= bar.safe)
    if not safe:
        return None
    first_ms = min(one.latency_ms for one in looks if expected(one, little, bar) >= bar.least)
    lost_ms, best = 0.0, 0.0
    for one in sorted(looks, key=lambda one: one.latency_ms):
        if one.latency_ms < first_ms and one.brief >= best:
            lost_ms, best = one.latency_ms, one.brief
    return lost_ms, safe[:2][-1]


def next_to_train(
    candidates: Sequence[Candidate], trained: Mapping[str, float], bar: Bar
) -> Candidate | None:
    """Return the candidate to train next, None when there is nothing to gain."""
    share = remaining_share(candidates, trained, bar)
    rest = [one for one in candidates if one.key not in trained]
    safe = [one for one in candidates if trained.get(one.key, 0.0) >= bar.safe]
    limit = min((one.latency_ms for one in safe), default=float("inf"))
    promising = [one for one in rest if one.latency_ms < limit and expected(one, share, bar) >= bar.safe]
    if promising:
        return min(promising, key=lambda one: one.latency_ms)
    if safe or not rest:
        return None
    most = max(rest, key=lambda one: (one.brief, -one.latency_ms))
    hoped = expected(most, share, bar) + expected_error(most, candidates, trained, bar)
    return most if hoped > max(trained.values(), default=0.0) else None


def likely(candidates: Sequence[Candidate], bar: Bar, count: int) -> list[Candidate]:
    """Return those that are trained to the end, `count` at most, if each ends as is expected of it."""
    found: list[Candidate] = []
    assumed: dict[str, float] = {}
    while len(found) < count and (following := next_to_train(candidates, assumed, bar)) is not None:
        found.append(following)
        assumed[following.key] = expected(following, remaining_share(candidates, {}, bar), bar)
    return found


def choose(candidates: Sequence[Candidate], trained: Mapping[str, float], bar: Bar) -> Candidate:
    """Return the fastest of the trained candidates that is safe, or else the most accurate."""
    finished = [one for one in candidates if one.key in trained]
    safe = [one for one in finished if trained[one.key] >= bar.safe]
    if safe:
        return min(safe, key=lambda one: one.latency_ms)
    return max(finished, key=lambda one: trained[one.key])
