"""Sets of images as an experiment has them: marked with what is known, and seen by the two networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

Images = Tensor | Sequence[Path]
Inputs = Tensor | Dataset[Any]


@dataclass(frozen=True)
class Marked:
    """Images with the label that a model is to give, and what it does not see.

    Attributes:
        images: (n, 3, h, w) uint8, or the n files.
        labels: (n,) class ids, or (n, k) of 0 and 1 where an image has several labels.
        kinds: (n,) finer than the labels: a subclass, or anything else that an experiment distinguishes.
        minority: (n,) bool, the images on which a model is expected to fail.
    """

    images: Images
    labels: Tensor
    kinds: Tensor
    minority: Tensor

    @property
    def pixels(self) -> Tensor:
        """The images, where they are in memory."""
        if not isinstance(self.images, Tensor):
            raise TypeError(f"{len(self)} images are files: they are read when they are asked for")
        return self.images

    @property
    def files(self) -> Sequence[Path]:
        """The images, where they are files."""
        if isinstance(self.images, Tensor):
            raise TypeError(f"{len(self)} images are in memory: there are no files")
        return self.images

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> Marked:
        images = self.images[rows] if isinstance(self.images, Tensor) else [self.images[i] for i in rows.tolist()]
        return Marked(images, self.labels[rows], self.kinds[rows], self.minority[rows])


@dataclass(frozen=True)
class Seen:
    """A marked set as the two networks see it: ``inputs`` of the base model, ``embeddings`` (n, d) of CLIP."""

    marked: Marked
    inputs: Inputs
    embeddings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.marked)

    def __getitem__(self, rows: Tensor) -> Seen:
        return Seen(self.marked[rows], take(self.inputs, rows), self.embeddings[rows.numpy()])

    @property
    def labels(self) -> Tensor:
        """(n,) class ids, or (n, k)."""
        return self.marked.labels

    @property
    def kinds(self) -> Tensor:
        """(n,)."""
        return self.marked.kinds

    @property
    def minority(self) -> Tensor:
        """(n,) bool."""
        return self.marked.minority

    def with_minority(self, minority: Tensor) -> Seen:
        """Return the same set with other images marked."""
        return replace(self, marked=replace(self.marked, minority=minority))


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """Return some rows of a model's inputs, in memory or not."""
    return inputs[rows] if isinstance(inputs, Tensor) else Subset(inputs, rows.tolist())


def join(one: Inputs, other: Inputs) -> Inputs:
    """Return the inputs of both."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.cat([one, other])
    return ConcatDataset([one, other])  # type: ignore[list-item]


def both(one: Seen, other: Seen) -> Seen:
    """Return the images of two sets as one."""
    marked = Marked(
        _images(one.marked.images, other.marked.images),
        torch.cat([one.labels, other.labels]),
        torch.cat([one.kinds, other.kinds]),
        torch.cat([one.minority, other.minority]),
    )
    return Seen(marked, join(one.inputs, other.inputs), np.concatenate([one.embeddings, other.embeddings]))


def _images(one: Images, other: Images) -> Images:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.cat([one, other])
    return [*one, *other]
