"""ResNet v1.5 with bottlenecks as a PyTorch module, under torchvision's parameter names."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

EXPANSION = 4


@dataclass(frozen=True)
class ResNetShape:
    """Everything that decides the tensors of a ResNet."""

    classes: int
    stem_kernel: int = 7
    """7: stride 2 and a 3x3/2 max pool behind it; 3: stride 1 and no pool, for images of about 32 px."""
    stem_width: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Width of the 3x3 convolutions of each stage; a block's output is four times as wide."""
    depths: tuple[int, ...] = (3, 4, 6, 3)


def resnet50(classes: int, width: float = 1.0, stem_kernel: int = 7) -> ResNetShape:
    """Return ResNet-50's shape with all widths times `width`, rounded to multiples of 16 (at least 16)."""
    plain = ResNetShape(classes, stem_kernel)
    return ResNetShape(
        classes,
        stem_kernel,
        _rounded(plain.stem_width * width),
        tuple(_rounded(mid * width) for mid in plain.widths),
        plain.depths,
    )


def _rounded(channels: float) -> int:
    return max(16, 16 * round(channels / 16))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """1x1, 3x3 (which carries the stride: v1.5), 1x1, added to the input."""

    def __init__(self, into: int, mid: int, stride: int) -> None:
        super().__init__()
        out = mid * EXPANSION
        self.conv1 = nn.Conv2d(into, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or into != out:
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):  # type: ignore[misc]
    """f32 [batch, 3, size, size] normalised RGB in, f32 [batch, classes] logits out."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        self.shape = shape
        kernel, width = shape.stem_kernel, shape.stem_width
        big = kernel == 7
        self.conv1 = nn.Conv2d(3, width, kernel, 2 if big else 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if big else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(shape.widths) + 1)]
        for name, mid, depth in zip(self.stages, shape.widths, shape.depths, strict=True):
            blocks = []
            for block in range(depth):
                stride = 2 if block == 0 and name != "layer1" else 1
                blocks.append(Bottleneck(width, mid, stride))
                width = mid * EXPANSION
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(width, shape.classes)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                # A block starts as the identity, which makes deep networks start well.
                nn.init.zeros_(module.bn3.weight)
