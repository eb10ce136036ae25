"""What OpenVINO made of a model: its layers as they really run, with kernel, precision and time.

    compiled = graph.compile_model(model, settings, profile=True)   # without profile: no times
    request = compiled.model.create_infer_request()
    ...                                                             # set the input, infer some hundred times
    layers = kernels.layers(compiled.model, request)
    kernels.int8_share(layers)      # of the time of convolutions and matrix products
    kernels.left_wide(layers)       # of these, the ones that do not compute in 8 bits
    kernels.fallbacks(layers)       # whatever runs in reference or plain gemm kernels

`profiled` does the first three lines for a model with one input.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OF_ANSWERS = "answers/"
"""How the names of layers begin that make the answers of a model's own outputs."""

_COMPUTE = {"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"}
_NOT_RUN = {"Const", "Input", "Output"}
_INT8 = {"i8", "u8", "int8", "uint8"}
_FLOATS = {"f32", "bf16", "f16"}


@dataclass(frozen=True)
class Layer:
    """One node of the graph that OpenVINO executes."""

    name: str
    type: str
    """OpenVINO's layer type, such as Convolution, FullyConnected or Reorder."""
    exec_type: str
    """The kernel's name, such as brgconv_avx512_1x1_I8, ref_f32 or gemm_mlas_f32."""
    precision: str
    """What the kernel computes in, in lower case: u8, i8, bf16, f32, ..."""
    time_us: float | None
    """Mean time of one inference in whole microseconds, cut off, over all since the model was compiled;
    None without profiling."""

    @property
    def computes(self) -> bool:
        """Whether it is a convolution or matrix product, which decide the speed; the rest moves data."""
        return self.type in _COMPUTE

    @property
    def makes_answers(self) -> bool:
        """Whether it follows the model's own outputs: decoding, suppression of boxes, or the best label."""
        return self.name.startswith(OF_ANSWERS)

    @property
    def is_int8(self) -> bool:
        return self.precision in _INT8

    @property
    def falls_back(self) -> bool:
        """Whether it runs in reference code, or as a convolution turned into a plain matrix product.

        OpenVINO names kernels after impl_desc_type (src/plugins/intel_cpu/src/onednn/iml_type_mapper.h):
        words joined by underscores. brgemm kernels are the fast ones, mlas the usual one of f32 products, and
        gemm_acl is what Arm's Compute Library is called, whose convolutions are the fast ones there.
        """
        words = set(self.exec_type.lower().split("_"))
        return "ref" in words or ("gemm" in words and not words & {"mlas", "acl"})


def layers(compiled: Any, request: Any = None) -> list[Layer]:
    """Return the layers in the order of execution, without constants, inputs and outputs.

    Args:
        compiled: openvino.CompiledModel.
        request: an infer request of it that has computed; needs a model compiled for profiling (PERF_COUNT).
            Only layers that ran are returned then; without, also those that were folded into constants.

    Raises:
        RuntimeError: OpenVINO's, when the model was not compiled for profiling.
    """
    times_us = None
    if request is not None:
        times_us = {
            entry.node_name: entry.real_time.total_seconds() * 1e6 for entry in request.get_profiling_info()
        }
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        name = node.get_friendly_name()
        if "layerType" not in facts or (times_us is not None and name not in times_us):
            continue
        kind, kernel, precision = (
            str(facts[key].astype(str)) for key in ("layerType", "primitiveType", "runtimePrecision")
        )
        if kind not in _NOT_RUN:
            time_us = None if times_us is None else times_us[name]
            found.append(Layer(name, kind, kernel, computed_in(kernel, precision.lower()), time_us))
    return found


def computed_in(kernel: str, stated: str) -> str:
    """Return what a kernel computes in: the end of its name, where that is a precision.

    OpenVINO's runtimePrecision is chosen from those of the layer's inputs, and weights are one of them: where
    they are stored in f16 or i8, an f32 kernel has that. The name ends with what the kernel takes
    (Node::getPrimitiveDescriptorType in src/plugins/intel_cpu/src/node.cpp).

    Args:
        kernel: its name, such as brgconv_avx512_1x1_I8.
        stated: the runtimePrecision, which tells u8 from i8.
    """
    end = kernel.lower().rpartition("_")[2]
    if end in _FLOATS or (end in _INT8 and stated not in _INT8):
        return end
    return stated


def profiled(
    compiled: Any, tensors: Sequence[Any], inferences: int, done: Callable[[int], None] = lambda count: None
) -> list[Layer]:
    """Compute so many inferences over the inputs in turn, and return the layers with their mean times.

    Args:
        compiled: openvino.CompiledModel with one input, compiled for profiling.
        tensors: its inputs, openvino.Tensor.
        inferences: how many; the first few, which are slower, count as well.
        done: is told how many are done, after each.
    """
    request = compiled.create_infer_request()
    for number in range(inferences):
        request.set_input_tensor(tensors[number % len(tensors)])
        request.infer()
        done(number + 1)
    return layers(compiled, request)


def precisions(found: Iterable[Layer]) -> dict[str, int]:
    """Return the number of convolutions and matrix products by precision, the most frequent first."""
    return dict(Counter(layer.precision for layer in found if layer.computes).most_common())


def dominant(counts: dict[str, int], otherwise: str) -> str:
    """Return int8, bf16 or f32: the precision of most layers in `precisions`' answer, u8 and i8 together."""
    together: Counter[str] = Counter()
    for precision, count in counts.items():
        together["int8" if precision in _INT8 else precision] += count
    return max(together, key=lambda precision: together[precision], default=otherwise)


def int8_count(counts: Mapping[str, int]) -> int:
    """Return how many of the layers in `precisions`' answer compute in 8 bits."""
    return sum(count for precision, count in counts.items() if precision in _INT8)


def total_us(found: Iterable[Layer]) -> float:
    """Return the time of all layers together; 0 without profiling."""
    return sum(layer.time_us or 0.0 for layer in found)


def answers_share(found: Sequence[Layer]) -> float | None:
    """Return how much of the time of all layers is spent on making answers of the model's own outputs."""
    whole_us = total_us(found)
    return total_us(layer for layer in found if layer.makes_answers) / whole_us if whole_us else None


def int8_share(found: Iterable[Layer]) -> float | None:
    """Return how much of the time of convolutions and matrix products is spent in 8-bit kernels.

    None when none of them took a microsecond, or nothing was profiled.
    """
    computing = [layer for layer in found if layer.computes]
    whole_us = total_us(computing)
    return total_us(layer for layer in computing if layer.is_int8) / whole_us if whole_us else None


def left_wide(found: Iterable[Layer]) -> list[Layer]:
    """Return the convolutions and matrix products that do not compute in 8 bits, the slowest first."""
    return _slowest_first(layer for layer in found if layer.computes and not layer.is_int8)


def fallbacks(found: Iterable[Layer]) -> list[Layer]:
    """Return the layers that run in reference or plain gemm kernels, the slowest first."""
    return _slowest_first(layer for layer in found if layer.falls_back)


def _slowest_first(found: Iterable[Layer]) -> list[Layer]:
    return sorted(found, key=lambda layer: -(layer.time_us or 0.0))
