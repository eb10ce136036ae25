"""OpenVINO nodes of convolutional networks, made from weights of which every access is checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ModelError
from harness.model.layers import BlockLayers, Convolution, Norm

BN_EPSILON = 1e-5
"""PyTorch's."""
BN_PARTS = ("weight", "bias", "running_mean", "running_var")


class Weights:
    """Tensors by name, with every access checked and remembered."""

    def __init__(
        self,
        state: Mapping[str, ArrayLike],
        network: str = "a bottleneck ResNet",
        epsilon: float = BN_EPSILON,
    ) -> None:
        """Take the tensors.

        Args:
            state: float arrays.
            network: what they are wanted for, in words.
            epsilon: what batch normalisation adds to the variance.
        """
        self._state = state
        self.network = network
        self._epsilon = epsilon
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        return self.array(name, rank).shape

    def array(self, name: str, rank: int, first: int | None = None) -> NDArray[np.float64]:
        if name not in self._state:
            raise ModelError(f"Tensor '{name}' is missing from the weights: {self.network} needs it.")
        self._used.add(name)
        array = np.asarray(self._state[name], np.float64)
        if array.ndim != rank or (first is not None and array.shape[0] != first):
            wanted = f"{rank} dimensions" if first is None else f"{rank} dimensions, the first of {first}"
            raise ModelError(
                f"Tensor '{name}' has shape {list(array.shape)} where {wanted} fit: "
                f"the weights are not those of {self.network}."
            )
        return array

    def folded_layer(self, layer: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias of a layer with its BN, both f32."""
        kernel = self.array(f"{layer.name}.weight", 4)
        if kernel.shape != layer.shape:
            raise ModelError(
                f"Tensor '{layer.name}.weight' has shape {list(kernel.shape)} where the architecture needs "
                f"{list(layer.shape)}: the weights are of another network."
            )
        factor, bias = self._scale(layer.norm, layer.out)
        with np.errstate(invalid="ignore"):
            weight = kernel * factor[:, None, None, None]
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ModelError(
                f"The numbers of '{layer.name}' and '{layer.norm}' are not finite: the weights are damaged."
            )
        return weight.astype(np.float32), bias.astype(np.float32)

    def folded_branches(
        self, block: BlockLayers, whole: Convolution
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias of the convolution that all branches of a block are together, both f32."""
        kernel, bias = np.zeros(whole.shape, np.float32), np.zeros(whole.out, np.float32)
        for node in block.nodes:
            layer = node.layer
            if isinstance(layer, Convolution):
                part, shift = self.folded_layer(layer)
                edge = (whole.kernel - layer.kernel) // 2
                kernel[:, :, edge : edge + layer.kernel, edge : edge + layer.kernel] += part
                bias += shift
            elif isinstance(layer, Norm):
                factor, shift = (one.astype(np.float32) for one in self._scale(layer.norm, layer.channels))
                middle, channels = whole.kernel // 2, np.arange(layer.channels)
                kernel[channels, channels, middle, middle] += factor
                bias += shift
        return kernel, bias

    def _scale(self, norm: str, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what a batch normalisation multiplies by and what it adds."""
        gamma, beta, mean, variance = (self.array(f"{norm}.{part}", 1, channels) for part in BN_PARTS)
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = gamma / np.sqrt(variance + self._epsilon)
            return factor, beta - mean * factor

    def require_all_used(self) -> None:
        for name in self._state:
            if name not in self._used and not name.endswith(".num_batches_tracked"):
                raise ModelError(
                    f"Tensor '{name}' has no place in {self.network}: the weights are of another model."
                )


class Nodes:
    """OpenVINO nodes, made from weights."""

    def __init__(self, weights: Weights) -> None:
        from openvino import opset13

        self._ops = opset13
        self._weights = weights

    def input(self, size: int) -> tuple[Any, Any]:
        image = self._ops.parameter([1, 3, size, size], np.float32, name="image")
        image.output(0).set_names({"image"})
        return image, image

    def constant(self, values: ArrayLike) -> Any:
        # A node takes a bare array over as a list of Python numbers; for ResNet-50 that lasts a second.
        return self._ops.constant(np.ascontiguousarray(values, np.float32))

    def bias(self, x: Any, values: NDArray[Any], name: str) -> Any:
        return self._ops.add(x, self.constant(values.reshape(1, -1, 1, 1)), name=f"{name}.bias")

    def layer(self, x: Any, layer: Convolution, *, same: bool = False) -> Any:
        """Return a convolution with its BN and activation.

        `same` pads as TensorFlow's SAME does: more at the end where the sides differ.
        """
        return self.convolved(x, layer, *self._weights.folded_layer(layer), same=same)

    def convolved(
        self, x: Any, layer: Convolution, weight: NDArray[Any], bias: NDArray[Any], *, same: bool = False
    ) -> Any:
        """Return a convolution with these numbers, and its activation; see `layer`."""
        stride, pad = [layer.stride] * 2, [layer.pad] * 2
        ends = (stride, pad, pad, [1, 1], "same_upper" if same else "explicit")
        if layer.groups == 1:
            x = self._ops.convolution(x, self.constant(weight), *ends, name=layer.name)
        else:
            grouped = self.constant(weight.reshape(layer.groups, -1, *weight.shape[1:]))
            x = self._ops.group_convolution(x, grouped, *ends, name=layer.name)
        x = self.bias(x, bias, layer.name)
        return x if layer.activation is None else self.activation(x, layer.activation, layer.name)

    def activation(self, x: Any, kind: str, name: str) -> Any:
        """Return what follows the layer of a name, which it bears, too."""
        name = f"{name}.{kind}"
        if kind == "hswish":
            return self._ops.hswish(x, name=name)
        return self._ops.clamp(x, 0.0, 6.0, name=name) if kind == "relu6" else self._ops.relu(x, name=name)

    def add(self, x: Any, other: Any, name: str) -> Any:
        return self._ops.add(x, other, name=name)

    def classifier(self, x: Any, name: str = "fc") -> Any:
        """Return the result "logits": a matrix product with the means of all channels."""
        features = x.output(0).get_shape()[1]
        weight = self._weights.array(f"{name}.weight", 2)
        bias = self._weights.array(f"{name}.bias", 1, weight.shape[0])
        if weight.shape[1] != features:
            raise ModelError(
                f"Tensor '{name}.weight' takes {weight.shape[1]} features where {features} arrive: "
                f"the weights are not those of {self._weights.network}."
            )
        pooled = self._ops.reduce_mean(x, np.array([2, 3], np.int64), False, name="avgpool")
        product = self._ops.matmul(pooled, self.constant(weight), False, True, name=name)
        logits = self._ops.add(product, self.constant(bias.reshape(1, -1)), name="logits")
        logits.output(0).set_names({"logits"})
        return self._ops.result(logits, name="logits/result")
