"""A trained network that others learn from; it remembers its answers, which many trainings ask for."""

from typing import Any

import torch
from torch import Tensor, nn

from harness.training.data import Images
from harness.training.network import ResNet, folded

_MEMORY_BYTES = 2 << 30


class Lesson:
    """The answers of a teacher to the images of one epoch."""

    def __init__(self, teacher: ResNet, known: Tensor | None) -> None:
        """Take the teacher, in eval mode, and f32 [images, classes] to keep answers in, NaN: none yet."""
        self._teacher, self._known = teacher, known

    def answers(self, x: Tensor, indices: Tensor) -> Tensor:
        """Return f32 [batch, classes], the teacher's logits, computed only where they are not known yet.

        Args:
            x: f32 [batch, 3, size, size], normalised; resized where the teacher takes another size.
            indices: i64 [batch], of which images.
        """
        if self._known is None:
            return self._compute(x)
        if self._known[indices].isnan().any():
            self._known[indices] = self._compute(x).cpu()
        return self._known[indices].to(x.device)

    def _compute(self, x: Tensor) -> Tensor:
        size = self._teacher.architecture.size
        if x.shape[-1] != size:
            x = nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
        with torch.no_grad():
            answers: Tensor = self._teacher(x)
        return answers.float()


class Teacher:
    """A network in eval mode, and its answers to images that were varied in the same way before."""

    def __init__(self, network: ResNet, memory_bytes: int = _MEMORY_BYTES) -> None:
        """Take the network and how much its answers may fill; further ones are not kept."""
        self.network = network.eval()
        self._quick: ResNet | None = None
        self._room = memory_bytes
        self._lessons: dict[tuple[Any, ...], Tensor] = {}

    def lesson(self, images: Images, epoch: int, precision: str) -> Lesson:
        """Return what there is to learn from `images` in an epoch, counted from 0."""
        # Made late: until now the network may have been moved to another device.
        self._quick = self._quick or folded(self.network)
        key = (*images.identity, epoch, precision)
        if key not in self._lessons:
            shape = len(images), self.network.architecture.classes
            needed = 4 * shape[0] * shape[1]
            if needed > self._room:
                return Lesson(self._quick, None)
            self._room -= needed
            self._lessons[key] = torch.full(shape, torch.nan)
        return Lesson(self._quick, self._lessons[key])
