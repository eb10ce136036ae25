"""The training loop: any image classifier, checkpoints that it resumes from, the same result every time."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import console, files
from harness.errors import DataError, OutputError, RunFailed
from harness.training.averaging import AVERAGED, RECALIBRATED, Average, settle
from harness.training.data import Images, Order, batches, normalised
from harness.training.evaluation import evaluate
from harness.training.muon import Muon
from harness.training.network import digest
from harness.training.ranks import Ranks
from harness.training.settings import Settings, lasting
from harness.training.teacher import Teacher

CHECKPOINT_NAME = "checkpoint.pt"
_GLANCE = 2000
"""Test images, at least, that an epoch before the last is judged by: enough to follow a training by."""


class OtherTraining(OutputError):
    """A checkpoint is of another training than is asked for."""

    def __init__(self, path: Path, difference: str) -> None:
        super().__init__(
            f"The checkpoint {path} is of another training ({difference}): repeat its settings or "
            f"{files.elsewhere(path)}."
        )
        self.difference = difference


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought."""

    number: int
    loss: float
    top1: float
    """As a fraction: on some test images, in the training's precision; in the end on all of them, in f32."""
    seconds: float
    kept: tuple[str, ...] = ()
    """What the end of the training kept; see averaging.settle."""


def train(
    network: nn.Module,
    images: Images,
    tests: Images,
    settings: Settings,
    folder: Path,
    ranks: Ranks,
    *,
    resume: bool = False,
    until_epoch: int | None = None,
    origin: str = "",
    teacher: Teacher | None = None,
    statistics: Tensor | None = None,
    test_workers: int | None = None,
    name: str = "",
    end_broken: bool = False,
) -> list[Epoch]:
    """Train `network` in place and return what each epoch brought.

    After each epoch the whole state goes to `folder`/checkpoint.pt. With `resume` the training goes on from
    there, if it is there, and ends with the result that the uninterrupted training would have. It stops after
    `until_epoch`, if given, as if it were interrupted there. `origin` names the weights that `network` comes
    with, if those are no random ones; see `start_from`.

    With a `teacher` the share `settings.distillation` of the loss is the Kullback-Leibler divergence from
    its softened answers, times the squared temperature (Hinton, Vinyals, Dean 2015), to the same cuts of the
    images.

    Where `settings.averaging` says so, a mean of the weights is taken along. In the end it is kept if it pays
    on `tests`, as are batch-normalisation statistics taken anew from `statistics`, training images, u8
    [count, size, size, 3] RGB. So `tests` must not be what the network is tested by later.

    `test_workers` processes load `tests`; None: as many as load images to learn from. `name` is what those
    who watch call the training. With `end_broken` one whose loss is no longer finite ends, with a note, as it
    was before that epoch: so it is judged beside others by what it reached.

    Raises:
        ValueError: there is a teacher and no share for it, or a mean and no `statistics`, or the reverse.
        DataError: there are fewer images than one batch needs.
        OtherTraining: the checkpoint is of other settings.
        OutputError: it is damaged, or cannot be written.
        RunFailed: the loss is no longer finite.
    """
    if (teacher is None) != (settings.distillation == 0):
        raise ValueError("a teacher and a share of the loss for it belong together")
    if (statistics is None) != (settings.averaging == 0):
        raise ValueError("a mean of weights and images to take statistics from belong together")
    tests_by = settings.workers if test_workers is None else test_workers
    course = _Course(network, images, tests, settings, ranks, teacher, statistics, tests_by)
    checkpoint, identity = folder / CHECKPOINT_NAME, course.identity(origin)
    history: list[Epoch] = []
    if resume and checkpoint.exists():
        history = _restore(checkpoint, identity, network, course.optimizer, course.average, ranks.device)
    last = settings.epochs if until_epoch is None else min(until_epoch, settings.epochs)
    with ranks.progress(f"train {name}".strip(), last * course.steps) as advance:
        advance(min(len(history), last) * course.steps)
        while (number := len(history)) < last:
            started = time.perf_counter()
            before = copy.deepcopy(network.state_dict()) if end_broken else None
            loss = course.learn(number, advance)
            if math.isfinite(loss):
                top1, kept = course.judged(number)
                history.append(Epoch(number + 1, loss, top1, time.perf_counter() - started, kept))
                said = f"{name}: " * bool(name) + _line(history[-1], settings)
            elif before is None:
                raise RunFailed(
                    f"The training in {folder} broke in epoch {number + 1}, its loss is {loss}: lower the "
                    f"learning rate."
                )
            else:
                network.load_state_dict(before)
                top1 = evaluate(network, tests, ranks, "f32", 1, tests_by)
                rest = range(number + 1, settings.epochs + 1)
                history += [Epoch(one, loss, top1, time.perf_counter() - started) for one in rest]
                said = (
                    f"{name or folder} broke in epoch {number + 1}, its loss is {loss}: it ends as it was "
                    f"before, with top-1 {100 * top1:.2f} %."
                )
            if ranks.is_first:
                _save(checkpoint, identity, network, course.optimizer, course.average, history)
                console.note(said)
            ranks.wait()
    return history


