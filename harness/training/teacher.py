"""A trained network that others learn from; it remembers its answers, which many trainings ask for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.backend import graph
from harness.backend.settings import CompileSettings
from harness.model import resnet
from harness.training import export
from harness.training.data import Images
from harness.training.network import ResNet, digest, folded

_MEMORY_BYTES = 2 << 30

Answer = Callable[[Tensor], Tensor]
"""Normalised f32 [batch, 3, size, size] at the teacher's size to f32 [batch, classes], its logits."""


class Lesson:
    """The answers of a teacher to the images of one epoch."""

    def __init__(self, answer: Answer, size: int, known: Tensor | None) -> None:
        """Take the teacher and the size of its images, and where its answers are kept.

        Args:
            answer: the teacher.
            size: of the images that it takes, in pixels.
            known: f32 [images, classes], NaN where there is no answer yet; None: none are kept.
        """
        self._answer, self._size, self._known = answer, size, known

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
        size = self._size
        if x.shape[-1] != size:
            x = nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
        return self._answer(x)


class Teacher:
    """A network in eval mode, and its answers to images that were varied in the same way before."""

    def __init__(
        self,
        network: nn.Module,
        sha256: str | None = None,
        *,
        size: int | None = None,
        classes: int | None = None,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        """Take a trained network.

        Args:
            network: what answers.
            sha256: that tells it from others, also on another machine; default: of its tensors.
            size: of the images that it takes, in pixels; default: a ResNet's own.
            classes: that it tells apart; default: likewise.
            memory_bytes: how much its answers may fill; further ones are not kept.
        """
        self.network = network.eval()
        self.sha256 = sha256 or digest(network)
        self._size = network.architecture.size if size is None else size
        self._classes = network.architecture.classes if classes is None else classes
        self._quick: dict[str, Answer] = {}
        self._room = memory_bytes
        self._lessons: dict[tuple[Any, ...], Tensor] = {}

    def lesson(self, images: Images, epoch: int, precision: str) -> Lesson:
        """Return what there is to learn from `images` in an epoch, counted from 0, in f32 or bf16."""
        # Made late: until now the network may have been moved to another device.
        if precision not in self._quick:
            self._quick[precision] = quick(self.network, precision)
        key = (*images.identity, images.version(epoch), precision)
        if key not in self._lessons:
            shape = len(images), self._classes
            needed = 4 * shape[0] * shape[1]
            if needed <= self._room:
                self._room -= needed
                self._lessons[key] = torch.full(shape, torch.nan)
        return Lesson(self._quick[precision], self._size, self._lessons.get(key))


def quick(network: nn.Module, precision: str) -> Answer:
    """Return the quickest way to the answers of a network that learns no more, in f32 or bf16.

    For a ResNet on a CPU that is OpenVINO, with as many threads as PyTorch has: on two Zen 4 cores a
    ResNet-50 for 32 px answers 1.7 times as fast as by PyTorch with folded batch normalisation, in either
    precision. A CPU without BF16 answers in f32.
    """
    is_ours = isinstance(network, ResNet)
    if is_ours and next(network.parameters()).device.type == "cpu":
        return _Compiled(network, precision)
    answers = folded(network) if is_ours else network

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, precision == "bf16"):
            found: Tensor = answers(x)
        return found.float()

    return answer


class _Compiled:
    """A network in OpenVINO, compiled for each batch that is asked for."""

    def __init__(self, network: ResNet, precision: str) -> None:
        self._model = resnet.assemble(network.architecture, export.arrays(network))
        precision = precision if graph.has_bf16() else "f32"
        # Several processes may train together: none of them keeps a CPU to itself.
        self._settings = CompileSettings("LATENCY", precision, torch.get_num_threads(), 1, pinning=False)
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        shape = tuple(x.shape)
        if shape not in self._compiled:
            self._model.reshape(list(shape))
            self._compiled[shape] = graph.compile_model(self._model, self._settings).model
        found = self._compiled[shape](x.contiguous().numpy())
        return torch.from_numpy(found[0].copy())
