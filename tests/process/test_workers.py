"""Processes that work for another: whose Ctrl-C is whose, and what becomes of them without it."""

import multiprocessing
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S

from harness import cli
from harness.process.workers import ctrl_c_held_back, pool

KILLED = """
import os, signal
from harness.process.workers import pool
with pool(2) as made:
    made.submit(int).result()
    print(len(made._processes), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


KILLED_TRAINING = """
import os, signal, torch
from torch.utils.data import TensorDataset
from harness.training import data
loader = data.batches(TensorDataset(torch.zeros(1, 4)), data.Order(4, seed=1), 1, 2, whole=True)
print(len(list(loader)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def state_of_ctrl_c() -> tuple[bool, bool]:
    """Return whether it is held back, and whether it is ignored."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return signal.SIGINT in mask, signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def end_with_state() -> None:
    held_back, ignored = state_of_ctrl_c()
    sys.exit(10 * held_back + ignored)


def test_workers_end_with_a_parent_that_is_killed() -> None:
    # The output ends when the last process that holds it does.
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "2\n"


def test_processes_that_load_images_end_with_a_training_that_is_killed() -> None:
    pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_TRAINING], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "4\n"


@pytest.mark.parametrize(
    "words", [["train", "--workers"], ["search", "run", "--loaders"], ["prepare", "--workers"]]
)
def test_more_workers_than_the_machine_bears_are_refused(words: list[str]) -> None:
    shown = CliRunner().invoke(cli.cli, [*words, "5000"])
    assert shown.exit_code == 2
    assert "5000 for " in " ".join(shown.stderr.replace("│", " ").split())


def test_ctrl_c_never_reaches_a_worker() -> None:
    with ctrl_c_held_back():
        process = multiprocessing.get_context("spawn").Process(target=end_with_state)
        process.start()
    assert state_of_ctrl_c() == (False, False)
    process.join()
    assert process.exitcode == 10
    for count in (1, 3):
        with pool(count) as made:
            assert len(made._processes) == count, "all are started while Ctrl-C is held back"
            assert made.submit(state_of_ctrl_c).result() == (False, True)
