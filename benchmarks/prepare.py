"""How fast `harness prepare` is, and how much disk it takes, beside a plain OpenCV loop and MLCommons' code.

All do the same images on the same number of cores, in alternating rounds; ratios compare medians of one run.

    python benchmarks/prepare.py --images ../shared/data/imagenet-sample [--official CHECKOUT]
"""

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harness.dataset.images import ImageList, find_images
from harness.dataset.recipe import Recipe
from harness.dataset.store import prepare

RECIPE = Recipe(224, "area", 0.875)
ROUNDS = 5

Way = Callable[[ImageList, Path, int], None]


def ours(images: ImageList, out: Path, cores: int) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        prepare(images, RECIPE, out, "imagenet", workers=cores)


def plain_loop(images: ImageList, out: Path, cores: int) -> None:
    """What one writes first: each core loops over its share and saves u8 arrays, unchecked and unsynced."""
    cv2.setNumThreads(1)
    out.mkdir()

    def loop(first: int) -> None:
        for k in range(first, len(images.names), cores):
            image = cv2.cvtColor(cv2.imread(str(images.root / images.names[k])), cv2.COLOR_BGR2RGB)
            height, width = image.shape[:2]
            short = min(height, width)
            target = (256 * width // short, 256 * height // short)
            image = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
            top, left = (target[1] - 224) // 2, (target[0] - 224) // 2
            np.save(out / f"{k}.npy", np.ascontiguousarray(image[top : top + 224, left : left + 224]))

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(loop, range(cores)))


def official_way(checkout: Path) -> Way:
    """Return MLCommons' own preprocessing, imported from a checkout of mlcommons/inference."""
    python = checkout / "vision" / "classification_and_detection" / "python"
    sys.path.insert(0, str(python if python.is_dir() else checkout))
    imagenet, dataset = importlib.import_module("imagenet"), importlib.import_module("dataset")
    logging.getLogger().setLevel(logging.WARNING)

    def official(images: ImageList, out: Path, cores: int) -> None:
        cv2.setNumThreads(-1)
        imagenet.Imagenet(
            data_path=str(images.root),
            image_list=None,
            name="imagenet",
            image_format="NHWC",
            pre_process=dataset.pre_process_vgg,
            cache_dir=str(out),
            threads=cores,
        )

    return official


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def several_times(images: ImageList, copies: int, folder: Path) -> ImageList:
    """Link every image `copies` times under new names, so that a round is long enough to measure."""
    folder.mkdir()
    names = [f"{copy}_{Path(name).name}" for copy in range(copies) for name in images.names]
    for name in names:
        (folder / name).symlink_to((images.root / name.split("_", 1)[1]).resolve())
    labels = images.labels * copies
    lines = [f"{name} {label}\n" for name, label in zip(names, labels, strict=True)]
    (folder / "val_map.txt").write_text("".join(lines))
    return ImageList(tuple(names), labels, folder)


def measure(
    ways: dict[str, Way], images: ImageList, cores: int, rounds: int, scratch: Path
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    size: dict[str, int] = {}
    for turn in range(rounds + 1):
        order = list(ways) if turn % 2 else list(reversed(ways))
        for name in order:
            out = scratch / name
            os.sync()
            started = time.perf_counter()
            ways[name](images, out, cores)
            taken = time.perf_counter() - started
            if turn:  # the first round warms the page cache
                seconds[name].append(taken)
            size[name] = bytes_below(out)
            shutil.rmtree(out)
    rows: dict[str, dict[str, Any]] = {
        name: {
            "images_per_s": len(images.names) / statistics.median(taken),
            "bytes_per_image": size[name] / len(images.names),
            "seconds": taken,
        }
        for name, taken in seconds.items()
    }
    for row in rows.values():
        row["speed_of_ours"] = rows["ours"]["images_per_s"] / row["images_per_s"]
    return {"images": len(images.names), "cores": cores, "rounds": rounds, "ways": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="ImageNet images with val_map.txt")
    parser.add_argument("--official", type=Path, help="checkout of mlcommons/inference to compare with")
    parser.add_argument("--copies", type=int, default=4, help="how often each image is done in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    ways: dict[str, Way] = {"ours": ours, "plain": plain_loop}
    if options.official:
        ways["official"] = official_way(options.official)
    with tempfile.TemporaryDirectory() as scratch:
        images = several_times(find_images(options.images, 1000), options.copies, Path(scratch, "images"))
        outcome = measure(ways, images, cores, options.rounds, Path(scratch))
    if options.json:
        print(json.dumps(outcome, indent=2))
        return
    print(f"{outcome['images']} images, {cores} cores, medians of {options.rounds} rounds")
    print(f"{'':10}{'images/s':>10}{'kB/image':>10}{'ours is':>10}")
    for name, row in outcome["ways"].items():
        speed, kilobytes = row["images_per_s"], row["bytes_per_image"] / 1000
        print(f"{name:10}{speed:10.0f}{kilobytes:10.1f}{row['speed_of_ours']:9.2f}x")


if __name__ == "__main__":
    main()
