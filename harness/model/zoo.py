"""timm's networks with random weights, as OpenVINO models: for their speed, which weights do not decide."""

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import openvino as ov

_SEED = 1


def require() -> Any:
    """Return the package timm.

    Raises:
        ModelError: it, or what it needs, is not installed, or does not fit together.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another PyTorch raises RuntimeError
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise ModelError(
            f"timm, which builds the networks of the catalogue, cannot be imported ({reason}): run "
            "`pip install '.[frontier]'` in an environment whose torchvision fits its PyTorch."
        ) from error
    return timm


def build(architecture: str, size: int) -> "ov.Model":
    """Return the network with f32 [1, 3, size, size] in and logits [1, classes] out, constants folded.

    Raises:
        ModelError: timm is missing, does not know the architecture, or OpenVINO cannot convert it.
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
        model = ov.convert_model(network, input=[1, 3, size, size], example_input=image)
    model.inputs[0].set_names({"image"})
    model.set_friendly_name(f"{architecture}@{size}")
    return model
