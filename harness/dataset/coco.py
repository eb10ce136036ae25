"""Annotated images: a file of boxes in COCO's format, and the images that it lists."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files, typed
from harness.dataset.form import Form
from harness.errors import DataError
from harness.typed import LEFT_OUT

ANNOTATIONS = "annotations.json"

# The file of COCO writes a slash in an address as "\/" in some copies.
_MLPERF_LICENCES = (
    "creativecommons.org/licenses/by/",
    "creativecommons.org/licenses/by-sa/",
    "creativecommons.org/licenses/by-nd",
    "flickr.com/commons/usage",
    "www.usa.gov",
)
"""What the addresses of licences hold that MLPerf allows (create_safe_annotations.py of its yolo)."""
_SHOWN = 5


@dataclass(frozen=True)
class Image:
    """An image that the file lists."""

    id: int
    file_name: str
    """Below the folder of the images, with forward slashes."""
    width: int
    height: int
    license: int | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"has the size {self.width}x{self.height}")


@dataclass(frozen=True)
class Box:
    """An object in an image: COCO calls it an annotation."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    """Left, top, width and height in pixels; a box without area is kept, as pycocotools has a rule for it."""
    id: int = field(default=0, metadata=LEFT_OUT)
    iscrowd: int = field(default=0, metadata=LEFT_OUT)
    area: float = field(default=0.0, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        if self.iscrowd not in (0, 1):
            raise ValueError(f"has the iscrowd {self.iscrowd}, which must be 0 or 1")


@dataclass(frozen=True)
class Category:
    """What an object can be."""

    id: int
    name: str = field(default="", metadata=LEFT_OUT)


@dataclass(frozen=True)
class Licence:
    """Under which terms an image may be used."""

    id: int
    url: str = field(default="", metadata=LEFT_OUT)

    @property
    def is_mlperfs(self) -> bool:
        url = self.url.lower().replace("\\", "")
        return any(part in url for part in _MLPERF_LICENCES)


@dataclass(frozen=True)
class _Content:
    images: tuple[Image, ...]
    annotations: tuple[Box, ...]
    categories: tuple[Category, ...]
    licenses: tuple[Licence, ...] = field(default=(), metadata=LEFT_OUT)


@dataclass(frozen=True)
class Annotations:
    """A file of boxes."""

    file: Path
    images: tuple[Image, ...]
    boxes: tuple[Box, ...]
    categories: tuple[Category, ...]
    licences: tuple[Licence, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)
    """The file's content."""

    def require_classes(self, categories: Collection[int], model: str) -> None:
        """Hold the categories of the boxes against those that a model knows.

        Raises:
            DataError: there are boxes of others, which the model can never find.
        """
        names = {one.id: one.name for one in self.categories}
        others = Counter(box.category_id for box in self.boxes if box.category_id not in categories)
        if others:
            told = [f"{one} {names[one]}".strip() for one in sorted(others)]
            raise DataError(
                f"{self.file} has {others.total()} boxes of categories that model '{model}' does not know "
                f"({_few(told)}): correct output.class_map of its card, or give other annotations."
            )

    def with_mlperfs_licences(self) -> tuple[Image, ...]:
        """Return the images whose licence MLPerf allows, in the file's order.

        Raises:
            DataError: the file does not say the licence of each image, or there is no such image.
        """
        licences = {one.id: one for one in self.licences}
        untold = [image.file_name for image in self.images if image.license not in licences]
        if untold:
            raise DataError(
                f"{self.file} does not say the licence of {len(untold)} of its {len(self.images)} images "
                f"({_few(untold)}), by which --mlperf-licences chooses: give COCO's own file, or leave out "
                "the option."
            )
        allowed = tuple(image for image in self.images if licences[image.license or 0].is_mlperfs)
        if not allowed:
            raise DataError(
                f"None of the {len(self.images)} images in {self.file} has a licence that MLPerf allows: "
                "leave out --mlperf-licences."
            )
        return allowed

    def only(self, image_ids: Collection[int]) -> dict[str, Any]:
        """Return the content of a file of these images, in their order, all of whose boxes pycocotools reads.

        Where COCO's file has them, `iscrowd` and `area` are as there; else no box is of a crowd, and the area
        is that of the box. Where ids of boxes are missing, below 1 (pycocotools takes 0 for no box) or not
        unique, all boxes are numbered from 1. Outlines, the most of COCO's file, are left out.
        """
        entries = zip(self.document["annotations"], self.boxes, strict=True)
        boxes: list[dict[str, Any]] = [
            {"iscrowd": 0, "area": box.bbox[2] * box.bbox[3], **entry}
            for entry, box in entries
            if box.image_id in image_ids
        ]
        ids = {box.id for box in self.boxes if box.id > 0}
        if len(ids) < len(self.boxes):
            boxes = [{**entry, "id": number} for number, entry in enumerate(boxes, 1)]
        for entry in boxes:
            entry.pop("segmentation", None)
        images = [entry for entry in self.document["images"] if entry["id"] in image_ids]
        return {**self.document, "images": images, "annotations": boxes}


