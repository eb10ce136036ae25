"""How long a search takes, part by part, from what was just measured; and how much of it is left."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.machine import system
from harness.model.architecture import Architecture
from harness.search.accuracy.material import Material
from harness.search.accuracy.trainer import REGIMES
from harness.search.request import UNTIL, Request, Setting
from harness.search.space.revisions import DEPTHS
from harness.training.data import Images, normalised
from harness.training.network import ResNet
from harness.training.teacher import quick

PARTS = (*UNTIL, "comparison")
"""The parts of a search, in their order."""

_PROBE_IMAGES = 64
_PROBE_STEPS = 4
_PROBED = 8
"""Candidates of which they are timed, at most."""
_LOADED = 32
_TRIES = 2
"""Networks that are measured for one that is looked at."""
_TURN_S = 2.5
"""To choose one that is looked at, by climbs."""
_STEPS_OF_UNIFORM = 10
"""Pairs of networks that are measured to find one uniform scaling of a latency."""
_QUANTIZING_S = 20.0
"""With both bias corrections, and measured on the held-out images, of a small network."""
_STARTING_S = 2.0
"""Of a LoadGen test, before its clock runs."""


@dataclass(frozen=True)
class Rates:
    """What those that train do, in seconds an image."""

    candidate_s: float
    """A step of training a candidate, on average, without its teacher."""
    answer_s: float
    """The teacher's answer."""
    load_s: float
    """Reading an image from its file, by all processes that load; 0 where they are kept in memory."""
    read_s: float
    """Reading an image to keep it in memory; 0 where they are not kept."""
    at_once: int = 1
    """Networks that are trained side by side, each as fast as these figures have it."""


@dataclass(frozen=True)
class Forecast:
    """Seconds by part, in the order of PARTS."""

    seconds: Mapping[str, float]

    @property
    def text(self) -> str:
        """What to say before the work."""
        parts = ", ".join(f"{name} {_minutes(seconds)}" for name, seconds in self.seconds.items())
        return f"Forecast: about {_minutes(sum(self.seconds.values()))} min ({parts})."

    def after(self, part: str) -> str:
        """Return what to say when `part` is done."""
        number = PARTS.index(part) + 1
        left = sum(self.seconds[name] for name in PARTS[number:])
        return f"Part {number} of {len(PARTS)}, '{part}', is done; about {_minutes(left)} min are left."


def rates(
    material: Material, candidates: Sequence[Architecture], precision: str, count: int | None = None
) -> Rates:
    """Measure what trains from `material`: a few steps of training, and a few images read.

    Of the candidates a few are trained, all over the sequence: of one latency in INT8, those of one form take
    several times as long to train as those of another (19 to 163 s a look, in the search at twelve times of
    benchmarks/README.md).

    Args:
        material: the baseline and the images.
        candidates: what will be trained.
        precision: in which, one of training.settings'.
        count: images that these will learn from first, which are kept in memory if they fit; None: all.
    """
    device, size = material.ranks.device, candidates[0].size
    some = candidates[:: math.ceil(len(candidates) / _PROBED)]
    candidate_s = statistics.fmean(step_s(one, _probe(material, one), device, precision) for one in some)
    answer = quick(material.teacher, precision)
    x = normalised(_probe(material, material.baseline), device)
    answer(x)
    answer_s = _seconds(device, lambda: answer(x)) / len(x)
    images = material.learned(size, 1, count)
    one_s = _load_s(images)
    read_s = one_s / system.usable_cpus() if images.in_memory else 0.0
    load_s = one_s if images.in_memory else one_s / max(1, material.loaders(images))
    return Rates(candidate_s, answer_s, load_s, read_s)


def together(places: Sequence[Rates]) -> Rates:
    """Return what several places do that train side by side, each as fast as they are on average."""
    loads = sum(one.load_s for one in places)
    part = loads / (loads + sum(one.candidate_s for one in places))
    image_s = statistics.harmonic_mean([one.load_s + one.candidate_s for one in places])
    return replace(
        places[0],
        candidate_s=(1 - part) * image_s,
        load_s=part * image_s,
        answer_s=statistics.harmonic_mean([one.answer_s for one in places]),
        at_once=len(places),
    )


