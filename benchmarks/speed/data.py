"""Embeddings of the shapes that audits meet: unit vectors with a failure mode in every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shape:
    """Classes of so many samples each in so many dimensions, with a share of errors.

    ``timed`` are the classes that peers are timed on, as they treat one class after another.
    """

    name: str
    sizes: tuple[int, ...]
    d: int
    timed: tuple[int, ...] = (0,)
    errors: float = 0.2

    @classmethod
    def even(cls, name: str, classes: int, samples: int, d: int, timed: int = 1) -> Shape:
        """Return ``classes`` of ``samples`` each, of which peers are timed on the first ``timed``."""
        return cls(name, (samples,) * classes, d, tuple(range(timed)))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.sizes)

    @property
    def ragged(self) -> bool:
        """Whether classes differ in size, so that one does not stand for another."""
        return len(set(self.sizes)) > 1


@dataclass(frozen=True)
class Problem:
    """x (n, d) float32 unit rows, labels (n,), right (n,) bool; classes one after the other."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """(k + 1,) where each class begins, and where the last ends."""
        return np.flatnonzero(np.diff(self.labels, prepend=-1, append=-1))

    @property
    def sizes(self) -> list[int]:
        """Samples of each class."""
        return [int(n) for n in np.diff(self.bounds)]

    def rows(self, index: int) -> slice:
        """Return the rows of the class at ``index``."""
        return slice(int(self.bounds[index]), int(self.bounds[index + 1]))

    def only(self, classes: Sequence[int]) -> Problem:
        """Return some of the classes, under the labels that they had."""
        rows = np.concatenate([np.arange(len(self.labels))[self.rows(k)] for k in classes])
        return Problem(self.x[rows], self.labels[rows], self.right[rows])


def make(shape: Shape, seed: int = 0, rank: int = 48) -> Problem:
    """Draw a problem.

    Real embeddings fill few of their dimensions: rows lie near a subspace of dimension ``rank``, so that classes are
    not separable for free as isotropic noise with n < d would be.
    """
    rng = np.random.default_rng(seed)
    x, rights, start = np.empty((sum(shape.sizes), shape.d), np.float32), [], 0
    for n in shape.sizes:
        basis = rng.normal(size=(rank, shape.d)) / np.sqrt(shape.d)
        right = np.ones(n, bool)
        right[rng.permutation(n)[: max(2, round(shape.errors * n))]] = False
        latent = rng.normal(size=(n, rank))
        latent[:, 0] += np.where(right, 1.0, -1.0)
        rows = latent @ basis + 0.3 * rng.normal(size=(n, shape.d)) / np.sqrt(shape.d)
        x[start : start + n] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        rights.append(right)
        start += n
    return Problem(x, np.repeat(np.arange(shape.classes), shape.sizes), np.concatenate(rights))


def _chestxray14() -> Shape:
    """Return 14 findings, there or not: 28 classes of 200 to 8000, each 1.15 times the one before.

    Peers are timed on four of them. The loop alone would take minutes for the largest, and its time grows faster than
    the square of the size, so that fdgpu is timed on the same four as well and only these are compared.
    """
    sizes = np.geomspace(200, 8000, 28).round().astype(int).tolist()
    return Shape("ChestX-ray14: 28 classes of 200 to 8000 x 512", tuple(sizes), 512, timed=(0, 7, 14, 21))


SHAPES = {  # by the name that --shapes takes
    "cifar10": Shape.even("CIFAR-10: 10 x 1000 x 512", 10, 1000, 512, timed=2),
    "celeba": Shape.even("CelebA: 2 x 3590 x 512", 2, 3590, 512),
    "imagenet20": Shape.even("ImageNet 20 %: 1000 x 256 x 512", 1000, 256, 512, timed=4),
    "imagenet50k": Shape.even("ImageNet 50 k: 1000 x 50 x 768", 1000, 50, 768, timed=16),
    "chestxray14": _chestxray14(),
}
QUICK = {
    "even": Shape.even("even: 6 x 64 x 32", 6, 64, 32, timed=2),
    "ragged": Shape("ragged: 3 classes of 40 to 90 x 32", (40, 60, 90), 32, timed=(0, 2)),
}
