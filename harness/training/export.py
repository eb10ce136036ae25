"""From a trained ResNet to a model that the harness runs: an OpenVINO IR and its card."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import console, files
from harness.backend.graph import compile_model, deployed, openvino_version
from harness.backend.ports import require_number
from harness.backend.settings import CompileSettings
from harness.dataset.recipe import MEAN, SCALE, Recipe
from harness.errors import OutputError
from harness.model import file as model_file
from harness.model import resnet
from harness.model.card import CARD_NAME, AccuracySpec, Card, FileSpec, InputSpec, OutputSpec, write_card
from harness.task import task_of
from harness.training.data import Images
from harness.training.network import ResNet

MODEL_NAME = "model.xml"


def arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Return the network's tensors by name, as contiguous arrays in main memory."""
    return {
        name: np.ascontiguousarray(tensor.detach().cpu().contiguous().numpy())
        for name, tensor in network.state_dict().items()
    }


def export(
    network: ResNet,
    recipe: Recipe,
    folder: Path,
    name: str,
    description: str,
    training: dict[str, Any],
) -> Card:
    """Write a trained ResNet as f32 IR (batch normalisation folded) and card into `folder`; return the card.

    Raises:
        OutputError: `folder` cannot be written.
    """
    model = resnet.assemble(network.architecture, arrays(network), name=name)
    path = folder / MODEL_NAME
    card = Card(
        name=name,
        benchmark="resnet50",
        file=FileSpec(path=MODEL_NAME),
        input=InputSpec.of(recipe, "NCHW", "f32", "RGB", MEAN, SCALE),
        output=OutputSpec("logits", network.architecture.classes),
        description=description,
        training=training,
        folder=folder,
    )
    try:
        model_file.save(model, path)
        digest = files.sha256_file(path, path.with_suffix(".bin"))
        card = replace(card, file=FileSpec(path=MODEL_NAME, sha256=digest))
        write_card(card, folder / CARD_NAME)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"Cannot write the trained model to {folder} ({error}): free some space, then repeat "
            "the command, `harness train` with --resume."
        ) from error
    return card


def measure(card: Card, images: Images) -> float:
    """Return top-1 of the card's model on `images`, by OpenVINO in f32, as a fraction.

    Raises:
        ModelError: the model gives a score that is not a number.
    """
    model = deployed(model_file.read(card), card)
    request = compile_model(model, CompileSettings("LATENCY", streams=1)).model.create_infer_request()
    found, wanted = [], []
    with console.progress("measure the exported model", len(images)) as bar:
        for index in range(len(images)):
            pixels, label = images[0, index]
            answer = request.infer({0: pixels.numpy()[None]}, share_inputs=True)[0]
            require_number(float(answer.sum()), card)
            found.append(int(answer[0, 0]))
            wanted.append(int(label))
            bar.advance()
    return task_of(card).rates(found, wanted)[0]


def with_accuracy(card: Card, top1: float, target_fraction: float, source: str) -> Card:
    """Write the card again with what the model reaches; return it."""
    stated = replace(card, accuracy=AccuracySpec(task_of(card).METRIC, top1, target_fraction, source))
    write_card(stated, card.folder / CARD_NAME)
    return stated


def versions() -> dict[str, str]:
    """Return the versions that decide the result."""
    return {"torch": torch.__version__, "openvino": openvino_version(), "numpy": np.__version__}
