"""Image folders as training data: found, decoded once, cut and flipped by a rule that a seed fixes."""

import copy
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from harness.console import note
from harness.dataset.image_file import Pixels, decode
from harness.dataset.images import ImageList
from harness.dataset.recipe import MEAN, SCALE, Recipe
from harness.errors import DataError, HarnessError
from harness.machine import system
from harness.process.native_stderr import overhear
from harness.process.signals import deliver_on_the_normal_stack
from harness.process.workers import serve_the_parent
from harness.training.ranks import Ranks
from harness.training.trivial import augment

CACHE_BYTES = 4 << 30
"""What images that are kept in memory may take there."""

_MOST_LOADERS = 8

Draw = tuple[int, int]
"""What a sampler yields: epoch and index of an image. The epoch is part of the augmentation's seed."""


@dataclass(frozen=True)
class Augmentation:
    """How a training image is varied."""

    smallest_area: float = 0.35
    """Least share of the image's area that a cut keeps, where there is no `padding`."""
    flip: bool = True
    """Mirror half of the images; turn it off where left and right differ, as in digits."""
    trivial: bool = False
    """Put each image through one of TrivialAugment's operations; see trivial.augment."""
    first_size: int | None = None
    """Size of the images in the first epoch, in pixels; None: the recipe's size from the beginning."""
    growing_epochs: int = 0
    """Epochs until images that start at `first_size` have the recipe's size."""
    versions: int | None = None
    """In how many versions each image is seen, in turn; None: in another one each epoch."""
    padding: int | None = None
    """Cut out no part, but move what the recipe makes of an image, by so many pixels at most; None: cut."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, without `padding` where it is None, as older checkpoints have them."""
        found = asdict(self)
        return {name: value for name, value in found.items() if (name, value) != ("padding", None)}

    def __post_init__(self) -> None:
        if self.versions is not None and self.first_size is not None:
            raise ValueError("images that grow are not the same again when their versions return")

    def size(self, epoch: int, full_size: int) -> int:
        """Return the size of the images in an epoch, counted from 0; it grows by multiples of 4 pixels.

        Small images cost less and teach most of what large ones do (progressive resizing, as in the ImageNet
        entries of DAWNBench 2018).
        """
        if self.first_size is None or epoch >= self.growing_epochs:
            return full_size
        grown = (full_size - self.first_size) * epoch / self.growing_epochs
        return self.first_size + int(grown // 4) * 4


class Images(Dataset[tuple[Tensor, int]]):  # type: ignore[misc]
    """The images of a list at a recipe's size, or growing to it: u8 [size, size, 3] RGB, and their label.

    Without `augmentation` an image goes through the recipe, as in a benchmark run. With it, a random part is
    cut out and resized, or all is moved, and perhaps mirrored; seed, epoch and index decide how. Before that
    a larger image is shrunk to the recipe's short side, whether it is kept in memory or not: so neither
    memory nor workers nor a resumed training change anything.
    """

    def __init__(
        self,
        images: ImageList,
        recipe: Recipe,
        augmentation: Augmentation | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.recipe = recipe
        self.augmentation = augmentation
        self._seed = seed
        self._cache: list[Pixels] | None = None

    def __len__(self) -> int:
        return len(self.images.names)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What decides the pixels that a draw gives; it can be hashed."""
        return self.images, self.recipe, self.augmentation, self._seed

    @property
    def in_memory(self) -> bool:
        return self._cache is not None

    def version(self, epoch: int) -> int:
        """Return the first epoch, counted from 0, in which all images are as they are in `epoch`."""
        if self.augmentation is None:
            return 0
        versions = self.augmentation.versions
        return epoch if versions is None else epoch % versions

    def varied(self, augmentation: Augmentation) -> "Images":
        """Return the same images, varied in another way; what is kept in memory is shared.

        Raises:
            ValueError: these are not varied at all, and kept in memory as the recipe has them.
        """
        if self.augmentation is None:
            raise ValueError("images that are not varied cannot be varied in another way")
        found = copy.copy(self)
        found.augmentation = augmentation
        return found

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        epoch, index = draw
        pixels = self._load(index) if self._cache is None else self._cache[index]
        if self.augmentation is not None:
            if self._cache is None:
                pixels = self._shrink(pixels)
            size = self.augmentation.size(epoch, self.recipe.size)
            source = np.random.PCG64([self._seed, self.version(epoch), index])
            pixels = self._vary(pixels, index, source, self.augmentation, size)
        elif self._cache is None:
            pixels = self._fit(pixels, index)
        return torch.from_numpy(np.ascontiguousarray(pixels)), self.images.labels[index]

    def _path(self, index: int) -> Path:
        return self.images.root / self.images.names[index]

    def _load(self, index: int) -> Pixels:
        path = self._path(index)
        try:
            return decode(path.read_bytes(), str(path), self.recipe.exif_rotation)
        except OSError as error:
            raise DataError(f"Cannot read the image {path} ({error.strerror}): restore it.") from error

    def count_bytes(self) -> int:
        """Return about how many bytes of memory they take when they are kept there."""
        return len(self) * 5 * self.recipe.short_side**2

    def keep_in_memory(self, ranks: Ranks) -> None:
        """Decode every image now, shrink it to the recipe's short side and keep it.

        Raises:
            DataError: an image is missing or broken.
        """

        suspects: set[int] = set()

        def load(index: int) -> Pixels:
            before = heard.size()
            pixels = self._load(index)
            if heard.size() != before:
                suspects.add(index)
            return self._fit(pixels, index) if self.augmentation is None else self._shrink(pixels)

        cache = []
        with (
            overhear() as heard,
            ranks.progress(f"read {self.images.root}", len(self)) as advance,
            ThreadPoolExecutor(system.usable_cpus()) as pool,
        ):
            for pixels in pool.map(load, range(len(self))):
                cache.append(pixels)
                advance(1)
            index_of = {self.images.names[index]: index for index in suspects}
            for name, said in heard.sort_out(index_of, lambda name: self._load(index_of[name])).items():
                note(f"The image {name} is decoded, but with a warning: {said}.")
        self._cache = cache

    def _fit(self, pixels: Pixels, index: int) -> Pixels:
        return self.recipe.apply(pixels, str(self._path(index)))

    def _shrink(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        factor = self.recipe.short_side / min(height, width)
        if factor >= 1:
            return pixels
        shrunk: Pixels = cv2.resize(
            pixels, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA
        )
        return shrunk

    def _vary(
        self, pixels: Pixels, index: int, source: np.random.PCG64, augmentation: Augmentation, size: int
    ) -> Pixels:
        """Cut out a random part and mirror it or not; perhaps one of TrivialAugment's operations follows."""
        area, ratio, top, left, mirror, *more = (source.random_raw(8) >> np.uint64(11)) * 2.0**-53
        if augmentation.padding is None:
            cut = self._part(pixels, (area, ratio, top, left), augmentation.smallest_area, size)
        else:
            cut = self._moved(pixels, index, (top, left), augmentation.padding, size)
        flipped = cut[:, ::-1] if augmentation.flip and mirror < 0.5 else cut
        return augment(np.ascontiguousarray(flipped), *more) if augmentation.trivial else flipped

    def _part(
        self, pixels: Pixels, draws: tuple[float, float, float, float], smallest: float, size: int
    ) -> Pixels:
        """Return a part, resized: its share of the area, its aspect ratio (3/4 to 4/3), its place drawn."""
        area, ratio, top, left = draws
        height, width = pixels.shape[:2]
        keep = smallest + (1 - smallest) * area
        aspect = (4 / 3) ** (2 * ratio - 1)
        side = (keep * height * width) ** 0.5
        cut_height = max(1, min(height, round(side / aspect**0.5)))
        cut_width = max(1, min(width, round(side * aspect**0.5)))
        y, x = int(top * (height - cut_height + 1)), int(left * (width - cut_width + 1))
        shrinks = cut_height > size and cut_width > size
        cut: Pixels = cv2.resize(
            pixels[y : y + cut_height, x : x + cut_width],
            (size, size),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        return cut

    def _moved(
        self, pixels: Pixels, index: int, draws: tuple[float, float], padding: int, size: int
    ) -> Pixels:
        """Return what the recipe makes of an image, moved to a drawn place; what was outside is mirrored.

        (As ResNets learn on CIFAR: He et al., "Deep Residual Learning for Image Recognition", 2015, section
        4.2, where it is black.)
        """
        recipe = self.recipe if size == self.recipe.size else self.recipe.at(size)
        border = round(padding * size / self.recipe.size)
        whole = recipe.apply(pixels, str(self._path(index)))
        padded = cv2.copyMakeBorder(whole, border, border, border, border, cv2.BORDER_REFLECT)
        y, x = (int(draw * (2 * border + 1)) for draw in draws)
        cut: Pixels = padded[y : y + size, x : x + size]
        return cut


class ImageMemory:
    """The memory that decoded images may take, CACHE_BYTES of it; what does not fit stays in its files."""

    def __init__(self, processes: int) -> None:
        """Let so many processes on this machine keep the same images, each its own."""
        self._processes = processes
        self._free_bytes = CACHE_BYTES

    def keep(self, ranks: Ranks, *lists: Images) -> None:
        """Keep all of these in memory, or none of them where they do not fit together.

        Raises:
            DataError: an image is missing or broken.
        """
        needed = self._processes * sum(images.count_bytes() for images in lists)
        if needed > self._free_bytes:
            return
        self._free_bytes -= needed
        for images in lists:
            images.keep_in_memory(ranks)


def normalised(pixels: Tensor, device: torch.device) -> Tensor:
    """Return u8 [batch, h, w, 3] RGB as f32 [batch, 3, h, w] on `device`, (pixel - MEAN) / SCALE."""
    x = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    scale = torch.tensor(SCALE, device=device).view(3, 1, 1)
    return (x - mean) / scale


class Order(Sampler[Draw]):  # type: ignore[misc]
    """The share of one process in an epoch: shuffled anew each epoch, or in order.

    Shuffled shares are equally long, as training steps must be; shares in order cover every image once.
    """

    def __init__(self, count: int, *, seed: int | None, rank: int = 0, ranks: int = 1) -> None:
        self._count, self._seed, self._rank, self._ranks = count, seed, rank, ranks
        self.epoch = 0

    def __len__(self) -> int:
        if self._seed is None:
            return len(range(self._rank, self._count, self._ranks))
        return self._count // self._ranks

    def indices(self) -> NDArray[np.int64]:
        """Return i64 [len(self)], the images of this process in the order of this epoch."""
        indices = np.arange(self._count)
        if self._seed is not None:
            np.random.default_rng([self._seed, self.epoch]).shuffle(indices)
        return indices[self._rank :: self._ranks][: len(self)]

    def __iter__(self) -> Iterator[Draw]:
        for index in self.indices():
            yield self.epoch, int(index)


class _Loader(DataLoader):  # type: ignore[misc]
    def __iter__(self) -> Any:
        found = super().__iter__()
        # Here PyTorch (2.13) sets a handler of SIGCHLD: any process that ends later would end this one.
        deliver_on_the_normal_stack(signal.SIGCHLD)
        return _in_one_sentence(found)


def _in_one_sentence(found: Iterator[Any]) -> Iterator[Any]:
    """Yield batches; what a loader process raised comes as a traceback in words: the last line counts."""
    try:
        yield from found
    except (RuntimeError, HarnessError) as error:
        kind, _, said = str(error).strip().rpartition("\n")[2].partition(": ")
        if not kind.startswith("harness."):
            raise
        raise DataError(said) from error


def loaders(images: Images, ranks: Ranks, wanted: int | None = None) -> int:
    """Return how many processes load images for each that trains: none where they are in memory.

    Else it is what is wanted, or where nobody says one a CPU, up to 8.
    """
    if images.in_memory:
        return 0
    if wanted is not None:
        return wanted
    return max(1, min(_MOST_LOADERS, system.usable_cpus() // ranks.here))


def batches(images: Images, order: Order, batch_size: int, workers: int, *, whole: bool) -> DataLoader:
    """Return a loader of (u8 [batch, size, size, 3], i64 [batch]); `whole` drops an incomplete last batch."""
    return _Loader(
        images,
        batch_size,
        sampler=order,
        num_workers=workers,
        drop_last=whole,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        multiprocessing_context=_server() if workers else None,
        worker_init_fn=_begin,
    )


def _server() -> Any:
    """Return what starts loader processes: a process that has all they import, so that each starts at once.

    A plain fork beside the threads of OpenVINO, in a process that has compiled a model, can hang.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _begin(_: int) -> None:
    # PyTorch has its own way to see that the parent is gone, which takes the server for it.
    serve_the_parent()
    cv2.setNumThreads(1)