def forecast(
    setting: Setting,
    found: Rates,
    thoughts: int,
    measuring_s: float,
    spent: Mapping[str, float],
    finished: Collection[str] = (),
) -> Forecast:
    """Return what the parts of a search will take.

    Args:
        setting: of the search.
        found: what those that train do.
        thoughts: networks that are looked at before the scouts that are asked for.
        measuring_s: to measure one network.
        spent: seconds that parts have cost so far, by the names under which `Parts` keeps them.
        finished: of PARTS, what an earlier call has finished.
    """
    request, effort = setting.request, setting.request.effort
    read, held_out = len(setting.images.learned.names), len(setting.images.held_out.names)
    images = effort.learned(read)
    learn_s = found.load_s + found.candidate_s
    answer_s = found.answer_s if REGIMES[setting.initial_weights].brief.distillation else 0.0

    def training_s(networks: int, count: int, epochs: int) -> float:
        """Every network sees every image once an epoch; a teacher answers to each but once."""
        judged = held_out * (found.load_s + found.candidate_s / 3)
        turns = math.ceil(networks / found.at_once)
        return turns * (epochs * count * learn_s + judged) + epochs * count * answer_s

    look_images = min(images, effort.look_images)
    rivals = len(DEPTHS) * len(setting.space.sizes)
    controls = min(effort.finals, rivals)
    again = 2 * (effort.seeds - 1)
    scouts = thoughts + effort.scouts
    seconds = dict.fromkeys(PARTS, 0.0)
    seconds["table"] = spent.get("latency table", 0.0)
    seconds["scouts"] = (
        (read + held_out) * found.read_s + training_s(scouts, look_images, 1) + effort.scouts * _TURN_S
    )
    if setting.conditions.elsewhere is None:
        seconds["scouts"] += scouts * _TRIES * measuring_s
    else:
        seconds["latencies"] = scouts * measuring_s
    briefs = 0 if effort.looks_at_all(images) else effort.shortlist
    seconds["finals"] = (
        (training_s(briefs, images, effort.finetune_epochs) if briefs else 0.0)
        + training_s(effort.finals, images, effort.epochs)
        + effort.finals * _QUANTIZING_S
    )
    seconds["uniform"] = 2 * _STEPS_OF_UNIFORM * rivals * measuring_s
    seconds["models"] = (
        training_s(rivals, images, effort.finetune_epochs)
        + training_s(controls, images, effort.epochs)
        + (1 + controls) * _QUANTIZING_S
        + math.ceil(again / found.at_once) * training_s(1, images, effort.finetune_epochs + effort.epochs)
        + again * _QUANTIZING_S
        + _converged_s(request, images, training_s)
    )
    seconds["comparison"] = 2 * 4 * effort.rounds * (effort.duration_s + _STARTING_S)
    return Forecast(seconds | dict.fromkeys(finished, 0.0))


def step_s(architecture: Architecture, pixels: Tensor, device: torch.device, precision: str) -> float:
    """Return the seconds an image of a step of training, the least of a few, without loading and teacher.

    Args:
        architecture: what learns.
        pixels: u8 [batch, size, size, 3] RGB.
        device: to train on.
        precision: 'f32' or 'bf16'.
    """
    network = ResNet(architecture).to(device, memory_format=torch.channels_last).train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, precision == "bf16"):
            network(normalised(pixels, device)).float().square().mean().backward()

    return min(_seconds(device, step) for _ in range(_PROBE_STEPS)) / len(pixels)


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Return how long some work takes, and all that it gives a GPU to do."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def _converged_s(request: Request, images: int, training_s: Callable[[int, int, int], float]) -> float:
    effort, count = request.effort, request.converged
    if not count:
        return 0.0
    return training_s(4 * count, images, effort.finetune_epochs) + training_s(
        2 * count, images, effort.epochs
    )


def _probe(material: Material, architecture: Architecture) -> Tensor:
    """Return a few images of a network's size, u8 [count, size, size, 3] RGB."""
    return material.pool(architecture.size)[:_PROBE_IMAGES]


def _load_s(images: Images) -> float:
    """Return the seconds to get one image, varied, in this process."""
    count = min(_LOADED, len(images))
    started = time.perf_counter()
    for index in range(count):
        images[0, index]
    return (time.perf_counter() - started) / count


def _minutes(seconds: float) -> str:
    return str(math.ceil(seconds / 60)) if seconds >= 60 or seconds == 0 else "<1"
