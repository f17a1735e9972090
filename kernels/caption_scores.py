r"""Scores of captions against the failure directions of many classes, in one pass over the captions, on the GPU.

A group is one class: its candidate captions c, the embedding r of its reference caption, its direction w, and the
whitening's scale :math:`\sigma` (paper, 2.2). With :math:`d = (c - r) / \sigma`

.. math:: \text{score} = \frac{w \cdot d}{\lVert d \rVert}
          = \frac{\sum_j (c_j - r_j) w_j / \sigma_j}{\sqrt{\sum_j (c_j - r_j)^2 / \sigma_j^2}},

so that two sums a caption, and a third for :math:`\lVert c - r \rVert`, are all that is kept: the differences are never
written. A caption that is its reference has no direction and scores NaN. A second kernel, over 1/d of the bytes, finds
the k most negative (hardest) and most positive (easiest) scores of each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import triton
import triton.language as tl

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
EQUAL = 1e-6  # a text difference shorter than this is rounding: the caption is the reference
MOST = 64  # largest k: the running best of a group stay in registers


class CaptionScores(NamedTuple):
    """``scores`` (t,) float; ``hardest`` and ``easiest`` (G, k) int32 places in the group, best first, -1 for none."""

    scores: torch.Tensor
    hardest: torch.Tensor
    easiest: torch.Tensor


@dataclass(frozen=True)
class Launch:
    """How the scoring kernel is launched, and why: it is bound by reading the captions once.

    - ``vector``: 16 bytes, the widest load of a thread. A warp reads 512 bytes of one caption at a time.
    - ``block_d`` = 32 vectors, so that the lanes of a warp cover a row's block and the sums of a vector stay in its
      thread: three registers a caption and thread, and shuffles only once, after the last block.
    - ``block`` 16 captions and ``num_warps`` 4: a thread has four independent 16-byte loads under way, a program 8 KiB.
      By Little's law 3.35 TB/s at 0.8 us of loaded latency take 2.7 MB under way, 20 KiB on each of an H100's 132 SMs;
      four programs are 32 KiB, and the registers (72 to 114 a thread) leave room for four to seven. Predicted, not
      measured: 80 % of the copy bandwidth, without a software pipeline, which would take shared memory and a copy.
    - Arithmetic: six instructions an element, in float16 at 3.35 TB/s a third of what an H100 issues.
    - ``block_scores`` 1024 scores a step of the ranking and ``num_warps_ranking`` 4: eight keys a thread, and a
      reduction crosses few warps. Scores in no order put about k (1 + ln(n/k)) of n into the best; most steps of a
      large group put none. Bitonic merges, the other way, take Triton 15 to 30 seconds to compile for one k.
    """

    vector: int
    block: int = 16
    num_warps: int = 4
    block_scores: int = 1024
    num_warps_ranking: int = 4

    @property
    def block_d(self) -> int:
        """Features a step."""
        return 32 * self.vector

    @classmethod
    def choose(cls, dtype: torch.dtype) -> Launch:
        """Choose for captions of ``dtype``."""
        return cls(vector=16 // dtype.itemsize)


# --- kernels --------------------------------------------------------------------------------------------------------


@triton.jit
def scoring_kernel(
    captions_ptr,  # (m, d)
    rows_ptr,  # (t,) int64 or None
    offsets_ptr,  # (G + 1) int64
    tiles_ptr,  # (programs, 2) int32: group (G for a program without work), tile of the group
    references_ptr,  # (G, d) float32
    w_ptr,  # (G, d) float32
    scale_ptr,  # (d,) float32
    scores_ptr,  # (t,) float32
    n_groups,
    d,
    SAME: tl.constexpr,  # square of EQUAL
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Score one tile of captions of one group."""
    tile = tiles_ptr + tl.program_id(0).to(tl.int64) * 2
    group = tl.load(tile)
    if group < n_groups:
        end = tl.load(offsets_ptr + group + 1)
        places = tl.load(offsets_ptr + group) + tl.load(tile + 1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        real = places < end
        rows = places if rows_ptr is None else tl.load(rows_ptr + places, mask=real, other=0)
        features = tl.arange(0, BLOCK_D)
        rows_at = captions_ptr + rows.to(tl.int64)[:, None] * d + features[None, :]
        group_at = group.to(tl.int64) * d + features

        # A lane's vector is summed in its thread; lanes and warps meet after the loop
        along = tl.zeros((BLOCK, BLOCK_D // VECTOR), tl.float32)
        length = tl.zeros((BLOCK, BLOCK_D // VECTOR), tl.float32)
        unscaled = tl.zeros((BLOCK, BLOCK_D // VECTOR), tl.float32)
        for done in range(0, d, BLOCK_D):
            inside = features < d - done
            captions = tl.load(
                rows_at + done, mask=real[:, None] & inside[None, :], other=0.0, eviction_policy="evict_first"
            )
            reference = tl.load(references_ptr + group_at + done, mask=inside, other=0.0)
            w = tl.load(w_ptr + group_at + done, mask=inside, other=0.0)
            scale = tl.load(scale_ptr + features + done, mask=inside, other=1.0)
            # beyond the last feature and in rows that are not real the difference counts for nothing
            difference = captions.to(tl.float32) - reference[None, :]
            scaled = difference * (1.0 / scale)[None, :]  # divided once a feature, not once an element
            along += tl.sum(tl.reshape(scaled * w[None, :], (BLOCK, BLOCK_D // VECTOR, VECTOR)), axis=2)
            length += tl.sum(tl.reshape(scaled * scaled, (BLOCK, BLOCK_D // VECTOR, VECTOR)), axis=2)
            unscaled += tl.sum(tl.reshape(difference * difference, (BLOCK, BLOCK_D // VECTOR, VECTOR)), axis=2)

        same = tl.sum(unscaled, axis=1) < SAME
        score = tl.sum(along, axis=1) / tl.sqrt(tl.where(same, 1.0, tl.sum(length, axis=1)))
        score = tl.where(same, float("nan"), score)
        tl.store(scores_ptr + places, score, mask=real)


@triton.jit
def _keep(kept, keys, NONE: tl.constexpr):
    """Move keys that beat the least of ``kept`` there, one by one: few do, once a group's first step is done."""
    best, least = tl.max(keys, axis=0), tl.min(kept, axis=0)
    while best > least:
        kept = tl.where(kept == least, best, kept)
        keys = tl.where(keys == best, NONE, keys)
        best, least = tl.max(keys, axis=0), tl.min(kept, axis=0)
    return kept


@triton.jit
def _store_places(out_ptr, kept, k, NONE: tl.constexpr, KEEP: tl.constexpr):
    """Write the places that keys end in, best first, -1 where a slot stayed empty."""
    kept = tl.where(tl.arange(0, KEEP) < k, kept, NONE)
    rank = tl.sum((kept[None, :] > kept[:, None]).to(tl.int32), axis=1)
    places = tl.where(kept >> 32 == NONE >> 32, -1, 0x7FFFFFFF - (kept & 0x7FFFFFFF))
    tl.store(out_ptr + rank, places.to(tl.int32), mask=rank < k)


@triton.jit
def ranking_kernel(
    scores_ptr,  # (t,) float32
    offsets_ptr,  # (G + 1) int64
    hardest_ptr,  # (G, k) int32
    easiest_ptr,  # (G, k) int32
    k,
    NONE: tl.constexpr,  # the least int64; with its upper half, that of a NaN, no score has a key
    KEEP: tl.constexpr,  # k, rounded up to a power of two
    BLOCK: tl.constexpr,
):
    """Rank both ends of one group by keys of 64 bits: the score in order, then the place, lower first."""
    group = tl.program_id(0)
    start = tl.load(offsets_ptr + group)
    size = (tl.load(offsets_ptr + group + 1) - start).to(tl.int32)
    # Empty slots differ, so that one at a time is filled; slots past k are full from the start
    slots = tl.arange(0, KEEP)
    hardest = tl.where(slots < k, NONE + 1 + slots.to(tl.int64), 0x7FFFFFFFFFFFFFFF)
    easiest = hardest
    for done in range(0, size, BLOCK):
        places = done + tl.arange(0, BLOCK)
        scores = tl.load(scores_ptr + start + places, mask=places < size, other=float("nan"))
        ranked = scores == scores
        scores = tl.where(scores == 0.0, 0.0, scores)  # -0 and 0 are a tie
        bits = scores.to(tl.int32, bitcast=True)
        ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # integers in the order of the floats
        tie = (0x7FFFFFFF - places).to(tl.int64)
        easiest = _keep(easiest, tl.where(ranked, (ordered.to(tl.int64) << 32) | tie, NONE), NONE)
        hardest = _keep(hardest, tl.where(ranked, ((~ordered).to(tl.int64) << 32) | tie, NONE), NONE)
    _store_places(hardest_ptr + group.to(tl.int64) * k, hardest, k, NONE, KEEP)
    _store_places(easiest_ptr + group.to(tl.int64) * k, easiest, k, NONE, KEEP)


# --- launcher -------------------------------------------------------------------------------------------------------


def score_captions(
    captions: torch.Tensor,
    offsets: torch.Tensor,
    references: torch.Tensor,
    w: torch.Tensor,
    scale: torch.Tensor,
    k: int,
    rows: torch.Tensor | None = None,
) -> CaptionScores:
    """Score every group's captions and rank both ends, without a synchronisation with the host.

    On CUDA tensors (and in Triton's interpreter) the kernels run; CPU tensors go through the reference in float32.

    Args:
        captions: (m, d) float32, float16 or bfloat16 unit text vectors, which groups may share.
        offsets: (G + 1) int64; group g's candidates are ``offsets[g]`` to ``offsets[g + 1]``, from 0 to t without a
            gap; each below 2^31.
        references: (G, d) unit text vector of each group's reference caption.
        w: (G, d) each group's direction in whitened space, unit for a score between -1 and 1.
        scale: (d,) the whitening's sigma, without zeros; ones where nothing was whitened.
        k: how many to rank at each end, 1 to 64.
        rows: (t,) int64 row of ``captions`` of each candidate; None: candidate i is row i.

    Raises:
        ValueError: if shapes, types or devices are not these.
    """
    _check(captions, offsets, references, w, scale, k, rows)
    interpreted = not isinstance(scoring_kernel, triton.JITFunction)
    if captions.device.type != "cuda" and not interpreted:
        return score_captions_reference(captions, offsets, references, w, scale, k, rows, dtype=torch.float32)
    groups, t = len(w), len(captions if rows is None else rows)
    scores = torch.empty(t, dtype=torch.float32, device=captions.device)
    hardest, easiest = torch.empty(2, groups, k, dtype=torch.int32, device=captions.device)
    if groups == 0:
        return CaptionScores(scores, hardest, easiest)
    launch = Launch.choose(captions.dtype)
    tiles = tile_table(offsets, t, launch.block)
    with torch.cuda.device_of(captions):
        scoring_kernel[(len(tiles),)](
            captions.contiguous(),
            None if rows is None else rows.contiguous(),
            offsets.contiguous(),
            tiles,
            references.to(torch.float32).contiguous(),
            w.to(torch.float32).contiguous(),
            scale.to(torch.float32).contiguous(),
            scores,
            groups,
            captions.shape[1],
            SAME=EQUAL**2,
            BLOCK=launch.block,
            BLOCK_D=launch.block_d,
            VECTOR=launch.vector,
            num_warps=launch.num_warps,
            enable_fp_fusion=True,
        )
        ranking_kernel[(groups,)](
            scores,
            offsets.contiguous(),
            hardest,
            easiest,
            k,
            NONE=-(2**63),
            KEEP=triton.next_power_of_2(k),
            BLOCK=launch.block_scores,
            num_warps=launch.num_warps_ranking,
            enable_fp_fusion=True,
        )
    return CaptionScores(scores, hardest, easiest)


def tile_table(offsets: torch.Tensor, t: int, block: int) -> torch.Tensor:
    """Return (programs, 2) int32 (group, tile in the group), on the device of ``offsets``.

    How many tiles there are is known on the device alone. Asking would wait for it, so there are as many programs as t
    candidates in G groups can need at most; those left over stand in a group G that does not exist.
    """
    groups = len(offsets) - 1
    ends = ((offsets.diff() + block - 1) // block).cumsum(0)
    program = torch.arange(t // block + groups, device=offsets.device)
    group = torch.searchsorted(ends, program, right=True)
    first = torch.nn.functional.pad(ends, (1, 0))
    return torch.stack([group, program - first[group]], dim=1).to(torch.int32)


def _check(
    captions: torch.Tensor,
    offsets: torch.Tensor,
    references: torch.Tensor,
    w: torch.Tensor,
    scale: torch.Tensor,
    k: int,
    rows: torch.Tensor | None,
) -> None:
    if captions.ndim != 2 or captions.dtype not in DTYPES or captions.shape[1] == 0:
        raise ValueError(
            f"captions is {captions.dtype} {tuple(captions.shape)}: pass (m, d) float32, float16 or bfloat16, d > 0"
        )
    groups, d = max(len(offsets) - 1, 0), captions.shape[1]
    for name, tensor, shape in (
        ("offsets", offsets, (groups + 1,)),
        ("references", references, (groups, d)),
        ("w", w, (groups, d)),
        ("scale", scale, (d,)),
    ):
        if tensor.shape != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}: {groups} groups of {d}-d captions need {shape}")
    for name, integers in (("offsets", offsets), ("rows", rows)):
        if integers is not None and (integers.dtype != torch.int64 or integers.ndim != 1):
            raise ValueError(f"{name} is {integers.dtype} {tuple(integers.shape)}: pass one row of int64")
    for name, other in (("offsets", offsets), ("references", references), ("w", w), ("scale", scale), ("rows", rows)):
        if other is not None and other.device != captions.device:
            raise ValueError(f"{name} is on {other.device}, captions on {captions.device}: put both on one device")
    if not 1 <= k <= MOST:
        raise ValueError(f"k is {k}: rank 1 to {MOST} captions at each end")


# --- reference ------------------------------------------------------------------------------------------------------


def score_captions_reference(
    captions: torch.Tensor,
    offsets: torch.Tensor,
    references: torch.Tensor,
    w: torch.Tensor,
    scale: torch.Tensor,
    k: int,
    rows: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> CaptionScores:
    """Do the same group by group in plain torch, in ``dtype``; arguments as in :func:`score_captions`."""
    _check(captions, offsets, references, w, scale, k, rows)
    bounds = offsets.tolist()
    none = torch.empty(0, k, dtype=torch.int32, device=captions.device)
    of_groups, hardest, easiest = [captions.new_empty(0, dtype=dtype)], [none], [none]
    for group, (start, end) in enumerate(pairwise(bounds)):
        of_group = captions[start:end] if rows is None else captions[rows[start:end]]
        difference = of_group.to(dtype) - references[group].to(dtype)
        scaled = difference / scale.to(dtype)
        scores = scaled @ w[group].to(dtype) / scaled.norm(dim=1)
        scores[difference.norm(dim=1) < EQUAL] = torch.nan
        of_groups.append(scores)
        hardest.append(_first(scores, k)[None])
        easiest.append(_first(-scores, k)[None])
    return CaptionScores(torch.cat(of_groups), torch.cat(hardest), torch.cat(easiest))


def _first(scores: torch.Tensor, k: int) -> torch.Tensor:
    """(n,) -> (k,) int32 places of the least scores, lower places first among equals, -1 where there are no more."""
    order = scores.argsort(stable=True)  # NaN last
    order = order[: min(k, int((~scores.isnan()).sum()))]
    return torch.nn.functional.pad(order, (0, k - len(order)), value=-1).to(torch.int32)
