"""What the tables of a model card must keep to, beyond the kinds of their values."""

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from harness.dataset.recipe import FITS, ONLY_FOR, PLACES, RESIZES, ROUNDINGS, WARPS, Recipe
from harness.errors import CardError, did_you_mean
from harness.model.card_parts import (
    BOX_UNITS,
    BUILDERS,
    CLASS_MAPS,
    DECODERS,
    ELEMENT_TYPES,
    SHARES,
    AccuracySpec,
    DetectionOutput,
    FileSpec,
    InputSpec,
    Output,
    OutputSpec,
)

_ONLY_FOR = {
    "strides": ("yolox", "nanodet"),
    "cell_centre": ("yolox", "nanodet"),
    "multi_label": ("yolo", "yolox", "nanodet"),
}
"""Keys of [output] that say something only about some decoders."""
_BOXES_IN_SHARES = ("yolo", "boxes-labels-scores")
"""Decoders of models that may tell places as shares of the sides: the others compute them from cells."""
_HIGHEST_CATEGORY = 2**24
"""Up to here a category id is exact in the float32 of an answer."""


class Rules:
    """The rules that a card's file is held against; each raises CardError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def choice(self, key: str, value: str, known: Iterable[str]) -> None:
        if value not in known:
            raise CardError(f"'{key}' in {self._path} is '{value}'.{did_you_mean(value, known)}")

    def require(self, condition: bool, fault: str) -> None:
        if not condition:
            raise CardError(f"{fault} in {self._path}.")


def require_sound_input(given: InputSpec, rules: Rules) -> None:
    rules.choice("input.layout", given.layout, ("NHWC", "NCHW"))
    rules.choice("input.element_type", given.element_type, ELEMENT_TYPES)
    rules.choice("input.channels", given.channels, ("RGB", "BGR"))
    rules.choice("input.resize", given.resize, RESIZES)
    rules.require(1 <= given.size <= 4096, "'input.size' must lie between 1 and 4096")
    _require_sound_fit(given, rules)
    rules.require(all(value > 0 for value in given.scale), "'input.scale' must be positive")
    rules.require(
        given.element_type != "u8" or (not any(given.mean) and set(given.scale) == {1.0}),
        "'input.mean' and 'input.scale' cannot apply to an input of element type u8: use 0 and 1",
    )


def require_sound_output(given: Output, rules: Rules) -> None:
    if isinstance(given, OutputSpec):
        rules.choice("output.kind", given.kind, ("logits", "probabilities", "label"))
        rules.require(given.classes >= 2, "'output.classes' must be at least 2")
        rules.require(given.labels >= 1, "'output.label_offset' leaves no label")
    else:
        _require_sound_detection(given, rules)


def _require_sound_detection(given: DetectionOutput, rules: Rules) -> None:
    rules.choice("output.decoder", given.decoder, DECODERS)
    rules.require(given.classes >= 1, "'output.classes' must be at least 1")
    rules.require(0 <= given.score_threshold < 1, "'output.score_threshold' must lie in [0, 1)")
    iou = given.iou_threshold
    rules.require(iou is None or 0 < iou <= 1, "'output.iou_threshold' must lie in (0, 1]")
    rules.require(
        iou is not None or given.decoder == "boxes-labels-scores",
        f"'output.iou_threshold' is missing, which decoder '{given.decoder}' needs,",
    )
    rules.require(given.max_detections >= 1, "'output.max_detections' must be at least 1")
    if isinstance(given.class_map, str):
        rules.choice("output.class_map", given.class_map, CLASS_MAPS)
    rules.require(
        len(given.categories) == given.classes,
        f"'output.class_map' has {len(given.categories)} category ids for {given.classes} classes",
    )
    rules.require(
        len(set(given.categories)) == given.classes, "'output.class_map' has a category id more than once"
    )
    rules.require(
        all(0 <= one <= _HIGHEST_CATEGORY for one in given.categories),
        f"The category ids of 'output.class_map' must lie between 0 and {_HIGHEST_CATEGORY:,}",
    )
    strides = given.strides
    rules.require(
        strides is None or (min(strides, default=0) > 0 and list(strides) == sorted(set(strides))),
        "'output.strides' must be whole numbers above 0, the smallest first,",
    )
    centre = given.cell_centre
    rules.require(centre is None or 0 <= centre <= 1, "'output.cell_centre' must lie in [0, 1]")
    rules.choice("output.boxes", given.boxes, BOX_UNITS)
    rules.require(
        given.boxes != SHARES or given.decoder in _BOXES_IN_SHARES,
        f"'output.boxes' cannot be '{SHARES}' with the decoder '{given.decoder}', which computes pixels,",
    )
    for key, decoders in _ONLY_FOR.items():
        rules.require(
            given.decoder in decoders or getattr(given, key) is None,
            f"'output.{key}' cannot apply to the decoder '{given.decoder}'",
        )


def require_sound_accuracy(given: AccuracySpec, metric: str, rules: Rules) -> None:
    rules.choice("accuracy.metric", given.metric, (metric,))
    rules.require(0 < given.reference <= 1, "'accuracy.reference' must be a fraction in (0, 1]")
    rules.require(0 < given.target_fraction <= 1, "'accuracy.target_fraction' must lie in (0, 1]")


def require_sound_file(spec: FileSpec, speed_only: bool, rules: Rules) -> None:
    require, choice = rules.require, rules.choice
    sources = [key for key in ("path", "url") if getattr(spec, key) is not None]
    require(len(sources) <= 1, "[file] names both a path and a url: keep one")
    require(
        spec.url is None or spec.sha256 is not None or spec.md5 is not None,
        "[file] has a url but no sha256: add the digest",
    )
    require(
        spec.url is None or re.match(r"https?://[^/]+/.*[^/]$", spec.url) is not None,
        "'file.url' must be the http or https address of a file",
    )
    require(
        spec.url is None or not spec.url.lower().endswith(".xml"),
        "'file.url' is an IR, which is two files: download the .xml and the .bin and name the .xml as 'path'",
    )
    for key, digits in (("sha256", 64), ("md5", 32)):
        digest = getattr(spec, key)
        require(
            digest is None or re.fullmatch(f"[0-9a-f]{{{digits}}}", digest) is not None,
            f"'file.{key}' must be {digits} lower-case hex digits",
        )
    if spec.package is not None:
        require(
            spec.path is not None and spec.sha256 is not None, "[file] has a package but no path and sha256"
        )
        require(
            all(part.isidentifier() for part in spec.package.split(".")),
            f"'file.package' is '{spec.package}' but must be the name that Python imports",
        )
    if spec.builder is None:
        require(len(sources) == 1, "[file] needs a path or a url (or a builder)")
        require(spec.weights is None and spec.seed is None, "[file] has weights or a seed but no builder")
    else:
        choice("file.builder", spec.builder, BUILDERS)
        if spec.weights is not None:
            choice("file.weights", spec.weights, BUILDERS[spec.builder])
        require(
            (len(sources), spec.weights is None, spec.seed is None) in ((1, False, True), (0, True, False)),
            "[file] with a builder needs either a seed, or weights with a path or url,",
        )
        require(spec.seed is None or spec.seed >= 0, "'file.seed' must not be negative")
        require(
            spec.seed is None or spec.builder == "resnet50_v1.5",
            f"'file.seed' makes no weights for '{spec.builder}'",
        )
        require(spec.seed is None or speed_only, "Seeded weights are not trained: set speed_only = true")


def _require_sound_fit(given: InputSpec, rules: Rules) -> None:
    rules.choice("input.fit", given.fit, FITS)
    rules.choice("input.place", given.place, PLACES)
    rules.choice("input.rounding", given.rounding, ROUNDINGS)
    rules.require(0 <= given.border <= 255, "'input.border' must lie between 0 and 255")
    for item in fields(Recipe):
        fits = ONLY_FOR.get(item.name, FITS)
        rules.require(
            given.fit in fits or getattr(given, item.name) == item.default,
            f"'input.{item.name}' cannot apply where 'input.fit' is '{given.fit}'",
        )
    if given.fit == "crop":
        _require_sound_crop(given, rules)
        return
    rules.require(given.resize != "none", f"'input.resize' is 'none', so 'input.fit' cannot be '{given.fit}'")
    if given.fit == "warp":
        rules.choice("input.resize", given.resize, WARPS)


def _require_sound_crop(given: InputSpec, rules: Rules) -> None:
    require = rules.require
    fraction, resize_to = given.crop_fraction, given.resize_to
    require(
        fraction is not None or resize_to is not None,
        "[input] needs 'crop_fraction', or 'resize_to', the pixels on the short side before the crop,",
    )
    require(
        fraction is None or resize_to is None,
        "[input] has both 'crop_fraction' and 'resize_to', which say the same in two ways: keep one",
    )
    require(fraction is None or 0 < fraction <= 1, "'input.crop_fraction' must lie in (0, 1]")
    require(
        resize_to is None or given.size <= resize_to <= 16384,
        "'input.resize_to' must lie between 'input.size' and 16384",
    )
    require(
        given.resize != "none" or not (given.squash or given.crop_first or resize_to),
        "'input.resize' is 'none', so 'squash', 'crop_first' and 'resize_to' cannot apply",
    )
