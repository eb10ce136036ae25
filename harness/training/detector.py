"""The built-in detector in PyTorch: the network, its loss, and a training that a seed fixes."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.model import detector
from harness.model.detector import STRIDES
from harness.model.layers import Convolution

_REACH = 1.0
"""Cells whose middle is nearer to that of a thing, in strides on each axis, are to answer for it."""
_SIZES = {8: (0.0, 30.0), 16: (20.0, 60.0), 32: (44.0, 1e9)}
"""Model pixels of the longer side of things that a level answers for, by stride."""
_BOX_WEIGHT = 5.0
_DECAY = 0.998
"""Of the mean of weights over steps, which is what is kept."""


@dataclass(frozen=True)
class Settings:
    """How to train."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    """The highest, of AdamW; it rises linearly in the first steps and then falls along a cosine to zero."""
    warm_up_steps: int = 200
    weight_decay: float = 0.02
    seed: int = 1


@dataclass(frozen=True)
class Scenes:
    """Training images with their boxes, all in memory."""

    pixels: NDArray[np.uint8]
    """[count, size, size, 3] RGB."""
    boxes: NDArray[np.float32]
    """[count, most things, 4]: left, top, right, bottom edge in model pixels; NaN where there are fewer."""
    labels: NDArray[np.int64]
    """[count, most things], from 0."""


class Detector(nn.Module):  # type: ignore[misc]
    """f32 [batch, 3, size, size] normalised RGB in, f32 [batch, cells, 5 + classes] before sigmoids out."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        for layer in detector.convolutions():
            convolution = nn.Conv2d(layer.into, layer.out, layer.kernel, layer.stride, layer.pad, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(layer.name, convolution)
            self.add_module(layer.norm, nn.BatchNorm2d(layer.out))
        for stride in STRIDES:
            for part, layer, end in detector.heads(stride):
                last = nn.Conv2d(layer.out, detector.numbers(part, classes), 1)
                nn.init.normal_(last.weight, std=0.01)
                nn.init.zeros_(last.bias)
                # At first a cell is sure of an object, and of a class, by 1 %: most cells are empty.
                last.bias.data[4 if part == "box" else slice(None)] = -4.6
                self.add_module(end, last)

    def forward(self, x: Tensor) -> Tensor:
        levels = {}
        for stride, down, block in detector.trunk():
            x = self._layer(x, down)
            if block:
                x = x + self._layer(self._layer(x, block[0]), block[1])
            levels[stride] = x
        answers, coarser = [], None
        for stride in reversed(STRIDES):
            x = self._layer(levels[stride], detector.lateral(stride))
            if coarser is not None:
                x = x + nn.functional.interpolate(coarser, scale_factor=2, mode="nearest")
            coarser = self._layer(x, detector.smooth(stride))
            parts = [
                getattr(self, end)(self._layer(coarser, layer)) for _, layer, end in detector.heads(stride)
            ]
            answers.append(torch.cat(parts, 1).flatten(2))
        return torch.cat(answers[::-1], 2).transpose(1, 2)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights as model.detector.assemble takes them."""
        return {name: tensor.detach().numpy() for name, tensor in self.state_dict().items()}

    def _layer(self, x: Tensor, layer: Convolution) -> Tensor:
        return torch.relu(getattr(self, layer.norm)(getattr(self, layer.name)(x)))


@cache
def cells(count: int) -> tuple[Tensor, Tensor]:
    """Return the top left corner, f32 [count, 2] in strides, and the stride, f32 [count, 1], of each cell."""
    # Levels of s, s/2 and s/4 cells a side have 21 (s/4)^2.
    finest = 4 * round((count / 21) ** 0.5)
    corners, strides = [], []
    for level, stride in enumerate(STRIDES):
        side = torch.arange(finest >> level, dtype=torch.float32)
        y, x = torch.meshgrid(side, side, indexing="ij")
        corners.append(torch.stack((x, y), 2).reshape(-1, 2))
        strides.append(torch.full((len(corners[-1]), 1), float(stride)))
    return torch.cat(corners), torch.cat(strides)


def boxes_of(answers: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Return the boxes in answers [..., cells, 4 or more], as edges in model pixels, as YOLOX has them."""
    middles = (answers[..., :2] + corners) * strides
    halves = answers[..., 2:4].clamp(max=6).exp() * strides / 2
    return torch.cat((middles - halves, middles + halves), -1)


def loss_of(answers: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch: overlaps of the boxes, and how sure the cells are of objects and classes.

    A cell near the middle of a thing, on a level for things of its size, is to answer for it (as in FCOS,
    Tian et al., ICCV 2019); how sure it shall be is how well its box fits (as in YOLOX, Ge et al., 2021).

    Args:
        answers: what a network gives, f32 [batch, cells, 5 + classes].
        boxes: f32 [batch, most things, 4] in model pixels; where an image has fewer things, NaN.
        labels: i64 [batch, most things].
    """
    corners, strides = cells(answers.shape[1])
    image, cell, thing = _matched(boxes, (corners + 0.5) * strides, strides)
    positive = answers[image, cell]
    overlap, generalised = _overlaps(boxes_of(positive, corners[cell], strides[cell]), boxes[image, thing])
    sure = torch.zeros_like(answers[..., 4])
    sure[image, cell] = overlap.detach().clamp(0, 1)
    wanted = nn.functional.one_hot(labels[image, thing], answers.shape[-1] - 5).float()
    entropy = nn.functional.binary_cross_entropy_with_logits
    objects = entropy(answers[..., 4], sure, reduction="sum")
    classes = entropy(positive[:, 5:], wanted, reduction="sum")
    return (_BOX_WEIGHT * (1 - generalised).sum() + classes + objects) / max(1, len(cell))


@torch.no_grad()  # type: ignore[untyped-decorator]
def _matched(boxes: Tensor, middles: Tensor, strides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, cells and things that belong together: which cells are to answer for what."""
    sides = boxes[..., 2:] - boxes[..., :2]
    longer = sides.max(2).values[:, None]
    centres = (boxes[..., :2] + boxes[..., 2:])[:, None] / 2
    away = (middles[:, None] - centres).abs().max(3).values
    limits = torch.tensor([_SIZES[int(stride)] for stride in strides[:, 0].tolist()])
    fits = (away < _REACH * strides) & (longer >= limits[:, :1]) & (longer < limits[:, 1:])
    # Of two things that a cell is near to, it answers for the smaller.
    areas = torch.where(fits, sides.prod(2)[:, None], torch.inf)
    smallest, thing = areas.min(2)
    image, cell = torch.nonzero(smallest < torch.inf, as_tuple=True)
    return image, cell, thing[image, cell]


def _overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union, and the generalised one (Rezatofighi et al., CVPR 2019), of pairs."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - both
    outer = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    around = outer.prod(1)
    overlap = both / union.clamp(min=1e-6)
    return overlap, overlap - (around - union) / around.clamp(min=1e-6)


def train(
    scenes: Scenes,
    classes: int,
    settings: Settings,
    prepare: Callable[[Tensor], Tensor],
) -> Iterator[tuple[int, float, Detector]]:
    """Train, and yield after each epoch its number, its mean loss and the network of mean weights.

    Each image is seen turned by a quarter and mirrored at random. `prepare` makes normalised f32
    [batch, 3, size, size] of u8 [batch, size, size, 3].
    """
    torch.manual_seed(settings.seed)
    network = Detector(classes).to(memory_format=torch.channels_last)
    mean = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    count = len(scenes.pixels)
    steps = count // settings.batch_size
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1.0, settings.warm_up_steps),
            torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, max(1, settings.epochs * steps - settings.warm_up_steps)
            ),
        ],
        [settings.warm_up_steps],
    )
    for epoch in range(settings.epochs):
        dice = np.random.default_rng([settings.seed, epoch])
        order = dice.permutation(count)
        total = 0.0
        for step in range(steps):
            taken = order[step * settings.batch_size :][: settings.batch_size]
            turned = [_turned(scenes, index, int(dice.integers(8))) for index in taken]
            x = prepare(torch.from_numpy(np.stack([pixels for pixels, _ in turned])))
            boxes = torch.from_numpy(np.stack([found for _, found in turned]))
            network.train()
            answers = network(x.contiguous(memory_format=torch.channels_last))
            loss = loss_of(answers, boxes, torch.from_numpy(scenes.labels[taken]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            _follow(mean, network, min(_DECAY, (epoch * steps + step + 1) / (epoch * steps + step + 10)))
            total += float(loss.detach())
        yield epoch + 1, total / steps, mean


def _turned(scenes: Scenes, index: int, way: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return an image and its boxes in one of the eight ways that a square can lie."""
    pixels, boxes = scenes.pixels[index], scenes.boxes[index]
    size = pixels.shape[0]
    if way & 1:
        pixels, boxes = (
            pixels[:, ::-1],
            np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1),
        )
    if way & 2:
        pixels, boxes = (
            pixels[::-1],
            np.stack([boxes[:, 0], size - boxes[:, 3], boxes[:, 2], size - boxes[:, 1]], 1),
        )
    if way & 4:
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(boxes)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _follow(mean: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
