"""The deployed graph: raw `u8` pixels in, answers out, compiled for the CPU at a stated precision."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from harness.backend import answers, folding, kernels, ports
from harness.backend.settings import CompileSettings
from harness.errors import ModelError, lines_of
from harness.machine import system
from harness.model.card import Card

# Fewer make a model another one (binary and 4-bit networks); 8 bits without their lowest are 255.
_LEAST_LEVELS = 255
_CARRYING = frozenset(("Convert", "Multiply", "Reshape", "Squeeze", "Subtract", "Transpose", "Unsqueeze"))
_KEEP_RANGE = frozenset(
    ("MaxPool", "AvgPool", "ReduceMean", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat")
)


@dataclass(frozen=True)
class Compiled:
    """A compiled model and what OpenVINO made of it."""

    model: Any
    """openvino.CompiledModel: u8 [batch, size, size, 3] RGB in, the task's answers out."""
    batch: int
    streams: int
    precision: str
    """int8, bf16 or f32: what most of the convolutions and matrix products really run in."""
    kernels: dict[str, int] = field(default_factory=dict)
    """Number of convolutions and matrix products by the precision that their kernels compute in."""
    properties: dict[str, str | int | bool] = field(default_factory=dict)
    """Effective OpenVINO properties."""


def deployed(model: ov.Model, card: Card, batch: int = 1) -> ov.Model:
    """Return a copy of the card's model with u8 [batch, size, size, 3] RGB in and its task's answers out.

    Its constants are folded (harness.backend.folding).

    Raises:
        ModelError: the model contradicts its card.
    """
    model = fold_input(model, card, batch)
    own = {node.get_friendly_name() for node in model.get_ops()}
    ended = answers.end_of(card).fold(model, batch)
    for node in ended.get_ops():
        if (name := node.get_friendly_name()) not in own:
            node.set_friendly_name(kernels.OF_ANSWERS + name)
    return folding.folded(ended)


def fold_input(model: ov.Model, card: Card, batch: int = 1) -> ov.Model:
    """Return a copy whose input is raw u8 [batch, size, size, 3] RGB pixels; normalisation moves into it.

    The copy keeps only the card's outputs.

    Raises:
        ModelError: the input's shape or element type differ from the card, or the batch cannot be changed.
    """
    model = ports.with_own_outputs(model.clone(), card)
    given = card.input
    port = ports.input_port(model, card)
    ports.check_input(port, card)
    if port.partial_shape.is_dynamic or port.shape[0] != batch:
        _set_batch(model, port, card, batch)
    steps = PrePostProcessor(model)
    step = steps.input(0)
    step.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    step.model().set_layout(ov.Layout(given.layout))
    chain = step.preprocess()
    if given.element_type != "u8":
        chain.convert_element_type(ov.Type.f32)
    if given.channels == "BGR":
        chain.reverse_channels()
    if any(given.mean):
        chain.mean(list(given.mean))
    if set(given.scale) != {1.0}:
        chain.scale(list(given.scale))
    return steps.build()


def set_batch_of_one(model: ov.Model, card: Card) -> None:
    """Let a model that takes another fixed batch take one image at a time, in place.

    Raises:
        ModelError: its input is not the card's, or the batch cannot be changed.
    """
    port = ports.input_port(model, card)
    if port.partial_shape[0] not in (ov.Dimension(-1), ov.Dimension(1)):
        _set_batch(model, port, card, 1)


def of_batch_of_one(model: ov.Model, card: Card) -> ov.Model:
    """Return a copy of a card's model that takes one image at a time and nothing else.

    Raises:
        ModelError: its input is not the card's, or the batch cannot be fixed.
    """
    found = model.clone()
    _set_batch(found, ports.input_port(found, card), card, 1)
    return found


def _set_batch(model: ov.Model, port: Any, card: Card, batch: int) -> None:
    size = card.input.size
    shape = [batch, size, size, 3] if card.input.layout == "NHWC" else [batch, 3, size, size]
    try:
        if batch != 1:
            _free_batch(model)
        model.reshape({port: shape})
    except RuntimeError as error:
        first = port.partial_shape[0]
        fixed = first.get_length() if first.is_static else 1
        cure = f"use --batch {fixed}" if fixed != batch else "export it with a batch of 1 or a free one"
        if batch == 1 != fixed:
            cure = f"export it with a batch of 1 or a free one; `run` in Offline takes it by --batch {fixed}"
        raise ModelError(f"Model '{card.name}' cannot be reshaped to a batch of {batch}: {cure}.") from error


