"""What a network gets right."""

import torch
from torch import Tensor, nn

from harness.task import classification
from harness.training.data import Images, Order, batches, normalised
from harness.training.ranks import Ranks

_BATCH = 100


def right(
    network: nn.Module,
    images: Images,
    ranks: Ranks,
    precision: str = "f32",
    every: int = 1,
    workers: int = 0,
) -> Tensor:
    """Return f64 [count], 1 where `network` is right about each `every`-th of `images`, else 0.

    Args:
        network: on the ranks' device; it is left in eval mode.
        images: with their labels.
        ranks: the processes that share the work, each of which gets the whole answer.
        precision: of the forward pass, 'f32' or 'bf16'.
        every: 1 for all images.
        workers: processes that load images which are not in memory, beside each of those; 0: none.
    """
    order = Order(len(images), seed=None, rank=ranks.rank * every, ranks=ranks.count * every)
    count = len(range(0, len(images), every))
    found = torch.zeros(count, dtype=torch.float64, device=ranks.device)
    places = torch.from_numpy(order.indices()).to(ranks.device) // every
    network.eval()
    done = 0
    with (
        torch.inference_mode(),
        torch.autocast(ranks.device.type, torch.bfloat16, precision == "bf16"),
    ):
        for pixels, labels in batches(images, order, _BATCH, 0 if images.in_memory else workers, whole=False):
            answers = network(normalised(pixels, ranks.device)).argmax(1)
            among = places[done : done + len(labels)]
            found[among] = classification.right(answers, labels.to(ranks.device)).double()
            done += len(labels)
    return ranks.sum(found)


def evaluate(
    network: nn.Module,
    images: Images,
    ranks: Ranks,
    precision: str = "f32",
    every: int = 1,
    workers: int = 0,
) -> float:
    """Return top-1 of `network`, as a fraction; see `right`."""
    return float(right(network, images, ranks, precision, every, workers).mean())
