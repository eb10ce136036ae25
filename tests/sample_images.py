"""Images made on the fly for the tests of the data path, and the real ones where they are at hand."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.dataset.images import ImageList
from harness.dataset.recipe import Recipe

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "imagenet-sample"

needs_real_images = pytest.mark.skipif(
    not (REAL / "val_map.txt").is_file(), reason=f"the real images are not at {REAL}"
)


def pattern(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return [height, width, 3] u8 pixels from integer arithmetic alone, the same on every machine."""
    y, x, channel = np.ogrid[:height, :width, :3]
    mixed = (x * 7 + y * 13 + (x * y) // 11 + channel * 61 + seed * 29) % 256
    return np.where((x // 16 + y // 12 + seed) % 3 == 0, 255 - mixed, mixed).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def write_images(
    folder: Path, count: int, height: int = 60, width: int = 80, distinct: int = 12
) -> ImageList:
    """Write `count` JPEGs, of which `distinct` differ, with labels 0..9 and a val_map.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"image_{k:05d}.JPEG" for k in range(count)]
    for k, name in enumerate(names):
        if k < distinct:
            (folder / name).write_bytes(encoded(pattern(height, width, k), quality=90))
        else:
            (folder / name).hardlink_to(folder / names[k % distinct])
    labels = [k % 10 for k in range(count)]
    lines = [f"{name} {label}\n" for name, label in zip(names, labels, strict=True)]
    (folder / "val_map.txt").write_text("".join(lines))
    return ImageList(tuple(names), tuple(labels), folder)


def expected(images: ImageList, recipe: Recipe, names: tuple[str, ...] | None = None) -> np.ndarray:
    return np.stack([recipe.read((images.root / n).read_bytes(), n) for n in names or images.names])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])
