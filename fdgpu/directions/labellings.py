"""What is drawn at random of a batch of classes: permutations, halves, and a few of the errors.

All of it is counted, not stepped (:mod:`fdgpu.kernels.draws`): what is drawn of a class follows from the seed, the
index of the class and the number of the draw, on whatever device, in whatever rounds, beside whatever other classes.

Where samples are in groups, whole groups are drawn.
"""

from __future__ import annotations

from enum import IntEnum

import torch

from fdgpu.arrays import to_device
from fdgpu.directions.batch import Classes, Layout, Tensor, count_in
from fdgpu.kernels.draws import choose, deal, keys, stream_states
from fdgpu.kernels.folds import Groups


class Stream(IntEnum):
    """What is drawn, so that no two draws share their keys."""

    PERMUTATION = 0
    RESAMPLE = 1
    START = 2
    SIDE = 3


def states_of(layout: Layout, *path: int) -> Tensor:
    """Return (K,) states of the batch's classes, for a seed, a stream and what tells draws of one stream apart."""
    return to_device(stream_states(layout.indices, *path), layout.device)


def permuted_labels(layout: Layout, seed: int, first: int, count: int, classes: Classes = None) -> Tensor:
    """Permute right and wrong within each class: (count, N) int8, the permutations from number ``first`` on.

    Groups exchange their samples' labels as blocks, and only with groups of their own size and class.
    """
    if layout.groups is not None:
        return layout.labels[0][permuted_samples(layout, seed, first, count)]
    states = states_of(layout, seed, Stream.PERMUTATION)[None]
    anyone = torch.zeros((1, len(layout.right)), dtype=torch.int8, device=layout.device)
    n_wrong = layout.count(~layout.right)[None, :, None]
    wrong = choose(layout.segments, states, anyone, n_wrong, first, count, classes)[0]
    return 1 - 2 * wrong.to(torch.int8)


def permuted_samples(layout: Layout, seed: int, first: int, count: int) -> Tensor:
    """Return the sample whose payload each sample receives, (count, N): the same permutations, for any payload."""
    states = states_of(layout, seed, Stream.PERMUTATION)[None]
    groups, blocks = layout.groups, layout.blocks
    if groups is None or blocks is None:
        of = layout.segments.of
        wrong_first = (2 * of + layout.right).argsort(stable=True)
        return deal(keys(layout.segments, states, first, count), of[None], wrong_first[None])[0]
    drawn = deal(keys(groups.segments, states, first, count), blocks.stratum[None], blocks.in_order[None])[0]
    return blocks.samples[blocks.starts[drawn[:, groups.of]] + blocks.within]


def halves(layout: Layout, labels: Tensor, seed: int, first: int, count: int, classes: Classes = None) -> Tensor:
    """Draw random halves of every labelling (r, N): (r, count, N) int8, 0 for the samples of the other half.

    Right and wrong are drawn apart, and of an odd number one more than half, so that none comes out empty. Groups are
    drawn whole; those of right, of wrong and of both kinds apart.
    """
    states = torch.stack([states_of(layout, seed, Stream.RESAMPLE, j) for j in range(len(labels))])
    units, right, wrong = layout.segments, labels > 0, labels < 0
    if layout.groups is not None:
        units = layout.groups.segments
        right, wrong = (_any_of(layout.groups, kind) for kind in (right, wrong))
    strata = (right.to(torch.int8) + 2 * wrong - 1).to(torch.int8)
    per_stratum = [count_in(units, strata == kind) for kind in range(3)]
    quota = (torch.stack(per_stratum, dim=-1) + 1) // 2
    drawn = choose(units, states, strata, quota, first, count, classes)
    if layout.groups is not None:
        drawn = drawn[..., layout.groups.of]
    return torch.where(drawn, labels[:, None], 0)


def _any_of(groups: Groups, chosen: Tensor) -> Tensor:
    """Whether any sample of each group is chosen: (r, N) to (r, G)."""
    found = torch.zeros((len(chosen), len(groups.segments.of)), dtype=torch.int32, device=chosen.device)
    return found.scatter_add_(1, groups.of.expand(chosen.shape), chosen.int()) > 0


def some_errors(
    layout: Layout, part: Tensor, count: int, seed: int, *stream: int, draws: int, classes: Classes = None
) -> Tensor:
    """Draw ``count`` of the errors of each class that are in ``part`` (N,): (draws, N) bool."""
    states = states_of(layout, seed, Stream.START, *stream)[None]
    strata = torch.where(part & ~layout.right, 0, -1).to(torch.int8)[None]
    quota = torch.full((1, len(layout.sizes), 1), count, device=layout.device)
    return choose(layout.segments, states, strata, quota, 0, draws, classes)[0]
