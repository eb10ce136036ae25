"""Candidates become networks: inherited from the baseline or new, trained with it as teacher or alone."""

import hashlib
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from harness import files
from harness.console import note
from harness.dataset.images import ImageList
from harness.dataset.recipe import Recipe
from harness.errors import DataError
from harness.model import resnet
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.search.accuracy import stem
from harness.search.accuracy.inheritance import inherit
from harness.search.accuracy.trainer import MANY_EPOCHS, VERSIONS, Job, Tuned
from harness.search.request import RANDOM, Setting
from harness.search.split import Split, subset
from harness.training import export, norms
from harness.training.data import Augmentation, ImageMemory, Images, Order, loaders
from harness.training.evaluation import evaluate
from harness.training.loop import CHECKPOINT_NAME, OtherTraining, start_from, train
from harness.training.network import ResNet, digest
from harness.training.precision import quickest
from harness.training.ranks import Ranks
from harness.training.teacher import Teacher

MISSING_IMAGES = -1
"""What Supplies.count_bytes returns where an image is not there."""


@dataclass(frozen=True)
class Supplies:
    """What a material is made of; it can travel, but for the files of the images."""

    baseline: Architecture
    state: resnet.State
    parts: Split
    recipe: Recipe
    augmentation: Augmentation
    seed: int
    loaders: int | None = None

    @classmethod
    def of(cls, setting: Setting) -> "Supplies":
        """Return what a search trains from."""
        # Another machine would look for a relative path where its worker happens to have begun.
        learned, held_out = (
            replace(one, root=one.root.absolute())
            for one in (setting.images.learned, setting.images.held_out)
        )
        return cls(
            setting.space.baseline,
            setting.state,
            replace(setting.images, learned=learned, held_out=held_out),
            setting.recipe,
            Augmentation(**setting.variation),
            setting.request.seed,
            setting.request.loaders,
        )

    def material(self, ranks: Ranks, processes: int = 1) -> "Material":
        """Return the material for those that train together; `processes` here keep the images in memory."""
        return Material(
            self.baseline,
            self.state,
            self.parts,
            self.recipe,
            ranks,
            augmentation=self.augmentation,
            seed=self.seed,
            loaders=self.loaders,
            processes=processes,
        )

    def count_bytes(self) -> int:
        """Return the number of bytes in the image files, MISSING_IMAGES where one is not there."""
        lists = (self.parts.learned, self.parts.held_out)
        try:
            return sum((one.root / name).stat().st_size for one in lists for name in one.names)
        except OSError:
            return MISSING_IMAGES

    @cached_property
    def sha256(self) -> str:
        """Hex digest of all of it."""
        found = hashlib.sha256()
        for name, values in sorted(self.state.items()):
            found.update(name.encode())
            found.update(values.tobytes())
        rest = (
            self.baseline.key,
            *((str(one.root), one.sha256) for one in (self.parts.learned, self.parts.held_out)),
            self.recipe.key,
            astuple(self.augmentation),
            self.seed,
        )
        found.update(repr(rest).encode())
        return found.hexdigest()


