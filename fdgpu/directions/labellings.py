"""How a batch of classes is laid out, and what is drawn of it at random: permutations, halves, and a few of the errors.

All of it is counted, not stepped (:mod:`fdgpu.kernels.draws`): what is drawn of a class follows from the seed, the
index of the class and the number of the draw, on whatever device, in whatever rounds, beside whatever other classes.

Where samples are in groups, whole groups are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device
from fdgpu.directions.groups import Blocks, lay_out_groups
from fdgpu.directions.samples import ClassSamples
from fdgpu.kernels.draws import Segments, choose, deal, keys, stream_states
from fdgpu.kernels.folds import Groups

Tensor = torch.Tensor
Classes = Sequence[int] | None  # indices of the classes in the batch that a call is limited to; None for all


@dataclass(frozen=True)
class Layout:
    """Which samples of a batch belong to which class: K classes one after the other, N samples in all.

    Attributes:
        sizes: samples of each class, on the host.
        n_errors: wrong ones of each class, on the host.
        indices: of each class among all that were fitted, which seed what is random in it.
        segments: the same as ``sizes`` on the device.
        right: (N,) bool on the device.
        groups: of samples that stay together; None where each stands for itself, as are ``blocks``, how they exchange.
    """

    sizes: tuple[int, ...]
    n_errors: tuple[int, ...]
    indices: tuple[int, ...]
    segments: Segments
    right: Tensor
    groups: Groups | None = None
    blocks: Blocks | None = None

    @classmethod
    def of(cls, classes: Sequence[ClassSamples], device: torch.device) -> Layout:
        """Lay classes out in their order."""
        sizes = tuple(one.n for one in classes)
        right = [one.right for one in classes]
        groups = [one.groups for one in classes if one.groups is not None]
        return cls(
            sizes,
            tuple(int((~one.right).sum()) for one in classes),
            tuple(one.index for one in classes),
            segments_of(sizes, device),
            to_device(np.concatenate(right), device),
            *(lay_out_groups(groups, right, device) if groups else ()),
        )

    @property
    def device(self) -> torch.device:
        """Where the batch is."""
        return self.right.device

    @cached_property
    def starts(self) -> list[int]:
        """K + 1 first samples of the classes, on the host."""
        return [0, *accumulate(self.sizes)]

    @cached_property
    def labels(self) -> Tensor:
        """(1, N) the label matrix of what the model got right and wrong."""
        return torch.where(self.right, 1, -1).to(torch.int8)[None]

    @cached_property
    def lengths(self) -> Tensor:
        """(K,) samples of each class."""
        return self.segments.starts.diff()

    def rows(self, k: int) -> slice:
        """Return the samples of class ``k``."""
        return slice(self.starts[k], self.starts[k + 1])

    def groups_of(self, k: int) -> tuple[NDArray[np.int64], int] | None:
        """Return the group of each sample of class ``k``, numbered from 0, and how many there are; on the CPU only."""
        if self.groups is None:
            return None
        first, last = self.groups.segments.starts[k : k + 2].tolist()
        return self.groups.of[self.rows(k)].numpy() - first, last - first

    def each(self, of_class: Tensor) -> Tensor:
        """Spread (…, K) over the samples of each class: (…, N)."""
        return of_class[..., self.segments.of]

    def total(self, values: Tensor) -> Tensor:
        """Sum (…, N) over each class: (…, K)."""
        lengths = self.lengths.expand(*values.shape[:-1], -1)
        return torch.segment_reduce(values, "sum", lengths=lengths, axis=values.ndim - 1, unsafe=True)

    def count(self, chosen: Tensor) -> Tensor:
        """Count the True of (…, N) in each class: (…, K)."""
        return count_in(self.segments, chosen)


def segments_of(sizes: Sequence[int], device: torch.device) -> Segments:
    """Return classes of so many members on a device."""
    starts, of = np.cumsum([0, *sizes], dtype=np.int64), np.repeat(np.arange(len(sizes)), sizes)
    return Segments(to_device(starts, device), to_device(of, device))


def count_in(segments: Segments, chosen: Tensor) -> Tensor:
    """Count the True of (…, U) in each class: (…, K)."""
    return torch.nn.functional.pad(chosen.cumsum(dim=-1), (1, 0))[..., segments.starts].diff(dim=-1)


# --- draws ----------------------------------------------------------------------------------------------------------


class Stream(IntEnum):
    """What is drawn, so that no two draws share their keys."""

    PERMUTATION = 0
    RESAMPLE = 1
    START = 2
    SIDE = 3
    FOLD = 4
    EXCHANGE = 5


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


def permuted_samples(layout: Layout, seed: int, first: int, count: int, stream: Stream = Stream.PERMUTATION) -> Tensor:
    """Return the sample whose payload each sample receives, (count, N): the same permutations, for any payload."""
    states = states_of(layout, seed, stream)[None]
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
