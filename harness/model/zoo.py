"""timm's networks with random weights, as OpenVINO models: for their speed, which weights do not decide."""

import contextlib
import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from harness.errors import ModelError, did_you_mean, lines_of

if TYPE_CHECKING:
    import openvino as ov

_SEED = 1
_COUNTER = "num_batches_tracked"


def is_here() -> bool:
    """Whether timm can be used."""
    try:
        require()
    except ModelError:
        return False
    return True


def require() -> Any:
    """Return the package timm.

    Raises:
        ModelError: it, or what it needs, is not installed, or does not fit together.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another PyTorch raises RuntimeError
        reason = lines_of(error)[-1].rstrip(".")
        raise ModelError(
            f"timm, which builds the networks of the catalogue, cannot be imported ({reason}): run `pip "
            "install 'inference-harness[frontier]'` in an environment whose torchvision fits its PyTorch."
        ) from error
    return timm


def build(architecture: str, size: int, weights: Mapping[str, NDArray[Any]] | None = None) -> "ov.Model":
    """Return the network with f32 [1, 3, size, size] in and logits [1, classes] out, constants folded.

    Args:
        architecture: timm's name, with or without the tag of its weights.
        size: pixels of an image's side.
        weights: its tensors by timm's names; None: random ones.

    Raises:
        ModelError: timm is missing, or does not know the architecture; OpenVINO cannot convert it; or the
            weights are of another network.
    """
    timm = require()
    import openvino as ov
    import torch

    if not timm.is_model(architecture):
        near = did_you_mean(architecture, timm.list_models())
        raise ModelError(f"timm has no architecture '{architecture}'.{near if len(near) < 80 else ''}")
    torch.manual_seed(_SEED)
    image = torch.zeros(1, 3, size, size)
    # It warns of what every network does, and prints how far tracing is.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        sized = {"img_size": size} if timm.get_pretrained_cfg(architecture).fixed_input_size else {}
        network = timm.create_model(architecture, pretrained=False, exportable=True, **sized).eval()
        if weights is not None:
            _load(network, weights, architecture)
        try:
            model = ov.convert_model(network, input=[1, 3, size, size], example_input=image)
        except Exception as error:  # whatever tracing the network leads to
            reason = lines_of(error)[-1]
            raise ModelError(
                f"OpenVINO cannot convert timm's '{architecture}' ({reason}): give another one."
            ) from error
    model.inputs[0].set_names({"image"})
    model.set_friendly_name(f"{architecture}@{size}")
    return model


def _load(network: Any, weights: Mapping[str, NDArray[Any]], architecture: str) -> None:
    """Put weights into a network, all of them and nothing else.

    Raises:
        ModelError: the first tensor that is missing, of another shape or superfluous.
    """
    import torch

    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in wanted.items():
        if name.endswith(_COUNTER):
            continue
        found = tuple(weights[name].shape) if name in weights else None
        if found != shape:
            stated = "is missing" if found is None else f"is {list(found)}"
            raise ModelError(
                f"Tensor '{name}' {stated} in the weights, and {architecture} has it as {list(shape)}: they "
                "are of another network."
            )
    for name in weights:
        if name not in wanted:
            raise ModelError(
                f"Tensor '{name}' of the weights has no place in {architecture}: they are of another network."
            )
    # Networks of timm's newer versions count batches, and not all weights do; nothing computes with it.
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in weights.items()}
    network.load_state_dict({**network.state_dict(), **state})
