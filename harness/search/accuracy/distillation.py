"""Block-wise distillation: each single revision learns to give what the baseline's part gives.

As in LANA (Molchanov et al., ECCV 2022), parts train apart from each other and are judged by what the answers
of the baseline lose when one of its parts is replaced. What is measured is each option of each decision of
the space by itself, of widths a few, everything else being the baseline's:

- a block's kind, middle ratio, squeeze-excite or activation: that block;
- a stage's width or depth: the stage, which reads what the baseline's stage reads; where it is narrower, a
  linear map that is trained with it gives the baseline's channels back;
- the stem and its width: the stem, likewise;
- the number of stages and an early stride: the whole network, which learns the baseline's answers;
- the input size: the baseline itself on smaller images, which nothing trains.

An architecture's cost is assumed to be the sum. So it is assumed that revisions do not help or hinder each
other, that an option costs as much at another width of its stage, and that a dropped block's options cost
nothing. On CIFAR-10 that ranked networks of nearly one latency little better than MACs did: `weighing`
corrects it by what was seen, and `estimator.agreement` tells how far the result holds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness import console
from harness.model.architecture import Architecture
from harness.search.accuracy import costs as tables
from harness.search.accuracy.costs import Costs, Table
from harness.search.accuracy.inheritance import stream
from harness.search.accuracy.material import Material
from harness.search.space.revisions import Space
from harness.training.data import normalised
from harness.training.network import ResNet, folded

_BATCH = 128
_WHOLE = "network"
_MEMORY_BYTES = 2 << 30


@dataclass(frozen=True)
class Effort:
    """How long each part learns.

    On CIFAR-10 75 steps on 1,536 images order the options of a block, another and a stage nearly alike:
    Kendall's tau 1.00, 0.89 and 1.00. And costs that are off by a factor of 1.8, at random, leave the weighed
    estimator as good as it is.
    """

    steps: int = 25
    batch_size: int = 64
    learning_rate: float = 2e-3
    """Of Adam at the start; it falls along a cosine to zero."""
    images: int = 768
    """Training images that parts learn from."""
    judged: int = 512
    """Other training images that they are judged by."""
    precision: str = "f32"
    """Of the learning parts' forward pass, 'f32' or 'bf16'; they are judged in f32."""
    seed: int = 0


def build(space: Space, material: Material, path: Path, effort: Effort | None = None) -> Table:
    """Measure what each decision costs, or go on with what `path` holds, and return the table.

    Raises:
        OutputError: `path` is of another space, baseline, data or effort, is damaged, or cannot be written.
    """
    effort = effort or Effort()
    identity = {
        "space": space.key,
        "baseline": material.teacher_sha256,
        "images": material.parts.learned.sha256,
        "effort": {name: value for name, value in asdict(effort).items() if name != "precision"},
    }
    found = tables.load(path, identity)
    todo = _todo(space, found)
    groups: dict[str, list[tuple[str, Any, Architecture]]] = {}
    for name, option, revised in todo:
        groups.setdefault(_part(name), []).append((name, option, revised))
    with console.progress("distil parts of the baseline", len(todo) * effort.steps) as bar:
        for part, members in groups.items():
            networks = {revised.key: revised for _, _, revised in members}
            measured = _measure(material, part, networks, effort, partial(bar.advance, len(members)))
            for name, option, revised in members:
                found.setdefault(name, {})[option] = measured[revised.key]
            tables.save(path, found, identity)
    return Table(space, found, identity)


def _todo(space: Space, found: Costs) -> list[tuple[str, Any, Architecture]]:
    """Return decisions, options and the baseline so revised; what changes nothing is entered at once."""
    taken = space.complete(space.decisions(space.baseline))
    todo = []
    for name, options in space.measured_decisions().items():
        for option in options:
            if option in found.get(name, {}):
                continue
            chosen = {**taken, name: option}
            revised = space.decided(chosen)
            if revised == space.baseline.canonical:
                found.setdefault(name, {})[option] = 0.0
            else:
                todo.append((name, option, revised))
    return todo


def _part(decision: str) -> str:
    """Return the part that a decision changes: "size", "network", "stem", "stage2" or "stage2.0"."""
    first, _, rest = decision.partition(".")
    place = rest.partition(".")[0]
    return f"{first}.{place}" if place.isdecimal() else first


class _Stem(nn.Module):  # type: ignore[misc]
    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.stem(x)


class _Student(nn.Module):  # type: ignore[misc]
    """A revised part, with a linear map back to the baseline's channels where it has others."""

    def __init__(self, part: nn.Module, kept: NDArray[np.intp], width: int) -> None:
        super().__init__()
        self.part = part
        self.back = nn.Identity()
        if len(kept) != width:
            self.back = nn.Conv2d(len(kept), width, 1)
            old = np.flatnonzero(kept < width)
            with torch.no_grad():
                self.back.weight.zero_()
                self.back.bias.zero_()
                self.back.weight[kept[old], old] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.part(x))


