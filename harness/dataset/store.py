"""A store: a folder with the preprocessed images of one list, under one or more recipes."""

import json
import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness import __version__, console, files
from harness.dataset import coco
from harness.dataset.form import Form
from harness.dataset.image_file import ImageError, one_thread_per_call, tool_versions
from harness.dataset.images import Listed, is_in_official_order
from harness.dataset.label_file import VAL_MAP
from harness.dataset.manifest import (
    MANIFEST,
    Manifest,
    RecipeFile,
    Remark,
    quoted,
    read_list,
    read_manifest,
    truth_file,
    write_list,
    write_manifest,
)
from harness.dataset.pixels import require_size, require_spread, require_whole, spread, spread_sha256
from harness.dataset.preparation import (
    LOCK,
    Work,
    free_name,
    known_faults,
    offenders,
    reader,
    refuse_foreign_folder,
    shown,
)
from harness.dataset.recipe import Recipe
from harness.dataset.sample_file import SampleFile
from harness.dataset.sources import changed, read_sources, write_sources
from harness.errors import DataError, OutputError
from harness.machine import system
from harness.mlperf.benchmark import BENCHMARKS

_UNDER_WAY = (".partial", ".journal", ".lock")
_HASHED_WHOLE_BYTES = 256_000_000
"""Half a second's reading and hashing, where the whole of ImageNet takes many."""
_COMPARED = 64
"""Images of a store that knows no sources, of which the pixels are made again."""
# Beyond this many threads Python's lock, not decoding, sets the pace.
_MAX_WORKERS = 64


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store; sample k has the name names[k]."""

    path: Path
    manifest: Manifest
    names: tuple[str, ...]
    numbers: npt.NDArray[np.int64]
    """What its list has of each image beside the name: its label; where there are boxes id, width, height."""

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def dataset(self) -> str:
        return self.manifest.dataset

    @property
    def form(self) -> Form:
        """In which form it is known what is right about the images."""
        return Form(self.manifest.task)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The label of each sample, [count].

        Raises:
            DataError: the store has boxes instead.
        """
        self._require_form(Form.LABEL)
        return self.numbers[:, 0]

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The id of each sample in `boxes`.

        Raises:
            DataError: the store has labels instead.
        """
        self._require_form(Form.BOXES)
        return tuple(self.numbers[:, 0].tolist())

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Width and height of each image as it is decoded, [count, 2].

        Raises:
            DataError: the store has labels instead.
        """
        self._require_form(Form.BOXES)
        return self.numbers[:, 1:]

    @cached_property
    def boxes(self) -> coco.Annotations:
        """What is right about the images, read once.

        Raises:
            DataError: the store has labels instead.
        """
        self._require_form(Form.BOXES)
        assert self.truth_file is not None
        return coco.read(self.truth_file)

    @property
    def truth_file(self) -> Path | None:
        """The boxes of these images in COCO's format; None where the list has labels."""
        return truth_file(self.path, self.form)

    @property
    def missing(self) -> tuple[Remark, ...]:
        """Images of the list that are not in the store."""
        return self.manifest.missing

    @property
    def warnings(self) -> tuple[Remark, ...]:
        """Images that are in the store, though a decoder had something to say about them."""
        return self.manifest.warnings

    @property
    def recipes(self) -> Mapping[str, RecipeFile]:
        """The recipes held, by key."""
        return self.manifest.recipes

    def samples(self, recipe: Recipe) -> npt.NDArray[np.uint8]:
        """Return the samples of `recipe`: a read-only memory map, u8 [count, size, size, 3], RGB.

        Files of up to 256 MB are held against their hash, once in a process; of larger ones some samples are.

        Raises:
            DataError: the store does not hold this recipe, or other pixels than were prepared.
        """
        entry = self._file(recipe)
        path = self.path / entry.file
        if entry.bytes <= _HASHED_WHOLE_BYTES:
            self.require_sound(recipe)
        elif entry.spread_sha256:
            require_spread(path, entry.spread_sha256, recipe.sample_bytes, self.count)
        shape = (self.count, recipe.size, recipe.size, 3)
        return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)

    def require_sound(self, recipe: Recipe) -> None:
        """Read all samples of `recipe` and hold them against the hash that they had when they were prepared.

        Raises:
            DataError: they are not the same, or the store does not hold this recipe.
        """
        entry = self._file(recipe)
        require_whole(self.path / entry.file, entry.sha256)

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

    def adding(self, model: str, size: int | None = None) -> str:
        """Return the command that adds the samples for a model, at another size than its own if given."""
        words = ["harness", "prepare", "--dataset", self.dataset]
        if self.truth_file is not None:
            words += ["--annotations", str(self.truth_file)]
        elif all(quoted(name) == name for name in self.names):
            words += ["--labels", str(self.path / VAL_MAP)]
        words += ["--images", str(self.manifest.images), "--model", model]
        words += [] if size is None else ["--size", str(size)]
        return shlex.join([*words, "--out", str(self.path)])

    def _require_form(self, form: Form) -> None:
        if self.form is not form:
            raise DataError(
                f"The images of the store {self.path} were prepared for {self.form}, not for {form}: use a "
                "store that was prepared with the same model, or with another of its task."
            )

    def _file(self, recipe: Recipe) -> RecipeFile:
        if recipe.key not in self.recipes:
            raise DataError(
                f"The store {self.path} has no samples for recipe {recipe.key} (it holds "
                f"{', '.join(self.recipes)}): add them with `{self.adding('CARD')}`."
            )
        return self.recipes[recipe.key]


