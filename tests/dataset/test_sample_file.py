"""Making a store is killed, interrupted, starved of disk and watched for its memory."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE_S
from sample_images import expected, sha256, truncate, write_images

from harness.dataset import recipe as recipe_module
from harness.dataset import sample_file, store
from harness.dataset.image_file import decode
from harness.dataset.images import ImageList
from harness.dataset.recipe import Recipe
from harness.dataset.store import prepare
from harness.errors import OutputError

MLPERF = Recipe(224, "area", 0.875)
SMALL = Recipe(32, "area", 0.875)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 70)


@pytest.fixture
def made(tmp_path, images):
    return prepare(images, SMALL, tmp_path / "store", "imagenet")


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.dataset import recipe as recipe_module
from harness.dataset import sample_file, store
from harness.dataset.images import find_images
from harness.dataset.recipe import Recipe
sample_file._SYNC_SECONDS = 0.0
append = sample_file._Journal.append
def append_and_die(journal, entries):
    append(journal, entries)
    if len(journal.chunks) >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
sample_file._Journal.append = append_and_die
images = find_images(Path(sys.argv[1]), 10)
store.prepare(images, Recipe(224, "area", 0.875), Path(sys.argv[2]), "imagenet", sys.argv[3] == "lax")
"""


def kill_half_way(root: Path, out: Path, mode: str = "strict") -> int:
    """Let a real `prepare` SIGKILL itself after a few chunks; return how many it had journalled."""
    command = [sys.executable, "-c", KILLED, root, out, mode]
    killed = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=PATIENCE_S)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    return (out / "area-224-0.875.u8.journal").read_text().count("chunk")


def counting_decode(monkeypatch):
    calls = []

    def count(data, name, *options):
        calls.append(name)
        return decode(data, name, *options)

    monkeypatch.setattr(recipe_module, "decode", count)
    return calls


def test_a_killed_prepare_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    images = write_images(tmp_path / "images", 600, 300, 400)
    whole = prepare(images, MLPERF, tmp_path / "whole", "imagenet")
    out = tmp_path / "killed"
    chunks = kill_half_way(images.root, out)
    journal = out / "area-224-0.875.u8.journal"
    journal.write_text(journal.read_text() + '{"chunk": 9')  # a line torn by the kill

    calls = counting_decode(monkeypatch)
    resumed = prepare(images, MLPERF, out, "imagenet")
    assert len(calls) == 600 - 32 * chunks
    assert resumed.sha256(MLPERF) == whole.sha256(MLPERF)
    for name in ("area-224-0.875.u8", "val_map.txt"):
        assert sha256(out / name) == sha256(whole.path / name)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.path.iterdir()}


def test_a_killed_prepare_that_leaves_images_out_goes_on_too(tmp_path, monkeypatch):
    images = write_images(tmp_path / "images", 500, 300, 400)
    (images.root / images.names[20]).unlink()
    truncate(images.root / images.names[300])
    whole = prepare(images, MLPERF, tmp_path / "whole", "imagenet", allow_missing=True)
    assert whole.count == 498
    kill_half_way(images.root, tmp_path / "killed", "lax")
    resumed = prepare(images, MLPERF, tmp_path / "killed", "imagenet", allow_missing=True)
    assert resumed.names == whole.names
    assert sha256(resumed.path / "area-224-0.875.u8") == whole.sha256(MLPERF) == resumed.sha256(MLPERF)


