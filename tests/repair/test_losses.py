"""Each loss against its definition, and what it does to the gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fdgpu.errors import InputError
from fdgpu.repair import GeneralisedCrossEntropy, binary_cross_entropy, cross_entropy


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    return scores, torch.randint(4, (9,), generator=generator)


@given(st.integers(0, 100), st.floats(0.05, 1.0))
def test_generalised_cross_entropy_is_its_formula_and_its_gradient_is_weighed(seed: int, q: float) -> None:
    scores, targets = drawn(seed)
    scores.requires_grad_()
    p = scores.softmax(1)[torch.arange(9), targets]
    loss = GeneralisedCrossEntropy(q)(scores, targets)
    torch.testing.assert_close(loss, (1 - p**q) / q)
    (own,) = torch.autograd.grad(loss.sum(), scores, retain_graph=True)
    (plain,) = torch.autograd.grad(cross_entropy(scores, targets).sum(), scores)
    torch.testing.assert_close(own, plain * (p.detach() ** q)[:, None])


def test_generalised_cross_entropy_goes_over_into_cross_entropy() -> None:
    scores, targets = drawn(0)
    torch.testing.assert_close(
        GeneralisedCrossEntropy(1e-6)(scores, targets), cross_entropy(scores, targets), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1, float("nan")])
def test_a_q_that_cannot_be(q: float) -> None:
    with pytest.raises(InputError, match="at most 1"):
        GeneralisedCrossEntropy(q)


def test_losses_are_one_number_an_example() -> None:
    scores, targets = drawn(1)
    many = F.one_hot(targets, 4).double()
    torch.testing.assert_close(cross_entropy(scores, targets).mean(), F.cross_entropy(scores, targets))
    own = binary_cross_entropy(scores, many)
    assert own.shape == (9,)
    torch.testing.assert_close(own.mean(), F.binary_cross_entropy_with_logits(scores, many))
