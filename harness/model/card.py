"""Model cards: what a model is, where its file lies, what goes in and what comes out."""

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

from harness import files, resources
from harness.dataset.recipe import RESIZES, Recipe
from harness.errors import CardError, did_you_mean
from harness.mlperf.benchmark import BENCHMARKS
from harness.task import task_of

CARD_NAME = "card.toml"
ELEMENT_TYPES = ("u8", "f32", "f16")
"""What a model's input may be."""

_Table = TypeVar("_Table")

SPEED_ONLY = "speed only: no trained weights"

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
    """Share of the short side that the centre crop keeps; either this or `resize_to`."""
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    tensor: str | None = None
    """Name of the input; the model must have this one and no other."""
    resize_to: int | None = None
    """Pixels on the short side before the centre crop."""
    squash: bool = False
    crop_first: bool = False
    exif_rotation: bool = True

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


@dataclass(frozen=True)
class Card:
    """One model, as its TOML card describes it."""

    name: str
    benchmark: str
    file: FileSpec
    input: InputSpec
    output: OutputSpec
    accuracy: AccuracySpec | None = None
    description: str = ""
    licence: str = ""
    speed_only: bool = False
    """True when the weights are not trained: such a model has a speed and no accuracy."""
    training: dict[str, Any] = field(default_factory=dict)
    """Free facts on how the weights were trained."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """Free facts on how the model was quantized, with the calibration record's path and hash."""
    folder: Path = Path()
    """Where the card lies; `file.path` is relative to it."""

    @property
    def quantized_here(self) -> bool:
        """Whether `harness quantize` made the model, rather than someone else who says how."""
        return "original_sha256" in self.quantization

    @property
    def path(self) -> Path | None:
        """The model file beside the card, or None when it is fetched, built, or brought by a package."""
        if self.file.path is None or self.file.package is not None:
            return None
        return self.folder / self.file.path


def shipped_cards() -> dict[str, Path]:
    """Return name -> card path of the cards that come with the harness."""
    return {path.parent.name: path for path in sorted(resources.MODELS.glob(f"*/{CARD_NAME}"))}


def find_card(name_or_path: str) -> Card:
    """Return the card that a command line names: a shipped model's name, or the path of a TOML file."""
    known = shipped_cards()
    if name_or_path in known:
        return read_card(known[name_or_path])
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        return read_card(path)
    raise CardError(
        f"Model '{name_or_path}' is not known and no such card file exists."
        f"{did_you_mean(name_or_path, known)}"
    )


def read_card(path: Path) -> Card:
    """Read and validate a card.

    Raises:
        CardError: the file is missing, not TOML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CardError(f"No model card at {path}: check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"Cannot read the model card {path} ({error}): give a TOML text file.") from error
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"The model card {path} is not valid TOML ({error}): correct that line.") from error
    card = _build(Card, document, "", path, skip={"folder"})
    card = replace(card, folder=path.resolve().parent)
    _validate(card, path)
    return card


def doubts(card: Card) -> list[str]:
    """Return what may be wrong in a card that nothing contradicts, in sentences."""
    given = card.input
    # With a target, an accuracy far below it would tell.
    if card.accuracy is None and any(given.mean) and all(abs(value) <= 1 for value in given.mean):
        return [
            f"The mean {list(given.mean)} of model '{card.name}' is one of pixels 0..1, but 'input.mean' "
            "and 'input.scale' are of pixels 0..255: multiply both by 255, unless the model is made so."
        ]
    return []


def write_card(card: Card, path: Path) -> None:
    """Write `card` as TOML such that `read_card(path)` gives it back."""
    files.write_text(path, _toml(card))


def _build(
    kind: type[_Table], table: dict[str, Any], prefix: str, path: Path, skip: Iterable[str] = ()
) -> _Table:
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if f.name not in skip}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise CardError(f"Unknown key '{prefix}{key}' in {path}.{did_you_mean(key, known)}")
    for key, item in known.items():
        if key in table or item.default is not MISSING or item.default_factory is not MISSING:
            continue
        if type(None) not in get_args(hints[key]):
            what = "table" if is_dataclass(hints[key]) else "key"
            raise CardError(f"The {what} '{prefix}{key}' is missing in {path}: add it.")
    # A file leaves out what is None; there may be no default for it where keys without one follow.
    values: dict[str, Any] = {key: None for key in known if type(None) in get_args(hints[key])}
    values |= {key: _convert(hints[key], value, f"{prefix}{key}", path) for key, value in table.items()}
    return kind(**values)


def _convert(hint: Any, value: Any, key: str, path: Path) -> Any:
    if isinstance(hint, UnionType):
        hint = next(option for option in get_args(hint) if option is not type(None))
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise CardError(f"'{key}' in {path} must be a table: write it as [{key}].")
        return _build(hint, value, f"{key}.", path)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not _is_list_of_numbers(value, len(get_args(hint))):
            count = len(get_args(hint))
            raise CardError(f"'{key}' in {path} must be a list of {count} numbers, not {value!r}.")
        return tuple(float(item) for item in value)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise CardError(f"'{key}' in {path} must be a table: write it as [{key}].")
        _require_plain(value, key, path)
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise CardError(f"'{key}' in {path} must be {_words(hint)}, not {value!r}.")
    return value


def _require_plain(value: Any, key: str, path: Path) -> None:
    """Raise CardError for what neither a card that is written again nor a result can hold, such as dates."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_plain(inner, f"{key}.{name}", path)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, key, path)
    elif not isinstance(value, str | bool | int | float):
        raise CardError(f"'{key}' in {path} must be a text, a number, true or false, not {value}.")


