"""The small networks: what they give, and that their seed decides how they start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks.paper.offline.networks import residual_net, small_transformer


@pytest.mark.parametrize("network", [residual_net, small_transformer])
def test_a_network_scores_classes_and_starts_as_its_seed_says(network: Callable[[int, int], nn.Module]) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (network(7, seed).eval() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    images = torch.rand(2, 3, 32, 32)
    assert first(images).shape == (2, 7)
    parameters = [torch.cat([p.flatten() for p in own.parameters()]) for own in (first, again, other)]
    assert torch.equal(parameters[0], parameters[1])
    assert not torch.equal(parameters[0], parameters[2])
