"""What a store says about itself on disk: manifest.json, and the list of its images."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from harness import files, typed
from harness.dataset.coco import ANNOTATIONS
from harness.dataset.form import Form
from harness.dataset.label_file import VAL_MAP
from harness.dataset.recipe import Recipe
from harness.errors import DataError

MANIFEST = "manifest.json"
FORMAT = 1
IMAGES = "images.txt"
_LISTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    Form.LABEL: ((VAL_MAP,), 1),
    Form.BOXES: ((IMAGES, ANNOTATIONS), 3),
}
"""By form: the file of names and numbers, what else says what is right, and how many numbers an image has."""


@dataclass(frozen=True)
class Remark:
    """A listed image with a fault: one that `--allow-missing` left out, or that decodes with a warning."""

    name: str
    label: int
    """In a store with boxes, the image's id."""
    fault: str


@dataclass(frozen=True)
class RecipeFile:
    """The samples of one recipe: a raw u8 file of shape [count, size, size, 3], RGB."""

    recipe: Recipe
    file: str
    bytes: int
    sha256: str
    made_with: Mapping[str, str]
    """Versions of the harness and of the libraries that decide the pixels."""
    spread_sha256: str = ""
    """Hex digest of some samples, evenly spread; "" in stores of version 0.1.0."""


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    dataset: str
    images: str
    """The folder that the images came from."""
    count: int
    labels: int
    """How many different labels the images have, or categories their boxes."""
    list_sha256: str
    """Hex digest of val_map.txt; in a store with boxes, of images.txt and then annotations.json."""
    missing: tuple[Remark, ...]
    recipes: Mapping[str, RecipeFile]
    """By the recipe's key, which in files of version 0.1.0 had but six digits of the crop fraction."""
    sources_sha256: str = ""
    """Hex digest of sources.txt; "" in stores of version 0.1.0, which have none."""
    warnings: tuple[Remark, ...] = ()
    """Images that a decoder had something to say about, such as damage inside a JPEG, and what it was."""
    task: str = Form.LABEL
    """In which form it is known what is right about the images; older stores do not say it."""


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the store in `folder`.

    Raises:
        DataError: there is none, it is damaged, or of another format.
    """
    file = folder / MANIFEST
    try:
        document = files.read_json(file)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is not a store (no {MANIFEST} in it): finish or make one with `harness prepare`."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): delete the store and prepare again.") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise DataError(
            f"The store {folder} has format {found!r}, this harness reads {FORMAT}: "
            f"prepare it again, or use the harness that made it."
        )
    try:
        made = Manifest(
            dataset=str(document["dataset"]),
            images=_unquoted(document["images"]),
            count=int(document["count"]),
            labels=int(document["labels"]),
            list_sha256=str(document["list_sha256"]),
            missing=_missing(document["missing"]),
            recipes={item.recipe.key: item for item in map(_recipe_file, document["recipes"].values())},
            sources_sha256=str(document.get("sources_sha256", "")),
            warnings=_missing(document.get("warnings", [])),
            task=str(document.get("task", Manifest.task)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error!r}): delete the store and prepare again.") from error
    if made.task not in _LISTS:
        raise DataError(
            f"The store {folder} holds images for {made.task}, which this harness does not know: use the "
            "harness that made it."
        )
    return made


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json, atomically, and only after all that it vouches for is on disk."""
    document = {"format": FORMAT, **asdict(manifest)}
    document["images"] = quoted(manifest.images)
    document["recipes"] = {
        key: {**asdict(entry), "recipe": entry.recipe.to_dict()} for key, entry in manifest.recipes.items()
    }
    for entry in (*document["missing"], *document["warnings"]):
        entry["name"] = quoted(entry["name"])
    sync(folder)
    files.write_json(folder / MANIFEST, document)
    sync(folder / MANIFEST)
    sync(folder)


def truth_file(folder: Path, form: str) -> Path | None:
    """Return the file with what is right about the images of a store; None where the list itself says it."""
    _, *others = _LISTS[form][0]
    return folder / others[0] if others else None


def read_list(folder: Path, manifest: Manifest) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Read the list of a store: the samples' names and their numbers, int64 [count, numbers of an image].

    Raises:
        DataError: a file is missing or not the one that the manifest describes.
    """
    names, width = _LISTS[manifest.task]
    paths = [folder / name for name in names]
    file = paths[0]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        sha256 = files.sha256_file(*paths)
    except (OSError, ValueError) as error:
        where = getattr(error, "filename", None) or file
        raise DataError(f"{where} cannot be read ({error}): delete the store and prepare again.") from error
    if len(lines) != manifest.count:
        raise DataError(
            f"{file} lists {len(lines)} images but the manifest says {manifest.count}: "
            f"delete the store and prepare again."
        )
    if sha256 != manifest.list_sha256:
        changed = " or ".join(map(str, paths))
        raise DataError(
            f"{changed} was changed after the store was made: delete the store and prepare again."
        )
    entries = [line.split() for line in lines]
    numbers = np.array([[int(word) for word in words[1:]] for words in entries], np.int64)
    return tuple(_unquoted(words[0]) for words in entries), numbers.reshape(len(lines), width)


def write_list(
    folder: Path, form: str, names: Sequence[str], numbers: Sequence[Sequence[int]], truth: str
) -> str:
    """Write the list, where line k is sample k, and the truth beside it; return the SHA-256 of both."""
    file, *others = (folder / name for name in _LISTS[form][0])
    lines = [f"{quoted(name)} {' '.join(map(str, of))}\n" for name, of in zip(names, numbers, strict=True)]
    for path, text in zip((file, *others), ("".join(lines), truth), strict=False):
        files.write_text(path, text)
        sync(path)
    return files.sha256_file(file, *others)


def sync(path: Path) -> None:
    """Wait until the file or folder at `path` is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _recipe_file(entry: dict[str, Any]) -> RecipeFile:
    return RecipeFile(
        typed.structure(typed.defaults(Recipe) | entry["recipe"], Recipe),
        str(entry["file"]),
        int(entry["bytes"]),
        str(entry["sha256"]),
        dict(entry["made_with"]),
        str(entry.get("spread_sha256", "")),
    )


def _missing(entries: Sequence[dict[str, Any]]) -> tuple[Remark, ...]:
    return tuple(Remark(_unquoted(one["name"]), int(one["label"]), str(one["fault"])) for one in entries)


def quoted(name: str) -> str:
    """Escape what would break a `name label` line or UTF-8; ImageNet's names stay as they are."""
    return re.sub(
        r"[%\s\ud800-\udfff]", lambda found: quote(found[0], safe="", errors="surrogateescape"), name
    )


def _unquoted(name: str) -> str:
    return unquote(name, errors="surrogateescape")
