"""A store: a folder with the preprocessed images of one list, under one or more recipes."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness import __version__, console, files
from harness.dataset.images import ImageList, is_in_official_order
from harness.dataset.manifest import (
    MANIFEST,
    Manifest,
    Missing,
    RecipeFile,
    read_list,
    read_manifest,
    write_list,
    write_manifest,
)
from harness.dataset.recipe import ImageError, Pixels, Recipe, decode, one_thread_per_call, tool_versions
from harness.dataset.sample_file import SampleFile
from harness.errors import DataError, OutputError
from harness.machine import system
from harness.mlperf.benchmark import BENCHMARKS

_LOCK = ".prepare.lock"
_SHOWN_FAULTS = 10
# Beyond this many threads Python's lock, not decoding, sets the pace.
_MAX_WORKERS = 64


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store; sample k has name names[k] and label labels[k]."""

    path: Path
    manifest: Manifest
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def dataset(self) -> str:
        return self.manifest.dataset

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Images of the list that are not in the store."""
        return self.manifest.missing

    @property
    def recipes(self) -> Mapping[str, RecipeFile]:
        """The recipes held, by key."""
        return self.manifest.recipes

    def samples(self, recipe: Recipe) -> npt.NDArray[np.uint8]:
        """Return the samples of `recipe`: a read-only memory map, u8 [count, size, size, 3], RGB.

        Raises:
            DataError: the store does not hold this recipe.
        """
        shape = (self.count, recipe.size, recipe.size, 3)
        return np.memmap(self.path / self._file(recipe).file, dtype=np.uint8, mode="r", shape=shape)

    def sha256(self, recipe: Recipe) -> str:
        """Return the hex digest that the file of `recipe` had when it was prepared.

        Raises:
            DataError: the store does not hold this recipe.
        """
        return self._file(recipe).sha256

    def submittable_faults(self) -> list[str]:
        """Return why results on this store cannot be submitted to MLPerf; nothing when they can."""
        faults = []
        if self.missing:
            faults.append(f"the store {self.path} lacks {len(self.missing):,} of the listed images")
        benchmark = next((b for b in BENCHMARKS.values() if b.dataset == self.dataset), None)
        if benchmark is None:
            faults.append(f"'{self.dataset}' is not the data set of an MLPerf benchmark")
        elif self.count != benchmark.sample_count:
            faults.append(
                f"the store {self.path} holds {self.count:,} images, "
                f"where {self.dataset} has {benchmark.sample_count:,}"
            )
        if not is_in_official_order(self.names):
            faults.append(f"the store {self.path} has its images in another order than MLPerf's val_map.txt")
        return faults

    def _file(self, recipe: Recipe) -> RecipeFile:
        if recipe.key not in self.recipes:
            raise DataError(
                f"The store {self.path} has no samples for recipe {recipe.key} (it holds "
                f"{', '.join(self.recipes)}): add them with `harness prepare --dataset {self.dataset} "
                f"--images {self.manifest.images} --model CARD --out {self.path}`."
            )
        return self.recipes[recipe.key]


def open_store(path: Path) -> Store:
    """Open the store at `path` and check its files against its manifest.

    Raises:
        DataError: no folder, not a store, another format, or files that do not match the manifest.
    """
    if not path.is_dir():
        raise DataError(f"No store at {path}: make one with `harness prepare`.")
    manifest = read_manifest(path)
    if not manifest.count or not manifest.recipes:
        raise DataError(f"The store {path} is empty: delete it and prepare again.")
    names, labels = read_list(path, manifest)
    for entry in manifest.recipes.values():
        _check_size(path / entry.file, manifest.count * entry.recipe.sample_bytes)
    return Store(path, manifest, names, labels)


def prepare(
    images: ImageList,
    recipe: Recipe,
    out: Path,
    dataset: str,
    allow_missing: bool = False,
    workers: int | None = None,
) -> Store:
    """Preprocess `images` as `recipe` says into the store at `out`, made or extended as needed.

    Every core is used unless `workers` says otherwise. A call that was interrupted, even killed, is taken up
    where it stopped, and ends with the same bytes. With `allow_missing` the images that cannot be read are
    left out and recorded. All recipes of a store hold the same images.

    Raises:
        DataError: images that cannot be read, or a store of other images.
        OutputError: the folder cannot be written, holds something else, or has no room.
    """
    if ready := _ready(images, recipe, out, dataset, allow_missing):
        return ready
    _refuse_foreign_folder(out)
    files.make_writable_folder(out)
    if workers is None:
        workers = min(system.usable_cpus(), _MAX_WORKERS)
    busy = DataError(f"Another `harness prepare` is at work on {out}: wait for it, or choose another folder.")
    try:
        with files.locked(out / _LOCK, busy):
            if ready := _ready(images, recipe, out, dataset, allow_missing):
                return ready
            _prepare(images, recipe, out, dataset, allow_missing, workers)
    except OSError as error:
        raise OutputError(
            f"Cannot write the store {out} ({error.strerror or error}): "
            f"once that is put right, the same command goes on where it stopped."
        ) from error
    finally:
        with suppress(OSError):
            out.rmdir()  # succeeds only when nothing was written
    return open_store(out)


def _prepare(
    images: ImageList, recipe: Recipe, out: Path, dataset: str, allow_missing: bool, workers: int
) -> None:
    held = read_manifest(out) if (out / MANIFEST).exists() else None
    root = str(images.root.resolve())
    versions = tool_versions()
    stamp = json.dumps([recipe.to_dict(), versions, root], sort_keys=True)
    path = out / f"{recipe.key}.u8"
    with SampleFile(path, recipe.sample_bytes, stamp) as samples, one_thread_per_call():
        gone: dict[int, str] = {}
        if held is not None:
            absent = {entry.name: entry.fault for entry in held.missing}
            gone = {k: absent[name] for k, name in enumerate(images.names) if name in absent}
        elif allow_missing:
            gone = _known_faults(images, recipe, samples.unreadable)
        while found := _fill(images, gone, recipe, out, samples, workers):
            if held is not None or not allow_missing:
                raise _offenders(images, found, recoverable=held is None)
            samples.give_up(images.names[k] for k in found)
            gone |= found
        made = RecipeFile(
            recipe, path.name, samples.publish(), samples.sha256, {"harness": __version__, **versions}
        )
        if held is None:
            kept = [k for k in range(len(images.names)) if k not in gone]
            labels = [images.labels[k] for k in kept]
            held = Manifest(
                dataset=dataset,
                images=root,
                count=len(kept),
                labels=len(set(labels)),
                list_sha256=write_list(out, [images.names[k] for k in kept], labels),
                missing=tuple(Missing(images.names[k], images.labels[k], gone[k]) for k in sorted(gone)),
                recipes={},
            )
        write_manifest(out, replace(held, recipes={**held.recipes, recipe.key: made}))
        samples.forget()


def _fill(
    images: ImageList, gone: Mapping[int, str], recipe: Recipe, out: Path, samples: SampleFile, workers: int
) -> dict[int, str]:
    """Write the samples of all images but those in `gone`; return the faults found, list index to reason."""
    kept = [k for k in range(len(images.names)) if k not in gone]
    if not kept:
        raise _offenders(images, gone, recoverable=False)
    needed_bytes = len(kept) * recipe.sample_bytes - samples.allocated_bytes
    files.require_free_space(out, needed_bytes, f"{len(kept):,} samples")
    started = time.monotonic()
    computed = 0

    with console.progress(f"Preparing {recipe.key}", total=len(kept)) as bar:

        def advance(count: int, newly: int) -> None:
            nonlocal computed
            computed += newly
            bar.advance(count)
            if computed:
                bar.update(rate=f"{computed / (time.monotonic() - started):,.0f} images/s")

        names = [images.names[k] for k in kept]
        faults = samples.fill(names, _producer(images.root, recipe), workers, advance)
    return {kept[k]: fault for k, fault in faults.items()}


def _producer(root: Path, recipe: Recipe) -> Callable[[str], Pixels]:
    def produce(name: str) -> Pixels:
        try:
            data = (root / name).read_bytes()
        except FileNotFoundError as error:
            raise ImageError(name, "does not exist") from error
        except (OSError, ValueError) as error:
            raise ImageError(name, f"cannot be read ({error})") from error
        return recipe.apply(decode(data, name), name)

    return produce


def _known_faults(images: ImageList, recipe: Recipe, unreadable: frozenset[str]) -> dict[int, str]:
    """Find what is absent or was given up before, so that the rest gets its final indices at once."""
    produce = _producer(images.root, recipe)
    faults = {}
    for k, name in enumerate(images.names):
        if name in unreadable or not (images.root / name).exists():
            try:
                produce(name)
            except ImageError as error:
                faults[k] = error.fault
    return faults


def _offenders(images: ImageList, faults: Mapping[int, str], recoverable: bool) -> DataError:
    shown = [f"{images.names[k]} {faults[k]}" for k in sorted(faults)[:_SHOWN_FAULTS]]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more")
    cure = "restore them"
    if recoverable:
        cure += ", or give --allow-missing to leave them out (the result cannot then be submitted)"
    return DataError(
        f"{len(faults)} of {len(images.names)} images in {images.root} cannot be used "
        f"({'; '.join(shown)}): {cure}."
    )


def _ready(images: ImageList, recipe: Recipe, out: Path, dataset: str, allow_missing: bool) -> Store | None:
    """Return the store at `out` when it holds the recipe already; refuse one that holds other images."""
    if not (out / MANIFEST).exists():
        return None
    store = open_store(out)
    if store.dataset != dataset:
        raise DataError(
            f"The store {out} holds the data set '{store.dataset}', not '{dataset}': choose another folder."
        )
    absent = {entry.name for entry in store.missing}
    listed = [item for item in zip(images.names, images.labels, strict=True) if item[0] not in absent]
    complete = len(listed) + len(absent) == len(images.names)
    if not complete or listed != list(zip(store.names, store.labels.tolist(), strict=True)):
        raise DataError(
            f"The store {out} holds another list of images or labels than {images.root}: "
            f"choose another folder for this list."
        )
    if absent and not allow_missing:
        raise DataError(
            f"The store {out} was made with --allow-missing and lacks {len(absent)} of the listed images: "
            f"prepare a whole one in another folder, or give --allow-missing again."
        )
    if recipe.key not in store.recipes:
        return None
    console.note(f"{out} holds {recipe.key} of these {store.count:,} images already.")
    return store


def _refuse_foreign_folder(out: Path) -> None:
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    names = {path.name for path in out.iterdir()} - {_LOCK}
    if names and not any(name.endswith((".u8.partial", ".u8.journal")) for name in names):
        raise OutputError(
            f"{out} holds other files and no store: choose a new or an empty folder for the store."
        )


def _check_size(path: Path, needed_bytes: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            f"The sample file {path} cannot be opened ({error.strerror}): delete the store and prepare again."
        ) from error
    if size != needed_bytes:
        raise DataError(
            f"The sample file {path} has {size:,} bytes instead of {needed_bytes:,}: "
            f"delete the store and prepare again."
        )
