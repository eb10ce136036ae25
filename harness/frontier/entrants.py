"""Who takes part: each card at the sizes that the store holds, quantized in the ways that are tried."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import files
from harness.backend import calibration
from harness.backend.calibration import CalibrationSettings
from harness.comparison import variants
from harness.comparison.variants import Candidate
from harness.dataset.recipe import Recipe
from harness.dataset.store import Store
from harness.errors import DataError, ModelError
from harness.model import file as model_file
from harness.model.card import RESHAPED, AccuracySpec, Card, FileSpec, read_card, write_card


@dataclass(frozen=True)
class Entrant:
    """A network at a size, quantized."""

    card: Card
    """Of the INT8 model."""
    origin: Card
    """Of the floating-point model at this size."""
    settings: CalibrationSettings
    calibration: str
    """How it was calibrated, in words."""

    @property
    def name(self) -> str:
        return self.card.name


def recipes(card: Card, store: Store, sizes: Sequence[int]) -> list[Recipe]:
    """Return the recipes to try the card with: those of the store that resize the card's way.

    Args:
        card: a floating-point model.
        store: its recipes say which sizes there are, and how they are cropped.
        sizes: in pixels; none: all that the store holds.

    Raises:
        DataError: the store lacks a size that is asked for, or all.
    """
    held = {
        item.recipe.size: item.recipe
        for item in store.recipes.values()
        if _is_like(item.recipe, card.input.recipe) and item.recipe.size != card.input.size
    }
    if card.input.recipe.key in store.recipes:
        held[card.input.size] = card.input.recipe
    wanted = sizes or sorted(held) or [card.input.size]
    for size in wanted:
        if size not in held:
            other = None if size == card.input.size else size
            raise DataError(
                f"The store {store.path} holds no images of {size} px, resized by {card.input.resize}, for "
                f"model '{card.name}': add them with `{store.adding(card.word, other)}`."
            )
    return [held[size] for size in wanted]


def _is_like(recipe: Recipe, own: Recipe) -> bool:
    """Whether a recipe differs from a card's own in size and crop alone."""
    free = ("size", "crop_fraction", "resize_to")
    return asdict(recipe) | {name: getattr(own, name) for name in free} == asdict(own)


def at(card: Card, recipe: Recipe, folder: Path) -> Card:
    """Return the card of the same model for the images of a recipe, the card's own or of another size.

    `folder` takes the model where its file must be made anew for another size.

    Raises:
        ModelError: the model cannot be reshaped.
    """
    if recipe == card.input.recipe:
        return card
    crop, short = recipe.crop_fraction, recipe.resize_to
    given = replace(card.input, size=recipe.size, crop_fraction=crop, resize_to=short)
    made = replace(card, name=f"{card.name}-{recipe.size}", input=given, accuracy=None)
    if card.file.builder is not None:
        return made
    path = files.make_writable_folder(folder) / f"{made.name}.xml"
    card_path = path.with_suffix(".toml")
    made = replace(
        made,
        file=FileSpec(path=path.name),
        training=card.training | {RESHAPED: model_file.sha256(card)},
        folder=folder.resolve(),
    )
    if card_path.exists() and read_card(card_path) == made:
        return made
    model = model_file.read(card)
    shape = [1, recipe.size, recipe.size, 3] if given.layout == "NHWC" else [1, 3, recipe.size, recipe.size]
    try:
        model.reshape({model.input(0): shape})
    except RuntimeError as error:
        raise ModelError(
            f"Model '{card.name}' cannot be reshaped to {recipe.size} px: leave that out of --sizes."
        ) from error
    model_file.save(model, path)
    write_card(made, card_path)
    return made


def quantized(
    card: Card, images: Store, scored: Store, target: float, folder: Path, settings: CalibrationSettings
) -> Entrant:
    """Return the card's INT8 twin, made now unless it is there; its own target is the frontier's.

    Raises:
        HarnessError: the model cannot be quantized, or a store lacks its recipe.
    """
    candidate = Candidate(card.name, card, "f32", quantize=True)
    made, words = variants.quantized(candidate, images, scored, folder, settings)
    wanted = AccuracySpec("top1", target, 1.0, "harness frontier, --min-top1")
    if made.accuracy != wanted:
        made = replace(made, accuracy=wanted)
        write_card(made, folder / f"{settings.twin_of(card.name)}.toml")
    return Entrant(made, card, settings, words)


def further_settings(max_drop: float | None) -> tuple[CalibrationSettings, ...]:
    """Return the other ways to quantize a network that just misses the target."""
    ways = [
        replace(calibration.USUAL, bias_correction="accurate"),
        replace(calibration.USUAL, preset="performance"),
    ]
    ways += [] if max_drop is None else [replace(calibration.USUAL, max_drop=max_drop)]
    return tuple(ways)
