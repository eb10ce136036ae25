"""What the tests of accuracy share: a trained baseline and a few images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.model.card import Card, read_card
from harness.profiling import stopwatch
from harness.search.space import baseline
from harness.search.split import split

if TYPE_CHECKING:
    from harness.search.accuracy.material import Material


@pytest.fixture
def _however_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept every sample: what is asked of real times here holds beside the busiest neighbour, too."""
    monkeypatch.setattr(stopwatch, "LARGEST_DRIFT", 100.0)


@pytest.fixture(scope="session")
def builtin_card() -> Card:
    """Return the card of the trained baseline that the project ships."""
    return read_card(Path(__file__).parents[2] / "models" / "builtin-resnet50" / "card.toml")


@pytest.fixture(scope="session")
def train_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 240 training images of the built-in set."""
    return builtin.generate(tmp_path_factory.mktemp("images") / "train", 240, "train")


@pytest.fixture(scope="session")
def material(builtin_card: Card, train_folder: Path) -> "Iterator[Material]":
    """Yield the shipped baseline with those images, a fifth of them held out."""
    torch = pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")
    from harness.search.accuracy.material import Material
    from harness.training.ranks import Ranks

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = split(find_images(train_folder, 24), share=0.2)
    ranks = Ranks(0, 1, torch.device("cpu"))
    yield Material(*baseline.read(builtin_card), parts, builtin_card.input.recipe, ranks, statistics=96)
    torch.set_num_threads(threads)
