"""The work of `prepare`: image files become samples, and what their files are becomes known."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness import console, files
from harness.dataset.image_file import ImageError, Pixels
from harness.dataset.images import Listed
from harness.dataset.manifest import MANIFEST, Manifest
from harness.dataset.recipe import Recipe
from harness.dataset.sample_file import SampleFile
from harness.dataset.sources import Source, stamp
from harness.errors import DataError, OutputError
from harness.process.native_stderr import overhear

LOCK = ".prepare.lock"
_SHOWN_FAULTS = 10


class Work:
    """The images of one call of `prepare`, and what becomes known of their files."""

    def __init__(self, images: Listed, recipe: Recipe, out: Path, workers: int) -> None:
        self._images, self._recipe, self._out, self._workers = images, recipe, out, workers
        self._read = reader(images.root)
        self._stamps: dict[str, tuple[int, int]] = {}
        self._sha256: dict[str, str] = {}
        self.warnings: dict[str, str] = {}
        """What a decoder says of images that are taken all the same, by name."""

    def fill(self, samples: SampleFile, gone: Mapping[int, str]) -> dict[int, str]:
        """Write the samples of all images but those in `gone`; return the faults, list index to reason."""
        images, recipe = self._images, self._recipe
        kept = [k for k in range(len(images.names)) if k not in gone]
        if not kept:
            raise offenders(images, gone, recoverable=False)
        needed_bytes = len(kept) * recipe.sample_bytes - samples.allocated_bytes
        files.require_free_space(self._out, needed_bytes, f"{len(kept):,} samples")
        names = [images.names[k] for k in kept]
        self._stamps = {name: stamp(images.root / name) for name in names}
        started = time.monotonic()
        computed = 0

        with overhear() as heard:

            def produce(name: str) -> Pixels:
                data = self._read(name)
                self._sha256[name] = hashlib.sha256(data).hexdigest()
                before = heard.size()
                pixels = recipe.read(data, name, images.sizes.get(name))
                if heard.size() != before:
                    samples.suspect(name)
                return pixels

            with console.progress(f"Preparing {recipe.key}", total=len(kept)) as bar:

                def advance(count: int, newly: int) -> None:
                    nonlocal computed
                    computed += newly
                    bar.advance(count)
                    if computed:
                        bar.update(rate=f"{computed / (time.monotonic() - started):,.0f} images/s")

                stamps = [self._stamps[name] for name in names]
                faults = samples.fill(names, produce, self._workers, advance, stamps)
            suspects = samples.suspects.intersection(names)
            self.warnings = heard.sort_out(suspects, lambda name: _fault(images, recipe, name))
        return {kept[k]: fault for k, fault in faults.items()}

    def sources(self, names: Sequence[str]) -> list[Source]:
        """Return what the samples of `names` were made of; what an earlier call took is read again."""
        return [
            Source(
                self._sha256.get(name) or hashlib.sha256(self._read(name)).hexdigest(), *self._stamps[name]
            )
            for name in names
        ]


def reader(root: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        path = root / name
        try:
            if path.exists() and not path.is_file():
                raise ImageError(name, "cannot be read (it is no file)")
            return path.read_bytes()
        except FileNotFoundError as error:
            raise ImageError(name, "does not exist") from error
        except (OSError, ValueError) as error:
            raise ImageError(name, f"cannot be read ({error})") from error

    return read


def _fault(images: Listed, recipe: Recipe, name: str) -> str:
    """Return why an image cannot become a sample, "" if it can."""
    try:
        recipe.read(reader(images.root)(name), name, images.sizes.get(name))
    except ImageError as error:
        return error.fault
    return ""


def known_faults(images: Listed, recipe: Recipe, unreadable: frozenset[str]) -> dict[int, str]:
    """Find what is absent or was given up before, so that the rest gets its final indices at once."""
    suspects = [
        k for k, name in enumerate(images.names) if name in unreadable or not (images.root / name).exists()
    ]
    faults = {k: _fault(images, recipe, images.names[k]) for k in suspects}
    return {k: fault for k, fault in faults.items() if fault}


def offenders(images: Listed, faults: Mapping[int, str], recoverable: bool) -> DataError:
    named = shown([f"{images.names[k]} {faults[k]}" for k in sorted(faults)])
    cure = "restore them"
    if recoverable:
        cure += ", or give --allow-missing to leave them out (the result cannot then be submitted)"
    return DataError(
        f"{len(faults)} of {len(images.names)} images in {images.root} cannot be used ({named}): {cure}."
    )


def shown(items: Sequence[str]) -> str:
    """Return the first of the items, and how many more there are."""
    more = [f"and {len(items) - _SHOWN_FAULTS} more"] if len(items) > _SHOWN_FAULTS else []
    return "; ".join([*items[:_SHOWN_FAULTS], *more])


def refuse_foreign_folder(out: Path) -> None:
    """Raise OutputError where `out` holds something that is no store, finished or begun."""
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    names = {path.name for path in out.iterdir()} - {LOCK}
    if names and not any(name.endswith((".u8.partial", ".u8.journal")) for name in names):
        raise OutputError(
            f"{out} holds other files and no store: choose a new or an empty folder for the store."
        )


def free_name(recipe: Recipe, held: Manifest | None) -> str:
    """Return a free name for the recipe's file: version 0.1.0 rounded keys, so another's may have it."""
    taken = set() if held is None else {entry.file for entry in held.recipes.values()}
    names = (f"{recipe.key}{suffix}.u8" for suffix in ("", *(f"-{number}" for number in range(2, 100))))
    return next(name for name in names if name not in taken)