class _Chain:
    """The baseline as steps, stem first, then blocks and classifier, of which some can be left to another."""

    def __init__(self, teacher: ResNet, part: str) -> None:
        teacher.eval()
        self._steps: list[Callable[[Tensor], Tensor]] = [teacher.stem, *teacher.blocks(), teacher.head]
        names = ["stem", *(block.name for block in teacher.architecture.layers().blocks)]
        wanted = part.replace("stage", "layer")
        inside = [place for place, name in enumerate(names) if f"{name}.".startswith(f"{wanted}.")]
        self._first, self._end = (inside[0], inside[-1] + 1) if inside else (0, 0)
        if part == _WHOLE:
            self._end = len(self._steps)

    def before(self, x: Tensor) -> Tensor:
        """Return what the part reads."""
        return self._run(x, 0, self._first)

    def inside(self, x: Tensor) -> Tensor:
        """Return what the part makes of what it reads."""
        return self._run(x, self._first, self._end)

    def after(self, x: Tensor) -> Tensor:
        """Return the logits that follow from what the part makes."""
        return self._run(x, self._end, len(self._steps))

    def _run(self, x: Tensor, start: int, end: int) -> Tensor:
        for step in self._steps[start:end]:
            x = step(x)
        return x


def _measure(
    material: Material,
    part: str,
    revised: Mapping[str, Architecture],
    effort: Effort,
    advance: Callable[[], None],
) -> dict[str, float]:
    """Return by key what each revision of one part of the baseline costs, in nats."""
    count, device = effort.images + effort.judged, material.ranks.device
    pool = material.pool(material.baseline.size, count)
    cut = max(1, len(pool) * effort.judged // count)
    chain = _Chain(folded(material.teacher), part)
    judge = _Judge(chain, pool[:cut], device)
    if part == "size":
        for _ in range(effort.steps):
            advance()
        return {
            key: judge.divergence_on(material.pool(one.size, count)[:cut]) for key, one in revised.items()
        }
    students = {key: _student(material, one, part).to(device) for key, one in revised.items()}
    _teach(students, chain, pool[cut:], effort, device, advance)
    return {key: judge.divergence(student.eval()) for key, student in students.items()}


def _student(material: Material, revised: Architecture, part: str) -> _Student:
    network = material.inherited(revised)
    if part == _WHOLE:
        return _Student(network, np.arange(revised.classes), revised.classes)
    stage = 0 if part == "stem" else int(part.removeprefix("stage").partition(".")[0])
    kept = stream(revised, material.baseline, material.state, stage)
    width = material.baseline.stages[stage - 1].width if stage else material.baseline.stem_width
    inner = network.get_submodule(part.replace("stage", "layer")) if stage else _Stem(network)
    return _Student(inner, kept, width)


def _teach(
    students: Mapping[str, _Student],
    chain: _Chain,
    pixels: Tensor,
    effort: Effort,
    device: torch.device,
    advance: Callable[[], None],
) -> None:
    """Train each to give what the chain's part gives: mean squared error, each batch the same for all."""
    source = torch.Generator().manual_seed(effort.seed)
    optimizers = {
        key: torch.optim.Adam(student.parameters(), effort.learning_rate) for key, student in students.items()
    }
    lesson = _lesson(chain, pixels, device)
    for step in range(effort.steps):
        chosen = torch.randint(len(pixels), (effort.batch_size,), generator=source)
        read, wanted = lesson(chosen)
        rate = effort.learning_rate * 0.5 * (1 + math.cos(math.pi * step / effort.steps))
        for key, student in students.items():
            optimizers[key].param_groups[0]["lr"] = rate
            student.train()
            with torch.autocast(device.type, torch.bfloat16, effort.precision == "bf16"):
                given = student(read)
            loss = nn.functional.mse_loss(given.float(), wanted) / wanted.square().mean()
            optimizers[key].zero_grad()
            loss.backward()
            optimizers[key].step()
        advance()


def _lesson(chain: _Chain, pixels: Tensor, device: torch.device) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return of chosen images what the part reads and makes: computed once, if memory allows."""

    def compute(chosen: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            read = chain.before(normalised(pixels[chosen], device))
            return read, chain.inside(read)

    everything = torch.arange(len(pixels)).split(_BATCH)
    if len(pixels) * sum(4 * one.numel() for one in compute(everything[0][:1])) > _MEMORY_BYTES:
        return compute
    read, wanted = (torch.cat(column) for column in zip(*map(compute, everything), strict=True))
    return lambda chosen: (read[chosen], wanted[chosen])


class _Judge:
    """Tells what the baseline's answers to some images lose when another part is put in place of its own."""

    def __init__(self, chain: _Chain, pixels: Tensor, device: torch.device) -> None:
        """Take u8 [count, size, size, 3] RGB, whose answers, and what the part reads, are computed once."""
        self._chain, self._device = chain, device
        with torch.no_grad():
            self._read = list(self._reads(pixels))
            self._answers = [self._log_softmax(chain.inside(read)) for read in self._read]

    def divergence(self, student: nn.Module) -> float:
        """Return the mean Kullback-Leibler divergence from the baseline's answers, in nats."""
        return self._mean(map(student, self._read))

    def divergence_on(self, pixels: Tensor) -> float:
        """Return the same of the baseline's own answers to the same images at another size."""
        return self._mean(map(self._chain.inside, self._reads(pixels)))

    def _reads(self, pixels: Tensor) -> Iterator[Tensor]:
        return (self._chain.before(normalised(some, self._device)) for some in pixels.split(_BATCH))

    def _mean(self, made: Iterable[Tensor]) -> float:
        total, count = 0.0, 0
        with torch.no_grad():
            for one, answers in zip(made, self._answers, strict=True):
                found = self._log_softmax(one)
                total += float(nn.functional.kl_div(found, answers, reduction="sum", log_target=True))
                count += len(answers)
        return total / count

    def _log_softmax(self, made: Tensor) -> Tensor:
        return nn.functional.log_softmax(self._chain.after(made), 1)
