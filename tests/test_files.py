"""Locks: one process at a time."""

import errno
import fcntl
import multiprocessing
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness import files
from harness.errors import OutputError

BUSY = OutputError("Another process is at work: wait for it.")


def test_a_second_holder_is_refused_and_nothing_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with files.locked(path, BUSY):
        with pytest.raises(OutputError, match="Another process is at work"), files.locked(path, BUSY):
            pass
        assert path.exists()
    assert not list(tmp_path.iterdir())
    with files.locked(path, BUSY):
        pass


def test_a_failure_inside_is_passed_on_and_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), files.locked(tmp_path / ".lock", BUSY):
        raise FileNotFoundError("mine")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_locks_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("")
    with files.locked(path, BUSY):
        pass
    assert not path.exists()


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"Cannot lock .*\.lock \(.+\): choose another folder\.$"),
        files.locked(tmp_path / "nowhere" / ".lock", BUSY),
    ):
        pass


def test_where_nothing_can_be_locked_the_work_goes_on_and_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(*given: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with files.locked(tmp_path / ".lock", BUSY):
        assert "nothing can be locked: start no second process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_work_under_way_disappears_and_so_does_what_a_killed_process_left_of_it(tmp_path: Path) -> None:
    (tmp_path / ".work.abcd_123" / "logs").mkdir(parents=True)
    others = [tmp_path / name for name in (".work.short", ".work.ABCDEFGH", ".other.abcd_123", "work")]
    for folder in others:
        folder.mkdir()
    with suppress(KeyboardInterrupt), files.staging(tmp_path, "work") as folder:
        assert {*tmp_path.iterdir()} == {*others, folder}
        (folder / "log").touch()
        raise KeyboardInterrupt
    assert {*tmp_path.iterdir()} == {*others}


def test_a_child_that_outlives_us_holds_no_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / ".lock"
    with files.locked(path, BUSY):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=receiver.recv)
        child.start()
    try:
        with files.locked(path, BUSY):
            pass
    finally:
        sender.send(None)
        child.join()
