"""A small convolutional network that has everything whose channels depend on each other."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from harness.model.card import Card, FileSpec, InputSpec, OutputSpec, write_card

SIZE, CLASSES = 32, 4


def mixed_network(classes: int = CLASSES) -> ov.Model:
    """Return f32 [1, 3, 32, 32] in, logits out; the weights are random.

    A stem, an inverted bottleneck with squeeze-excite and a shortcut, two branches one behind the other, a
    grouped convolution, a scale a channel, and a classifier with a hidden layer.
    """
    source = np.random.default_rng(1)

    def constant(*shape: int) -> Any:
        spread = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return ops.constant((spread * source.standard_normal(shape)).astype(np.float32))

    def bias(x: Any) -> Any:
        return ops.add(x, constant(1, x.output(0).get_shape()[1], 1, 1))

    def convolved(x: Any, name: str, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Any:
        into = x.output(0).get_shape()[1]
        pad = [[stride] * 2, [0, 0], [0, 0], [1, 1], "same_upper"]
        if groups == 1:
            return bias(ops.convolution(x, constant(out, into, kernel, kernel), *pad, name=name))
        weight = constant(groups, out // groups, into // groups, kernel, kernel)
        return bias(ops.group_convolution(x, weight, *pad, name=name))

    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    stem = ops.hswish(convolved(image, "stem", 16, 3, 2))
    x = ops.clamp(convolved(stem, "expand", 32), 0.0, 6.0)
    x = ops.relu(convolved(x, "depthwise", 32, 5, 1, 32))
    mean = ops.reduce_mean(x, np.array([2, 3]), True)
    gate = ops.sigmoid(convolved(ops.relu(convolved(mean, "squeeze", 8)), "excite", 32))
    x = ops.add(convolved(ops.multiply(x, gate), "project", 16), stem)
    left = ops.relu(convolved(x, "left", 16, 3, 2))
    right = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], "floor", "same_upper").output(0)
    x = ops.concat([left, right], 1)
    x = ops.relu(convolved(x, "before", 32))
    x = ops.relu(convolved(x, "grouped", 32, 3, 1, 4))
    x = ops.multiply(x, constant(1, 32, 1, 1))
    x = ops.reshape(ops.reduce_mean(x, np.array([2, 3]), True), np.array([1, 32]), False)
    x = ops.relu(ops.add(ops.matmul(x, constant(32, 24), False, False, name="hidden"), constant(1, 24)))
    logits = ops.matmul(x, constant(classes, 24), False, True, name="classifier")
    return ov.Model([ops.result(logits, name="logits")], [image], "mixed")


def mixed_card(folder: Path, classes: int = CLASSES) -> Card:
    """Write the network with its card, which takes BGR pixels, and return the card."""
    ov.save_model(mixed_network(classes), folder / "mixed.xml", compress_to_fp16=False)
    card = Card(
        name="mixed",
        benchmark="resnet50",
        file=FileSpec(path="mixed.xml"),
        input=InputSpec(SIZE, "NCHW", "f32", "BGR", "none", 1.0, (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)),
        output=OutputSpec("logits", classes),
        folder=folder,
    )
    write_card(card, folder / "mixed.toml")
    return card
