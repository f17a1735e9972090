"""A training set with further images: synthetic ones, or those chosen from a pool (paper, 2.3, A.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fdgpu.arrays import to_torch
from fdgpu.batches import as_targets, check_map_style, pair_of
from fdgpu.errors import InputError


class AugmentedDataset(Dataset[tuple[Any, Any]]):
    """The pairs (image, label) of a Dataset, followed by further images that are arrays (paper, 2.3, A.8).

    Labels are whole numbers; where an image has several, they are (k,) floats of 0 and 1. ``n_added`` says how many
    images were added; the last ``n_added`` indices are theirs.

    Args:
        base: map-style, of (image, label).
        images: (m, …) to add; kept on the CPU, where a DataLoader collates.
        labels: (m,) class ids, or (m, k) of 0 and 1, as ``base`` has them.
        transform: of each added image.

    Raises:
        InputError: if ``base`` has no length, its items are no pairs, or the added ones do not go into one batch with
            them.
    """

    def __init__(
        self, base: Dataset[Any], images: Tensor, labels: Tensor, transform: Callable[[Tensor], Any] | None = None
    ) -> None:
        check_map_style(base)
        self.base, self.images, self.labels, self.transform = base, images.cpu(), labels.cpu(), transform
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
            image, label = pair_of(self.base[place], self.base)
            return image, _label(label)
        image = self.images[place - self.n_base]
        return image if self.transform is None else self.transform(image), _label(self.labels[place - self.n_base])

    def _check_alike(self) -> None:
        """Images and labels of both kinds go into one batch."""
        own, added = self[0], self[self.n_base]
        for name in ("shape", "dtype"):
            one, other = getattr(own[0], name, None), getattr(added[0], name, None)
            if one != other:
                raise InputError(
                    f"the Dataset's images have {name} {_words(one)}, the added ones {_words(other)}: pass a transform "
                    "that makes the added images what the Dataset gives"
                )
        of_one, of_other = (tuple(getattr(label, "shape", ())) for _, label in (own, added))
        if of_one != of_other:
            raise InputError(
                f"the Dataset's labels have shape {of_one}, the added ones {of_other}: pass (m,) class ids where the "
                "Dataset has class ids, and (m, k) of 0 and 1 where it has (k,)"
            )


def augmented(
    dataset: Dataset[Any], images: Any, labels: Any, transform: Callable[[Tensor], Any] | None = None
) -> AugmentedDataset:
    """Add images to a training set, to be fine-tuned or trained on (paper, 2.3, A.8).

    Args:
        dataset: map-style, of (image, label); ``TensorDataset(images, labels)`` where they are tensors.
        images: (m, 3, h, w) to add, for example what a :class:`fdgpu.Decoder` made of the hard captions.
        labels: (m,) whole class ids, or (m, k) of 0 and 1 where the data set's images have several labels.
        transform: of each added image, on the CPU; has to give what the data set gives.

    Raises:
        InputError: for numbers that differ, labels that are no class ids, images or labels that are not like the data
            set's, or a data set without a length or of other items than pairs.
    """
    pictures = to_torch(images, "images")
    if pictures.ndim != 4:
        raise InputError(f"images has shape {tuple(pictures.shape)}: pass (m, 3, h, w)")
    return AugmentedDataset(dataset, pictures, _labels(labels, len(pictures)), transform)


def _labels(labels: Any, m: int) -> Tensor:
    """Return (m,) integers, or (m, k) floats."""
    targets = as_targets(labels)
    if len(targets) != m:
        raise InputError(f"labels has {len(targets)} entries, images has {m}: pass one label an image")
    if targets.ndim == 2 and not bool(((targets == 0) | (targets == 1)).all()):
        raise InputError("labels (m, k) holds something else than 0 and 1: pass 1 where a label applies, else 0")
    return targets


def _label(label: Any) -> int | Tensor:
    """Return a class id, or several labels of one image as (k,) floats."""
    own = to_torch(label, "the Dataset's label")
    if own.ndim == 1:
        return own.float()
    if own.ndim == 0 and float(own).is_integer():
        return int(own)
    raise InputError(f"the Dataset's label is {label!r}: it has to be a whole class id, or (k,) of 0 and 1")


def _words(kind: Any) -> str:
    return str(tuple(kind) if isinstance(kind, torch.Size) else kind)
