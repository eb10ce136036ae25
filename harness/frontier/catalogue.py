"""The catalogue of published ImageNet networks, published/imagenet.csv: names, sizes, top-1, licences."""

import csv
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from harness import resources
from harness.errors import ModelError, did_you_mean
from harness.model.licence import is_permissive

COLUMNS = (
    "tag",
    "pixels",
    "crop",
    "interpolation",
    "params_m",
    "top1_percent",
    "source",
    "date",
    "licence",
    "p90_ms",
)
TIMM = "timm"
"""The source whose networks can be built here."""


@dataclass(frozen=True)
class Published:
    """A network at an input size, as others have published it."""

    tag: str
    """timm's name, ARCHITECTURE.WEIGHTS, or the name that the submitter gave."""
    pixels: int
    top1: float
    """As a fraction; of the floating-point weights unless the name says otherwise."""
    source: str
    date: str
    licence: str
    """Of the weights; 'unknown' where none is stated."""
    crop: float | None = None
    interpolation: str = ""
    params_m: float | None = None
    p90_ms: float | None = None
    """Single-Stream, on the source's machine; see published/README.md."""

    @property
    def architecture(self) -> str:
        return self.tag.partition(".")[0]

    @property
    def name(self) -> str:
        """Architecture and size, such as 'regnetx_004_tv@224': what a speed is of."""
        return f"{self.architecture}@{self.pixels}"


@cache
def read() -> tuple[Published, ...]:
    """Return the catalogue's rows, timm's from the cheapest on."""
    with (resources.PUBLISHED / "imagenet.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                tag=row["tag"],
                pixels=int(row["pixels"]),
                top1=float(row["top1_percent"]) / 100,
                source=row["source"],
                date=row["date"],
                licence=row["licence"],
                crop=float(row["crop"]) if row["crop"] else None,
                interpolation=row["interpolation"],
                params_m=float(row["params_m"]) if row["params_m"] else None,
                p90_ms=float(row["p90_ms"]) if row["p90_ms"] else None,
            )
            for row in csv.DictReader(file)
        )


def choose(
    patterns: Sequence[str], *, least_top1: float = 0.0, permissive: bool = True, sizes: Sequence[int] = ()
) -> list[Published]:
    """Return timm's networks of the catalogue, one for each architecture and size, the cheapest first.

    The one with the highest published top-1 stands for its architecture and size.

    Args:
        patterns: of architectures, tags or names, with the wildcards of a shell; none: all.
        least_top1: published, as a fraction, that a network must have.
        permissive: whether to leave out weights whose licence forbids commercial use, or is not known.
        sizes: input sizes in pixels; none: all.

    Raises:
        ModelError: a pattern matches no network, or none that is allowed.
    """
    rows = [row for row in read() if row.source == TIMM]
    for pattern in patterns:
        if not any(_matches(row, pattern) for row in rows):
            near = did_you_mean(pattern, {row.architecture for row in rows})
            hint = near if near.startswith(" Did") else " Give a name of published/imagenet.csv."
            raise ModelError(f"'{pattern}' matches no network of the catalogue.{hint}")
    allowed = [
        row
        for row in rows
        if (not permissive or is_permissive(row.licence))
        and row.top1 >= least_top1
        and (not sizes or row.pixels in sizes)
    ]
    for pattern in patterns:
        if not any(_matches(row, pattern) for row in allowed):
            asked = [
                *([f"--min-top1 {least_top1:g}"] if least_top1 else []),
                *(["--licence permissive"] if permissive else []),
                *([f"--sizes {','.join(map(str, sizes))}"] if sizes else []),
            ]
            raise ModelError(
                f"Of the networks that '{pattern}' names {' and '.join(asked)} leave none: ask for less."
            )
    best: dict[str, Published] = {}
    for row in allowed:
        wanted = not patterns or any(_matches(row, pattern) for pattern in patterns)
        if wanted and (row.name not in best or row.top1 > best[row.name].top1):
            best[row.name] = row
    return sorted(best.values(), key=lambda row: ((row.params_m or 0.0) * row.pixels**2, row.tag))


def of_others() -> list[Published]:
    """Return the rows with a published latency: the networks of MLPerf v5.1's Open division."""
    return [row for row in read() if row.p90_ms is not None]


def _matches(row: Published, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (row.architecture, row.tag, row.name))
