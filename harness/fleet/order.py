"""A command as every machine gets it: its models packed, its stores named."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.fleet.duty import card_word
from harness.fleet.parcel import Parcel, pack
from harness.model import file as model_file
from harness.model.card import find_card


@dataclass(frozen=True)
class Command:
    """One command for all machines."""

    given: tuple[str, ...]
    """Words after `harness`, as the user wrote them."""
    words: tuple[str, ...]
    """The same with what stands for the paths that differ from machine to machine."""
    parcels: tuple[Parcel, ...]
    stores: tuple[str, ...]
    """Paths of stores, the same on every machine."""
    models: str
    """Hex digest of all models."""

    @property
    def name(self) -> str:
        return self.given[0]

    def settings(self, versions: Mapping[str, str | None], stores: Mapping[str, str]) -> str:
        """Return the hex digest of all that the results hang on beside machine and models."""
        facts = [self.words, sorted(versions.items()), sorted(stores.items())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def packed(
    given: Sequence[str], words: Sequence[str], cards: Sequence[str], stores: Sequence[str]
) -> Command:
    """Return a command with its models packed.

    Args:
        given: as the user wrote it.
        words: the same, each option and value a word of its own, with what the fleet adds.
        cards: those of the words that name models.
        stores: those that name stores.

    Raises:
        HarnessError: a model is not known, its files are not there, or they are too large to travel.
    """
    # A relative path would mean another place on each machine.
    places = {store: str(Path(store).absolute()) for store in stores}
    parcels, digests = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in cards:
            card = find_card(name)
            digests.append(f"{card.name}={model_file.sha256(card)}")
            if (parcel := pack(card, Path(folder))) is not None:
                places[name] = card_word(parcel.digest)
                parcels.append(parcel)
    return Command(
        given=tuple(given),
        words=tuple(places.get(word, word) for word in words),
        parcels=tuple(parcels),
        stores=tuple(dict.fromkeys(places[store] for store in stores)),
        models=hashlib.sha256(" ".join(digests).encode()).hexdigest(),
    )
