"""What scoring gives in every task: a score, its verdict, and how two variants' answers differ."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

QUANTIZE_AGAIN = (
    "quantize again with more calibration images or with --max-drop below what is lost now, or lower "
    "accuracy.target_fraction of the card if that loss is acceptable."
)
"""What to change where a model that was quantized here misses its target."""


class Score(Protocol):
    """How right the answers to some samples are."""

    @property
    def fraction(self) -> float:
        """From 0 to 1; references and targets are such fractions, too."""

    @property
    def total(self) -> int | None:
        """How many samples were scored; None where only a line is known that does not say it."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What result.json has beside fraction and text."""

    @property
    def text(self) -> str:
        """The line that MLPerf's accuracy script prints."""


@dataclass(frozen=True)
class Stated:
    """What a line in the form of MLPerf's accuracy script states."""

    score: Score
    percentage: float
    fault: str
    """What the line contradicts itself in, or an empty text."""


@dataclass(frozen=True)
class Verdict:
    """Whether a score reaches its target; `target` and `margin` are fractions."""

    passed: bool
    target: float
    margin: float
    """Score less target; negative when the target is missed."""
    text: str


class Paired(Protocol):
    """Two variants' answers to the same images."""

    @property
    def count(self) -> int: ...

    @property
    def changed(self) -> int:
        """Images with different answers."""


@dataclass(frozen=True)
class PairedBoxes:
    """Two variants' boxes in the same images."""

    count: int
    changed: int
    """Images of whose boxes less than 90 % have a partner in the other variant's answer."""
    agreement: float
    """Share of an image's boxes that have one, on average over the images."""
    difference: float
    """mAP of the second variant less that of the first, as a fraction."""
    low: float
    """95 % interval of it: a bootstrap over the images."""
    high: float


@dataclass(frozen=True)
class PairedAnswers:
    """Two variants' labels of the same images."""

    count: int
    changed: int
    """Images with different answers, right or wrong."""
    lost: int
    """Images that the first variant got right and the second wrong."""
    gained: int
    """Images that the first variant got wrong and the second right."""
    p_value: float
    """Of McNemar's exact test, two-sided."""


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: each changed image is a fair coin.

    (McNemar, Psychometrika 12, 1947; exact by the binomial distribution.)
    """
    # The measured child process knows the tasks, too, and shall not load SciPy.
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def difference(lost: int, gained: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of the second variant's accuracy less that of the first, as fractions.

    What McNemar's exact test asks, how many of the changed images are gained, has an exact interval (Clopper
    and Pearson, Biometrika 26, 1934), which leaves out 0 just where the test tells a difference. It takes for
    granted how many changed; where that makes it narrower than the interval which does not (Agresti and Min,
    "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24,
    2005: half an image more in each cell), the wider end counts.

    Args:
        lost: images that only the first variant got right.
        gained: images that only the second one got right.
        count: all images, 1 at least.
    """
    from scipy.stats import binomtest, norm

    changed, net = lost + gained + 1, gained - lost
    center = net / (count + 2)
    half = norm.ppf(0.975) * math.sqrt(changed - net**2 / (count + 2)) / (count + 2)
    low, high = float(center - half), float(center + half)
    if lost + gained:
        share = binomtest(gained, lost + gained).proportion_ci(0.95)
        low = min(low, (lost + gained) * (2 * share.low - 1) / count)
        high = max(high, (lost + gained) * (2 * share.high - 1) / count)
    return max(-1.0, low), min(1.0, high)


def hold(reached: Fraction, reference: float, target_fraction: float) -> Verdict:
    """Hold a score against `target_fraction` of the `reference` (all fractions), exactly.

    The floats count as the decimal numbers that they were written as, so that 37848 of 50000 passes
    0.99 x 0.7646 and 37847 fails.
    """
    wanted, share = Decimal(repr(float(reference))), Decimal(repr(float(target_fraction)))
    target = Fraction(wanted) * Fraction(share)
    margin = reached - target
    passed = margin >= 0
    points = float(100 * margin)
    shown = f"{points:+.3f}" if points == 0 or abs(points) >= 0.0005 else f"{points:+.1g}"
    rule = f"{_per_cent(wanted * share)} % ({_per_cent(share)} % of {_per_cent(wanted)} %)"
    text = (
        f"{'passed' if passed else 'failed'}: {100 * float(reached):.3f} % against the target {rule}, "
        f"margin {shown} points"
    )
    return Verdict(passed, float(target), float(margin), text)


def is_far_off(reached: float, target: float) -> bool:
    """Return whether an accuracy is so far below its target that it is no matter of the model's quality."""
    return reached < target / 2


def _per_cent(fraction: Decimal) -> str:
    return f"{(100 * fraction).normalize():f}"


def lines_like(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the different lines of a text that begin like a pattern; a line feed alone ends a line."""
    return list(dict.fromkeys(line for line in text.split("\n") if pattern.match(line)))
