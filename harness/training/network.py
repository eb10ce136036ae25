"""An architecture as a PyTorch module, under torchvision's parameter names."""

import copy
import hashlib
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.model.architecture import Architecture
from harness.model.layers import (
    INPUT,
    BlockLayers,
    Concatenation,
    Convolution,
    Node,
    Norm,
    Pool,
    SqueezeExcite,
    Sum,
)

_ACTIVATED = {"relu": nn.functional.relu, "hswish": nn.functional.hardswish}


class Excite(nn.Module):  # type: ignore[misc]
    """Squeeze-excite: channels weighed by what their means say."""

    def __init__(self, layers: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(layers.channels, layers.reduced, 1)
        self.expand = nn.Conv2d(layers.reduced, layers.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(hidden))


class Block(nn.Module):  # type: ignore[misc]
    """Computes the nodes of a block, one after the other."""

    def __init__(self, layers: BlockLayers) -> None:
        super().__init__()
        self.layers = layers
        # In this order, which decides the order of tensors and of what seeds draw.
        past = [node for node in layers.nodes if node.role == "shortcut"]
        for node in sorted(layers.nodes, key=lambda node: isinstance(node.layer, SqueezeExcite)):
            if node not in past:
                self._own(node)
        for node in past:
            self._own(node)

    def forward(self, x: Tensor) -> Tensor:
        given: list[Tensor] = []
        for node in self.layers.nodes:
            taken = [x if place == INPUT else given[place] for place in node.takes]
            given.append(self._compute(node, taken))
        return given[-1]

    def _own(self, node: Node) -> None:
        """Make the modules of a node."""
        layer = node.layer
        if isinstance(layer, Convolution):
            parts = _convolution(layer), nn.BatchNorm2d(layer.out)
            if node.role == "shortcut":
                self.downsample = nn.Sequential(*parts)
            else:
                self.add_module(_own_name(layer.name), parts[0])
                self.add_module(_own_name(layer.norm), parts[1])
        elif isinstance(layer, SqueezeExcite):
            self.add_module(_own_name(layer.name), Excite(layer))
        elif isinstance(layer, Norm):
            self.add_module(_own_name(layer.norm), nn.BatchNorm2d(layer.channels))

    def _compute(self, node: Node, taken: list[Tensor]) -> Tensor:
        layer = node.layer
        if isinstance(layer, Sum):
            x = taken[0]
            for other in taken[1:]:
                x = x + other
        elif isinstance(layer, SqueezeExcite):
            x = getattr(self, _own_name(layer.name))(taken[0])
        elif isinstance(layer, Norm):
            x = getattr(self, _own_name(layer.norm))(taken[0])
        elif isinstance(layer, Concatenation):
            x = torch.cat(taken, 1)
        elif isinstance(layer, Pool):
            x = nn.functional.max_pool2d(taken[0], 3, layer.stride, 1)
        elif node.role == "shortcut":
            x = self.downsample(taken[0])
        else:
            x = getattr(self, _own_name(layer.norm))(getattr(self, _own_name(layer.name))(taken[0]))
        if isinstance(layer, Convolution | Sum) and layer.activation is not None:
            x = _ACTIVATED[layer.activation](x, inplace=True)
        return x


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
            blocks = (Block(block) for block in layers.blocks if block.name.startswith(f"{name}."))
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(layers.features, architecture.classes)
        self._initialise()

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first block takes."""
        for convolution, norm in self._stem:
            x = self.relu(getattr(self, norm)(getattr(self, convolution)(x)))
        return self.maxpool(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.groups > 1:
                    # PyTorch counts the outputs of all groups, of which an input reaches those of its own.
                    module.weight.data.mul_(module.groups**0.5)
            elif isinstance(module, Block) and (damped := module.layers.damped) is not None:
                # A block starts as what its sum adds to it, which makes deep networks start well.
                nn.init.zeros_(getattr(module, _own_name(damped)).weight)


def folded(network: ResNet) -> ResNet:
    """Return a copy in eval mode whose batch normalisation is part of its convolutions.

    It answers the same, a quarter faster.
    """
    found: ResNet = copy.deepcopy(network).eval()
    for parent in list(found.modules()):
        for (name, layer), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, norm_name, nn.Identity())
    found.to(memory_format=torch.channels_last)
    return found


def digest(network: nn.Module) -> str:
    """Return the SHA-256 of the network's tensors and their names, as hex digits."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _convolution(layer: Convolution) -> nn.Conv2d:
    return nn.Conv2d(
        layer.into, layer.out, layer.kernel, layer.stride, layer.pad, groups=layer.groups, bias=False
    )


def _own_name(name: str) -> str:
    """Return the last part of a layer's name: what its block calls it."""
    return name.rpartition(".")[2]
