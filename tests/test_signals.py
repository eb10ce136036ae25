"""Ctrl-C after OpenVINO has left a freed signal stack behind."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, mmap, os, signal, time
from harness.signals import deliver_on_the_normal_stack

class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
size = 65536
memory = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
assert libc.sigaltstack(ctypes.byref(Stack(memory, 0, size)), None) == 0
libc.munmap(memory, size)
signal.signal(signal.SIGINT, signal.default_int_handler)
if {guarded}:
    deliver_on_the_normal_stack()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks of Linux")
@pytest.mark.parametrize(("guarded", "code"), [(True, 0), (False, -11)])
def test_ctrl_c_survives_a_signal_stack_that_was_freed(guarded: bool, code: int) -> None:
    command = [sys.executable, "-c", CODE.format(guarded=guarded)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    assert ("interrupted" in done.stdout) == guarded
