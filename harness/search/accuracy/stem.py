"""A new stem learns to give what the baseline's gives."""

import numpy as np
import torch
from torch import Tensor, nn

from harness.model import resnet
from harness.search.accuracy.inheritance import stream
from harness.training.data import normalised
from harness.training.network import ResNet

STEPS = 200
_BATCH = 64
_LEARNING_RATE = 3e-2


def modules(network: ResNet) -> dict[str, nn.Module]:
    """Return the convolutions and norms of `network`'s stem by name."""
    layers = network.architecture.layers().stem
    return {name: network.get_submodule(name) for layer in layers for name in (layer.name, layer.norm)}


def fit(network: ResNet, teacher: ResNet, state: resnet.State, pixels: Tensor, steps: int = STEPS) -> float:
    """Train `network`'s stem alone to give the channels of `teacher`'s that it keeps; return the last loss.

    The loss is the mean squared error over the mean square of what is wanted; Adam, the learning rate falling
    along a cosine. `state` holds the teacher's weights, by which channels were chosen; `pixels` are training
    images of the network's size, u8 [count, size, size, 3].
    """
    device = next(network.parameters()).device
    kept = stream(network.architecture, teacher.architecture, state, 0)
    # New channels, beyond the teacher's, have nothing to learn from it.
    old = torch.from_numpy(np.flatnonzero(kept < teacher.architecture.stem_width)).to(device)
    kept = torch.from_numpy(kept[kept < teacher.architecture.stem_width]).to(device)
    parameters = [value for module in modules(network).values() for value in module.parameters()]
    optimizer = torch.optim.Adam(parameters, _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    source = torch.Generator().manual_seed(0)
    network.train()
    loss = torch.zeros(())
    for _ in range(steps):
        chosen = torch.randint(len(pixels), (_BATCH,), generator=source)
        x = normalised(pixels[chosen], device)
        with torch.no_grad():
            wanted = teacher.stem(x)[:, kept]
        loss = nn.functional.mse_loss(network.stem(x)[:, old], wanted) / wanted.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())