def open_store(path: Path) -> Store:
    """Open the store at `path` and check its files against its manifest; a process reads them once.

    Raises:
        DataError: no folder, not a store, another format, or files that do not match the manifest.
    """
    if not path.is_dir():
        raise DataError(f"No store at {path}: make one with `harness prepare`.")
    whole = (item for item in sorted(path.iterdir()) if item.suffix not in _UNDER_WAY and item.is_file())
    return _opened(path, tuple(map(files.stamp, whole)))


@lru_cache(maxsize=8)
def _opened(path: Path, stamps: tuple[files.Stamp, ...]) -> Store:
    """Open the store at `path`, whose files have these stamps."""
    manifest = read_manifest(path)
    if not manifest.count or not manifest.recipes:
        raise DataError(f"The store {path} is empty: delete it and prepare again.")
    names, numbers = read_list(path, manifest)
    for entry in manifest.recipes.values():
        require_size(path / entry.file, manifest.count * entry.recipe.sample_bytes)
    return Store(path, manifest, names, numbers)


def prepare(
    images: Listed,
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
    refuse_foreign_folder(out)
    files.make_writable_folder(out)
    if workers is None:
        workers = min(system.usable_cpus(), _MAX_WORKERS)
    try:
        with files.alone(out, "`harness prepare`", lock=out / LOCK):
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
    images: Listed, recipe: Recipe, out: Path, dataset: str, allow_missing: bool, workers: int
) -> None:
    held = read_manifest(out) if (out / MANIFEST).exists() else None
    root = str(images.root.resolve())
    versions = tool_versions()
    known = [sorted(images.sizes.items())] if images.sizes else []
    stamp = json.dumps([recipe.to_dict(), versions, root, *known], sort_keys=True)
    path = out / free_name(recipe, held)
    work = Work(images, recipe, out, workers)
    with SampleFile(path, recipe.sample_bytes, stamp) as samples, one_thread_per_call():
        gone: dict[int, str] = {}
        if held is not None:
            absent = {entry.name: entry.fault for entry in held.missing}
            gone = {k: absent[name] for k, name in enumerate(images.names) if name in absent}
        elif allow_missing:
            gone = known_faults(images, recipe, samples.unreadable)
        while found := work.fill(samples, gone):
            if held is not None or not allow_missing:
                raise offenders(images, found, recoverable=held is None)
            samples.give_up(images.names[k] for k in found)
            gone |= found
        kept = [k for k in range(len(images.names)) if k not in gone]
        size = samples.publish()
        spread = spread_sha256(path, recipe.sample_bytes, len(kept))
        made = RecipeFile(
            recipe, path.name, size, samples.sha256, {"harness": __version__, **versions}, spread
        )
        if held is None:
            names = [images.names[k] for k in kept]
            numbers = [images.numbers[k] for k in kept]
            held = Manifest(
                dataset=dataset,
                images=root,
                count=len(kept),
                labels=images.different(kept),
                list_sha256=write_list(out, images.form, names, numbers, images.truth(kept)),
                missing=tuple(Remark(images.names[k], images.numbers[k][0], gone[k]) for k in sorted(gone)),
                recipes={},
                sources_sha256=write_sources(out, work.sources(names)),
                task=images.form,
            )
        said = {entry.name: entry for entry in held.warnings}
        number_of = dict(zip(images.names, images.numbers, strict=True))
        said |= {name: Remark(name, number_of[name][0], text) for name, text in work.warnings.items()}
        recipes = {**held.recipes, recipe.key: made}
        write_manifest(out, replace(held, recipes=recipes, warnings=tuple(said.values())))
        samples.forget()


