"""How much a network would lose without a channel, to first order.

Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019): the square of the sum of a
channel's values times their gradients, averaged over batches. A bundle counts as one channel, seen by all
convolutions that take it.
"""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from harness.model.torch_layers import Convolution, Product
from harness.search.narrowing.channels import Channels
from harness.training.data import Images, Order, batches, normalised
from harness.training.ranks import Ranks

_BATCH = 8


def importance(
    channels: Channels, images: Images, ranks: Ranks, workers: int = 0
) -> list[NDArray[np.float64]]:
    """Return f64 [bundles] for each group: what each bundle is worth; only their order has a meaning.

    Args:
        channels: of a network with all channels; its gradients are left behind.
        images: with labels, whose cross-entropy is the loss.
        ranks: the device to compute on.
        workers: processes that load images.
    """
    twin = channels.twin.to(ranks.device).eval()
    takers = [
        (layer, followed.ids)
        for step, layer in zip(twin.steps, twin.layers, strict=True)
        if isinstance(layer, Convolution | Product)
        and not (isinstance(layer, Convolution) and layer.is_depthwise)
        and (followed := channels.given[step.takes[0]]) is not None
    ]
    total = [np.zeros(len(group.bundles)) for group in channels.groups]
    steps = 0
    order = Order(len(images), seed=0)
    loader = batches(images, order, min(_BATCH, len(images)), workers, whole=True)
    with ranks.progress("rank channels", len(loader)) as advance:
        for pixels, labels in loader:
            twin.zero_grad()
            loss = nn.functional.cross_entropy(
                twin(normalised(pixels, ranks.device)), labels.to(ranks.device)
            )
            loss.backward()
            salience = np.zeros(channels.count)
            for layer, ids in takers:
                np.add.at(salience, ids, layer.salience().cpu().numpy())
            for group, sums in zip(channels.groups, total, strict=True):
                sums += [salience[bundle].sum() ** 2 for bundle in group.bundles]
            steps += 1
            advance(1)
    twin.zero_grad()
    return [sums / steps for sums in total]
