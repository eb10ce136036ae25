"""Batch normalisation: statistics for networks that have none, or those of another network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.training.data import normalised

_BATCH = 128


def liven(network: nn.Module, pixels: Tensor) -> None:
    """Give folded batch normalisations statistics again, without changing what `network` computes.

    Each gets the mean m and the variance v of its inputs, and weights sqrt(v + eps) and bias + m to undo
    them; before, it must be the identity but for its bias, as `baseline.read` leaves it. `pixels` are
    training images, u8 [count, size, size, 3].
    """
    norms = _norms(network)
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def add(norm: nn.BatchNorm2d, given: tuple[Tensor]) -> None:
        values = given[0].detach().transpose(0, 1).flatten(1).double()
        sums[norm] += torch.stack(
            [torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)]
        ).cpu()

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        network.eval()
        _feed(network, pixels)
    finally:
        for hook in hooks:
            hook.remove()
    for norm in norms:
        number, total, squares = sums[norm]
        mean = total / number
        variance = (squares / number - mean.square()).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        with torch.no_grad():
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.add_(mean.to(norm.bias))


def recalibrate(network: nn.Module, pixels: Tensor) -> None:
    """Take the batch-normalisation statistics anew from training images, u8 [count, size, size, 3].

    Averages over batches, as OFA and BootstrapNAS do it; the weights stay. Leaves `network` in eval mode.
    """
    norms = _norms(network)
    for norm in norms:
        norm.reset_running_stats()
    with _averaging(norms):
        network.train()
        _feed(network, pixels)
    network.eval()


@contextmanager
def _averaging(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the plain mean over all batches
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def _feed(network: nn.Module, pixels: Tensor) -> None:
    device = next(network.parameters()).device
    with torch.no_grad():
        # Equal parts, since each batch has the same say in an average.
        for part in pixels.chunk(max(1, round(len(pixels) / _BATCH))):
            network(normalised(part, device))
