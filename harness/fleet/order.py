"""A command as every machine gets it: its models packed, its stores named."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.fleet.duty import Order, card_word
from harness.fleet.parcel import Parcel, pack
from harness.model import file as model_file
from harness.model.card import Card, find_card

_DIGITS = 12


@dataclass(frozen=True)
class Command:
    """One command for all machines."""

    given: tuple[str, ...]
    """Words after `harness`, as the user wrote them."""
    words: tuple[str, ...]
    """The same with what stands for the paths that differ from machine to machine."""
    parcels: tuple[Parcel, ...]
    cards: tuple[str, ...]
    """Those of the words that stand for models."""
    recipes: tuple[str, ...]
    """Keys of the recipes by which stores must have samples."""
    stores: tuple[str, ...]
    """Paths of stores, the same on every machine; that of --data first."""
    models: str
    """Hex digest of all models."""

    @property
    def name(self) -> str:
        return self.given[0]

    def settings(self, versions: Mapping[str, str | None], stores: Mapping[str, str]) -> str:
        """Return the hex digest of all that the results hang on beside machine and models."""
        facts = [self.words, sorted(versions.items()), sorted(stores.items())]
        return _digest(json.dumps(facts))

    def order(self, settings: str) -> Order:
        """Return what to carry out on a machine with these settings."""
        return Order(f"{self.models[:_DIGITS]}-{settings[:_DIGITS]}", self.words)


@dataclass(frozen=True)
class Preparation:
    """How machines make the store of a command that they do not have: the first that it names."""

    images: Path
    """The same on every machine."""
    dataset: str
    annotations: Path | None = None

    def orders(self, command: Command) -> list[Order]:
        """Return an order for each model of a command; what is there already is left as it is."""
        given = ["--dataset", self.dataset, "--images", str(self.images.absolute())]
        if self.annotations is not None:
            given += ["--annotations", str(self.annotations.absolute())]
        found = [
            ("prepare", *given, "--model", card, "--out", store, "--json")
            for store in command.stores[:1]
            for card in command.cards
        ]
        return [Order(f"prepare-{_digest(json.dumps(words))[:_DIGITS]}", words) for words in found]


def packed(
    given: Sequence[str], words: Sequence[str], naming_cards: Sequence[str], naming_stores: Sequence[str]
) -> Command:
    """Return a command with its models packed.

    Args:
        given: as the user wrote it.
        words: the same, each option and value a word of its own, with what the fleet adds.
        naming_cards: options of which each value names a model.
        naming_stores: those of which each names a store.

    Raises:
        HarnessError: a model is not known, its files are not there, or they are too large to travel.
    """
    cards, stores = _values(words, naming_cards), _values(words, naming_stores)
    # A relative path would mean another place on each machine.
    absolute = {store: str(Path(store).absolute()) for store in stores}
    sent: dict[str, str] = {}
    parcels: list[Parcel] = []
    found: list[Card] = [find_card(name) for name in cards]
    with tempfile.TemporaryDirectory() as folder:
        for name, card in zip(cards, found, strict=True):
            if (parcel := pack(card, Path(folder))) is not None:
                sent[name] = card_word(parcel.digest)
                parcels.append(parcel)
    # The same word may mean another thing elsewhere, such as a variant's name behind --baseline.
    places = {name: sent for name in naming_cards} | {name: absolute for name in naming_stores}
    return Command(
        given=tuple(given),
        words=tuple(places.get(option, {}).get(word, word) for option, word in pairwise(("", *words))),
        parcels=tuple(parcels),
        cards=tuple(dict.fromkeys(sent.get(name, name) for name in cards)),
        recipes=tuple(dict.fromkeys(card.input.recipe.key for card in found)),
        stores=tuple(dict.fromkeys(absolute.values())),
        models=_digest(" ".join(f"{card.name}={model_file.sha256(card)}" for card in found)),
    )


def _values(words: Sequence[str], options: Sequence[str]) -> list[str]:
    return [value for option in options for before, value in pairwise(words) if before == option]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
