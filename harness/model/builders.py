"""Graph builders: from a card's weights, in a file or seeded, to the OpenVINO model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from harness.errors import ModelError
from harness.model import efficientnet, resnet
from harness.model.card import Card

if TYPE_CHECKING:
    import openvino as ov


def weights(card: Card, path: Path | None) -> Mapping[str, NDArray[Any]]:
    """Return the weights of a card with a builder, under the names that the builder knows.

    Args:
        card: names the builder, and the scheme of the names in the file.
        path: the file of the weights; None: they are seeded.

    Raises:
        ModelError: the file cannot be read or holds weights of another network, or PyTorch is missing.
    """
    spec = card.file
    if path is None:
        assert spec.seed is not None
        return resnet.seeded_state(spec.seed)
    tensors = _safetensors(path) if path.suffix == ".safetensors" else _torch_tensors(path)
    if spec.weights == "huggingface":
        return resnet.from_huggingface(tensors)
    if spec.weights == "in order":
        return efficientnet.in_order(str(spec.builder), tensors, card.output.classes)
    return tensors


def build(card: Card, path: Path | None) -> "ov.Model":
    """Return the model that the card's builder makes at the card's input size.

    Raises:
        ModelError: as `weights`, or a tensor does not fit.
    """
    spec = card.file
    try:
        state = weights(card, path)
        if spec.builder in efficientnet.SCALES:
            return efficientnet.build(
                spec.builder, state, card.input.size, card.output.classes, name=card.name
            )
        return resnet.build(state, card.input.size, name=card.name)
    except ModelError as error:
        raise ModelError(f"Model '{card.name}': {error}") from error


def is_slow(path: Path | None) -> bool:
    """Return whether reading the weights takes PyTorch, whose import alone lasts seconds."""
    return path is not None and path.suffix != ".safetensors"


def tensors_in(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file by name.

    Raises:
        ModelError: it is none, or cannot be read.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} is no .safetensors file, the only kind that runs no code: give one.")
    return _safetensors(path)


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"Cannot read the weights {path} ({error}): fetch or export them again.") from error
    return tensors


def _torch_tensors(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError(
            f"The weights {path} need PyTorch, which is not installed: run `pip install "
            f"'inference-harness[torch]'`."
        ) from error
    unreadable = f"PyTorch cannot read the weights {path}"
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the pickle inside leads to
        reason = str(error).strip().split("\n", 1)[0].split(". ", 1)[0]
        raise ModelError(f"{unreadable} ({reason}): save them as a state dict with torch.save.") from error
    if not isinstance(loaded, Mapping) or not all(torch.is_tensor(tensor) for tensor in loaded.values()):
        raise ModelError(f"{unreadable}: they are not a state dict, that is names with tensors.")
    return {name: tensor.detach().float().numpy() for name, tensor in loaded.items()}
