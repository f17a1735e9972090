"""Vectors of ImageNet's size without its images: class clusters, each with a planted failure direction.

A vector is its class's centre, plus a point of a subspace of 48 dimensions that all classes share, plus a little of
every dimension: real embeddings fill few of theirs. Some of a class's images lie on the hard side of the class's own
direction in the subspace, and the classifier is wrong on most of them. Every class is drawn from a seed of its own, so
that all sizes are one world, and no more than a class is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.imagenet_scale.layout import SPLITS, wnids
from fdgpu import EmbeddingStore
from fdgpu.captions.candidates import CaptionRecipe

Floats = NDArray[np.float32]

AT_ONCE = 8  # shards of a store that are appended together
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

    def divided(self, n: int) -> tuple[Block, Block]:
        """Return the first n images, and the others."""
        first, rest = (
            Block(self.ids[own], self.vectors[own], self.split, self.label, self.right[own], self.hard[own])
            for own in (slice(n), slice(n, None))
        )
        return first, rest


@dataclass(frozen=True)
class World:
    """How many images there are, of how many classes, and how long their vectors are."""

    train: int = 1_281_167
    val: int = 50_000
    classes: int = 1000
    dimension: int = 512
    seed: int = 0

    @property
    def images(self) -> int:
        """How many there are."""
        return self.train + self.val

    def share(self, fraction: float) -> World:
        """Return a world of a share of the classes, each with as many images."""
        classes = max(2, round(fraction * self.classes))
        return replace(
            self, train=self.train * classes // self.classes, val=self.val * classes // self.classes, classes=classes
        )

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


def write_store(world: World, path: Path) -> list[str]:
    """Write the vectors of a world into a new store, some shards at a time; return what was predicted of each image."""
    store = EmbeddingStore.create(path, world.dimension, model="synthetic vectors")
    size = AT_ONCE * store.manifest.shard_rows
    predictions: list[str] = []
    waiting: list[Block] = []
    for block in world.blocks():
        said = (block.label + ~block.right) % world.classes
        predictions.extend(world.names[k] for k in said.tolist())
        waiting.append(block)
        while sum(len(one.ids) for one in waiting) >= size:
            waiting = _appended(store, world, waiting, size)
    while waiting:
        waiting = _appended(store, world, waiting, size)
    return predictions


def _appended(store: EmbeddingStore, world: World, blocks: list[Block], size: int) -> list[Block]:
    """Append the first images of some blocks; return the others."""
    *whole, last = blocks
    left = max(0, sum(len(one.ids) for one in blocks) - size)
    first, rest = last.divided(len(last.ids) - left)
    whole.append(first)
    store.append(
        [own for one in whole for own in one.ids],
        np.concatenate([one.vectors for one in whole]),
        labels=[world.names[one.label] for one in whole for _ in one.ids],
        splits=[one.split for one in whole for _ in one.ids],
    )
    return [rest] if left else []


def captions(world: World, recipe: CaptionRecipe) -> tuple[list[str], Floats]:
    """Return every caption of a recipe once, and a random unit vector for each."""
    texts = list(dict.fromkeys(text for entry in recipe.classes for text in (entry.reference, *entry.grammar)))
    drawn = np.random.default_rng([world.seed, len(SPLITS) + 2]).standard_normal(
        (len(texts), world.dimension), np.float32
    )
    return texts, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
