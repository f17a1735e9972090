"""Samples that belong together, as frames of one video or images of one patient do.

Samples of one group are alike, so that their answers are no independent evidence: permuted one by one they look more
random than they are. What may be exchanged are whole groups, and only for others of their own size and class: under
the hypothesis that correctness has nothing to do with the embeddings, any such exchange is as likely as what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import lgamma, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, is_array, to_device, to_numpy
from fdgpu.errors import InputError
from fdgpu.kernels.draws import Segments
from fdgpu.kernels.folds import Groups

Ints = NDArray[np.int64]


def check_groups(groups: Array, rows: int) -> Ints:
    """Return (n,) group of each of ``rows`` rows, numbered in the order of their ids.

    Args:
        groups: (n,) ids: an array of numbers or strings, or a sequence of anything that can be told apart by a dict;
            ids that have no order are numbered by their first appearance.
        rows: n.

    Raises:
        InputError: names what was expected and what came.
    """
    listed_by_numpy = isinstance(groups, np.ndarray) and groups.dtype.kind != "O"
    if isinstance(groups, torch.Tensor) or is_array(groups) or listed_by_numpy:
        ids = to_numpy(groups, "groups")
        if ids.dtype.kind == "f" and np.isnan(ids).any():
            raise InputError("groups holds NaN: give a sample that belongs to no other an id of its own")
        if ids.shape != (rows,):
            raise InputError(f"groups has shape {ids.shape}: pass one id a row, ({rows},)")
        return numbered(ids)
    listed = list(groups)
    if len(listed) != rows:
        raise InputError(f"groups has {len(listed)} entries, embeddings has {rows} rows: pass one id a row")
    try:
        distinct = list(dict.fromkeys(listed))
    except TypeError as error:
        raise InputError(f"groups holds an id that cannot be told apart ({error}): use numbers or strings") from None
    with suppress(TypeError):  # ids without an order
        distinct.sort()
    number = {one: i for i, one in enumerate(distinct)}
    return np.array([number[one] for one in listed], np.int64)


def numbered(ids: NDArray[Any]) -> Ints:
    """Number (n,) ids in their order, from 0."""
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def shared(ids: Ints) -> Ints | None:
    """Number (n,) groups of a class from 0; None where no two of its samples belong together."""
    groups = numbered(ids)
    return None if len(groups) and groups.max() + 1 == len(groups) else groups


def distinct_rearrangements(right: NDArray[np.bool_], groups: Ints | None) -> float:
    """Return the logarithm of how many different labellings of a class a permutation can give.

    Args:
        right: (n,) of the class's samples.
        groups: (n,) of them; None where each sample stands for itself.
    """
    if groups is None:
        n, wrong = len(right), int((~right).sum())
        return lgamma(n + 1) - lgamma(wrong + 1) - lgamma(n - wrong + 1)
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    blocks = Counter(block.tobytes() for block in np.split(right[order], first[1:]))
    of_size: Counter[int] = Counter()
    for block, count in blocks.items():
        of_size[len(block)] += count
    return sum(lgamma(n + 1) for n in of_size.values()) - sum(lgamma(n + 1) for n in blocks.values())


def why_not_tested(right: NDArray[np.bool_], groups: Ints | None, fdr: float) -> str:
    """Say why a permutation test of a class cannot find anything; "" where it can."""
    found = distinct_rearrangements(right, groups)
    if found >= log(1 / fdr) - 1e-9:
        return ""
    what = "its samples" if groups is None else "its groups, which exchange only with groups of their own size,"
    return (
        f"{what} can be rearranged in only {round(float(np.exp(found)))} distinct ways, which gives no p-value of "
        f"{fdr:g} or less: more samples or groups are needed"
    )


@dataclass(frozen=True)
class Blocks:
    """How the groups of K classes exchange what belongs to their samples; G groups, N samples.

    Attributes:
        stratum: (G,) int64, the same for groups of one class and size.
        in_order: (G,) groups stratum by stratum, those with the fewest right samples first.
        samples: (N,) samples group by group.
        starts: (G,) first of each group's among them.
        within: (N,) place of each sample in its group.
    """

    stratum: torch.Tensor
    in_order: torch.Tensor
    samples: torch.Tensor
    starts: torch.Tensor
    within: torch.Tensor


def lay_out_groups(
    groups: Sequence[Ints], right: Sequence[NDArray[np.bool_]], device: torch.device
) -> tuple[Groups, Blocks]:
    """Number the groups of K classes one after the other, and say how they exchange.

    Args:
        groups: (n,) of each class, from 0.
        right: (n,) of each class.
        device: of the result.
    """
    counts = [int(own.max()) + 1 for own in groups]
    first = np.cumsum([0, *counts])
    of = np.concatenate([own + start for own, start in zip(groups, first, strict=False)])
    class_of = np.repeat(np.arange(len(counts)), counts)
    sizes = np.bincount(of, minlength=first[-1])
    n_right = np.bincount(of, weights=np.concatenate(right), minlength=first[-1]).astype(np.int64)
    _, stratum = np.unique(class_of * (sizes.max() + 1) + sizes, return_inverse=True)
    samples = np.argsort(of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    within = np.empty(len(of), np.int64)
    within[samples] = np.arange(len(of)) - starts[of[samples]]
    in_order = np.lexsort((n_right, stratum))
    segments = Segments(to_device(first, device), to_device(class_of, device))
    blocks = (to_device(values.astype(np.int64), device) for values in (stratum, in_order, samples, starts, within))
    return Groups(segments, to_device(of, device), max(counts)), Blocks(*blocks)
