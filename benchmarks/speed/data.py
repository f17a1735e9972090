"""Embeddings of the shapes that audits meet: unit vectors with a failure mode in every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shape:
    """So many classes of so many samples in so many dimensions, with a share of errors."""

    name: str
    classes: int
    samples: int
    d: int
    errors: float = 0.2


@dataclass(frozen=True)
class Problem:
    """x (n, d) float32 unit rows, labels (n,), right (n,) bool; classes one after the other."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]


def make(shape: Shape, seed: int = 0, rank: int = 48) -> Problem:
    """Draw a problem.

    Real embeddings fill few of their dimensions: rows lie near a subspace of dimension ``rank``, so that classes are
    not separable for free as isotropic noise with n < d would be.
    """
    rng = np.random.default_rng(seed)
    xs, rights = [], []
    for _ in range(shape.classes):
        basis = rng.normal(size=(rank, shape.d)) / np.sqrt(shape.d)
        right = np.ones(shape.samples, bool)
        right[rng.permutation(shape.samples)[: max(2, round(shape.errors * shape.samples))]] = False
        latent = rng.normal(size=(shape.samples, rank))
        latent[:, 0] += np.where(right, 1.0, -1.0)
        rows = latent @ basis + 0.3 * rng.normal(size=(shape.samples, shape.d)) / np.sqrt(shape.d)
        xs.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        rights.append(right)
    labels = np.repeat(np.arange(shape.classes), shape.samples)
    return Problem(np.concatenate(xs), labels, np.concatenate(rights))
