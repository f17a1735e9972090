"""Samples by class: which classes there are, how large they are, and where their rows lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DENSE = 8  # ids that span at most so many times as many numbers as there are samples are counted, not sorted


@dataclass(frozen=True)
class Grouping:
    """``classes`` (k,) ids, ascending; ``class_of`` (n,) place of each sample's class; ``sizes`` (k,)."""

    classes: NDArray[np.int64]
    class_of: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64]) -> Grouping:
        """Group (n,) class ids; in linear time unless they are scattered over a wide range."""
        lowest, highest = int(labels.min()), int(labels.max())
        if highest - lowest > DENSE * len(labels):
            return cls(*np.unique(labels, return_inverse=True, return_counts=True))
        counts = np.bincount(labels - lowest)
        present = np.flatnonzero(counts)
        place = np.cumsum(counts > 0) - 1
        return cls(present + lowest, place[labels - lowest], counts[present])

    def rows(self) -> list[NDArray[np.int64]]:
        """Return the rows of each class, in order."""
        kind = np.uint16 if len(self.classes) < 1 << 16 else np.int64  # NumPy sorts 16 bits in linear time
        order = np.argsort(self.class_of.astype(kind), kind="stable")
        return np.split(order, np.cumsum(self.sizes)[:-1])
