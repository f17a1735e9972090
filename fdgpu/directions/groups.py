"""Samples that belong together, as frames of one video or images of one patient do.

Samples of one group are alike, so that their answers are no independent evidence: permuted one by one they look more
random than they are. What may be exchanged are whole groups, and only for others of their own size and class: under
the hypothesis that correctness has nothing to do with the embeddings, any such exchange is as likely as what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from math import lgamma, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, Parts, is_array, to_device, to_host, to_numpy
from fdgpu.checks import shown
from fdgpu.directions.samples import check_embeddings, check_labels, group_by_class, rows_by_class
from fdgpu.errors import InputError
from fdgpu.kernels.draws import Segments
from fdgpu.kernels.folds import Groups
from fdgpu.rows import Rows

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
    if not isinstance(groups, Collection) or isinstance(groups, (str, bytes, Mapping)):
        raise InputError(f"groups is {shown(groups)}: pass a list of one id a row, ({rows},)")
    listed = list(groups)
    if len(listed) != rows:
        raise InputError(f"groups has {len(listed)} entries, embeddings has {rows} rows: pass one id a row")
    if any((isinstance(one, float) and one != one) or type(one).__name__ == "NAType" for one in listed):
        raise InputError("groups holds NaN: give a sample that belongs to no other an id of its own")
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


# --- samples that look alike ----------------------------------------------------------------------------------------

ALIKE = 0.9  # least cosine of near-duplicates
SHELL = 1.5  # times the distance that counts as near
OUTNUMBER = 2.0  # pairs that are near, for each in the shell around
MOST_PAIRS = 0.1  # share of a class's pairs
NEAREST = 1e-5  # 1 - cosine; what is nearer is told apart by rounding
STEPS = 32  # distances that are tried, for each factor of SHELL²
PAIR_BYTES = {"cpu": 1 << 26, "cuda": 1 << 29}  # of what is held of pairs at once
ROW_BYTES = PAIR_BYTES  # of a block of rows
BYTES_OF_PAIR = 24


def near_duplicates(embeddings: Array, labels: Array) -> Ints:
    """Find samples of a class that are alike as frames of one video are.

    Embeddings are standardised by the class's mean and deviations and brought to unit length, so that a class whose
    vectors are all close together is looked at as any other. Two samples are near-duplicates if their distance is at
    most t, the largest distance for which

    - at least twice as many pairs are nearer than t as are between t and 1.5 t: independent samples have more pairs the
      farther one looks (in three dimensions 2.4 times as many in that shell as within), so that many near and few
      farther away are no chance;
    - the cosine is at least 0.9, and at most a tenth of the class's pairs are that near: a class of a few kinds of
      things that differ much is no set of duplicates.

    A class without such a distance has none. Nothing is chained: all of a group are within t of its first sample, so
    that no row of small steps joins what differs.

    All pairs of a class are looked at, twice: of n samples that is 2 n² products of d numbers, while memory holds a
    block of them.

    Args:
        embeddings: (n, d) float, where they lie, or :class:`fdgpu.rows.Rows`, which are taken a batch of classes at a
            time; the host waits for whether all are finite, and for the result.
        labels: (n,) integer class ids.

    Returns:
        (n,) row of the first sample that each is alike to, as ``fit(groups=)`` takes them.

    Raises:
        InputError: as ``fit``.

    Example:
        >>> seen = np.repeat(np.random.default_rng(0).normal(size=(40, 16)), 3, axis=0)
        >>> frames = seen + 0.01 * np.random.default_rng(1).normal(size=seen.shape)
        >>> near_duplicates(frames, np.zeros(120, int))[:7].tolist()
        [0, 0, 0, 3, 3, 3, 6]
    """
    embeddings = check_embeddings(embeddings, "embeddings")
    if not len(embeddings):
        raise InputError("embeddings has no row: there is nothing to look at")
    _, class_of, sizes = group_by_class(check_labels(labels, len(embeddings)))
    classes = rows_by_class(class_of, sizes)
    found, order = [], sorted(range(len(classes)), key=lambda k: len(classes[k]))
    while order:
        n = len(classes[order[-1]])
        at_once = max(1, min(_pairs_at_once(embeddings.device) // n, _rows_at_once(embeddings)) // n)
        batch, order = order[-at_once:], order[:-at_once]
        rows = np.full((len(batch), n), -1)
        for own, k in zip(rows, batch, strict=True):
            own[: len(classes[k])] = classes[k]
        first = _first_alike(embeddings, rows)
        found.append((rows, first))
    groups = np.arange(len(embeddings))
    down = to_host(torch.cat([first.flatten() for _, first in found]), "which images are near-duplicates")
    for (rows, _), own in zip(
        found, np.split(down, np.cumsum([first.numel() for _, first in found])[:-1]), strict=True
    ):
        groups[rows[rows >= 0]] = own.reshape(rows.shape)[rows >= 0]
    return groups


def _first_alike(embeddings: Rows, padded: Ints) -> torch.Tensor:
    """Return, for K classes (K, n) padded with -1, the first row that each is a near-duplicate of, or its own."""
    rows, n, unit = to_device(padded, embeddings.device), padded.shape[1], _standardised(embeddings, padded)
    sizes = (rows >= 0).sum(dim=1, keepdim=True)
    step = log(SHELL**2) / STEPS
    bins = round(log((1 - ALIKE) * SHELL**2 / NEAREST) / step)
    counts = torch.zeros(len(rows), bins + 1, dtype=torch.int64, device=rows.device)
    one = torch.ones((), dtype=torch.int64, device=rows.device)
    for _, _, distances in _pairs(unit):
        bin_of = (distances / NEAREST).log_().div_(step).long().clamp_(max=bins).flatten(1)
        counts.scatter_add_(1, bin_of, one.expand_as(bin_of))
    counts[:, :1] -= sizes  # each with itself
    within = counts[:, :bins].cumsum(dim=1)
    near, farther = within[:, :-STEPS], within[:, STEPS:] - within[:, :-STEPS]
    holds = (near > 0) & (near >= OUTNUMBER * farther) & (near <= MOST_PAIRS * sizes * (sizes - 1))
    last = torch.where(holds, torch.arange(1, near.shape[1] + 1, device=rows.device), 0).amax(dim=1)
    most = torch.where(last > 0, NEAREST * (last * step).exp(), -1.0)[:, None, None]
    place = torch.arange(n, device=rows.device)
    first = place.repeat(len(rows), 1)  # each is alike to itself
    for own, others, distances in _pairs(unit):
        found = torch.where(distances <= most, place[others], n).amin(dim=2)
        first[:, own] = torch.minimum(first[:, own], found)
    return rows.gather(1, first)


def _standardised(embeddings: Rows, padded: Ints) -> Parts:
    """Bring K classes (K, n) each to its mean and deviations, and their rows to unit length; zero where there is none.

    They come in blocks (K, b, d). Those of a class that is larger than a block are taken again whenever it is asked for
    them, those of others once.
    """
    size = max(1, _rows_at_once(embeddings) // len(padded))
    parts = [padded[:, start : start + size] for start in range(0, padded.shape[1], size)]
    count = to_device((padded >= 0).sum(axis=1).clip(min=1), embeddings.device)[:, None, None]

    def again(blocks: Parts) -> Parts:
        held = list(blocks()) if len(parts) == 1 else []
        return (lambda: held) if held else blocks

    def taken() -> Iterator[torch.Tensor]:
        for part in parts:
            own = embeddings.take(part.clip(min=0).ravel()).reshape(*part.shape, -1)
            yield (own if own.dtype == torch.float64 else own.float()).masked_fill(~_is_row(part, own), 0.0)

    own = again(taken)
    mean = reduce(torch.add, (block.sum(dim=1, keepdim=True) for block in own())) / count

    def centred() -> Iterator[torch.Tensor]:
        for part, block in zip(parts, own(), strict=True):
            yield block.sub(mean).masked_fill_(~_is_row(part, block), 0.0)

    around = again(centred)
    lengths = (torch.linalg.vector_norm(block, dim=1, keepdim=True) for block in around())
    deviation = reduce(torch.hypot, lengths)
    rounding = 8 * torch.finfo(mean.dtype).eps * mean.abs() * count.sqrt()  # of the mean, which is no variation
    deviation = torch.where(deviation > rounding, deviation, torch.inf)

    def unit() -> Iterator[torch.Tensor]:
        for block in around():
            scaled = block.div_(deviation)
            length = torch.linalg.vector_norm(scaled, dim=2, keepdim=True)
            yield scaled.div_(torch.where(length > 0, length, 1.0)).float()

    return again(unit)


def _is_row(part: Ints, like: torch.Tensor) -> torch.Tensor:
    return to_device(part >= 0, like.device)[..., None]


def _pairs(unit: Parts) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield which rows, which others, and their distances (K, p, q), as many as are held of pairs at once."""
    first = 0
    for block in unit():
        start = 0
        for other in unit():
            others = slice(start, start := start + other.shape[1])
            at_once = max(1, _pairs_at_once(block.device) // max(1, len(other) * other.shape[1]))
            at = first
            for part in block.split(at_once, dim=1):
                yield slice(at, at := at + part.shape[1]), others, (1 - part @ other.mT).clamp_(min=NEAREST)
        first += block.shape[1]


def _pairs_at_once(device: torch.device) -> int:
    return PAIR_BYTES.get(device.type, PAIR_BYTES["cuda"]) // BYTES_OF_PAIR


def _rows_at_once(embeddings: Rows) -> int:
    return ROW_BYTES.get(embeddings.device.type, ROW_BYTES["cuda"]) // (4 * max(1, embeddings.shape[1]))
