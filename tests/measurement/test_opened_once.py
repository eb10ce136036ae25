"""A command hashes a model's files once, and opens a store once."""

import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import BRIEF_S, Oracle

from harness.comparison import session
from harness.dataset.store import open_store
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import read_card

_opened: Counter[str] | None = None


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | Path):
        _opened[str(arguments[0])] += 1


# An audit hook stays for as long as the process.
sys.addaudithook(_count)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this process opens each file, by Python."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(sys.modules[__name__], "_opened", found)
    return found


def test_a_comparison_reads_each_model_and_the_store_once(
    oracle: Oracle, tmp_path: Path, opened: Counter[str]
) -> None:
    store = Path(shutil.copytree(oracle.store.path, tmp_path / "store"))
    cards = []
    for name in ("one", "other"):
        folder = Path(shutil.copytree(oracle.card.folder, tmp_path / name))
        card = read_card(folder / oracle.card_path.name)
        cards.append(replace(card, name=name))
        with (folder / "oracle.xml").open("a") as file:
            file.write("\n" * len(cards))
    opened.clear()
    session.compare(
        session.Request(
            tuple(cards),
            tmp_path / "out",
            store,
            (Scenario.OFFLINE,),
            rounds=2,
            threads=(1,),
            duration_s=BRIEF_S,
        )
    )
    assert opened[str(store / "manifest.json")] == 1
    # Once for its lines, and once for its hash.
    assert opened[str(store / "val_map.txt")] == 2
    for card in cards:
        for path in model_file.files(card):
            assert opened[str(path)] == 1, path


def test_a_store_that_changed_is_opened_anew(oracle: Oracle, tmp_path: Path) -> None:
    store = Path(shutil.copytree(oracle.store.path, tmp_path / "store"))
    first = open_store(store)
    assert open_store(store) is first
    (store / "val_map.txt").write_bytes((store / "val_map.txt").read_bytes())
    assert open_store(store) is not first
