"""A network trains in BF16 only where the processor has instructions for it."""

import pytest

pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")

from harness.training.precision import cpu_has_bf16


@pytest.mark.parametrize(
    ("isa", "environment", "found"),
    [
        (("avx2",), {}, False),
        (("avx2", "avx512f", "avx512_vnni"), {}, False),
        (("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), {}, True),
        (("asimd", "bf16"), {}, True),
        (("avx512f", "avx512_bf16"), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        (("avx512f", "amx_bf16"), {"ONEDNN_MAX_CPU_ISA": "avx2"}, False),
        (("avx512f", "amx_bf16"), {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, False),
        (("avx512f", "avx512_bf16"), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        (("avx512f", "amx_bf16"), {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, True),
        (("avx2",), {"ONEDNN_MAX_CPU_ISA": "ALL"}, False),
    ],
)
def test_bf16_takes_instructions_that_are_there_and_not_switched_off(
    isa: tuple[str, ...], environment: dict[str, str], found: bool
) -> None:
    assert cpu_has_bf16(isa, environment) is found
