"""Muon: its steps against what its definition says, where PyTorch is installed."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra (PyTorch) is not installed")

from harness.training import muon  # noqa: E402 - it needs torch
from harness.training.muon import Muon, orthogonal  # noqa: E402


def random_kernel(*shape: int) -> Any:
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_orthogonal_keeps_the_singular_vectors_and_evens_the_singular_values(
    shape: tuple[int, int], dtype: Any
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert values.max() > 3 * values.min()
    found = orthogonal(matrix[None].to(dtype))[0].float()
    evened = torch.linalg.svdvals(found)
    assert evened.min() > 0.6
    assert evened.max() < 1.3
    off = found - left @ torch.diag(torch.diagonal(left.T @ found @ right.T)) @ right
    assert off.abs().max() < (1e-4 if dtype == torch.float32 else 0.05)


def test_orthogonal_leaves_zeros_alone() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_a_filter_and_a_layer_that_died_leave_all_numbers_finite() -> None:
    filters, layer = random_kernel(4, 1, 3, 3), random_kernel(2, 2, 1, 1)
    optimizer = Muon([(filters, 4), (layer, 1)], [], 1e-3, 0.02)
    gradients = filters.detach().clone(), layer.detach().clone()
    for step in range(2000):
        filters.grad, layer.grad = gradients[0].roll(step, 3), gradients[1].clone()
        if step >= 10:
            filters.grad[2] = 0
            layer.grad.zero_()
        optimizer.step()
    assert filters.isfinite().all()
    assert layer.isfinite().all()


def test_a_step_does_not_depend_on_the_length_of_the_gradient() -> None:
    found = []
    for length in (1.0, 1e3, 1e6):
        kernel = random_kernel(8, 4, 3, 3)
        optimizer = Muon([(kernel, 1)], [], 0.1, 0.0)
        kernel.grad = length * random_kernel(8, 4, 3, 3).detach().flip(0)
        optimizer.step()
        found.append(kernel.detach().clone())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[1], found[2])


def test_each_group_of_a_kernel_has_steps_of_its_own() -> None:
    gradient = random_kernel(8, 4, 3, 3).detach()
    whole = random_kernel(8, 4, 3, 3)
    halves = [torch.nn.Parameter(half.clone()) for half in whole.detach().chunk(2)]
    whole.grad = gradient.clone()
    # One group far outweighs the other, which must not slow that one down.
    whole.grad[:4] *= 1000
    for half, part in zip(halves, gradient.chunk(2), strict=True):
        half.grad = part.clone()
    Muon([(whole, 2)], [], 0.1, 0.0).step()
    Muon([(half, 1) for half in halves], [], 0.1, 0.0).step()
    torch.testing.assert_close(whole.detach(), torch.cat([half.detach() for half in halves]))


def test_kernels_of_one_shape_change_as_each_alone_would() -> None:
    gradients = [random_kernel(8, 4, 3, 3).detach(), random_kernel(8, 4, 3, 3).detach().flip(1)]
    together, alone = ([random_kernel(8, 4, 3, 3) for _ in gradients] for _ in range(2))
    for kernels in (together, alone):
        for kernel, gradient in zip(kernels, gradients, strict=True):
            kernel.grad = gradient.clone()
    Muon([(kernel, 2) for kernel in together], [], 0.1, 0.5).step()
    for kernel in alone:
        Muon([(kernel, 2)], [], 0.1, 0.5).step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(together[0], together[1])


def test_a_kernel_without_gradient_of_its_own_only_decays() -> None:
    kernel = random_kernel(8, 4, 1, 1)
    before = kernel.detach().clone()
    kernel.grad = torch.zeros_like(kernel)
    Muon([(kernel, 1)], [], 0.1, 0.5).step()
    torch.testing.assert_close(kernel.detach(), before * 0.95)


def test_a_parameter_that_took_no_part_stays_as_it_is() -> None:
    kernel, bias = random_kernel(8, 4, 1, 1), random_kernel(8)
    before = kernel.detach().clone(), bias.detach().clone()
    Muon([(kernel, 1)], [bias], 0.1, 0.5).step()
    assert torch.equal(kernel, before[0])
    assert torch.equal(bias, before[1])


def test_what_is_no_kernel_follows_nesterovs_momentum() -> None:
    ours, theirs = random_kernel(6), random_kernel(6)
    optimizer = Muon([], [ours], 0.01, 0.5)
    rate = 0.01 * muon.OTHERS_RATE
    plain = torch.optim.SGD([theirs], rate, momentum=0.95, nesterov=True)
    for step in range(40):
        for value in (ours, theirs):
            value.grad = torch.full_like(value, 1.0 + (step % 3)) * torch.arange(6)
        optimizer.step()
        plain.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-4)


def test_a_closure_gives_the_loss() -> None:
    weight = random_kernel(4)

    def closure() -> Any:
        loss = weight.square().sum()
        loss.backward()
        return loss

    before = float(weight.detach().square().sum())
    assert float(Muon([], [weight], 1e-3, 0.0).step(closure).detach()) == pytest.approx(before)
    assert float(weight.detach().square().sum()) < before
