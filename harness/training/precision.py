"""In which precision a network trains fastest: BF16 where the processor computes in it, else f32."""

import os
from collections.abc import Collection, Mapping

import torch

from harness.machine import system

_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that keep oneDNN, by which PyTorch computes, from newer instructions."""
_CAPS_WITHOUT_BF16 = frozenset(
    {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
)
"""Values of these that leave out the instructions for BF16 (oneDNN's `dnnl_cpu_isa_t`)."""
_FIRST_CUDA_WITH_BF16 = (8, 0)


def quickest(device: torch.device) -> str:
    """Return 'bf16' where `device` has instructions for it, else 'f32'.

    PyTorch computes BF16 on any CPU: without such instructions by converting to and fro, in 1.5 to 7 times as
    long as in f32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= _FIRST_CUDA_WITH_BF16 else "f32"
    return "bf16" if cpu_has_bf16(system.describe().isa or (), os.environ) else "f32"


def cpu_has_bf16(isa: Collection[str], environment: Mapping[str, str]) -> bool:
    """Return whether a CPU with these instruction sets computes in BF16 under this environment."""
    caps = {environment[name].upper() for name in _CAPS if name in environment}
    return not caps & _CAPS_WITHOUT_BF16 and any(name in isa for name in system.BF16)


def why(precision: str, device: torch.device) -> str:
    """Return what to say of the choice."""
    what = "this GPU" if device.type == "cuda" else "this CPU"
    if precision == "bf16":
        return f"Candidates train in BF16, for which {what} has instructions."
    if what == "this CPU" and any(name in (system.describe().isa or ()) for name in system.BF16):
        return f"Candidates train in f32: {' or '.join(_CAPS)} keeps oneDNN from this CPU's BF16."
    return f"Candidates train in f32: {what} has no instructions for BF16."
