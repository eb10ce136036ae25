"""The store that a card's images come from, and whether the two fit."""

from pathlib import Path

from harness.dataset.store import Store, open_store
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


def require_fit(card: Card, store: Store) -> None:
    """Hold a store against a card.

    Raises:
        DataError: the store lacks the card's recipe, or says of an image what the model cannot answer.
    """
    store.samples(card.input.recipe)
    task_of(card).require_fit(card, store)
