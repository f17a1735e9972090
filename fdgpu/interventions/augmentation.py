"""A training set with further images: synthetic ones, or those chosen from a pool (paper, 2.3, A.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fdgpu.arrays import to_numpy, to_torch
from fdgpu.errors import InputError


class AugmentedDataset(Dataset[tuple[Any, Any]]):
    """The pairs (image, label) of a Dataset, followed by further images that are arrays.

    ``n_added`` says how many; the last ``n_added`` indices are theirs.
    """

    def __init__(
        self, base: Dataset[Any], images: Tensor, labels: Tensor, transform: Callable[[Tensor], Any] | None = None
    ) -> None:
        self.base, self.images, self.labels, self.transform = base, images, labels, transform
        self.n_base, self.n_added = len(base), len(images)  # type: ignore[arg-type]
        if self.n_base and self.n_added:
            self._check_alike()

    def __len__(self) -> int:
        return self.n_base + self.n_added

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"index {index} of {len(self)} examples")
        if place < self.n_base:
            image, label = self.base[place]
            return image, int(label)
        image = self.images[place - self.n_base]
        return image if self.transform is None else self.transform(image), int(self.labels[place - self.n_base])

    def _check_alike(self) -> None:
        """Images of both kinds go into one batch."""
        own, added = self[0][0], self[self.n_base][0]
        for name in ("shape", "dtype"):
            one, other = getattr(own, name, None), getattr(added, name, None)
            if one != other:
                raise InputError(
                    f"the Dataset's images have {name} {_words(one)}, the added ones {_words(other)}: pass a transform "
                    "that makes the added images what the Dataset gives"
                )


def augmented(
    dataset: Dataset[Any], images: Any, labels: Any, transform: Callable[[Tensor], Any] | None = None
) -> AugmentedDataset:
    """Add images to a training set, to be fine-tuned or trained on.

    Args:
        dataset: map-style, of (image, label); ``TensorDataset(images, labels)`` where they are tensors.
        images: (m, 3, h, w) to add, for example what a :class:`fdgpu.Decoder` made of the hard captions.
        labels: (m,) class ids.
        transform: of each added image; has to give what the data set gives.

    Raises:
        InputError: for numbers that differ, labels that are not integers, or images of another shape or type.
    """
    pictures, ids = to_torch(images, "images"), to_numpy(labels, "labels")
    if pictures.ndim != 4:
        raise InputError(f"images has shape {tuple(pictures.shape)}: pass (m, 3, h, w)")
    if ids.shape != (len(pictures),):
        raise InputError(f"labels has shape {ids.shape}, images has {len(pictures)}: pass one label an image")
    if ids.dtype.kind not in "iu":
        raise InputError(f"labels is of type {ids.dtype}: pass integer class ids")
    return AugmentedDataset(dataset, pictures, torch.from_numpy(ids.astype("int64")), transform)


def _words(kind: Any) -> str:
    return str(tuple(kind) if isinstance(kind, torch.Size) else kind)
