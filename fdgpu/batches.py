"""A user's images, a batch at a time, as a torch model takes them: from one tensor, or from a Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from fdgpu.arrays import Array, to_device, to_host, to_torch
from fdgpu.checks import check_whole, shown
from fdgpu.device import out_of_memory
from fdgpu.errors import InputError

Images = Any  # one array (n, …), a map-style Dataset of (image, label), or batches that were made before
MOST_WORKERS = 4096  # processes
WORKERS = 0  # of the DataLoader: loading images in further processes is the caller's choice


class Batches(Protocol):
    """Images in any order, on the device, in the model's precision and channels last; [0, 1] where they were uint8."""

    def __len__(self) -> int: ...

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield inputs and targets for each group of rows.

        Targets stay on the host, where they are checked without waiting for the device; None where there are no labels.
        """
        ...


class TensorBatches:
    """Images that are one tensor (n, …), which goes to the device whole, with labels (n,) or (n, k) or none."""

    def __init__(self, images: Tensor, labels: Tensor | None, device: torch.device, dtype: torch.dtype) -> None:
        if labels is not None and len(labels) != len(images):
            raise InputError(f"labels has {len(labels)} entries, images has {len(images)}: pass one label an image")
        self.device, self.dtype = device, dtype
        self.images, self.labels = _moved(images, device), labels

    def __len__(self) -> int:
        return len(self.images)

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows of each group."""
        for rows in groups:
            inputs = to_device(self.images[to_device(rows, self.images.device)], self.device)
            yield as_input(inputs, self.dtype), None if self.labels is None else self.labels[rows]


class DatasetBatches:
    """A map-style Dataset of pairs (image, label)."""

    def __init__(self, dataset: Images, device: torch.device, dtype: torch.dtype, workers: int) -> None:
        check_map_style(dataset)
        self.dataset, self.device, self.dtype = dataset, device, dtype
        self.workers = check_whole(workers, "workers", 0, MOST_WORKERS)

    def __len__(self) -> int:
        return len(self.dataset)

    def over(self, groups: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Load each group's pairs."""
        rows = [group.tolist() for group in groups]
        # beside workers a thread pins; without them to_device does
        pins = self.device.type == "cuda" and self.workers > 0
        loader: DataLoader[object] = DataLoader(
            self.dataset, batch_sampler=rows, num_workers=self.workers, pin_memory=pins, collate_fn=stacked
        )
        for loaded in loader:
            inputs, targets = self._pair(loaded)
            yield as_input(to_device(inputs, self.device), self.dtype), targets

    def _pair(self, loaded: object) -> tuple[Tensor, Tensor | None]:
        """Return images and labels; None for labels that are missing or are text, which only training refuses."""
        if isinstance(loaded, Tensor):
            return loaded, None
        images, labels = pair_of(loaded, self.dataset)
        return images, labels if isinstance(labels, Tensor) else None


def stacked(items: list[Any]) -> object:
    """Return a Dataset's items as one batch.

    Raises:
        InputError: for images of different shapes, or ones that are no tensors.
    """
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        if out_of_memory(error):
            raise
    images = [item[0] if isinstance(item, (tuple, list)) and item else item for item in items]
    shapes = list(dict.fromkeys(tuple(np.shape(one)) for one in images if isinstance(one, (Tensor, np.ndarray))))
    if len(shapes) > 1:
        raise InputError(
            f"the Dataset's images have different shapes, {shapes[0]} and {shapes[1]}: resize them all to one size"
        )
    odd = next((one for one in images if not isinstance(one, (Tensor, np.ndarray))), None)
    what = "labels that cannot be stacked" if odd is None else f"{shown(odd)} for an image"
    raise InputError(f"an item of the Dataset holds {what}: give pairs (image, label) of tensors and numbers")


def open_batches(
    images: Images,
    labels: Array | None,
    device: torch.device,
    workers: int = WORKERS,
    dtype: torch.dtype = torch.float32,
) -> Batches:
    """Make batches of an array or a Dataset.

    Args:
        images: (n, …) tensor or array, uint8 or floats as the model takes them; a map-style Dataset of (image, label);
            or batches that were made before, which are returned.
        labels: (n,) class ids, (n, k) 0 or 1 for several labels an image; None for a Dataset, or where none is needed.
        device: where the batches go.
        workers: processes that load a Dataset.
        dtype: the model's precision, which images are brought to.

    Raises:
        InputError: for labels beside a Dataset, no image at all, numbers that differ, or class ids that are not whole.
    """
    if isinstance(images, (TensorBatches, DatasetBatches)):
        return images
    if is_dataset(images):
        if labels is not None:
            raise InputError("labels were given beside a Dataset, which has its own: pass one of the two")
        batches: Batches = DatasetBatches(images, device, dtype, workers)
    else:
        targets = None if labels is None else as_targets(labels)
        batches = TensorBatches(to_torch(images, "images"), targets, device, dtype)
    if len(batches) == 0:
        raise InputError("images is empty: pass at least one")
    return batches


def check_map_style(dataset: object) -> None:
    """Check that a Dataset can be read in any order.

    Raises:
        InputError: if it has no length.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise InputError(
            f"{type(dataset).__name__} has no length: pass a map-style Dataset, one with __len__ and __getitem__"
        )


def pair_of(item: object, dataset: object) -> tuple[Any, Any]:
    """Return the image and the label of an item, or those of a batch of items.

    Raises:
        InputError: if it is no pair; says what ``dataset`` gave.
    """
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    came = f"{len(item)} parts" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
    raise InputError(f"an item of {type(dataset).__name__} is {came}: it has to be a pair (image, label)")


def in_order(n: int, size: int) -> list[Tensor]:
    """Return the rows 0 … n−1 in groups of ``size``."""
    return list(torch.arange(n).split(size))


def is_dataset(images: object) -> bool:
    """Whether images come one by one: from a torch Dataset, or from an object that has its methods and is no array."""
    if isinstance(images, Dataset):
        return True
    array = hasattr(images, "__array__") or hasattr(images, "__dlpack__") or isinstance(images, (list, tuple, dict))
    return hasattr(images, "__getitem__") and hasattr(images, "__len__") and not array


def as_input(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bring uint8 to [0, 1], all to one precision, and images to the memory format in which convolutions are fast.

    Raises:
        InputError: for other integers, whose range is not known.
    """
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(
            f"images is of type {images.dtype}: pass uint8 from 0 to 255, or floats as the model takes them"
        )
    floats = images.to(dtype) / 255 if images.dtype == torch.uint8 else images.to(dtype)
    return floats.contiguous(memory_format=torch.channels_last) if floats.ndim == 4 else floats


def as_targets(labels: Array) -> Tensor:
    """Return class ids (n,) as integers, or several labels an image (n, k) as floats, on the host.

    Raises:
        InputError: for another shape, or class ids that are not whole numbers.
    """
    targets = torch.from_numpy(to_host(to_torch(labels, "labels"), "labels to train on"))
    if targets.ndim not in (1, 2):
        raise InputError(f"labels has shape {tuple(targets.shape)}: pass (n,) class ids, or (n, k) of 0 and 1")
    if targets.ndim == 2:
        return targets.float()
    if targets.is_floating_point() and bool((targets != targets.trunc()).any()):
        raise InputError("labels holds a number that is not whole: pass class ids (n,), or (n, k) of 0 and 1")
    return targets.long()


def _moved(images: Tensor, device: torch.device) -> Tensor:
    """Move all images to the device; where they do not fit they stay, and go there batch by batch."""
    try:
        return to_device(images, device)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return images