@dataclass(frozen=True)
class AnnotatedImages:
    """Images in the order of their sample indices, and the boxes in them."""

    names: tuple[str, ...]
    """Paths relative to `root`, with forward slashes."""
    numbers: tuple[tuple[int, int, int], ...]
    """Id, width and height in pixels of each."""
    root: Path
    annotations: Annotations
    remarks: tuple[str, ...] = field(default=(), compare=False)
    """Sentences for the user: what was left out."""
    form = Form.BOXES

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Width and height of each image, by name."""
        stated = zip(self.names, self.numbers, strict=True)
        return {name: (width, height) for name, (_, width, height) in stated}

    def truth(self, kept: Sequence[int]) -> str:
        """Return annotations.json of the images with the indices `kept`."""
        return json.dumps(self.annotations.only({self.numbers[k][0] for k in kept}))

    def different(self, kept: Sequence[int]) -> int:
        """Return how many different categories the boxes of the images with the indices `kept` are of."""
        ids = {self.numbers[k][0] for k in kept}
        return len({box.category_id for box in self.annotations.boxes if box.image_id in ids})


def read(file: Path) -> Annotations:
    """Read a file of boxes in COCO's format.

    Raises:
        DataError: it cannot be read, is no such file, or contradicts itself.
    """
    try:
        document = files.read_json(file)
        content = typed.structure(document, _Content)
    except FileNotFoundError as error:
        raise DataError(f"No annotations at {file}: check --annotations.") from error
    except typed.Misfit as error:
        raise DataError(f"{file} is no file of boxes in COCO's format ({error}): correct it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the annotations {file} ({error}): give COCO's JSON file.") from error
    _require_sound(content, file)
    return Annotations(
        file, content.images, content.annotations, content.categories, content.licenses, document
    )


def find_annotated(root: Path, annotations: Annotations, mlperf_licences: bool = False) -> AnnotatedImages:
    """List the images under `root` that a file of boxes lists, in its order.

    Raises:
        DataError: no folder, no images, or --mlperf-licences without licences.
    """
    if not root.is_dir():
        raise DataError(f"No image folder at {root}: check --images.")
    images = annotations.with_mlperfs_licences() if mlperf_licences else annotations.images
    if not images:
        raise DataError(f"{annotations.file} lists no images: give the annotations of some.")
    count = len(annotations.images)
    left_out = f"Left out for their licence: {count - len(images):,} of {count:,} images."
    remarks = (left_out,) if len(images) < count else ()
    return AnnotatedImages(
        tuple(image.file_name for image in images),
        tuple((image.id, image.width, image.height) for image in images),
        root,
        annotations,
        remarks,
    )


def _require_sound(content: _Content, file: Path) -> None:
    for what, words in (
        ("id", [str(image.id) for image in content.images]),
        ("file_name", [image.file_name for image in content.images]),
    ):
        twice = [word for word, count in Counter(words).items() if count > 1]
        if twice:
            raise DataError(f"{file} lists several images with the {what} {_few(twice)}: keep one of each.")
    images, categories = {one.id for one in content.images}, {one.id for one in content.categories}
    for what, unknown in (
        ("images", [box.image_id for box in content.annotations if box.image_id not in images]),
        ("categories", [box.category_id for box in content.annotations if box.category_id not in categories]),
    ):
        if unknown:
            told = _few(sorted(set(unknown)))
            raise DataError(
                f"{file} has {len(unknown)} boxes of {what} that it does not list (id {told}): add these "
                f"{what}, or remove the boxes."
            )


def _few(items: Sequence[Any]) -> str:
    more = ["..."] if len(items) > _SHOWN else []
    return ", ".join([*map(str, items[:_SHOWN]), *more])
