"""The leading principal components, as Domino and Spotlight use them."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from fdgpu.errors import InputError


@dataclass(frozen=True)
class PrincipalComponents:
    """x (n, d) to (x - mean) basis (n, m); mean (d,), basis (d, m) orthonormal columns, most variance first."""

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def fit(cls, x: NDArray[np.float32], dimensions: int) -> PrincipalComponents:
        """Take them from the covariance's eigenvectors; all of them where x has fewer columns than ``dimensions``.

        Raises:
            InputError: for less than one dimension.
        """
        if not isinstance(dimensions, Integral) or dimensions < 1:
            raise InputError(f"dimensions is {dimensions}: use a whole number of at least 1; Domino takes 128")
        mean = x.mean(axis=0)
        centred = x - mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending
        return cls(mean, np.ascontiguousarray(vectors[:, ::-1][:, :dimensions]).astype(np.float32))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Project.

        Raises:
            InputError: if x has another number of columns than the components were taken from.
        """
        if x.shape[1] != len(self.mean):
            raise InputError(
                f"embeddings has {x.shape[1]} columns, the principal components are of {len(self.mean)}: pass "
                "embeddings of the same space"
            )
        return ((x - self.mean) @ self.basis).astype(np.float64)
