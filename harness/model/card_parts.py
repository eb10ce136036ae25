"""The tables of a model card: the file, what goes in, what comes out, and what must be reached."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from harness.dataset.form import Form
from harness.dataset.recipe import Recipe

ELEMENT_TYPES = ("u8", "f32", "f16")
"""What a model's input may be."""
DECODERS = ("yolo", "yolox", "nanodet", "boxes-labels-scores")
"""How a detector's tensors become boxes."""
PIXELS, SHARES = BOX_UNITS = ("pixels", "shares")
"""Of the model's input, or of its sides."""
# Of COCO's category ids, 1 to 90, these ten have no boxes in any of its files.
_WITHOUT_BOXES = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CLASS_MAPS = {
    "coco80to91": tuple(number for number in range(1, 91) if number not in _WITHOUT_BOXES),
    "coco91": tuple(range(91)),
}
"""Category ids of a detector's classes, by the name that a card may give; 0 is none of COCO's."""

_LITE_SCHEMES = ("timm", "in order")
BUILDERS = {
    "resnet50_v1.5": ("torchvision", "huggingface"),
    **{f"efficientnet_lite{size}": _LITE_SCHEMES for size in range(5)},
}
"""Graph builders, and the naming schemes of weights that each reads; 'in order' goes by place."""


@dataclass(frozen=True)
class FileSpec:
    """Where the model comes from: a path, a URL, or one of our graph builders fed with weights."""

    path: str | None = None
    """Model file, relative to the card, or to the `package`; OpenVINO, or the builder, must read it."""
    package: str | None = None
    """Python package, by the name that is imported, that brings the file."""
    url: str | None = None
    """Where `harness model fetch` gets the file (kept in the model cache)."""
    sha256: str | None = None
    """Hex digest of the file (of an IR: of the .xml, then the .bin); a `url` needs it or `md5`."""
    md5: str | None = None
    """Hex digest likewise, for files whose publisher states no SHA-256."""
    builder: str | None = None
    """Graph builder that turns weights into a model, one of BUILDERS."""
    weights: str | None = None
    """With `builder`: naming scheme of the weights file, one of the builder's in BUILDERS."""
    seed: int | None = None
    """With `builder` and no weights: seed of the random weights (speed only)."""


@dataclass(frozen=True)
class InputSpec:
    """The tensor that the model file takes: (pixel - mean) / scale, pixels 0..255 in `channels` order."""

    size: int
    layout: str
    element_type: str
    channels: str
    resize: str
    crop_fraction: float | None
    """Share of the short side that the centre crop keeps; a crop has either this or `resize_to`."""
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    tensor: str | None = None
    """Name of the input; the model must have this one and no other."""
    resize_to: int | None = None
    """Pixels on the short side before the centre crop."""
    squash: bool = False
    crop_first: bool = False
    exif_rotation: bool = True
    fit: str = "crop"
    """How the image fills the square: crop, stretch, letterbox or warp."""
    place: str = "centre"
    """Where a smaller image lies in it: centre or top-left."""
    border: int = 0
    """Value of the pixels around a smaller image, 0..255."""
    rounding: str = "truncate"
    """How the sides of a letterboxed image become whole numbers: truncate or round."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        layout: str,
        element_type: str,
        channels: str,
        mean: tuple[float, float, float],
        scale: tuple[float, float, float],
    ) -> "InputSpec":
        """Return the input of a model that takes what `recipe` makes."""
        return cls(
            layout=layout,
            element_type=element_type,
            channels=channels,
            mean=mean,
            scale=scale,
            **{"crop_fraction": None, **recipe.to_dict()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; those that 0.1.0 did not know only where they say something."""
        later = {item.name: item.default for item in fields(Recipe) if item.name != "crop_fraction"}
        return {name: value for name, value in asdict(self).items() if later.get(name, MISSING) != value}

    @property
    def recipe(self) -> Recipe:
        return Recipe(**{item.name: getattr(self, item.name) for item in fields(Recipe)})


@dataclass(frozen=True)
class OutputSpec:
    """The tensor that holds the answer; label = class + label_offset."""

    kind: str
    classes: int
    label_offset: int = 0
    tensor: str | None = None
    """Name of the output, needed only when the model has several."""

    @property
    def labels(self) -> int:
        """Number of labels a data set for this model may use: 0 .. labels-1."""
        return self.classes + self.label_offset

    @property
    def words(self) -> str:
        return f"{self.kind}, {self.classes} classes, label = class {self.label_offset:+d}"

    @property
    def only_one(self) -> "OutputSpec":
        """The same of a model that has no other output."""
        return replace(self, tensor=None)


@dataclass(frozen=True)
class DetectionOutput:
    """The tensors that hold a detector's answer; they are known by their shapes, whatever their names."""

    decoder: str
    """How the tensors become boxes, one of DECODERS."""
    classes: int
    score_threshold: float
    """A box of a lower score is no detection, 0..1."""
    iou_threshold: float | None
    """Of two boxes of a class that overlap by more, the one of the lower score goes; None where the model
    itself has seen to it."""
    max_detections: int
    """In an image; those of the highest scores stay."""
    class_map: str | tuple[int, ...] | None = None
    """The category id of each class: CLASS_MAPS has names for some; None for 1, 2, ..."""
    strides: tuple[int, ...] | None = None
    """Model pixels from cell to cell of each level, the finest first; None for the decoder's usual ones."""
    cell_centre: float | None = None
    """How far the point that boxes are told from lies from its cell's corner, as a share of the stride; None
    for the decoder's usual one."""
    multi_label: bool | None = None
    """Whether a box may be of several classes; None for the decoder's usual answer."""
    boxes: str = PIXELS
    """What the model tells places in, one of BOX_UNITS."""

    @property
    def has_several_labels(self) -> bool:
        return self.decoder == "nanodet" if self.multi_label is None else self.multi_label

    @property
    def categories(self) -> tuple[int, ...]:
        """The category id of each class, in the order of classes."""
        if isinstance(self.class_map, str):
            return CLASS_MAPS[self.class_map]
        return self.class_map or tuple(range(1, self.classes + 1))

    @property
    def words(self) -> str:
        overlap = "" if self.iou_threshold is None else f", IoU up to {self.iou_threshold:g}"
        return (
            f"{self.decoder}, {self.classes} classes, score from {self.score_threshold:g}{overlap}, "
            f"at most {self.max_detections} boxes"
        )

    @property
    def only_one(self) -> "DetectionOutput":
        """The same of a model that has no other output."""
        return self


Output = OutputSpec | DetectionOutput
OUTPUTS: Mapping[Form, type[Output]] = {Form.LABEL: OutputSpec, Form.BOXES: DetectionOutput}
"""What the [output] of a card is, by the form of its task."""


@dataclass(frozen=True)
class AccuracySpec:
    """What the model must reach; fractions, not per cent."""

    metric: str
    reference: float
    target_fraction: float
    source: str | None = None
    """Who measured the reference, and on what."""

    @property
    def target(self) -> float:
        return self.reference * self.target_fraction
