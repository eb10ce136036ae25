"""Submissions with one change each, named by it; test_mutants.py says what becomes of them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..broken_tree import Tree
from . import documents, files, places, runs
from .changes import Change


@dataclass(frozen=True)
class Mutant:
    """A good tree and what is changed in it."""

    base: str
    """'offline' and 'stream': Open with one scenario; 'closed': all that Closed demands."""
    name: str
    apply: Change

    @property
    def id(self) -> str:
        return f"{self.base}: {self.name}"


def make_bases(trees: dict[str, Path], target: Path) -> dict[str, Path]:
    """Return the trees that mutants are made of: small ones, without the harness's own code."""
    bases = {}
    for base, division, scenarios in (
        ("offline", "open", ("Offline",)),
        ("stream", "open", ("SingleStream",)),
        ("closed", "closed", ("SingleStream", "MultiStream", "Offline")),
    ):
        bases[base] = Path(shutil.copytree(trees[division], target / base))
        tree = Tree(bases[base])
        shutil.rmtree(tree.home / "src" / "harness")
        for folder in tree.model.iterdir():
            if folder.name not in scenarios:
                shutil.rmtree(folder)
    return bases


def mutants() -> list[Mutant]:
    """Return all mutants, in the same order each time."""
    parts = (documents, runs, files, places)
    found = [Mutant(base, name, apply) for part in parts for base, name, apply in part.all_of_them()]
    names = [one.id for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"two mutants have one name: {twice}"
    return found