def _ready(images: Listed, recipe: Recipe, out: Path, dataset: str, allow_missing: bool) -> Store | None:
    """Return the store at `out` when it holds the recipe already; refuse one that holds other images."""
    if not (out / MANIFEST).exists():
        return None
    store = open_store(out)
    if store.dataset != dataset:
        raise DataError(
            f"The store {out} holds the data set '{store.dataset}', not '{dataset}': {files.elsewhere(out)}."
        )
    if store.form is not images.form:
        raise DataError(
            f"The images of the store {out} were prepared for {store.form}, and this model is for "
            f"{images.form}: {files.elsewhere(store.path)}."
        )
    absent = {entry.name for entry in store.missing} & {*images.names}
    if not _holds(store, images, absent):
        raise DataError(
            f"The store {out} holds another list of images, labels or boxes than {images.root}: "
            f"{files.elsewhere(store.path)} for this list."
        )
    if absent and not allow_missing:
        raise DataError(
            f"The store {out} was made with --allow-missing and lacks {len(absent)} of the listed images: "
            f"prepare a whole one in another folder, or give --allow-missing again."
        )
    _require_same_images(images, store)
    if recipe.key not in store.recipes:
        return None
    store.require_sound(recipe)
    console.note(f"{out} holds {recipe.key} of these {store.count:,} images already.")
    return store


def _holds(store: Store, images: Listed, absent: Collection[str]) -> bool:
    """Return whether a store holds a list, but for the images that are absent, and what is right of them."""
    kept = [k for k, name in enumerate(images.names) if name not in absent]
    if [images.names[k] for k in kept] != list(store.names):
        return False
    if not np.array_equal(store.numbers, [images.numbers[k] for k in kept]):
        return False
    return store.truth_file is None or store.truth_file.read_text(encoding="utf-8") == images.truth(kept)


def _require_same_images(images: Listed, store: Store) -> None:
    """Raise DataError if image files are others than those that the store was made of, under their names."""
    sources = read_sources(store.path, store.manifest)
    if sources is None:
        others = _other_pixels(images, store)
    else:
        others = list(changed(images.root, store.names, sources))
    if others:
        raise DataError(
            f"{len(others)} of the {store.count} images in {images.root} are not those that the store "
            f"{store.path} was made of ({shown(others)}): {files.elsewhere(store.path)} for the "
            "store, or restore the images."
        )


def _other_pixels(images: Listed, store: Store) -> list[str]:
    """Make some pixels of a store of version 0.1.0 again, with the same libraries; return what differs."""
    recipes = [
        item.recipe for item in store.recipes.values() if tool_versions().items() <= item.made_with.items()
    ]
    if not recipes:
        return []
    held, read = store.samples(recipes[0]), reader(images.root)
    others = []
    for k in spread(store.count, _COMPARED):
        name = store.names[k]
        if (images.root / name).exists():
            try:
                same = np.array_equal(recipes[0].read(read(name), name), held[k])
            except ImageError:
                same = False
            others += [] if same else [name]
    return others
