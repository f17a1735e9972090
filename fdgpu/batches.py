"""A user's images, a batch at a time, as a torch model takes them: from one tensor, or from a Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fdgpu.arrays import to_torch
from fdgpu.errors import InputError

WORKERS = 0  # of the DataLoader: decoding images in further processes is the caller's choice


class Batches(Protocol):
    """Images in any order; floats where they were uint8, channels last, on the device."""

    def __len__(self) -> int: ...

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield inputs and targets (None where there are no labels) for each group of rows."""
        ...


class TensorBatches:
    """Images that are one tensor, (n, …), with their labels (n,) or (n, k), if any; both go to the device whole."""

    def __init__(self, images: Tensor, labels: Tensor | None, device: torch.device) -> None:
        if labels is not None and len(labels) != len(images):
            raise InputError(f"labels has {len(labels)} entries, images has {len(images)}: pass one label an image")
        self.device = device
        self.images = _moved(images, device)
        self.labels = None if labels is None else labels.to(device)

    def __len__(self) -> int:
        return len(self.images)

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows of each group."""
        for rows in groups:
            inputs = as_input(self.images[rows.to(self.images.device)].to(self.device))
            yield inputs, None if self.labels is None else self.labels[rows.to(self.device)]


class DatasetBatches:
    """A map-style Dataset of pairs (image, label)."""

    def __init__(self, dataset: Dataset[Any], device: torch.device, workers: int = WORKERS) -> None:
        self.dataset, self.device, self.workers = dataset, device, workers

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Load each group's pairs."""
        rows = [group.tolist() for group in groups]
        loader: DataLoader[Any] = DataLoader(self.dataset, batch_sampler=rows, num_workers=self.workers)
        for inputs, targets in loader:
            yield as_input(inputs.to(self.device)), targets.to(self.device)


def open_batches(images: Any, labels: Any, device: torch.device, workers: int = WORKERS) -> Batches:
    """Make batches of whatever the caller has.

    Args:
        images: (n, …) tensor or array, uint8 or what the model takes; a map-style Dataset of (image, label); or
            batches that were made before, which are given back.
        labels: (n,) class ids, (n, k) 0 or 1 for several labels an image; None for a Dataset, or where none is needed.
        device: where the batches go.
        workers: processes that load a Dataset.

    Raises:
        InputError: for labels beside a Dataset, no image at all, or numbers that differ.
    """
    if isinstance(images, (TensorBatches, DatasetBatches)):
        return images
    if isinstance(images, Dataset):
        if labels is not None:
            raise InputError("labels were given beside a Dataset, which has its own: pass one of the two")
        batches: Batches = DatasetBatches(images, device, workers)
    else:
        batches = TensorBatches(to_torch(images, "images"), _targets(labels), device)
    if len(batches) == 0:
        raise InputError("images is empty: pass at least one")
    return batches


def in_order(n: int, size: int) -> list[Tensor]:
    """Return the rows 0 … n−1 in groups of ``size``."""
    return list(torch.arange(n).split(size))


def as_input(images: Tensor) -> Tensor:
    """Bring uint8 to [0, 1], and images into the memory format in which convolutions are fast."""
    floats = images.float() / 255 if images.dtype == torch.uint8 else images
    return floats.contiguous(memory_format=torch.channels_last) if floats.ndim == 4 else floats


def _targets(labels: Any) -> Tensor | None:
    if labels is None:
        return None
    targets = to_torch(labels, "labels")
    if targets.ndim not in (1, 2):
        raise InputError(f"labels has shape {tuple(targets.shape)}: pass (n,) class ids, or (n, k) of 0 and 1")
    return targets.long() if targets.ndim == 1 else targets.float()


def _moved(images: Tensor, device: torch.device) -> Tensor:
    """Move a whole set to the device; one that does not fit stays, and goes there batch by batch."""
    try:
        return images.to(device)
    except torch.OutOfMemoryError:
        return images
