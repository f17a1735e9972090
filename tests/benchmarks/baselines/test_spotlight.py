"""Spotlights: enough weight, high loss, and the next one elsewhere."""

from __future__ import annotations

import pytest
import torch

from benchmarks.baselines.spotlight import Ball, Spotlight, enlarge, squared_distance


@pytest.fixture(scope="module")
def groups() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Six groups in eight dimensions; groups 4 and 5 have large losses, 5 the larger."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 8, generator=generator)
    group = torch.arange(1200) % 6
    x = centres[group] + 0.2 * torch.randn(1200, 8, generator=generator)
    x = (x - x.mean(dim=0)) / x.norm(dim=1).mean()
    losses = torch.tensor([0.3, 0.3, 0.3, 0.3, 1.5, 3.0])[group] * (0.5 + torch.rand(1200, generator=generator))
    return x, losses, group


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_weight_is_at_least_the_asked_share(groups: tuple[torch.Tensor, ...], share: float) -> None:
    x, losses, _ = groups
    for ball in Spotlight(spotlights=2, share=share, steps=60).fit(x, losses):
        assert ball.weights(x).sum() >= share * len(x)


def test_first_spotlight_shines_on_the_largest_loss_and_the_second_on_the_next(
    groups: tuple[torch.Tensor, ...],
) -> None:
    x, losses, group = groups
    first, second = Spotlight(spotlights=2, share=0.08, steps=250).fit(x, losses)
    for ball, own in ((first, 5), (second, 4)):
        k = ball.weights(x)
        assert k[group == own].sum() / k.sum() > 0.8
    k = first.weights(x)
    assert (k * losses).sum() / k.sum() > 2 * losses.mean()


def test_enlarging_reaches_the_weight_and_leaves_what_has_it_alone(groups: tuple[torch.Tensor, ...]) -> None:
    x, _, _ = groups
    small = Ball(x[0], 1e4)
    assert small.weights(x).sum() < 50
    grown = enlarge(small, x, 50.0)
    assert 50 <= grown.weights(x).sum() < 50.5
    assert enlarge(grown, x, 50.0) is grown


def test_distance_is_the_distance(groups: tuple[torch.Tensor, ...]) -> None:
    x, _, _ = groups
    found = squared_distance(x, (x**2).sum(dim=1), x[3])
    torch.testing.assert_close(found, ((x - x[3]) ** 2).sum(dim=1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(Ball(x[3], 2.0).weights(x), (1 - 2 * found).clamp_min(0))
