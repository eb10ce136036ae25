"""Muon: steps of equal strength in all directions, for kernels; plain momentum for all else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95
_TINY = 1e-7
"""That of Muon's source. The squares of a momentum that fades end as 0 long before it does itself: a smaller
number here would blow up what is left of it."""
OTHERS_RATE = 5.0
"""Learning rate of what is no kernel (norms, biases, the classifier) over that of kernels."""


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Momentum of which the matrix is made orthogonal before each step.

    From "Muon: An optimizer for hidden layers in neural networks" (Jordan et al., 2024), whose coefficients
    and number of iterations are used. A kernel [out, in, height, width] is taken as the matrix [out,
    in * height * width]; a kernel of groups as one such matrix a group.
    """

    def __init__(
        self,
        kernels: Iterable[tuple[Tensor, int]],
        others: Iterable[Tensor],
        learning_rate: float,
        weight_decay: float,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take what to train.

        Args:
            kernels: convolutions' kernels, each with its number of groups.
            others: everything else, which Nesterov's momentum trains at OTHERS_RATE times the rate.
            learning_rate: of kernels; group["lr"] changes it.
            weight_decay: share of a kernel that a step takes away, in units of the learning rate.
            dtype: to make matrices orthogonal in.
        """
        by_groups: dict[int, list[Tensor]] = {}
        for kernel, groups in kernels:
            by_groups.setdefault(groups, []).append(kernel)
        self._dtype = dtype
        super().__init__(
            [
                *({"params": found, "matrices": groups} for groups, found in sorted(by_groups.items())),
                {"params": list(others), "matrices": 0},
            ],
            {"lr": learning_rate, "weight_decay": weight_decay},
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have a gradient; `closure`, if given, computes the loss first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for value in group["params"]:
                if value.grad is not None:
                    alike.setdefault(value.shape, []).append(value)
            for values in alike.values():
                self._change(values, group)
        return loss

    def _change(self, values: list[Tensor], group: dict[str, Any]) -> None:
        """Change parameters of one shape: together, which on a GPU takes a fraction of the calls."""
        rate, groups = group["lr"], group["matrices"]
        ahead = [self._ahead(value) for value in values]
        if not groups:
            # Averaged gradients are shorter than the sums of usual momentum by this factor.
            for value, one in zip(values, ahead, strict=True):
                value.add_(one, alpha=-rate * OTHERS_RATE / (1 - _MOMENTUM))
            return
        matrices = torch.stack(ahead).reshape(len(values) * groups, len(values[0]) // groups, -1)
        rows, columns = matrices.shape[1:]
        directions = orthogonal(matrices.to(self._dtype)).to(values[0].dtype)
        for value, direction in zip(values, directions.chunk(len(values)), strict=True):
            value.mul_(1 - rate * group["weight_decay"])
            value.add_(direction.reshape(value.shape), alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _ahead(self, value: Tensor) -> Tensor:
        """Return the gradient, led by the momentum of those before, as Nesterov's rule has it."""
        state = self.state[value]
        if not state:
            state["momentum"] = torch.zeros_like(value)
        momentum = state["momentum"].mul_(_MOMENTUM).add_(value.grad, alpha=1 - _MOMENTUM)
        return value.grad.lerp(momentum, _MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return [count, rows, columns] with singular values near 1 (0.7 to 1.2) and the same singular vectors.

    By the Newton-Schulz iteration of Muon, which needs multiplications alone; singular values below a
    thousandth of the norm may stay smaller. A matrix of zeros stays one.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (torch.linalg.matrix_norm(x.float(), keepdim=True).to(x.dtype) + _TINY)).contiguous()
    first, second, third = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        square = torch.baddbmm(square, square, square, beta=second, alpha=third)
        x = torch.baddbmm(x, square, x, beta=first)
    return x.mT if tall else x
