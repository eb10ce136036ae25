"""An architecture as a PyTorch module, under torchvision's parameter names."""

import copy
import hashlib
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.model.architecture import Architecture, BlockLayers, Convolution, SqueezeExcite

_ACTIVATIONS = {"relu": nn.ReLU, "hswish": nn.Hardswish}


class Excite(nn.Module):  # type: ignore[misc]
    """Squeeze-excite: channels weighed by what their means say."""

    def __init__(self, layers: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(layers.channels, layers.reduced, 1)
        self.expand = nn.Conv2d(layers.reduced, layers.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(hidden))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """1x1, a middle convolution, 1x1, added to the input."""

    def __init__(self, layers: BlockLayers) -> None:
        super().__init__()
        for number, convolution in enumerate(layers.convolutions, start=1):
            self.add_module(f"conv{number}", _convolution(convolution))
            self.add_module(f"bn{number}", nn.BatchNorm2d(convolution.out))
        self.act = _ACTIVATIONS[layers.activation](inplace=True)
        self.se = None if layers.squeeze_excite is None else Excite(layers.squeeze_excite)
        self.downsample = None
        if layers.shortcut is not None:
            self.downsample = nn.Sequential(
                _convolution(layers.shortcut), nn.BatchNorm2d(layers.shortcut.out)
            )

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)))
        if self.se is not None:
            x = self.se(x)
        return self.act(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):  # type: ignore[misc]
    """f32 [batch, 3, size, size] normalised RGB in, f32 [batch, classes] logits out."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        layers = architecture.layers()
        self._stem = []
        for number, convolution in enumerate(layers.stem, start=1):
            self.add_module(f"conv{number}", _convolution(convolution))
            self.add_module(f"bn{number}", nn.BatchNorm2d(convolution.out))
            self._stem.append((f"conv{number}", f"bn{number}"))
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if layers.pool else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(architecture.stages) + 1)]
        for name in self.stages:
            blocks = (Bottleneck(block) for block in layers.blocks if block.name.startswith(f"{name}."))
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(layers.features, architecture.classes)
        self._initialise()

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first block takes."""
        for convolution, norm in self._stem:
            x = self.relu(getattr(self, norm)(getattr(self, convolution)(x)))
        return self.maxpool(x)

    def blocks(self) -> list[Bottleneck]:
        """Return the blocks in the order of computation."""
        return [block for name in self.stages for block in getattr(self, name)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """Return the logits that follow from what the last block gives."""
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.groups > 1:
                    # PyTorch counts the outputs of all groups, of which an input reaches those of its own.
                    module.weight.data.mul_(module.groups**0.5)
            elif isinstance(module, Bottleneck):
                # A block starts as the identity, which makes deep networks start well.
                nn.init.zeros_(module.bn3.weight)


def folded(network: ResNet) -> ResNet:
    """Return a copy in eval mode whose batch normalisation is part of its convolutions.

    It answers the same, a quarter faster.
    """
    found: ResNet = copy.deepcopy(network).eval()
    for parent in list(found.modules()):
        for (name, layer), (norm_name, norm) in pairwise(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, norm_name, nn.Identity())
    found.to(memory_format=torch.channels_last)
    return found


def _convolution(layer: Convolution) -> nn.Conv2d:
    return nn.Conv2d(
        layer.into, layer.out, layer.kernel, layer.stride, layer.pad, groups=layer.groups, bias=False
    )


def digest(network: nn.Module) -> str:
    """Return the SHA-256 of the network's tensors and their names, as hex digits."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
