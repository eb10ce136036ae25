"""One training, start to finish: data, network, loop, exported model."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness import files
from harness.console import note
from harness.dataset import builtin, drawn_set
from harness.dataset.images import ImageList, count_classes, find_images, require_same_classes
from harness.dataset.recipe import Recipe
from harness.errors import DataError, OutputError
from harness.model.architecture import Architecture, resnet50
from harness.training import export
from harness.training.data import Augmentation, ImageMemory, Images
from harness.training.loop import CHECKPOINT_NAME, Epoch, start_from, train
from harness.training.network import ResNet
from harness.training.ranks import Ranks, joined
from harness.training.settings import Settings, lasting

RESULT_NAME = "training.json"
_TARGET_FRACTION = 0.99


@dataclass(frozen=True)
class Request:
    """What to train, on what."""

    task: str
    """'builtin', or 'folder' with the folders given below."""
    out: Path
    settings: Settings
    train_folder: Path | None = None
    """Images in one folder per class."""
    test_folder: Path | None = None
    """Images in one folder per class, or with a val_map.txt."""
    images: int = 40_000
    """Training images of the built-in task to generate."""
    name: str | None = None
    """Of the model; default: the name of the folder `out`."""
    size: int = 64
    crop_fraction: float = 0.875
    width: float = 0.2
    stem: str = "7x7-pool"
    """One of architecture.STEMS."""
    architecture: Architecture | None = None
    """What to train; None: a ResNet-50 of that width and stem."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    command: str = ""
    """For the card: how to repeat this."""
    threads: int | None = None
    """Of PyTorch on the CPU; None leaves the choice to it."""
    resume: bool = False
    until_epoch: int | None = None
    """Stop after this epoch; `resume` goes on from there."""
    start_from: Path | None = None
    """Folder of another training, of the same network, with whose weights this one begins."""

    @property
    def model_name(self) -> str:
        """What the model is called."""
        return self.name or self.out.resolve().name


def run(request: Request) -> dict[str, Any] | None:
    """Train, export and measure; return the facts that also go to OUT/training.json.

    Of several processes only the first exports and returns facts; the others return None. So does a training
    that was stopped by `until_epoch`.

    Raises:
        DataError: a folder of images is missing, empty or mismatched.
        OutputError: `out` cannot be written, or holds another training; there are no weights to start from.
        RunFailed: the training diverged.
    """
    name = request.model_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise OutputError(
            f"A model cannot be named '{name}': give it a --name of letters, digits, '.', '_' and '-'."
        )
    out = files.make_writable_folder(request.out)
    if (out / CHECKPOINT_NAME).exists() and not request.resume:
        raise OutputError(
            f"The folder {out} holds a training: go on with --resume or {files.elsewhere(out)}."
        )
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    with joined() as ranks, files.alone(out, "`harness train`") if ranks.is_first else nullcontext():
        train_folder, test_folder = _folders(request, ranks)
        classes = count_classes(train_folder)
        architecture = _architecture(request, classes)
        recipe = Recipe(architecture.size, "area", request.crop_fraction)
        settings = request.settings
        found = find_images(train_folder, classes), find_images(test_folder, classes)
        if ranks.is_first and request.task != "builtin":
            for remark in (*found[0].remarks, *found[1].remarks):
                note(remark)
        if request.task == "builtin":
            # More may lie there, of an earlier call.
            found = _first(found[0], request.images), found[1]
        processes = ranks.count * (1 + settings.workers)
        images = Images(found[0], recipe, request.augmentation, seed=settings.seed)
        tests = Images(found[1], recipe)
        ImageMemory(processes).keep(ranks, images, tests)
        torch.manual_seed(settings.seed)
        network = ResNet(architecture)
        origin = ""
        if request.start_from is not None:
            origin = start_from(network, request.start_from / CHECKPOINT_NAME)
        history = train(
            network,
            images,
            tests,
            settings,
            out,
            ranks,
            resume=request.resume,
            until_epoch=request.until_epoch,
            origin=origin,
        )
        if not ranks.is_first:
            return None
        if len(history) < settings.epochs:
            note(
                f"Stopped after epoch {len(history)}, as asked; the same command with --resume, without "
                "--until-epoch, goes on from there."
            )
            return None
        return _exported(request, network, recipe, images, tests, history, origin)


