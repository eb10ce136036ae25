"""How a network is trained: what decides the result, and what does not."""

from dataclasses import asdict, dataclass
from typing import Any

OPTIMIZERS = ("sgd", "adamw", "muon")
PRECISIONS = ("f32", "bf16")


@dataclass(frozen=True)
class Settings:
    """How to train."""

    epochs: int = 60
    batch_size: int = 128
    """Images per step over all processes together."""
    optimizer: str = "sgd"
    """'sgd' (Nesterov momentum 0.9), 'adamw' or 'muon' (see muon.Muon)."""
    learning_rate: float = 0.2
    """The highest; it rises linearly during the warm-up and then falls along a cosine to zero."""
    warmup_epochs: int = 2
    """At most; see `schedule`."""
    weight_decay: float = 5e-5
    """On the weights of convolutions and, but for 'muon', of linear layers."""
    label_smoothing: float = 0.1
    seed: int = 1
    precision: str = "f32"
    """Of the forward pass: 'f32', or 'bf16' by autocast."""
    workers: int = 0
    """Processes per training process that load images; 0 loads in the training process itself."""
    distillation: float = 0.0
    """Share of the loss that is the divergence from a teacher's answers; the rest is that from the labels."""
    temperature: float = 4.0
    """What logits are divided by where the answers of teacher and network are compared."""
    averaging: float = 0.0
    """What is left of a step's weight in the mean of weights after the next step; 0: no mean is taken."""


def lasting(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide the result."""
    idle = {"workers"}
    if not settings.distillation:
        idle |= {"distillation", "temperature"}
    if not settings.averaging:
        idle.add("averaging")
    return {key: value for key, value in asdict(settings).items() if key not in idle}
