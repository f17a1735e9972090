"""The leading principal components, as Domino and Spotlight use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PrincipalComponents:
    """x (n, d) to (x - mean) basis (n, m); mean (d,), basis (d, m) orthonormal columns, most variance first."""

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def fit(cls, x: NDArray[np.float32], dimensions: int) -> PrincipalComponents:
        """Take them from the covariance's eigenvectors; all of them where x has fewer columns than ``dimensions``."""
        mean = x.mean(axis=0)
        centred = x - mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending
        return cls(mean, np.ascontiguousarray(vectors[:, ::-1][:, :dimensions]).astype(np.float32))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Project."""
        return ((x - self.mean) @ self.basis).astype(np.float64)
