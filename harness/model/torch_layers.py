"""The operations of OpenVINO's networks as PyTorch modules, whose channels can be taken away.

They are told from OpenVINO's nodes by `twin`. Shapes are those of a batch of any size; what a node says of
its own is for a batch of one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]
Kept = NDArray[np.intp] | None
"""Which channels stay, by their places; None: all."""

_EPSILON = 1e-5


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling takes of an image; pairs are of height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    begin: tuple[int, int]
    """Pixels added above and on the left."""
    end: tuple[int, int]
    """Pixels added below and on the right."""

    @property
    def is_even(self) -> bool:
        return self.begin == self.end

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Return an image with the added pixels."""
        (top, left), (bottom, right) = self.begin, self.end
        if not any((*self.begin, *self.end)):
            return x
        return nn.functional.pad(x, (left, right, top, bottom), value=value)


class Layer(nn.Module):  # type: ignore[misc]
    """One operation."""

    def cut(self, takes: Sequence[Kept], gives: Kept) -> None:
        """Keep only some channels of what it takes, and of what it gives."""

    def constants(self) -> Mapping[str, Array]:
        """Return what the node's constants have to be, by what `twin` calls them."""
        return {}


class Input(Layer):
    """The images."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Convolution(Layer):
    """A convolution with its bias, and with batch normalisation where it looks at more than one pixel."""

    def __init__(self, weight: Array, window: Window) -> None:
        """Take the weight, [out, in, height, width], or [groups, out, in, ...] with those of a group."""
        super().__init__()
        self.is_grouped = weight.ndim == 5
        groups = weight.shape[0] if self.is_grouped else 1
        weight = weight.reshape(-1, *weight.shape[-3:])
        out, into = weight.shape[0], weight.shape[1] * groups
        self.window = window
        self.conv = nn.Conv2d(
            into,
            out,
            window.kernel,
            window.stride,
            window.begin if window.is_even else 0,
            window.dilation,
            groups,
            bias=False,
        )
        self.conv.weight.data.copy_(torch.from_numpy(weight.astype(np.float32)))
        self.norm: nn.BatchNorm2d | None = None
        self.bias_rank = 0

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel that it gives is made of one that it takes."""
        return self.is_grouped and bool(self.conv.groups == self.conv.in_channels)

    def add_bias(self, bias: Array, *, normed: bool) -> None:
        """Take the bias that follows, as part of a batch normalisation that changes nothing, or as it is."""
        self.bias_rank = bias.ndim
        values = torch.from_numpy(bias.reshape(-1).astype(np.float32))
        if normed:
            self.norm = nn.BatchNorm2d(self.conv.out_channels, _EPSILON)
            self.norm.bias.data.copy_(values)
            self.norm.running_var.fill_(1 - _EPSILON)
        else:
            self.conv.bias = nn.Parameter(values)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x if self.window.is_even else self.window.padded(x))
        return x if self.norm is None else self.norm(x)

    def salience(self) -> Tensor:
        """Return f64 [in], what the loss changes by, to first order, with zeros in place of a channel taken.

        Call it after a backward pass in eval mode. The sum of a channel's values times their gradients is
        that of the weights that meet it, as what comes out is linear in either.
        """
        conv = self.conv
        parts = (conv.weight * conv.weight.grad).detach().double().sum((2, 3))
        return parts.reshape(conv.groups, -1, parts.shape[1]).sum(1).flatten()

    def cut(self, takes: Sequence[Kept], gives: Kept) -> None:
        conv = self.conv
        weight = conv.weight.data
        if takes[0] is not None:
            if self.is_grouped:
                conv.groups = len(takes[0]) * conv.groups // conv.in_channels
            else:
                weight = weight[:, takes[0]]
            conv.in_channels = len(takes[0])
        if gives is not None:
            weight = weight[gives]
            conv.out_channels = len(gives)
            if conv.bias is not None:
                conv.bias = nn.Parameter(conv.bias.data[gives].clone())
            if self.norm is not None:
                _cut_norm(self.norm, gives)
        conv.weight = nn.Parameter(weight.clone())

    def constants(self) -> Mapping[str, Array]:
        conv, norm = self.conv, self.norm
        weight, bias = conv.weight.detach().double(), conv.bias
        if norm is not None:
            factor = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * factor.view(-1, 1, 1, 1)
            bias = norm.bias.detach().double() - norm.running_mean.double() * factor
        found = {"weight": _array(weight)}
        if self.is_grouped:
            found["weight"] = found["weight"].reshape(conv.groups, -1, *weight.shape[1:])
        if bias is not None:
            found["bias"] = _array(bias).reshape([*[1] * (self.bias_rank - 3), -1, 1, 1])
        return found


