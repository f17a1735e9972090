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
from torch import nn
from torchvision.transforms import InterpolationMode

from benchmarks.imagenet_scale.layout import SPLITS, wnids
from fdgpu import EmbeddingStore
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.preprocess import Preprocess, ResizeMode
from fdgpu.fingerprint import weights_digest

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


@dataclass(frozen=True)
class World:
    """How many images there are, of how many classes, and how long their vectors are."""

    train: int = 1_281_167
    val: int = 50_000
    classes: int = 1000
    dimension: int = 512
    seed: int = 0

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


class Stored(ImageEmbedder):
    """Stands for the model that made the vectors of a store, which is never asked for others."""

    preprocess = Preprocess((1, 1), (0.0,) * 3, (1.0,) * 3, InterpolationMode.BICUBIC, ResizeMode.SHORTEST)

    def __init__(self, dimension: int, device: str) -> None:
        super().__init__("synthetic vectors", device, batch_size=256, precision="float32")
        self.dimension, self.model = dimension, nn.Linear(dimension, 1, bias=False)
        nn.init.zeros_(self.model.weight)


@dataclass(frozen=True)
class Columns:
    """What an audit is told of the images of a world: n ids, labels, predictions and splits."""

    ids: list[str]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    splits: list[str]


def write_store(world: World, path: Path) -> Columns:
    """Write the vectors of a world into a new store, some shards at a time; return what else there is of them."""
    embedder = Stored(world.dimension, "cpu")
    store = EmbeddingStore.create(
        path,
        world.dimension,
        model=embedder.name,
        fingerprint=weights_digest({"model": embedder.model}),
        preprocessing=embedder.preprocessing,
    )
    size = AT_ONCE * store.manifest.shard_rows
    told = Columns([], *np.empty((2, world.train + world.val), np.int64), [])
    waiting = np.empty((size, world.dimension), np.float32)
    held = 0

    def write() -> None:
        first = len(told.ids) - held
        some = slice(first, len(told.ids))
        names = [world.names[k] for k in told.labels[some]]
        store.append(told.ids[some], waiting[:held], labels=names, splits=told.splits[some])

    for block in world.blocks():
        done = 0
        while done < len(block.ids):
            count = min(size - held, len(block.ids) - done)
            own, at = slice(done, done + count), len(told.ids)
            waiting[held : held + count] = block.vectors[own]
            told.labels[at : at + count] = block.label
            told.predictions[at : at + count] = np.where(
                block.right[own], block.label, (block.label + 1) % world.classes
            )
            told.ids.extend(block.ids[own])
            told.splits.extend([block.split] * count)
            held, done = held + count, done + count
            if held == size:
                write()
                held = 0
    if held:
        write()
    return told


def captions(world: World, recipe: CaptionRecipe) -> tuple[list[str], Floats]:
    """Return every caption of a recipe once, and a random unit vector for each."""
    texts = list(dict.fromkeys(text for entry in recipe.classes for text in (entry.reference, *entry.grammar)))
    drawn = np.random.default_rng([world.seed, len(SPLITS) + 2]).standard_normal(
        (len(texts), world.dimension), np.float32
    )
    return texts, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