class Material:
    """The trained baseline and the training images, from which candidates are made.

    Images are decoded once for each input size and kept in memory where they fit.
    """

    def __init__(
        self,
        baseline: Architecture,
        state: resnet.State,
        parts: Split,
        recipe: Recipe,
        ranks: Ranks,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 1,
        statistics: int = 1024,
        loaders: int | None = None,
        processes: int = 1,
    ) -> None:
        """Build the teacher.

        Args:
            baseline: as `baseline.read` gives it, like `state`.
            state: its weights.
            parts: the training images.
            recipe: of the baseline's card; other input sizes keep its resize and crop fraction.
            ranks: the processes that train together.
            augmentation: by which the baseline has learned, as far as others shall; see MANY_EPOCHS.
            seed: of augmentation and order.
            statistics: training images that batch-normalisation statistics are taken from.
            loaders: processes that load images which do not fit into memory; default: by the CPUs.
            processes: how many here keep images in memory, each its own.

        Raises:
            DataError: the images are of another number of classes, missing or broken.
        """
        labels = 1 + max(parts.learned.labels)
        if labels > baseline.classes:
            raise DataError(
                f"The images in {parts.learned.root} have {labels} classes and the baseline "
                f"{baseline.classes}: give the data that it was trained for."
            )
        self.baseline, self.parts, self.ranks = baseline, parts, ranks
        self._recipe, self._seed, self._statistics = recipe, seed, statistics
        self._loaders = loaders
        self._augmentation = augmentation or Augmentation()
        self._kept: dict[tuple[str, int, int], Images] = {}
        self._memory = ImageMemory(processes)
        self._pools: dict[int, Tensor] = {}
        self._stems: dict[tuple[str, int, int], dict[str, Tensor]] = {}
        self.teacher = ResNet(baseline)
        self.teacher.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, False)
        self.teacher_sha256 = digest(self.teacher)
        """Of the baseline's weights as they were read: the statistics below differ between machines."""
        # As `train` has it: what is computed first must not decide what else is computed by.
        self.teacher.to(ranks.device, memory_format=torch.channels_last)
        norms.liven(self.teacher, self.pool(baseline.size))
        self._lessons = Teacher(self.teacher, self.teacher_sha256)
        self.state = export.arrays(self.teacher)
        """The baseline's weights with live batch normalisation."""

    @property
    def precision(self) -> str:
        """What the devices here compute quickest in."""
        return quickest(self.ranks.device)

    def augmentation(self, epochs: int, size: int) -> Augmentation:
        """Return how images of a size are varied in a training of so many epochs."""
        known = self._augmentation
        if known.padding is not None:
            known = replace(known, padding=round(known.padding * size / self.baseline.size))
        return replace(known, versions=VERSIONS) if epochs >= MANY_EPOCHS else replace(known, trivial=False)

    def learned(self, size: int, epochs: int, count: int | None = None) -> Images:
        """Return the images to learn from at an input size, varied for so many epochs; `count` if given."""
        part = self.parts.learned
        images = self._images("learned", size, part if count is None else subset(part, count))
        return images.varied(self.augmentation(epochs, size))

    def loaders(self, images: Images) -> int:
        """Return how many processes load `images` beside this one: none where they are in memory."""
        return loaders(images, self.ranks, self._loaders)

    def pool(self, size: int) -> Tensor:
        """Return u8 [count, size, size, 3]: some images to learn from, as a benchmark would see them.

        They are the same ones at every size, in shuffled order, and as many as statistics need.
        """
        if size not in self._pools:
            images = Images(subset(self.parts.learned, self._statistics), self._at(size))
            # In the order of a shuffle, so that no batch holds one class alone.
            order = Order(len(images), seed=0)
            self._pools[size] = torch.stack([images[draw][0] for draw in order])
        return self._pools[size]

    def held_out(self, size: int) -> Images:
        """Return the images to judge by, as a benchmark would see them."""
        return self._images("held out", size, self.parts.held_out)

    def held_out_accuracy(self, card: Card) -> float:
        """Return top-1 of a card's model on the held-out images, by OpenVINO, as a fraction."""
        return export.measure(card, self.held_out(card.input.size))

    def inherited(self, architecture: Architecture) -> ResNet:
        """Return the network with inherited weights, its stem fitted if new."""
        network = ResNet(architecture)
        state = inherit(architecture, self.baseline, self.state)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, False)
        network.to(self.ranks.device)
        if architecture.stem != self.baseline.stem:
            self._fit_stem(network)
        return network

    def initial(self, architecture: Architecture) -> ResNet:
        """Return the network as `inherited` gives it, its statistics recalibrated, in eval mode."""
        network = self.inherited(architecture)
        if architecture != self.baseline:
            norms.recalibrate(network, self.pool(architecture.size))
        network.eval()
        return network

    def zero_shot(self, architecture: Architecture) -> float:
        """Return top-1 of the inherited, recalibrated network on the held-out images, as a fraction."""
        held_out = self.held_out(architecture.size)
        return evaluate(self.initial(architecture), held_out, self.ranks, workers=self.loaders(held_out))

    def train(self, job: Job, until_epoch: int | None = None) -> Tuned:
        """Train a network, where the settings say so with the baseline as teacher; return what it reaches.

        Args:
            job: what to train; a training of it that broke off goes on.
            until_epoch: stop after it, as if broken off there.

        Raises:
            DataError: there are fewer images than one batch needs.
            OutputError: the job's folder cannot be written, or its start holds no training.
        """
        architecture, folder, settings = job.architecture, job.folder, job.settings
        files.make_writable_folder(folder)
        torch.manual_seed(settings.seed)
        resume = (folder / CHECKPOINT_NAME).exists()
        is_new = resume or job.start or job.weights == RANDOM
        network = ResNet(architecture) if is_new else self.initial(architecture)
        origin = start_from(network, job.start / CHECKPOINT_NAME) if job.start else ""
        size = architecture.size
        images, held_out = self.learned(size, settings.epochs, job.count), self.held_out(size)
        name = job.name or architecture.key
        try:
            history = train(
                network,
                images,
                held_out,
                replace(settings, workers=self.loaders(images)),
                folder,
                self.ranks,
                test_workers=self.loaders(held_out),
                resume=resume,
                until_epoch=until_epoch,
                origin=origin,
                teacher=self._lessons if settings.distillation else None,
                statistics=self.pool(size) if settings.averaging else None,
                name=name,
                end_broken=True,
            )
        except OtherTraining as other:
            # It broke off on another machine, which computes in another precision, or with other efforts.
            note(f"{name} begins anew, as what there is of it was trained otherwise ({other.difference}).")
            (folder / CHECKPOINT_NAME).unlink()
            return self.train(job, until_epoch)
        return Tuned(network.eval(), history[-1].top1, history)

    def _fit_stem(self, network: ResNet) -> None:
        """Fit a stem that the baseline does not have, or take what an equal one learned before."""
        wanted = network.architecture
        key = wanted.stem, wanted.stem_width, wanted.size
        if key not in self._stems:
            stem.fit(network, self.teacher, self.state, self.pool(wanted.size))
            self._stems[key] = {
                f"{name}.{inner}": value.clone()
                for name, module in stem.modules(network).items()
                for inner, value in module.state_dict().items()
            }
        network.load_state_dict(self._stems[key], strict=False)

    def _at(self, size: int) -> Recipe:
        return self._recipe.at(size)

    def _images(self, part: str, size: int, images: ImageList) -> Images:
        key = part, size, len(images.names)
        if key not in self._kept:
            recipe = self._at(size)
            varied = None if part == "held out" else self._augmentation
            found = Images(images, recipe, varied, seed=self._seed)
            self._memory.keep(self.ranks, found)
            self._kept[key] = found
        return self._kept[key]
