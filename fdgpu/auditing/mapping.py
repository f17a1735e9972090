"""Every image as the page lists it: its answer, its place on the map of its class, and the images most like it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host
from fdgpu.auditing.images import AuditImages
from fdgpu.directions.fit import Fit
from fdgpu.findings import ImageTable
from fdgpu.rows import taken_by_part

MOST = 100_000  # images that a page lists
NEIGHBOURS = 4
COMPARED = 4_096  # images of a class among which neighbours are looked for, and axes: more are thinned out evenly
AXES = 4  # the widest spreads of a class, of which the most telling is the map's second axis
STEPS = 8  # of the orthogonal iteration that finds them
Rows = NDArray[np.int64]


def image_table(fit: Fit, images: AuditImages, why: NDArray[np.str_] | None = None) -> ImageTable:
    """Lay out the shown images in columns, class after class.

    The second axis of a class is its second direction. Where it has one direction only, it is one of the widest spreads
    of its images beside the direction (principal axes), the one along which right and wrong images lie furthest apart.
    Neighbours have the highest cosine of whitened vectors. From a device one number a sample comes down for the axis,
    and one a neighbour.

    Args:
        fit: the record of the directions.
        images: the audit's images.
        why: (N,) for each sample what its error may be instead of the model's own, "" for nothing.
    """
    inputs, parts = images.inputs, _listed(images)
    rows = np.concatenate(parts) if parts else np.empty(0, np.int64)
    across, nearest = _laid_out(fit, images, parts)
    starts = np.repeat(np.cumsum([0, *map(len, parts)])[:-1], [len(part) for part in parts]).astype(np.int64)
    return ImageTable(
        paths=tuple(images.ids[image] for image in inputs.image_of(rows).tolist()),
        labels=inputs.labels[rows],
        predictions=inputs.predictions[rows],
        decisions=images.decisions[rows],
        across=across,
        neighbours=np.where(nearest < 0, -1, nearest + starts[:, None]),
        confidence=None if inputs.confidence is None else inputs.confidence[rows],
        true_probability=None if inputs.true_probability is None else inputs.true_probability[rows],
        why=() if why is None else tuple(why[rows].tolist()),
        left_out=int(images.shown.sum()) - len(rows),
    )


def _listed(images: AuditImages) -> list[Rows]:
    """Return the samples of each class that are listed: all, or where these are too many half of them the hardest."""
    parts = [images.rows_of(k) for k in range(len(images.inputs.class_names))]
    total = sum(map(len, parts))
    return parts if total <= MOST else [_thinned(images, rows, len(rows) * MOST // total) for rows in parts]


def _thinned(images: AuditImages, rows: Rows, keep: int) -> Rows:
    """Keep some samples of a class: the hardest, and as many that are spread over the others."""
    order = rows[np.argsort(images.ranks[rows, 0], kind="stable")]
    first = (keep + 1) // 2
    others = order[first:]
    chosen = np.linspace(0, len(others) - 1, keep - first).astype(int) if len(others) else np.empty(0, int)
    return np.sort(np.concatenate([order[:first], others[chosen]]))


def _laid_out(fit: Fit, images: AuditImages, parts: list[Rows]) -> tuple[NDArray[np.float64], Rows]:
    """Return the place of each listed sample along its class's second axis, (N,), and its neighbours, (N, K) in it."""
    n, device, inputs = sum(map(len, parts)), images.vectors.device, images.inputs
    across = torch.full((n,), torch.nan, device=device)
    nearest = torch.full((n, NEIGHBOURS), -1, dtype=torch.int32, device=device)
    found_classes = set(fit.classes[fit.n_directions > 0].tolist())
    of_images = [inputs.image_of(rows) for rows in parts]
    start = 0
    for k, (rows, blocks) in enumerate(zip(parts, taken_by_part(images.vectors, of_images), strict=True)):
        if not len(rows):
            continue
        x = torch.cat([fit.whitening(block).float() for block in blocks])
        part = slice(start, start + len(rows))
        start += len(rows)
        found = _neighbours(x)
        nearest[part, : found.shape[1]] = found
        if k in found_classes:
            across[part] = second_axis(fit, k, x, inputs.correct[rows])
    host = to_host(across, "places on the maps").astype(np.float64)
    return host, to_host(nearest, "images most like each").astype(np.int64)


def second_axis(fit: Fit, k: int, x: torch.Tensor, correct: NDArray[np.bool_]) -> torch.Tensor:
    """Return where images of class k lie across its first direction: along its second, or the most telling spread.

    Args:
        fit: in which the class has a direction.
        k: the id of the class.
        x: (n, d) its images, whitened.
        correct: (n,) whether the model is right.
    """
    i = fit.index_of(k)
    if fit.n_directions[i] > 1:
        return fit.decide(x, np.full(len(x), k), 1).float()
    direction = to_device(fit.directions[i, 0], x.device).float().nan_to_num()
    return telling_axis(x, direction, to_device(correct, x.device))


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    """Return the rows with the highest cosine to each unit row of ``x`` (n, d), up to K, itself left out."""
    among = to_device(np.arange(0, len(x), -(-len(x) // COMPARED)), x.device)
    some, k = x[among], min(NEIGHBOURS, len(among) - 1)
    found = []
    for at in range(0, len(x), COMPARED):
        block = x[at : at + COMPARED]
        own = torch.arange(at, at + len(block), device=x.device)
        alike = (block @ some.T).masked_fill_(own[:, None] == among, -torch.inf)
        found.append(among[alike.topk(k).indices])
    return torch.cat(found).int()


def telling_axis(x: torch.Tensor, direction: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """Return where each row of ``x`` (n, d) lies along the most telling of its widest spreads beside ``direction``.

    Args:
        x: the images of a class.
        direction: (d,) unit vector, which is taken out of them.
        correct: (n,) bool; right images come out on the positive side.
    """
    rest = x - x.mean(dim=0)
    rest = rest - (rest * direction).sum(dim=1, keepdim=True) * direction
    some = rest[:: -(-len(x) // COMPARED)]
    # The axes are the leading eigenvectors of the scatter; of few images their places are those of the Gram matrix.
    few = len(some) == len(rest) <= x.shape[1]
    scatter = some @ some.T if few else some.T @ some
    scatter = scatter / scatter.diagonal().sum().clamp_min(1e-12)
    size = (len(scatter), min(AXES, len(scatter)))
    axes = to_device(np.random.default_rng(0).standard_normal(size).astype(np.float32), x.device)
    for _ in range(STEPS):
        axes = torch.linalg.qr(scatter @ (scatter @ (scatter @ (scatter @ axes)))).Q
    along = scatter @ axes if few else rest @ axes
    along = along - along.mean(dim=0)
    along = along / along.std(dim=0, correction=0).clamp_min(1e-12)
    right = correct.float()
    of_right, of_wrong = (along * right[:, None]).sum(dim=0), (along * (1 - right)[:, None]).sum(dim=0)
    apart = of_right / right.sum().clamp_min(1) - of_wrong / (1 - right).sum().clamp_min(1)
    chosen = apart.abs().argmax()[None]
    sign = torch.where(apart[chosen] < 0, -1.0, 1.0)
    return along[:, chosen][:, 0] * sign