def unquantize(model: ov.Model) -> int:
    """Unpack a model's weights, in place; where they are of no use to OpenVINO, take its quantizers out, too.

    Weights that a file holds in fewer bits become constants. NNCF finds them only so, and leaves a depthwise
    convolution in floating point to which a chain of operations leads. Where their zero is not 0 (TensorFlow
    Lite's older models), OpenVINO computes in floating point: the quantizers of such a model give way, all
    but their clipping and scaling. One stays that rounds nothing, as it takes whole numbers from the input;
    one whose few levels are part of what the model computes; and one between integer operations.

    Returns:
        How many quantizers were taken out.

    Raises:
        ModelError: a quantizer's range is not constant, or upside down.
    """
    shifted = has_shifted_weights(model)
    folding.fold(model)
    if not shifted:
        return 0
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    quantizers = [node for node in nodes if _only_rounds(node) and not folding.takes_whole_numbers(node)]
    for node in quantizers:
        value = _without_rounding(node)
        for target in list(node.output(0).get_target_inputs()):
            _replace_quantized(target, value)
    folding.fold(model)
    return len(quantizers)


def has_shifted_weights(model: ov.Model) -> bool:
    """Return whether a model packs weights whose zero is not 0: OpenVINO computes it in floating point."""
    return any(map(folding.is_shifted_weight, model.get_ordered_ops()))


def quantizers(model: ov.Model) -> int:
    """Return in how many places a model rounds what it computes on, as one does that was quantized.

    Neither what packs weights counts, nor what takes whole numbers from the input, nor what rounds answers.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    return sum(
        node.get_attributes()["levels"] >= _LEAST_LEVELS
        and not folding.takes_whole_numbers(node)
        and not _is_constant(node.input_value(0).get_node())
        and not _is_last(node)
        for node in found
    )


def _is_constant(node: ov.Node) -> bool:
    while node.get_type_name() in {"Convert", "Reshape"}:
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _is_last(node: ov.Node) -> bool:
    """Return whether all that follows a node only carries it to the outputs."""
    users = [target.get_node() for target in node.output(0).get_target_inputs()]
    return all(
        user.get_type_name() == "Result" or (user.get_type_name() in _CARRYING and _is_last(user))
        for user in users
    )


def model_input(pixels: npt.NDArray[np.uint8], card: Card) -> npt.NDArray[Any]:
    """Return what the card's original model takes for u8 [n, size, size, 3] RGB pixels.

    This is the float pipeline that `fold_input` moves into the graph, in the layout, channel order and
    element type of the card.
    """
    given = card.input
    values: npt.NDArray[Any] = pixels if given.channels == "RGB" else pixels[..., ::-1]
    if given.element_type != "u8":
        mean, scale = np.array(given.mean, np.float32), np.array(given.scale, np.float32)
        values = (values.astype(np.float32) - mean) / scale
    if given.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, np.float16 if given.element_type == "f16" else None)


def compile_model(
    model: ov.Model, settings: CompileSettings, *, profile: bool = False, is_folded: bool = False
) -> Compiled:
    """Fold the constants, compile for the CPU and report what OpenVINO really chose.

    With `profile`, every layer's time is taken (harness.backend.kernels), which costs a little of it. What
    `deployed` gave need not be folded again.

    Raises:
        ModelError: the CPU cannot compute in the precision asked for, or OpenVINO silently chose another.
    """
    if settings.precision == "bf16" and not has_bf16():
        raise ModelError("OpenVINO computes no BF16 on this CPU: f32 runs on every CPU.")
    pinning = system.default_pinning() if settings.pinning is None else settings.pinning
    config: dict[str, Any] = replace(settings, pinning=pinning).properties
    if profile:
        config["PERF_COUNT"] = True
    try:
        ready = model if is_folded else folding.folded(model)
        compiled = ov.Core().compile_model(ready, "CPU", config)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot compile '{model.get_friendly_name()}' with {config}: {last_line(error)}"
        ) from error
    properties = _properties(compiled)
    if properties["INFERENCE_PRECISION_HINT"] != settings.precision:
        raise ModelError(
            f"OpenVINO computes in {properties['INFERENCE_PRECISION_HINT']}, not in {settings.precision} as "
            f"asked: choose another --precision."
        )
    counts = kernels.precisions(kernels.layers(compiled))
    return Compiled(
        model=compiled,
        batch=model.input(0).shape[0],
        streams=int(properties["NUM_STREAMS"]),
        precision=kernels.dominant(counts, settings.precision),
        kernels=counts,
        properties=properties,
    )


def openvino_version() -> str:
    """Return OpenVINO's version with its build."""
    return str(ov.__version__)