class _Course:
    """A training under way, epoch by epoch."""

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        tests: Images,
        settings: Settings,
        ranks: Ranks,
        teacher: Teacher | None,
        statistics: Tensor | None,
        test_workers: int,
    ) -> None:
        """See `train`.

        Raises:
            DataError: there are fewer images than one batch needs.
        """
        network.to(ranks.device, memory_format=torch.channels_last)
        if teacher is not None:
            teacher.network.to(ranks.device, memory_format=torch.channels_last)
        self._network, self._images, self._tests = network, images, tests
        self._settings, self._ranks, self._teacher = settings, ranks, teacher
        self._statistics, self._test_workers = statistics, test_workers
        self._parallel = ranks.parallel(network)
        self.optimizer = _optimizer(network, settings)
        self.average = Average(network, settings.averaging) if settings.averaging else None
        self._order = Order(len(images), seed=settings.seed, rank=ranks.rank, ranks=ranks.count)
        self._batch = max(1, settings.batch_size // ranks.count)
        self._loader = batches(images, self._order, self._batch, settings.workers, whole=True)
        self.steps = len(self._loader)
        if self.steps == 0:
            raise DataError(
                f"There are {len(images)} training images in {images.images.root}, fewer than one batch of "
                f"{settings.batch_size}: give more images or a smaller batch."
            )
        self._rate = schedule(settings, self.steps)

    def identity(self, origin: str) -> dict[str, Any]:
        """Return what tells this training from others; `origin` names the weights that it begins with."""
        images, teacher = self._images, self._teacher
        return {
            "settings": lasting(self._settings),
            "augmentation": images.augmentation.to_dict() if images.augmentation else {},
            "recipe": images.recipe.to_dict(),
            "images": f"{len(images)} ({images.images.sha256[:12]})",
            "ranks": self._ranks.count,
            **({"origin": origin} if origin else {}),
            **({} if teacher is None else {"teacher": teacher.sha256}),
        }

    def learn(self, number: int, advance: Callable[[int], None]) -> float:
        """Take the steps of an epoch, counted from 0; return the mean loss over all processes."""
        settings, ranks, batch = self._settings, self._ranks, self._batch
        self._order.epoch = number
        indices = torch.from_numpy(self._order.indices())
        lesson = None
        if self._teacher is not None:
            lesson = self._teacher.lesson(self._images, number, settings.precision)
        self._parallel.train()
        total = torch.zeros((), device=ranks.device)
        for step, (pixels, labels) in enumerate(self._loader):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate(number * self.steps + step)
            with torch.autocast(ranks.device.type, torch.bfloat16, settings.precision == "bf16"):
                x = normalised(pixels, ranks.device)
                logits = self._parallel(x).float()
                taken = indices[step * batch : (step + 1) * batch]
                answers = None if lesson is None else lesson.answers(x, taken)
            loss = _loss(logits, labels.to(ranks.device), answers, settings)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.average is not None:
                self.average.add()
            total += loss.detach()
            advance(1)
        return float(ranks.sum(total)) / (self.steps * ranks.count)

    def judged(self, number: int) -> tuple[float, tuple[str, ...]]:
        """Return top-1 after an epoch, as a fraction, and what of the end of the training was kept."""
        network, tests, settings, ranks = self._network, self._tests, self._settings, self._ranks
        ranks.unify_statistics(network)
        if number + 1 < settings.epochs:
            every = max(1, len(tests) // _GLANCE)
            return evaluate(network, tests, ranks, settings.precision, every, self._test_workers), ()
        if self.average is not None and self._statistics is not None:
            return settle(network, self.average, self._statistics, tests, ranks, self._test_workers)
        return evaluate(network, tests, ranks, "f32", 1, self._test_workers), ()


def start_from(network: nn.Module, path: Path) -> str:
    """Give `network` the weights in a checkpoint of another training, and return their SHA-256.

    Raises:
        OutputError: the checkpoint is missing, damaged or of another network.
    """
    if not path.exists():
        raise OutputError(f"There is no checkpoint {path} to start from: give the --out of a training.")
    _load(network, _read(path, torch.device("cpu")), path)
    return digest(network)


def schedule(settings: Settings, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, counted from 0.

    The warm-up takes no more than half of the steps, so that a short training ends with small ones, too.
    """
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.warmup_epochs * steps_per_epoch, total // 2)

    def rate(step: int) -> float:
        if step < warmup:
            return settings.learning_rate * (step + 1) / warmup
        share = (step - warmup) / max(1, total - warmup)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def _loss(logits: Tensor, labels: Tensor, answers: Tensor | None, settings: Settings) -> Tensor:
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
    if answers is None:
        return loss
    heat = settings.temperature
    divergence = nn.functional.kl_div(
        nn.functional.log_softmax(logits / heat, 1),
        nn.functional.log_softmax(answers / heat, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - settings.distillation) * loss + settings.distillation * heat**2 * divergence


def _optimizer(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    if settings.optimizer == "muon":
        layers = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
        kernels = {one.weight: one.groups for one in layers}
        others = [value for value in network.parameters() if value not in kernels]
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        return Muon(kernels.items(), others, settings.learning_rate, settings.weight_decay, dtype=dtype)
    weights = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, settings.learning_rate, fused=True)
    return torch.optim.SGD(groups, settings.learning_rate, momentum=0.9, nesterov=True, fused=True)


def _save(
    path: Path,
    identity: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    history: list[Epoch],
) -> None:
    state = {
        "identity": identity,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state() if average else None,
        "random": torch.get_rng_state(),
        "history": [asdict(epoch) for epoch in history],
    }
    try:
        with files.replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"Cannot write the checkpoint {path} ({error}): free some space, then repeat the command, "
            "`harness train` with --resume."
        ) from error


def _restore(
    path: Path,
    identity: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    device: torch.device,
) -> list[Epoch]:
    state = _read(path, device)
    found: dict[str, Any] = state["identity"]
    if found.get("pixels") == "kept in memory":
        # Of older trainings; others learned from images that had not been shrunk.
        del found["pixels"]
    if found != identity:
        raise OtherTraining(path, _difference(found, identity))
    _load(network, state, path)
    optimizer.load_state_dict(state["optimizer"])
    if average is not None:
        average.restore(state["average"])
    torch.set_rng_state(state["random"].cpu())
    history: list[Epoch] = state["history"]
    return history


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """Return what `_save` wrote, its history as epochs."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        held = {name: state[name] for name in ("identity", "network", "optimizer", "random")}
        held["average"] = state.get("average")
        return held | {"history": [Epoch(**epoch) for epoch in state["history"]]}
    except Exception as error:  # a damaged archive raises many kinds
        raise OutputError(f"Cannot read the checkpoint {path} ({error}): start afresh without it.") from error


def _load(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise OutputError(
            f"The checkpoint {path} is of another network: repeat its settings or {files.elsewhere(path)}."
        ) from error


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    groups = ("settings", "augmentation", "recipe")
    there, here = (
        {**document, **{name: value for group in groups for name, value in document.get(group, {}).items()}}
        for document in (found, wanted)
    )
    names = [name for name in {**here, **there} if name not in groups and there.get(name) != here.get(name)]
    return ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)


def _line(epoch: Epoch, settings: Settings) -> str:
    kept = ""
    if settings.averaging and epoch.number == settings.epochs:
        kept = f"; of {AVERAGED} and {RECALIBRATED} kept: {', '.join(epoch.kept) or 'neither'}"
    return (
        f"epoch {epoch.number}/{settings.epochs}: loss {epoch.loss:.3f}, top-1 {100 * epoch.top1:.2f} %, "
        f"{epoch.seconds:.0f} s{kept}"
    )
