"""What a direction says of images and of captions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.directions.whitening import chunk_rows

EQUAL = 1e-6  # a text difference shorter than this is rounding: the caption is the reference


def decision_values(
    x: torch.Tensor,
    ids: NDArray[np.int64],
    classes: NDArray[np.int64],
    coef: NDArray[np.float32],
    intercept: NDArray[np.float64],
) -> torch.Tensor:
    """Return (n,) w·x + b under each row's own class; NaN for a class that is not in ``classes``.

    Args:
        x: (n, d) whitened unit rows.
        ids: (n,) class of each row.
        classes: (k,) known classes, ascending.
        coef: (k, d) one w a class.
        intercept: (k,).
    """
    places = np.minimum(np.searchsorted(classes, ids), len(classes) - 1)
    place = torch.from_numpy(places).to(x.device)
    w = torch.from_numpy(coef).to(x.device, x.dtype)
    b = torch.from_numpy(np.where(classes[places] == ids, intercept[places], np.nan)).to(x.device)
    values = torch.empty(len(x), dtype=torch.float64, device=x.device)
    step = chunk_rows(x)  # w of every row, but not of all rows at once
    for part, of_class, into in zip(x.split(step), place.split(step), values.split(step), strict=True):
        into.copy_(torch.linalg.vecdot(part, w[of_class]))
    return values + b


def caption_scores(
    captions: torch.Tensor, reference: torch.Tensor, w: NDArray[np.float32], scale: NDArray[np.float64]
) -> torch.Tensor:
    """Return the alignment of each caption's difference from the reference with w (paper, 2.2); NaN for the reference.

    Args:
        captions: (m, d) unit text vectors.
        reference: (d,) unit text vector.
        w: (d,) in whitened space.
        scale: (d,) the whitening's σ.

    Returns:
        (m,).
    """
    along = torch.from_numpy(np.asarray(w, np.float64)).to(captions.device)
    return caption_directions(captions, reference, scale) @ along


def caption_directions(captions: torch.Tensor, reference: torch.Tensor, scale: NDArray[np.float64]) -> torch.Tensor:
    """Return (m, d) unit differences of captions from the reference, as they are scored.

    The mean of the whitening cancels in a difference; its scale does not. NaN where the caption is the reference.

    Args:
        captions: (m, d) unit text vectors.
        reference: (d,) unit text vector.
        scale: (d,) the whitening's σ.
    """
    difference = captions.double() - reference.double()
    same = torch.linalg.vector_norm(difference, dim=1, keepdim=True) < EQUAL
    difference /= torch.from_numpy(np.asarray(scale, np.float64)).to(captions.device)
    lengths = torch.linalg.vector_norm(difference, dim=1, keepdim=True)
    return difference / torch.where(same, torch.nan, lengths)
