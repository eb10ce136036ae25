"""Signals in a process that has OpenVINO loaded."""

import ctypes
import signal
import sys
from types import FrameType

# glibc's and musl's struct sigaction on 64-bit Linux: handler, 128 bytes of mask, flags.
_FLAGS_OFFSET = 136
_SIZE = 256
_SA_ONSTACK = 0x08000000


class Stopped(BaseException):
    """SIGTERM or SIGHUP came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def stop_in_good_order() -> None:
    """Let SIGTERM and SIGHUP raise `Stopped`, as Ctrl-C raises KeyboardInterrupt, unless they are ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
            deliver_on_the_normal_stack(number)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def deliver_on_the_normal_stack(number: signal.Signals = signal.SIGINT) -> None:
    """Let Python's handler of a signal run on the thread's own stack.

    Python asks for the alternate signal stack (SA_ONSTACK). OpenVINO's CPU plugin (2026.4.1) sets one for
    the thread that compiles a model, and can leave it set after freeing it: the next signal with a handler
    (Ctrl-C, or the end of a child once PyTorch has loaded data) is then a segmentation fault. To be called
    after `signal.signal`, which sets the flag again.
    """
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.create_string_buffer(_SIZE)
    if libc.sigaction(int(number), None, action) != 0:
        raise OSError(ctypes.get_errno(), "sigaction")
    flags = ctypes.c_int.from_buffer(action, _FLAGS_OFFSET)
    flags.value &= ~_SA_ONSTACK
    if libc.sigaction(int(number), action, None) != 0:
        raise OSError(ctypes.get_errno(), "sigaction")
