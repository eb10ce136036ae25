"""The processes that train: one, or several that torchrun started, one per GPU."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from harness import console

# One process may generate or decode a large data set while the others wait.
_PATIENCE = timedelta(hours=2)
# And it may measure and search for longer than anybody trains.
_MUCH_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int
    count: int
    device: torch.device
    line: Any = None
    """Process group for messages, which do not pass through a GPU; None: this process is alone."""
    shows: bool = True
    """Whether this process shows how far it is, where it is the first."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> "Ranks":
        """This process as one that trains by itself, on the same device."""
        return Ranks(0, 1, self.device, shows=self.is_first)

    @property
    def here(self) -> int:
        """How many of all are on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.count))

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def tell(self, message: Any) -> None:
        """Send what can be pickled from the first process to all others, each of which must `hear` it."""
        if self.count > 1:
            distributed.broadcast_object_list([message], 0, group=self.line)

    def hear(self) -> Any:
        """Wait, without using the CPU, for what the first process has to `tell`, and return it."""
        heard = [None]
        distributed.broadcast_object_list(heard, 0, group=self.line)
        return heard[0]

    def gather(self, own: Any) -> list[Any]:
        """Send what can be pickled to the first process, which gets what all sent; others get nothing."""
        if self.count == 1:
            return [own]
        found = [None] * self.count if self.is_first else None
        distributed.gather_object(own, found, 0, group=self.line)
        return found or []

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over all processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def unify_statistics(self, network: nn.Module) -> None:
        """Give every process the first one's batch-normalisation statistics."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield what advances a progress bar, which only the first of all processes shows."""
        if self.is_first and self.shows:
            with console.progress(description, total) as bar:
                yield bar.advance
        else:
            yield lambda by: None

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return `network` such that its gradients are averaged over all processes."""
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started (it sets WORLD_SIZE, RANK, LOCAL_RANK), or stand alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        # Otherwise convolutions in f32 silently have TF32's ten bits.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    if count == 1:
        yield Ranks(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(rank, count, device, distributed.new_group(backend="gloo", timeout=_MUCH_PATIENCE))
    finally:
        distributed.destroy_process_group()
