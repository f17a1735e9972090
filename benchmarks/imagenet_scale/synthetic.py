"""Vectors of ImageNet's size without its images: class clusters, each with a planted failure direction.

A vector is its class's centre, plus a point of a subspace of 48 dimensions that all classes share, plus a little of
every dimension: real embeddings fill few of theirs. Some of a class's images lie on the hard side of the class's own
direction in the subspace, and the classifier is wrong on most of them. Every class is drawn from a seed of its own, so
that all sizes are one world, and no more than a class is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.imagenet_scale.layout import SPLITS, wnids

Floats = NDArray[np.float32]

RANK = 48  # of the subspace
SHIFT, NOISE = 2.5, 0.3  # of a side along its direction; of all dimensions
HARD = 0.3  # share of a class's images on the hard side
WRONG = {True: 0.8, False: 0.05}  # how often the answer to an image of the hard side is wrong, and to another


@dataclass(frozen=True)
class Block:
    """The images of one class and split: unit vectors (n, d), which the classifier answers rightly, and on which side.

    ``ids`` are as ImageNet's; ``right`` and ``hard`` are (n,).
    """

    ids: list[str]
    vectors: Floats
    split: str
    label: int
    right: NDArray[np.bool_]
    hard: NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """How many images there are, of how many classes, and how long their vectors are."""

    train: int = 1_281_167
    val: int = 50_000
    classes: int = 1000
    dimension: int = 512
    seed: int = 0

    @cached_property
    def names(self) -> list[str]:
        """WordNet ids; of more classes than ImageNet's thousand, with the number of times round."""
        known = wnids()
        return [known[k % len(known)] + (f"_{k // len(known)}" if k >= len(known) else "") for k in range(self.classes)]

    @cached_property
    def basis(self) -> Floats:
        """(48, d) of the subspace."""
        drawn = np.random.default_rng([self.seed]).standard_normal((RANK, self.dimension), np.float32)
        return drawn / np.float32(np.sqrt(self.dimension))

    def direction(self, label: int) -> Floats:
        """Return (d,) a class's planted direction, from hard to easy, a unit vector before any whitening."""
        along = self._side(label) @ self.basis
        return np.asarray(along / np.linalg.norm(along))

    def blocks(self) -> Iterator[Block]:
        """Yield train class by class, and then val."""
        for split, n in zip(SPLITS, (self.train, self.val), strict=True):
            bounds = np.linspace(0, n, self.classes + 1).astype(int).tolist()
            for label, (start, stop) in enumerate(pairwise(bounds)):
                yield self._block(split, label, start, stop - start)

    def _block(self, split: str, label: int, first: int, n: int) -> Block:
        rng = np.random.default_rng([self.seed, SPLITS.index(split), label])
        hard = rng.random(n) < HARD
        points = rng.standard_normal((n, RANK), np.float32)
        points += np.where(hard, -SHIFT, SHIFT)[:, None].astype(np.float32) * self._side(label)
        vectors = points @ self.basis + NOISE * rng.standard_normal((n, self.dimension), np.float32) / np.float32(
            np.sqrt(self.dimension)
        )
        vectors += self._centre(label)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        right = rng.random(n) >= np.where(hard, WRONG[True], WRONG[False])
        name = self.names[label]
        ids = [
            f"train/{name}/{name}_{i + 1}.JPEG" if split == "train" else f"val/{name}/ILSVRC2012_val_{i + 1:08d}.JPEG"
            for i in range(first, first + n)
        ]
        return Block(ids, vectors, split, label, right, hard)

    def _centre(self, label: int) -> Floats:
        drawn = np.random.default_rng([self.seed, len(SPLITS), label]).standard_normal(self.dimension, np.float32)
        return np.asarray(drawn / np.linalg.norm(drawn))

    def _side(self, label: int) -> Floats:
        drawn = np.random.default_rng([self.seed, len(SPLITS) + 1, label]).standard_normal(RANK, np.float32)
        return np.asarray(drawn / np.linalg.norm(drawn))
