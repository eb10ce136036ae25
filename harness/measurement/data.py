"""The store that a card's images come from, and whether the two fit."""

from collections.abc import Sequence
from pathlib import Path

from harness.dataset import builtin, coco, scenes
from harness.dataset.form import Form
from harness.dataset.images import Listed, find_images
from harness.dataset.store import Store, open_store, prepare
from harness.errors import HarnessError
from harness.model import file as model_file
from harness.model.card import Card
from harness.task import task_of


def open_for(card: Card, path: Path) -> Store:
    """Open the store and hold it against the card, before any work.

    Raises:
        ModelError: the model's file is missing.
        DataError: the store lacks the card's recipe, or says of an image what the model cannot answer.
    """
    model_file.sha256(card)
    store = open_store(path)
    require_fit(card, store)
    return store


def drawn(cards: Sequence[Card], folder: Path, count: int) -> Store:
    """Draw images for cards of one task, and return a store of them: for speed, as they are of no data set.

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


def require_fit(card: Card, store: Store) -> None:
    """Hold a store against a card.

    Raises:
        DataError: the store lacks the card's recipe, or says of an image what the model cannot answer.
    """
    store.samples(card.input.recipe)
    task_of(card).require_fit(card, store)
