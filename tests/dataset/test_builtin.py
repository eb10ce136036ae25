"""The built-in image set."""

import errno
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.dataset import drawn_set
from harness.dataset.builtin import CLASSES, draw, generate
from harness.dataset.drawn_set import SPLITS
from harness.dataset.image_file import decode
from harness.dataset.images import find_images
from harness.errors import DataError, OutputError

# After a deliberate change of the drawing raise builtin.VERSION, train again and renew these with
# python -c "from tests.test_builtin import *; print([digest(*item) for item in SAMPLES])"
SAMPLES = (("val", 0), ("val", 1999), ("train", 0), ("train", 12345))
DIGESTS = ("7598ac0efb1b530e", "3774577036f3a294", "140dbff47231a65c", "7f94746265031fc6")


def digest(split: str, index: int) -> str:
    pixels, label = draw(split, index)
    return hashlib.sha256(repr((pixels.shape, label)).encode() + pixels.tobytes()).hexdigest()[:16]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_pixels_are_the_same_to_the_bit_as_ever() -> None:
    assert tuple(digest(*sample) for sample in SAMPLES) == DIGESTS


def test_images_have_the_promised_form() -> None:
    for index in range(48):
        pixels, label = draw("val", index)
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert min(pixels.shape[:2]) >= 80
        assert max(pixels.shape[:2]) <= 130
        assert 0 <= label < len(CLASSES)


def test_the_splits_share_no_image() -> None:
    assert len({digest(split, 3) for split in SPLITS}) == len(SPLITS) == 3


def test_an_image_depends_neither_on_the_count_nor_on_the_workers(tmp_path: Path) -> None:
    few = generate(tmp_path / "few", 50, workers=1)
    many = generate(tmp_path / "many", drawn_set.FEW + 50, workers=2)
    assert len(list(many.glob("*.JPEG"))) == drawn_set.FEW + 50
    for path in few.glob("*.JPEG"):
        assert path.read_bytes() == (many / path.name).read_bytes()


def test_every_class_is_there_and_equally_often(tmp_path: Path) -> None:
    images = find_images(generate(tmp_path / "set", 96), len(CLASSES))
    assert Counter(images.labels) == dict.fromkeys(range(len(CLASSES)), 4)


def test_the_names_and_the_label_file_are_those_of_imagenet_s_layout(tmp_path: Path) -> None:
    out = generate(tmp_path / "set", 2)
    assert names(out) == {
        "builtin_val_00000001.JPEG",
        "builtin_val_00000002.JPEG",
        "val_map.txt",
        "builtin.json",
    }
    assert (out / "val_map.txt").read_text() == "builtin_val_00000001.JPEG 0\nbuiltin_val_00000002.JPEG 1\n"


def test_training_images_lie_in_one_folder_per_class_ranked_as_their_labels(tmp_path: Path) -> None:
    images = find_images(generate(tmp_path / "set", 48, "train"), len(CLASSES))
    for name, label in zip(images.names, images.labels, strict=True):
        folder, file = name.split("/")
        assert folder == CLASSES[label]
        assert (int(file.removesuffix(".JPEG")[-8:]) - 1) % len(CLASSES) == label


def test_the_jpeg_file_shows_the_pixels_that_were_drawn(tmp_path: Path) -> None:
    path = generate(tmp_path / "set", 1) / "builtin_val_00000001.JPEG"
    drawn = draw("val", 0)[0].astype(int)
    found = decode(path.read_bytes(), path.name).astype(int)
    assert np.abs(found.mean((0, 1)) - drawn.mean((0, 1))).max() < 2


def test_a_second_call_keeps_what_is_whole_and_repairs_the_rest(tmp_path: Path) -> None:
    out = generate(tmp_path / "set", 30)
    before = stamps(out)
    generate(out, 30)
    assert stamps(out) == before

    broken, gone = out / "builtin_val_00000003.JPEG", out / "builtin_val_00000004.JPEG"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    gone.unlink()
    generate(out, 30)
    assert broken.read_bytes() == whole
    assert {name for name, stamp in stamps(out).items() if stamp != before[name]} == {broken.name, gone.name}


def test_an_interrupted_call_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    real = Path.replace

    def replace_until_full(self: Path, target: Path) -> Path:
        if "00000005" in self.name:
            raise full
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace_until_full)
    with pytest.raises(OutputError, match=r"No space left on device.*free some space"):
        generate(tmp_path / "set", 30)
    assert not (tmp_path / "set" / "val_map.txt").exists()
    assert not list((tmp_path / "set").glob("*.part"))
    assert not list((tmp_path / "set").glob(".*.part"))


def test_too_small_a_disk_is_refused_before_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match="No room for 30 images"):
        generate(tmp_path / "set", 30)
    assert names(tmp_path / "set") == {"builtin.json"}


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else: choose a new or empty one"):
        generate(tmp_path, 30)
    assert names(tmp_path) == {"thesis.txt"}


def test_a_folder_of_the_other_split_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "set", 2, "train")
    with pytest.raises(OutputError, match="holds another split"):
        generate(tmp_path / "set", 2, "val")


def test_images_of_another_version_are_drawn_anew(tmp_path: Path) -> None:
    out = generate(tmp_path / "set", 3)
    first = (out / "builtin_val_00000001.JPEG").read_bytes()
    (out / "builtin_val_00000001.JPEG").write_bytes((out / "builtin_val_00000002.JPEG").read_bytes())
    marker = json.loads((out / "builtin.json").read_text())
    (out / "builtin.json").write_text(json.dumps({**marker, "version": marker["version"] - 1}))
    generate(out, 3)
    assert (out / "builtin_val_00000001.JPEG").read_bytes() == first


def test_a_path_through_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write to the folder"):
        generate(tmp_path / "file" / "set", 2)


def test_an_unknown_split_is_named_with_its_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'trian'\. Did you mean 'train'"):
        generate(tmp_path, 2, "trian")


def test_no_images_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ask for at least one"):
        generate(tmp_path, 0)
