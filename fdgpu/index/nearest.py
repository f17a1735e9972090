"""Which rows are nearest to which: exact, by the cosine around the mean, block by block where the rows lie."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fdgpu.index.exact_store import Found, best, better
from fdgpu.rows import Ints, Rows, chunk_rows

QUERIES = {"cpu": 1024, "cuda": 4096}  # at a time
KEYS = {"cpu": 1 << 13, "cuda": 1 << 16}  # likewise: 32 MiB of scores on a CPU, 1 GiB on a GPU
GROUP = 32  # scores of which the highest is looked at first
HELD_BYTES = {
    "cpu": 1 << 31,
    "cuda": 1 << 33,
}  # of unit rows that are kept; others are taken for every block of queries


def mean_row(rows: Rows, among: Ints) -> Tensor:
    """Return the mean (1, d) of some rows, where they lie."""
    blocks = rows.chosen(among).blocks(chunk_rows(rows))
    return torch.stack([block.double().sum(dim=0) for block in blocks]).sum(dim=0, keepdim=True) / len(among)


def nearest(rows: Rows, queries: Ints, keys: Ints, k: int, mean: Tensor) -> Found:
    """Find the k keys that are nearest to each query; one that is itself a key finds itself first.

    q x n products of d numbers. Rows are had in blocks, and only q x k results are kept; those of no more than 2 GiB
    (8 on a GPU) are made unit vectors once. The host does not wait.

    Args:
        rows: (n, d), of any scale.
        queries: (q,) of the rows.
        keys: (m,) of the rows.
        k: how many; all where there are fewer keys.
        mean: (1, d) that is subtracted, so that vectors of a narrow cone are told apart; see :func:`mean_row`.

    Returns:
        Cosines (q, k), the highest first, and the positions (q, k) among ``keys`` that they belong to. A row that is
        the mean has the cosine 0 with all.
    """
    kind = rows.device.type
    step = KEYS.get(kind, KEYS["cpu"])
    starts = range(0, len(keys), step)

    def read() -> Iterator[Tensor]:
        return (_around(rows.take(keys[start : start + step]), mean) for start in starts)

    held = list(read()) if 4 * len(keys) * rows.shape[1] <= HELD_BYTES.get(kind, HELD_BYTES["cpu"]) else None
    found: list[Found] = []
    at_once = QUERIES.get(kind, QUERIES["cpu"])
    for first in range(0, len(queries), at_once):
        asked = _around(rows.take(queries[first : first + at_once]), mean)
        so_far: Found | None = None
        for start, block in zip(starts, held or read(), strict=True):
            these = best_by_groups(asked @ block.T, k, start)
            so_far = these if so_far is None else better(so_far, these, k)
        if so_far is not None:
            found.append(so_far)
    if not found:
        nothing = torch.zeros(len(queries), 0, device=rows.device)
        return nothing, nothing.long()
    return torch.cat([scores for scores, _ in found]), torch.cat([at for _, at in found])


def best_by_groups(scores: Tensor, k: int, start: int) -> Found:
    """Return what :func:`~fdgpu.index.exact_store.best` returns, but for the order of equals, in less time.

    The k highest of (q, m) scores lie in the k groups whose own highest are the highest: one quick pass, and two short
    sorts instead of a long one.
    """
    q, groups = len(scores), scores.shape[1] // GROUP
    if groups <= 2 * k:
        return best(scores, k, start)
    whole = scores[:, : groups * GROUP].view(q, GROUP, groups)  # group g is every groups-th score from g on
    chosen = whole.amax(dim=1).topk(k, dim=1).indices
    at = (chosen[:, :, None] + groups * torch.arange(GROUP, device=scores.device)).flatten(1)
    if groups * GROUP < scores.shape[1]:
        rest = torch.arange(groups * GROUP, scores.shape[1], device=scores.device)
        at = torch.cat([at, rest.expand(q, -1)], dim=1)
    found, order = scores.gather(1, at).topk(k, dim=1)
    return found, at.gather(1, order) + start


def _around(block: Tensor, mean: Tensor) -> Tensor:
    """Return unit vectors (b, d) around the mean; zero where nothing is left but rounding."""
    centred = (block - mean.to(block.dtype if block.dtype == torch.float64 else torch.float32)).float()
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    rounding = 8 * torch.finfo(torch.float32).eps * torch.linalg.vector_norm(mean).float()
    return torch.where(length > rounding, centred / length.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