def _is_list_of_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    )


def _words(hint: type) -> str:
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[hint]


def _validate(card: Card, path: Path) -> None:
    def choice(key: str, value: str, known: Iterable[str]) -> None:
        if value not in known:
            raise CardError(f"'{key}' in {path} is '{value}'.{did_you_mean(value, known)}")

    def require(condition: bool, fault: str) -> None:
        if not condition:
            raise CardError(f"{fault} in {path}.")

    given, wanted = card.input, card.output
    require(
        re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", card.name) is not None,
        f"'name' is '{card.name}' but may hold only letters, digits, '.', '_' and '-'",
    )
    choice("benchmark", card.benchmark, BENCHMARKS)
    choice("input.layout", given.layout, ("NHWC", "NCHW"))
    choice("input.element_type", given.element_type, ELEMENT_TYPES)
    choice("input.channels", given.channels, ("RGB", "BGR"))
    choice("input.resize", given.resize, RESIZES)
    choice("output.kind", wanted.kind, ("logits", "probabilities", "label"))
    require(1 <= given.size <= 4096, "'input.size' must lie between 1 and 4096")
    _validate_crop(given, require)
    require(all(map(isfinite, given.mean)), "'input.mean' must be finite")
    require(all(0 < value < float("inf") for value in given.scale), "'input.scale' must be positive")
    require(wanted.classes >= 2, "'output.classes' must be at least 2")
    require(wanted.labels >= 1, "'output.label_offset' leaves no label")
    require(
        given.element_type != "u8" or (not any(given.mean) and set(given.scale) == {1.0}),
        "'input.mean' and 'input.scale' cannot apply to an input of element type u8: use 0 and 1",
    )
    if card.accuracy is not None:
        choice("accuracy.metric", card.accuracy.metric, (task_of(card).METRIC,))
        require(0 < card.accuracy.reference <= 1, "'accuracy.reference' must be a fraction in (0, 1]")
        require(0 < card.accuracy.target_fraction <= 1, "'accuracy.target_fraction' must lie in (0, 1]")
    require(not (card.speed_only and card.accuracy), "A speed_only model cannot have an [accuracy] table")

    spec = card.file
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
        require(spec.seed is None or card.speed_only, "Seeded weights are not trained: set speed_only = true")


def _validate_crop(given: InputSpec, require: Callable[[bool, str], None]) -> None:
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


def _toml(card: Card) -> str:
    document: dict[str, Any] = {}
    for item in fields(card):
        value = getattr(card, item.name)
        if item.name == "folder" or value is None or value in ("", False, {}):
            continue
        if isinstance(value, InputSpec):
            value = value.to_dict()
        document[item.name] = vars(value) if is_dataclass(value) else value
    return tomli_w.dumps(_without_none(document))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without the keys whose value TOML cannot say."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
