"""Images that are drawn where nobody gives any: for speed alone, as they are of no data set."""

from collections.abc import Sequence
from pathlib import Path

from harness.dataset import builtin, coco, scenes
from harness.dataset.form import Form
from harness.dataset.images import Listed, find_images
from harness.dataset.store import Store, prepare
from harness.errors import HarnessError
from harness.model.card import Card
from harness.task import task_of


def store_for(cards: Sequence[Card], folder: Path, count: int) -> Store:
    """Draw images for cards of one task, and return a store of them.

    Both lie in the folder; what is there already stays.

    Raises:
        HarnessError: see `require_drawable`.
    """
    require_drawable(cards)
    images = folder / "images"
    if task_of(cards[0]).FORM is Form.BOXES:
        scenes.generate(images, count)
        listed: Listed = coco.find_annotated(images, coco.read(images / coco.ANNOTATIONS))
    else:
        listed = find_images(builtin.generate(images, count), len(builtin.CLASSES))
    for recipe in {card.input.recipe.key: card.input.recipe for card in cards}.values():
        store = prepare(listed, recipe, folder / "store", "builtin")
    return store


def require_drawable(cards: Sequence[Card]) -> None:
    """Raise HarnessError for a card that takes no image of any size."""
    for card in cards:
        if card.input.resize == "none":
            raise HarnessError(
                f"Model '{card.name}' takes images as they are, and the built-in ones have other sizes: give "
                "a store with --data."
            )