def has_bf16() -> bool:
    """Tell whether OpenVINO can compute in BF16 on this CPU."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _only_rounds(node: ov.Node) -> bool:
    """Return whether a FakeQuantize is there to save bits, and what comes of it can be told in floats."""
    if node.get_attributes()["levels"] < _LEAST_LEVELS:
        return False
    for target in node.output(0).get_target_inputs():
        user = target.get_node()
        if user.get_type_name() == "Convert" and not user.get_output_element_type(0).is_real():
            after = [further.get_node() for further in user.output(0).get_target_inputs()]
            if not all(one.get_type_name() in {"Convert", "Result"} for one in after):
                return False
    return True


def _without_rounding(node: ov.Node) -> Any:
    """Return what a FakeQuantize does but for rounding: clip to the input's range, map it to the output's."""
    value, *limits = (node.input_value(place) for place in range(5))
    ranges = [limit.get_node() for limit in limits]
    name = node.get_friendly_name()
    if any(limit.get_type_name() != "Constant" for limit in ranges):
        raise ModelError(
            f"The range of the quantizer '{name}' is not constant: give the model that was quantized."
        )
    low, high, new_low, new_high = (np.asarray(limit.get_data(), np.float64) for limit in ranges)
    if np.any(low > high):
        raise ModelError(
            f"The range of the quantizer '{name}' is upside down: give the model that was quantized."
        )
    is_same = np.array_equal(low, new_low) and np.array_equal(high, new_high)
    # What these layers give has the range of what they take. NNCF would see a clipping as a layer of its own.
    if is_same and value.get_node().get_type_name() in _KEEP_RANGE:
        return value
    if low.size == high.size == 1:
        clipped = ops.clamp(value, low.item(), high.item())
    else:
        clipped = ops.minimum(ops.maximum(value, limits[0]), limits[1])
    if is_same:
        return clipped.output(0)
    width = high - low
    scale = np.divide(new_high - new_low, width, out=np.zeros(np.shape(new_high - width)), where=width != 0)
    kind = value.get_element_type()
    scaled = ops.multiply(clipped, ops.constant(scale, kind))
    return ops.add(scaled, ops.constant(new_low - low * scale, kind)).output(0)


def _replace_quantized(target: Any, value: Any) -> None:
    """Give an input that took a quantizer's output the value that is not rounded.

    Where whole numbers are wanted, and not only on the way to be scaled back, rounding stays.
    """
    user = target.get_node()
    if user.get_type_name() != "Convert" or user.get_output_element_type(0).is_real():
        target.replace_source_output(value)
        return
    for further in list(user.output(0).get_target_inputs()):
        after = further.get_node()
        if after.get_type_name() == "Convert" and after.get_output_element_type(0).is_real():
            kind = after.get_output_element_type(0)
            same = kind == value.get_element_type()
            after.output(0).replace(value if same else ops.convert(value, kind).output(0))
    target.replace_source_output(ops.round(value, "half_to_even").output(0))


def _free_batch(model: ov.Model) -> None:
    """Let reshapes that spell out a batch of 1 follow the batch of their input."""
    for node in model.get_ops():
        if node.get_type_name() != "Reshape" or node.input_value(0).partial_shape.is_dynamic:
            continue
        pattern = node.input_value(1).node
        if pattern.get_type_name() != "Constant":
            continue
        target = pattern.get_vector()
        ambiguous = 0 in target and not node.get_attributes()["special_zero"]
        if len(target) > 1 and target[0] == 1 == node.input_value(0).shape[0] and not ambiguous:
            # 0 copies the input's dimension, where special_zero is set.
            freed = ops.reshape(node.input_value(0), np.array([0, *target[1:]], np.int64), True)
            freed.set_friendly_name(node.get_friendly_name())
            ov.utils.replace_node(node, freed)


_PROPERTIES = (
    "INFERENCE_PRECISION_HINT",
    "PERFORMANCE_HINT",
    "NUM_STREAMS",
    "INFERENCE_NUM_THREADS",
    "OPTIMAL_NUMBER_OF_INFER_REQUESTS",
    "ENABLE_CPU_PINNING",
    "ENABLE_HYPER_THREADING",
    "SCHEDULING_CORE_TYPE",
    "EXECUTION_MODE_HINT",
)


def _properties(compiled: Any) -> dict[str, str | int | bool]:
    values: dict[str, str | int | bool] = {}
    for name in _PROPERTIES:
        value = compiled.get_property(name)
        if name == "INFERENCE_PRECISION_HINT":
            value = value.get_type_name()
        values[name] = value if isinstance(value, bool | int) else str(value).rsplit(".", 1)[-1]
    return values


def last_line(error: Exception) -> str:
    """Return the last meaningful line of an OpenVINO error, which says what happened."""
    return lines_of(error)[-1]
