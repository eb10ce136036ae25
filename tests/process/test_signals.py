"""Signals after OpenVINO has left a freed signal stack behind."""

import signal
import subprocess
import sys

import pytest
from conftest import PATIENCE_S

FREED = """
import ctypes, mmap, os, signal, subprocess, time

class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
size = 65536

def free_the_signal_stack():
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    memory = libc.mmap(None, size, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert libc.sigaltstack(ctypes.byref(Stack(memory, 0, size)), None) == 0
    libc.munmap(memory, size)
"""
CTRL_C = """
from harness.process.signals import deliver_on_the_normal_stack
signal.signal(signal.SIGINT, signal.default_int_handler)
if {guarded}:
    deliver_on_the_normal_stack()
free_the_signal_stack()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt:
    print("survived")
"""
CHILD = """
import torch
from torch.utils.data import TensorDataset
from harness.training import data
if not {guarded}:
    data.deliver_on_the_normal_stack = lambda number: None
list(data.batches(TensorDataset(torch.zeros(1, 2)), data.Order(2, seed=1), 1, 1, whole=True))
free_the_signal_stack()
os.kill(os.getpid(), signal.SIGCHLD)
print("survived")
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks of Linux")


def survives(code: str, guarded: bool) -> bool:
    """Run code in a process with a freed signal stack; return whether it ended well, not by a fault."""
    command = [sys.executable, "-c", FREED + code.format(guarded=guarded)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode in (0, -signal.SIGSEGV), done.stderr
    assert (done.returncode == 0) == ("survived" in done.stdout)
    return done.returncode == 0


@pytest.mark.parametrize("guarded", [True, False])
def test_ctrl_c_survives_a_signal_stack_that_was_freed(guarded: bool) -> None:
    assert survives(CTRL_C, guarded) == guarded


@pytest.mark.parametrize("guarded", [True, False])
def test_the_end_of_a_child_after_training_survives_it_too(guarded: bool) -> None:
    pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")
    assert survives(CHILD, guarded) == guarded
