"""What a direction says of images and of captions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EQUAL = 1e-6  # a text difference shorter than this is rounding: the caption is the reference


def decision_values(
    x: NDArray[Any],
    ids: NDArray[np.int64],
    classes: NDArray[np.int64],
    coef: NDArray[Any],
    intercept: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (n,) w·x + b under each row's own class; NaN for a class that is not in ``classes``.

    Args:
        x: (n, d) whitened unit rows.
        ids: (n,) class of each row.
        classes: (k,) known classes, ascending.
        coef: (k, d) one w a class.
        intercept: (k,).
    """
    values = np.full(len(x), np.nan)
    places = np.searchsorted(classes, ids)
    known = places < len(classes)
    known[known] = classes[places[known]] == ids[known]
    # class by class: a gather of w for every row would double the memory of x
    order = np.flatnonzero(known)[np.argsort(places[known], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
        if len(rows):
            k = places[rows[0]]
            values[rows] = x[rows] @ coef[k].astype(x.dtype) + intercept[k]
    return values


def caption_scores(
    captions: NDArray[Any], reference: NDArray[Any], w: NDArray[Any], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (m,) alignment of each caption's difference from the reference with w (paper, 2.2).

    The mean of the whitening cancels in a difference; its scale does not. NaN where the caption is the reference.

    Args:
        captions: (m, d) unit text vectors.
        reference: (d,) unit text vector.
        w: (d,) in whitened space.
        scale: (d,) the whitening's σ.
    """
    difference = captions.astype(np.float64) - reference.astype(np.float64)
    same = np.linalg.norm(difference, axis=1) < EQUAL
    difference /= scale
    lengths = np.linalg.norm(difference, axis=1)
    lengths[same] = np.nan
    return np.asarray((difference @ w.astype(np.float64)) / lengths)
