"""What a search space offers: widths, depths, stages and blocks in the place of the baseline's."""

from dataclasses import dataclass

from harness.errors import HarnessError, did_you_mean
from harness.model.blocks import FORMS
from harness.model.layers import STEP, rounded


@dataclass(frozen=True)
class Ranges:
    """The options of a space, whatever its baseline."""

    name: str
    shares: tuple[float, ...]
    """Of the baseline's widths; multiples of STEP channels from the first to the last may be proposed.

    Those between only tell spaces, and so tables, apart."""
    ratios: tuple[float, ...]
    """Widths of a block's middle over the block's own."""
    deepest: float = 1.0
    """Blocks of a stage over the baseline's, at most; and one more, where that is more than 1."""
    fewer_stages: int = 0
    """Last stages of the baseline that may be missing."""
    more_stages: int = 0
    """Stages that may follow."""
    early_stride: bool = False
    """Whether the first stage may halve the image, too."""
    forms: tuple[str, ...] = ("bottleneck",)
    """Of blocks, one for each stage; see blocks.FORMS."""

    def depths(self, blocks: int) -> tuple[int, ...]:
        """Return how many blocks may take the place of so many."""
        most = blocks if self.deepest == 1 else max(blocks + 1, int(blocks * self.deepest))
        return tuple(range(1, most + 1))

    def stages(self, count: int) -> tuple[int, ...]:
        """Return how many stages may take the place of so many."""
        return tuple(range(max(1, count - self.fewer_stages), count + self.more_stages + 1))

    def widths(self, whole: int) -> tuple[int, ...]:
        """Return what may take the place of `whole` channels: multiples of STEP within the shares."""
        most = whole if self.shares[-1] == 1 else rounded(whole * self.shares[-1])
        return tuple(range(rounded(whole * self.shares[0]), most + 1, STEP))


# The ranges of the published revisions of ResNet-50 (OFA, BootstrapNAS), refined at the small end.
REVISIONS = Ranges("resnet-rev", (0.25, 0.35, 0.5, 0.65, 0.8, 1.0), (0.125, 0.2, 0.25, 0.35, 0.5))
"""Bottlenecks, none wider or deeper than the baseline's."""
# At 32 px, where one image takes a fraction of a millisecond, blocks of few and dense convolutions do most
# work in a given time: bottlenecks take 1.9 us a convolution and a millisecond for 185 MMAC, dense 3x3
# networks one for 233 MMAC (68 networks in INT8, one thread of Zen 4, our stopwatch).
# Behind a concatenation OpenVINO 2026.4 computes convolutions in f32: 11 of 17.9 ms of ese_vovnet19b in INT8.
OPEN = Ranges(
    "open",
    (0.125, *REVISIONS.shares, 1.4, 2.0),
    (*REVISIONS.ratios, 1.0, 2.0, 4.0),
    deepest=1.5,
    fewer_stages=2,
    more_stages=1,
    early_stride=True,
    forms=tuple(form for form in FORMS if form != "aggregated"),
)
"""All that REVISIONS has, and blocks of other kinds, wider and deeper ones, fewer and more stages."""
ALL = {one.name: one for one in (REVISIONS, OPEN)}


def ranges(name: str) -> Ranges:
    """Return the ranges of a name.

    Raises:
        HarnessError: there are none.
    """
    if name not in ALL:
        raise HarnessError(f"There is no search space '{name}'.{did_you_mean(name, tuple(ALL))}")
    return ALL[name]
