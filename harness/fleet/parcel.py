"""Models that travel: a card and its files, by their hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import files, resources
from harness.errors import ModelError
from harness.model import file as model_file
from harness.model.card import Card, write_card

_MOST_BYTES = 200_000_000
"""What Ray's object store takes without pressing on the memory of a machine that is measured."""


@dataclass(frozen=True)
class Parcel:
    """One model."""

    digest: str
    """Hex SHA-256 of the card's text and the model's files."""
    card: str
    """Name of the card."""
    files: Mapping[str, bytes]
    """By path, relative to the folder that it is unpacked into; the card is '<name>.toml'."""


def pack(card: Card, folder: Path) -> Parcel | None:
    """Return a card with its files; None where every installation of the harness has them.

    Args:
        card: what to send.
        folder: for a moment's use.

    Raises:
        ModelError: a file is missing, or they are too large to travel.
    """
    paths = model_file.files(card)
    named = [*paths, *([card.path] if card.path else [])]
    if all(path.is_relative_to(resources.MODELS) for path in named):
        return None
    root = paths[0].parent if paths else folder
    size_bytes = sum(path.stat().st_size for path in paths)
    if size_bytes > _MOST_BYTES:
        raise ModelError(
            f"Model '{card.name}' has {files.format_bytes(size_bytes)}, and up to "
            f"{files.format_bytes(_MOST_BYTES)} travel: put it on each machine under one path, and name that."
        )
    sent = card
    if paths:
        sent = replace(card, file=replace(card.file, path=paths[0].name, url=None, package=None))
    text = folder / f"{card.name}.toml"
    write_card(sent, text)
    content = {text.name: text.read_bytes()}
    content |= {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    digest = hashlib.sha256()
    for name, data in sorted(content.items()):
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return Parcel(digest.hexdigest(), card.name, content)


def unpack(parcel: Parcel, folder: Path) -> Path:
    """Write a parcel below `folder`, unless it lies there already, and return the card's path.

    Raises:
        OutputError: it cannot be written.
    """
    place = folder / parcel.digest
    card = place / f"{parcel.card}.toml"
    if not card.is_file():
        files.make_writable_folder(folder)
        with files.staging(folder, parcel.digest) as staged:
            whole = staged / "whole"
            for name, data in parcel.files.items():
                path = whole / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            whole.replace(place)
    return card