class Product(Layer):
    """A matrix product with a constant, and its bias."""

    def __init__(self, weight: Array, *, is_transposed: bool) -> None:
        """Take the weight, [out, in] where `is_transposed`, else [in, out]."""
        super().__init__()
        self.is_transposed = is_transposed
        rows = weight if is_transposed else weight.T
        self.linear = nn.Linear(rows.shape[1], rows.shape[0], bias=False)
        self.linear.weight.data.copy_(torch.from_numpy(np.ascontiguousarray(rows, np.float32)))
        self.bias_rank = 0

    def add_bias(self, bias: Array) -> None:
        self.bias_rank = bias.ndim
        self.linear.bias = nn.Parameter(torch.from_numpy(bias.reshape(-1).astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def cut(self, takes: Sequence[Kept], gives: Kept) -> None:
        weight = self.linear.weight.data
        if takes[0] is not None:
            weight = weight[:, takes[0]]
        if gives is not None:
            weight = weight[gives]
            if self.linear.bias is not None:
                self.linear.bias = nn.Parameter(self.linear.bias.data[gives].clone())
        self.linear.weight = nn.Parameter(weight.clone())
        self.linear.out_features, self.linear.in_features = weight.shape

    def salience(self) -> Tensor:
        """Return f64 [in], as a convolution does."""
        return (self.linear.weight * self.linear.weight.grad).detach().double().sum(0)

    def constants(self) -> Mapping[str, Array]:
        weight = _array(self.linear.weight.detach())
        found = {"weight": weight if self.is_transposed else np.ascontiguousarray(weight.T)}
        if self.linear.bias is not None:
            found["bias"] = _array(self.linear.bias.detach()).reshape([1] * (self.bias_rank - 1) + [-1])
        return found


class Each(Layer):
    """What is computed value by value: each channel of one thing depends on the same one of all others."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *x: Tensor) -> Tensor:
        return self._function(*x)


class WithConstant(Layer):
    """What is computed value by value with a constant, which can learn unless it is a single number."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], value: Array, *, is_first: bool) -> None:
        super().__init__()
        self._function, self._is_first = function, is_first
        self.value: Tensor
        if value.size > 1:
            self.value = nn.Parameter(torch.from_numpy(value.astype(np.float32)))
        else:
            self.register_buffer("value", torch.from_numpy(value.astype(np.float32)))
        self.axis: int | None = None
        """Where the constant has the channels of what it meets; None: it has none."""

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self.value, x) if self._is_first else self._function(x, self.value)

    def cut(self, takes: Sequence[Kept], gives: Kept) -> None:
        if self.axis is not None and gives is not None:
            self.value = nn.Parameter(
                self.value.data.index_select(self.axis, torch.from_numpy(gives)).clone()
            )

    def constants(self) -> Mapping[str, Array]:
        return {"value": _array(self.value.detach())} if isinstance(self.value, nn.Parameter) else {}


class MaxPool(Layer):
    """The largest value of each window."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        one = self.window
        padded = one.padded(x, -torch.inf)
        return nn.functional.max_pool2d(padded, one.kernel, one.stride, 0, one.dilation)


class AvgPool(Layer):
    """The mean of each window; without the added pixels where `inner`."""

    def __init__(self, window: Window, *, inner: bool) -> None:
        super().__init__()
        self.window, self.inner = window, inner

    def forward(self, x: Tensor) -> Tensor:
        one = self.window
        mean = nn.functional.avg_pool2d(one.padded(x), one.kernel, one.stride)
        if not self.inner or not any((*one.begin, *one.end)):
            return mean
        share = nn.functional.avg_pool2d(one.padded(torch.ones_like(x[:1, :1])), one.kernel, one.stride)
        return mean / share


class Mean(Layer):
    """The mean over some axes."""

    def __init__(self, axes: tuple[int, ...], *, keeps: bool) -> None:
        super().__init__()
        self.axes, self.keeps = axes, keeps

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes, self.keeps)


class Concat(Layer):
    """Several things one behind the other along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *x: Tensor) -> Tensor:
        return torch.cat(x, self.axis)


class Reshape(Layer):
    """The same values in another shape, whose first dimension is the batch."""

    def __init__(self, shape: Sequence[int], *, is_stated: bool) -> None:
        """Take the shape for a batch of one, and whether a constant of the node states it."""
        super().__init__()
        self.shape, self.is_stated = tuple(shape), is_stated
        self.axis: int | None = None
        """Where the channels are in what it gives; None: they are not known there."""
        self._is_cut = False

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape[1:])

    def cut(self, takes: Sequence[Kept], gives: Kept) -> None:
        if gives is not None and self.axis is not None:
            shape = list(self.shape)
            shape[self.axis] = len(gives)
            self.shape = tuple(shape)
            self._is_cut = True

    def constants(self) -> Mapping[str, Array]:
        return {"shape": np.array(self.shape, np.int64)} if self.is_stated and self._is_cut else {}


class Transpose(Layer):
    """Axes in another order."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Opaque(Each):
    """What moves channels in a way that is not followed: those that it takes must stay as they are."""


def _cut_norm(norm: nn.BatchNorm2d, kept: NDArray[np.intp]) -> None:
    norm.num_features = len(kept)
    norm.weight, norm.bias = (nn.Parameter(one.data[kept].clone()) for one in (norm.weight, norm.bias))
    norm.running_mean, norm.running_var = norm.running_mean[kept].clone(), norm.running_var[kept].clone()


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().float().cpu().contiguous().numpy())