def interrupted(monkeypatch, images, recipe, out):
    """Stop a prepare at the moment before the manifest is written."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_manifest", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(images, recipe, out, "imagenet")


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_a_stop_between_samples_and_manifest_costs_no_work(tmp_path, images, made, monkeypatch):
    out = tmp_path / "stopped"
    interrupted(monkeypatch, images, SMALL, out)
    calls = counting_decode(monkeypatch)
    assert prepare(images, SMALL, out, "imagenet").sha256(SMALL) == made.sha256(SMALL)
    assert calls == []


@pytest.mark.parametrize("change", ["recipe versions", "image folder", "shorter file"])
def test_work_that_would_come_out_otherwise_is_not_taken_over(tmp_path, images, monkeypatch, change):
    out = tmp_path / "stopped"
    interrupted(monkeypatch, images, SMALL, out)
    listed = images
    if change == "recipe versions":
        monkeypatch.setattr(store, "tool_versions", lambda: {"opencv": "0", "pillow": "0"})
    elif change == "image folder":
        images.root.rename(tmp_path / "moved")
        listed = ImageList(images.names, images.labels, tmp_path / "moved")
    else:
        os.truncate(out / "area-32-0.875.u8", 1000)
    calls = counting_decode(monkeypatch)
    resumed = prepare(listed, SMALL, out, "imagenet")
    assert len(calls) == 70
    assert np.array_equal(resumed.samples(SMALL), expected(listed, SMALL))


def test_ctrl_c_stops_at_once_and_keeps_what_is_done(tmp_path, monkeypatch):
    images = write_images(tmp_path / "images", 640)
    calls, noted, told = [], threading.Event(), threading.Event()

    def interrupt_later(data, name, *options):
        calls.append(name)
        if len(calls) == 100:
            assert noted.wait(30)
            os.kill(os.getpid(), signal.SIGINT)
            assert told.wait(30)
        return decode(data, name, *options)

    class Checksum(sample_file._Checksum):
        def follow(self, ready, at_most):
            super().follow(ready, at_most)
            if len(ready) == 3:
                noted.set()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            told.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    with monkeypatch.context() as patch:
        patch.setattr(recipe_module, "decode", interrupt_later)
        patch.setattr(sample_file, "_Checksum", Checksum)
        patch.setattr(sample_file, "ThreadPoolExecutor", Pool)
        with pytest.raises(KeyboardInterrupt):
            prepare(images, SMALL, tmp_path / "store", "imagenet", workers=1)
    assert len(calls) == 100
    calls = counting_decode(monkeypatch)
    assert prepare(images, SMALL, tmp_path / "store", "imagenet").count == 640
    # Three chunks of 32 were finished.
    assert len(calls) == 640 - 96


def test_samples_that_another_list_has_written_over_are_not_taken_for_ones_own(tmp_path, monkeypatch):
    images = write_images(tmp_path / "images", 320)
    out = tmp_path / "store"
    interrupted(monkeypatch, images, SMALL, out)
    one_less = ImageList(images.names[1:], images.labels[1:], images.root)
    done = []

    def interrupt_half_way(data, name, *options):
        done.append(name)
        if len(done) == 200:
            raise KeyboardInterrupt
        return decode(data, name, *options)

    with monkeypatch.context() as patch:
        patch.setattr(recipe_module, "decode", interrupt_half_way)
        with pytest.raises(KeyboardInterrupt):
            prepare(one_less, SMALL, out, "imagenet")
    assert np.array_equal(prepare(images, SMALL, out, "imagenet").samples(SMALL), expected(images, SMALL))


PEAK = """
import sys
from pathlib import Path
from harness.dataset import store
from harness.dataset.images import find_images
from harness.dataset.recipe import Recipe
images = find_images(Path(sys.argv[1]), 10)
store.prepare(images, Recipe(224, "area", 0.875), Path(sys.argv[2]), "imagenet")
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    peak_mb = {}
    for count in (300, 3000):
        root = tmp_path / str(count)
        write_images(root, count, 120, 160)
        out = tmp_path / f"store{count}"
        done = subprocess.run(
            [sys.executable, "-c", PEAK, root, out],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        peak_mb[count] = int(done.stdout) / 1000
        shutil.rmtree(out)
    assert peak_mb[3000] < 300
    assert peak_mb[3000] - peak_mb[300] < 40  # the samples themselves are 452 MB


def test_a_disk_that_fills_up_meanwhile_is_a_clear_error(tmp_path, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample_file, "_write_at", full)
    with pytest.raises(OutputError, match=r"Cannot write the store .* \(No space left on device\): once"):
        prepare(images, SMALL, tmp_path / "store", "imagenet")
