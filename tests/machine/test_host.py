"""One measurement a host: who has the turn, who waits, and what a killed process leaves."""

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from harness.errors import HarnessError
from harness.machine import host

HOLD = """
import sys, time
from harness.machine import host
with host.measuring("harness compare"):
    print("has it", flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def _turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_HOST_ID", f"test of {tmp_path}")


@contextmanager
def another(seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has the turn."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_who_measures_second_is_told_who_measures_first_and_what_to_do() -> None:
    with (
        another(PATIENCE_S) as holder,
        pytest.raises(HarnessError, match=rf"process {holder.pid} \(harness compare\).*--wait SECONDS"),
        host.measuring("harness run"),
    ):
        pytest.fail("two measure at once")


def test_who_waits_measures_when_the_first_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with another(0.5) as holder, host.measuring("harness run", wait_s=60):
        holder.wait()
    assert f"Waiting for up to 60 s: process {holder.pid} (harness compare)" in capsys.readouterr().err


def test_waiting_ends_at_its_time() -> None:
    with another(PATIENCE_S):
        began = time.monotonic()
        with pytest.raises(HarnessError, match="is measuring"), host.measuring("harness run", 1.0):
            pytest.fail("two measure at once")
        assert time.monotonic() - began >= 1.0


def test_a_killed_process_leaves_the_turn_to_the_next() -> None:
    with another(PATIENCE_S) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with host.measuring("harness run"):
            pass


def test_other_hosts_have_turns_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with another(PATIENCE_S):
        monkeypatch.setenv("HARNESS_HOST_ID", "another")
        with host.measuring("harness run"):
            pass


def test_a_host_has_one_identity_whatever_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_HOST_ID")
    first = host.identity()
    monkeypatch.setenv("TMPDIR", "/")
    monkeypatch.setenv("HOME", "/")
    assert host.identity() == first
    assert len(first) == 16


def test_where_no_turn_can_be_kept_a_note_says_so_and_the_measurement_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container whose root is read-only; a file in place of the folder refuses root, too."""
    folder = tmp_path / "tmp"
    folder.touch()
    monkeypatch.setattr(host, "_TURNS", folder)
    done = []
    with host.measuring("harness run"):
        done.append("it")
    assert done == ["it"]
    told = f"No turn can be kept in {folder} (Not a directory): start no other measurement on this host."
    assert told in capsys.readouterr().err


def test_another_users_measurement_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    turn = host._turn_of("0x1")
    with turn.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            with host.measuring("harness run"):
                pass
        finally:
            turn.unlink()
    assert "User 0x1 is measuring on this host, too" in capsys.readouterr().err
    with host.measuring("harness run"):
        pass
    assert capsys.readouterr().err == ""


def test_a_host_that_started_anew_is_known_where_something_says_which_machine_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_HOST_ID", raising=False)
    boot, machine = tmp_path / "boot_id", tmp_path / "machine-id"
    monkeypatch.setattr(host, "_BOOT", boot)
    monkeypatch.setattr(host, "_MACHINE", machine)

    def found(started: str) -> tuple[str, str]:
        boot.write_text(started)
        return host.identity(), host.lasting_identity()

    one, other = found("one"), found("other")
    assert one[0] == one[1] != other[0] == other[1], "nothing says which machine it is"
    machine.write_text("0123")
    one, other = found("one"), found("other")
    assert one[0] != other[0]
    assert one[1] == other[1] not in (one[0], other[0])