def _architecture(request: Request, classes: int) -> Architecture:
    """Return what to train.

    Raises:
        DataError: it tells another number of classes apart.
    """
    if (given := request.architecture) is None:
        return resnet50(classes, request.size, request.width, request.stem)
    if given.classes != classes:
        raise DataError(
            f"The architecture tells {given.classes} classes apart, and the images are of {classes}: change "
            "'classes' in its file."
        )
    return given


def _exported(
    request: Request,
    network: ResNet,
    recipe: Recipe,
    images: Images,
    tests: Images,
    history: Sequence[Epoch],
    origin: str,
) -> dict[str, Any]:
    """Export the trained network, measure it and write down how it was made; return these facts."""
    name, out, settings = request.model_name, request.out, request.settings
    training = {
        "task": request.task,
        "images": len(images),
        **_builtin_facts(request.task),
        "parameters": network.architecture.count_parameters(),
        **({"architecture": request.architecture.deployed.to_dict()} if request.architecture else {}),
        **({"origin": origin} if origin else {}),
        **lasting(settings),
        "augmentation": request.augmentation.to_dict(),
        "command": request.command,
        "threads": torch.get_num_threads(),
        "torch_top1": history[-1].top1,
        "minutes": round(sum(epoch.seconds for epoch in history) / 60, 1),
        **{f"{name}_version": version for name, version in export.versions().items()},
    }
    what = f"ResNet-50 v1.5, width {request.width:g}"
    if request.architecture is not None:
        what = f"Network {request.architecture.key}"
    description = f"{what}, {network.architecture.size} px, trained on {_task_name(request)}"
    card = export.export(network, recipe, out, name, description, training)
    top1 = export.measure(card, tests)
    source = f"harness train: OpenVINO f32 on the {len(tests)} test images of {_task_name(request)}"
    if top1 > 0:
        export.with_accuracy(card, top1, _TARGET_FRACTION, source)
    else:
        note(f"It knows none of the {len(tests)} test images, so its card states no accuracy to keep.")
    facts = {
        "format": 1,
        "card": str(out / "card.toml"),
        "top1": top1,
        "training": training,
        "epochs": [asdict(epoch) for epoch in history],
    }
    files.write_json(out / RESULT_NAME, facts)
    return facts


def _first(images: ImageList, count: int) -> ImageList:
    """Return the first `count` images of the built-in training set."""
    wanted = {builtin.image_name("train", index) for index in range(count)}
    kept = [(name, label) for name, label in zip(images.names, images.labels, strict=True) if name in wanted]
    names, labels = zip(*kept, strict=True)
    return ImageList(names, labels, images.root)


def _folders(request: Request, ranks: Ranks) -> tuple[Path, Path]:
    """Return the folders of training and test images; the built-in set is generated first."""
    if request.task != "builtin":
        if request.train_folder is None or request.test_folder is None:
            raise DataError("The task 'folder' needs both kinds of images: give --train DIR and --test DIR.")
        if not request.test_folder.is_dir():
            raise DataError(
                f"There is no folder {request.test_folder}: give that of the test images by --test."
            )
        require_same_classes(request.train_folder, request.test_folder)
        return request.train_folder, request.test_folder
    train_folder, test_folder = request.out / "images" / "train", request.out / "images" / "val"
    if ranks.is_first:
        builtin.generate(train_folder, request.images, "train")
        builtin.generate(test_folder, builtin.TEST_COUNT, "val")
    ranks.wait()
    return train_folder, test_folder


def _builtin_facts(task: str) -> dict[str, int]:
    if task != "builtin":
        return {}
    return {"data_seed": drawn_set.SEED, "data_version": builtin.VERSION}


def _task_name(request: Request) -> str:
    return "the built-in task" if request.task == "builtin" else str(request.train_folder)
