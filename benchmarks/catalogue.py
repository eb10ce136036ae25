"""Make published/imagenet.csv anew: networks for ImageNet with their published top-1, trimmed to 300 rows.

Needs timm for the licences, the file results-imagenet.csv of timm's repository, and the list of the networks
of MLPerf v5.1's Open division: columns model, top1_percent, p90_ms_i9_tflite.
"""

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from harness.files import write_text
from harness.frontier.catalogue import COLUMNS
from harness.model.licence import is_permissive
from harness.resources import PUBLISHED

ROWS = 300
LARGEST_PIXELS = 288
LEAST_TOP1_PERCENT = 73.5
BASELINE = "resnet50"
_LITE_PIXELS = {"lite0": "224", "lite1": "240", "lite2": "260", "lite3": "280", "lite4": "300"}


def from_timm(path: Path, date: str, count: int) -> list[dict[str, str]]:
    """Return the cheapest networks by parameters times pixels, each with its best weights at each size.

    Where weights under another licence are better than the best permissive ones, both are there.
    """
    import timm

    best: dict[tuple[str, str, bool], dict[str, str]] = {}
    for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
        tag, pixels, top1 = row["model"], row["img_size"], float(row["top1"])
        if int(pixels) > LARGEST_PIXELS or top1 < LEAST_TOP1_PERCENT:
            continue
        known = timm.get_pretrained_cfg(tag)
        licence = (known and known.license) or "unknown"
        key = (tag.partition(".")[0], pixels, is_permissive(licence))
        if key in best and float(best[key]["top1_percent"]) >= top1:
            continue
        best[key] = {
            "tag": tag,
            "pixels": pixels,
            "crop": f"{float(row['crop_pct']):g}",
            "interpolation": row["interpolation"],
            "params_m": row["param_count"].replace(",", ""),
            "top1_percent": row["top1"],
            "source": "timm",
            "date": date,
            "licence": licence,
        }
    kept = [
        row
        for (name, pixels, permissive), row in best.items()
        if permissive
        or (name, pixels, True) not in best
        or float(best[name, pixels, True]["top1_percent"]) < float(row["top1_percent"])
    ]
    kept.sort(key=lambda row: (row["tag"].partition(".")[0] != BASELINE, _work(row), row["tag"]))
    return sorted(kept[:count], key=lambda row: (_work(row), row["tag"]))


def from_v51(path: Path, date: str) -> Iterator[dict[str, str]]:
    """Yield the networks of MLPerf v5.1's Open division: top-1 on 50,000 images, through LoadGen."""
    for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
        last = row["model"].rpartition("-")[2]
        pixels = _LITE_PIXELS.get(last) or re.findall(r"\d+$", last)[0]
        yield {
            "tag": row["model"],
            "pixels": pixels,
            "top1_percent": row["top1_percent"],
            "source": "MLPerf v5.1 open",
            "date": date,
            "licence": "unknown",
            "p90_ms": row["p90_ms_i9_tflite"],
        }


def _work(row: dict[str, str]) -> float:
    return float(row["params_m"]) * int(row["pixels"]) ** 2


def main() -> None:
    """Write the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timm-results", type=Path, required=True, metavar="FILE")
    parser.add_argument("--timm-date", default="2025-10-30", help="of that file")
    parser.add_argument("--v51", type=Path, required=True, metavar="FILE")
    parser.add_argument("--v51-date", default="2025-09", help="of the round's publication")
    parser.add_argument("--out", type=Path, default=PUBLISHED / "imagenet.csv", metavar="FILE")
    given = parser.parse_args()
    theirs = list(from_v51(given.v51, given.v51_date))
    rows = [*from_timm(given.timm_results, given.timm_date, ROWS - len(theirs)), *theirs]
    lines = [",".join(COLUMNS), *(",".join(row.get(name, "") for name in COLUMNS) for row in rows)]
    write_text(given.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
