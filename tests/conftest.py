"""Small real models and stores that every test of a run can use."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from harness.dataset.images import find_images
from harness.dataset.store import Store, prepare
from harness.model.card import Card, read_card
from harness.process.signals import deliver_on_the_normal_stack

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

SIZE = 16
CLASSES = 10

PATIENCE_S = 600
"""Only what hangs takes so long, on a busy machine with a cold disk, too."""
BRIEF_S = 0.0005
"""LoadGen counts whole milliseconds: a performance test that may last none is VALID at any speed."""

CARD = """
name = "{name}"
benchmark = "resnet50"
[file]
path = "{path}"
[input]
size = 16
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "none"
crop_fraction = 1.0
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
kind = "logits"
classes = 10
[accuracy]
metric = "top1"
reference = 1.0
target_fraction = 0.9
"""


LONG = (
    "tests/fleet/test_fleet.py",
    "tests/search/test_session.py",
    "tests/test_quickstart.py",
    "tests/submission/test_mutants.py",
)
"""Files that begin first, so that none of them is left to one process while the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def _a_host_of_its_own() -> None:
    """Let the commands of parallel test processes not wait for each other's turn to measure."""
    os.environ["HARNESS_HOST_ID"] = f"tests-{os.getpid()}"


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> None:
    """Undo what a shell does to a job in the background: SIGINT ignored, and inherited so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    deliver_on_the_normal_stack()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images and models, which is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def mobilenet(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Card, Store]:
    """Return MobileNet V2 in FP32 with its published weights, an IR, and real images."""
    from model.test_card import MOBILENET

    folder = tmp_path_factory.mktemp("mobilenet")
    for suffix in (".xml", ".bin"):
        shutil.copy(shared_data / "models" / f"mobilenet_v2_fp32{suffix}", folder)
    text = MOBILENET.replace("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2_fp32.xml")
    (folder / "card.toml").write_text(text)
    card = read_card(folder / "card.toml")
    images = find_images(shared_data / "imagenet-sample", card.output.labels)
    return card, prepare(images, card.input.recipe, folder / "store", "imagenet")


@dataclass(frozen=True)
class Oracle:
    """A model that tells the grey of an image exactly, and the images it is right about."""

    card_path: Path
    store: Store

    @property
    def card(self) -> Card:
        return read_card(self.card_path)


def grey_of(label: int) -> int:
    """Return the grey value whose label the oracle model gives."""
    return 20 * label + 10


def write_images(folder: Path, labels: list[int], truth: list[int]) -> None:
    """Write one grey PNG per label; `truth` is what val_map.txt claims."""
    folder.mkdir(parents=True)
    lines = []
    for index, (label, claimed) in enumerate(zip(labels, truth, strict=True)):
        name = f"image_{index:05d}.png"
        cv2.imwrite(str(folder / name), np.full((SIZE, SIZE, 3), grey_of(label), np.uint8))
        lines.append(f"{name} {claimed}\n")
    (folder / "val_map.txt").write_text("".join(lines))


def oracle_model(
    poison: int | None = None, batch: int = 1, nan_grey: int | None = None, classes: int = CLASSES
) -> ov.Model:
    """Return a model whose logits are highest for the class of the image's mean grey.

    With `poison`, its inference fails on images of that class, inside OpenVINO; with `nan_grey`, one logit of
    images of that grey is NaN.
    """
    pixels = ops.parameter([batch, SIZE, SIZE, 3], np.uint8, name="pixels")
    mean = ops.reduce_mean(ops.convert(pixels, np.float32), np.array([1, 2, 3]), True)
    mean = ops.reshape(mean, np.array([0, 1]), True)
    centres = np.array([[grey_of(label) for label in range(classes)]], np.float32)
    distance = ops.abs(ops.subtract(mean, centres))
    if poison is not None:
        is_poison = ops.less(ops.abs(ops.subtract(mean, np.float32(grey_of(poison)))), np.float32(1))
        width = ops.select(is_poison, np.int64(CLASSES + 1), np.int64(CLASSES))
        target = ops.concat([np.array([1]), ops.reshape(width, np.array([1]), False)], 0)
        distance = ops.reshape(ops.exp(ops.reshape(distance, target, False)), np.array([1, CLASSES]), False)
    if nan_grey is not None:
        is_nan = ops.less(ops.abs(ops.subtract(mean, np.float32(nan_grey))), np.float32(1))
        one = np.arange(CLASSES) == CLASSES // 2
        distance = ops.select(ops.logical_and(is_nan, one[None]), np.float32(np.nan), distance)
    logits = ops.negative(distance)
    return ov.Model([ops.result(logits, name="logits")], [pixels], "oracle")


def make_oracle(folder: Path, count: int = 60, wrong: int = 0, **options: int) -> Oracle:
    """Make an oracle with `count` images of which the first `wrong` carry a false label."""
    labels = [index % CLASSES for index in range(count)]
    truth = [(label + 1) % CLASSES if index < wrong else label for index, label in enumerate(labels)]
    write_images(folder / "images", labels, truth)
    ov.save_model(oracle_model(**options), folder / "oracle.xml", compress_to_fp16=False)
    card_path = folder / "oracle.toml"
    card_path.write_text(CARD.format(name="oracle", path="oracle.xml"))
    card = read_card(card_path)
    images = find_images(folder / "images", CLASSES)
    return Oracle(card_path, prepare(images, card.input.recipe, folder / "store", "custom"))


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Return an oracle that is right about 57 of its 60 images."""
    return make_oracle(tmp_path_factory.mktemp("oracle"), count=60, wrong=3)


@pytest.fixture
def new_oracle(tmp_path: Path) -> Callable[..., Oracle]:
    """Return a function that makes an oracle to measure."""
    return lambda **options: make_oracle(tmp_path / "oracle", **options)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's models and tunings."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


_WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Gone())
from harness.cli import main
main()
"""


@pytest.fixture(scope="session")
def harness_without() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `harness` where a library is not installed: its name, then the words."""

    def run(library: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _WITHOUT.format(library=library), *words]
        return subprocess.run(command, capture_output=True, text=True)

    return run
