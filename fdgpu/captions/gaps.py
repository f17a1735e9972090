"""What the images nearest to a caption say of it: how much less accurate they are than their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.proportions import difference_of_shares

FEWEST = 10  # images near a caption
SHARE = 0.1  # of the class's images, where that is more


@dataclass(frozen=True)
class AccuracyGap:
    """Accuracy of the ``nearest`` images minus that of all images of the class, with its interval; NaN without any."""

    nearest: int = 0
    accuracy: float = float("nan")
    gap: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")


def nearest_count(n: int) -> int:
    """Return K: a tenth of ``n`` images and ten at least, but never more than half of them."""
    return min(max(FEWEST, round(SHARE * n)), n // 2)


def accuracy_gap(correct: NDArray[np.bool_], level: float) -> AccuracyGap:
    """Compare the images nearest to a caption with their class.

    Nearest and rest are disjoint, so that Newcombe's interval of two independent shares holds for them; the gap to the
    whole class is 1 - K/n of the gap to the rest, and so are its ends.

    Args:
        correct: (n,) whether the model was right, the nearest image first.
        level: of confidence, two-sided.
    """
    n = len(correct)
    k = nearest_count(n)
    if k == 0:
        return AccuracyGap()
    near, rest = int(correct[:k].sum()), int(correct[k:].sum())
    gap, low, high = (float(x) * (1 - k / n) for x in difference_of_shares(near, k, rest, n - k, level))
    return AccuracyGap(k, near / k, gap, low, high)
