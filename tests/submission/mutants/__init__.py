"""Submissions with one change each, named by it; test_mutants.py says what becomes of them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from . import detection, documents, files, places, runs, several
from .changes import Change


@dataclass(frozen=True)
class Mutant:
    """A good tree and what is changed in it."""

    base: str
    """'offline' and 'stream': Open with one scenario; 'closed': all that Closed demands; 'systems': the same
    of two systems; 'inferred': all of it inferred from SingleStream; 'both': that and Open with Offline;
    'yolo' and 'yolo closed': all of a detector."""
    name: str
    apply: Change

    @property
    def id(self) -> str:
        return f"{self.base}: {self.name}"


def make_bases(trees: dict[str, Path], target: Path) -> dict[str, Path]:
    """Return the trees that mutants are made of: small ones, without the harness's own code."""
    bases = {}
    for base, made, kept in (
        ("offline", "open", "Offline"),
        ("stream", "open", "SingleStream"),
        ("closed", "closed", ""),
        ("systems", "systems", ""),
        ("inferred", "inferred", ""),
        ("both", "both", "Offline"),
        (detection.OPEN, "yolo", ""),
        (detection.CLOSED, "yolo-closed", ""),
    ):
        bases[base] = Path(shutil.copytree(trees[made], target / base))
        for home in bases[base].glob("*/Us"):
            shutil.rmtree(home / "src" / "harness")
        for folder in bases[base].glob("open/Us/results/*/*/*") if kept else ():
            if folder.name != kept:
                shutil.rmtree(folder)
    return bases


def mutants() -> list[Mutant]:
    """Return all mutants, in the same order each time."""
    parts = (documents, runs, files, places, several, detection)
    found = [Mutant(base, name, apply) for part in parts for base, name, apply in part.all_of_them()]
    names = [one.id for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"two mutants have one name: {twice}"
    return found
