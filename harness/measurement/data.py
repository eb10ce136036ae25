"""The store that a card's images come from, and whether the two fit."""

from pathlib import Path

from harness.dataset.store import Store, open_store
from harness.errors import DataError
from harness.model import file as model_file
from harness.model.card import Card


def open_for(card: Card, path: Path) -> Store:
    """Open the store and hold it against the card, before any work.

    Raises:
        ModelError: the model's file is missing.
        DataError: the store lacks the card's recipe, or has labels that the model cannot give.
    """
    model_file.sha256(card)
    store = open_store(path)
    store.samples(card.input.recipe)
    highest = int(store.labels.max())
    if highest >= card.output.labels:
        raise DataError(
            f"The store {path} has the label {highest}, but model '{card.name}' knows "
            f"0 to {card.output.labels - 1}: use a store of its data set."
        )
    return store
