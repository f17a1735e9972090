"""A user's torch classifier as it is: its scores, its last linear layer, what goes into that, and images in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from fdgpu.arrays import Array, to_device, to_host, to_torch
from fdgpu.checks import check_whole, shown
from fdgpu.device import BatchSize, halving_batches, out_of_memory
from fdgpu.errors import InputError

BATCH = 1024


def class_scores(model: nn.Module, images: Images, *, batch: int = BATCH, workers: int = 0) -> Tensor:
    """Return a classifier's scores (logits), (n, k) float32 where the model is, in evaluation mode.

    Args:
        model: images → (n, k), on any device.
        images: (n, 3, h, w) uint8 or floats as the model takes them, or a Dataset of (image, label) or of images.
        batch: images at a time; halved when memory runs out.
        workers: processes that load a Dataset.

    Raises:
        InputError: if there is no image, or the model's output is not a tensor (n, k).
    """
    source = _opened(model, images, workers)
    scores = _joined(model, [out for out, _ in _outputs(model, partial(scores_of, model), source, batch)])
    if scores.ndim != 2 or len(scores) != len(source):
        raise InputError(f"the model gives {tuple(scores.shape)} for {len(source)} images: it has to give (n, classes)")
    return scores


def _joined(model: nn.Module, parts: list[Tensor]) -> Tensor:
    """Return what a model gave for all batches.

    Raises:
        InputError: if it gave another shape an image from batch to batch.
    """
    shapes = list(dict.fromkeys(tuple(part.shape[1:]) for part in parts))
    if len(shapes) > 1 or not parts[0].ndim:
        raise InputError(
            f"{type(model).__name__} gives another shape from batch to batch, {tuple(parts[0].shape)} and "
            f"{tuple(parts[-1].shape)}: it has to give one row an image, (n, classes)"
        )
    return torch.cat(parts)


def penultimate(model: nn.Module, images: Images, *, batch: int = BATCH, workers: int = 0) -> Tensor:
    """Return what goes into the model's last linear layer, (n, d) float32 where the model is (paper, B.1.6).

    Args:
        model: images → (n, k), on any device.
        images: as :func:`class_scores` takes them.
        batch: images at a time; halved when memory runs out.
        workers: processes that load a Dataset.

    Raises:
        InputError: if the model's output does not come straight from a linear layer.
    """
    source = _opened(model, images, workers)
    return inputs_and_targets(model, last_linear_of(model, source), source, batch)[0]


def last_linear_of(model: nn.Module, source: Batches) -> nn.Linear:
    """Return :func:`last_linear`, tried on the first image of a source."""
    return last_linear(model, next(source.over([torch.arange(1)]))[0])


def inputs_and_targets(
    model: nn.Module, layer: nn.Module, source: Batches, batch: int = BATCH
) -> tuple[Tensor, Tensor | None]:
    """Return what goes into a layer, (n, d), and the labels that a Dataset gives with its images, in one pass."""
    with inputs_of(layer, model) as features:
        parts = list(_outputs(model, features, source, batch))
    targets = [own for _, own in parts if own is not None]
    return _joined(model, [out for out, _ in parts]), torch.cat(targets) if targets else None


@contextmanager
def inputs_of(layer: nn.Module, model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function that runs the model and returns what went into one of its layers, on the model's device."""
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach()))

    def features(inputs: Tensor) -> Tensor:
        caught.clear()
        model(inputs)
        return caught[-1]

    try:
        yield features
    finally:
        hook.remove()


def last_linear(model: nn.Module, example: Tensor) -> nn.Linear:
    """Return the linear layer whose output is the model's output.

    Args:
        model: any classifier.
        example: a batch that it takes, of one image, say.

    Raises:
        InputError: if there is none; names the last module.
    """
    made: list[tuple[nn.Linear, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, _, out: made.append((layer, out))) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            scores = scores_of(model, to_device(example, device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, out in reversed(made):
        if _equal(out, scores) and _is_output(model, layer, example):
            return layer
    last = list(model.modules())[-1]
    raise InputError(
        f"the output of {type(model).__name__} does not come straight from a linear layer (its last module is "
        f"{type(last).__name__}): pass a model that ends in nn.Linear, or use layers='all' where you fine-tune"
    )


def _is_output(model: nn.Module, layer: nn.Linear, example: Tensor) -> bool:
    """Whether the model returns the layer's output unchanged.

    Equal scores for one image do not prove it: a ReLU behind the layer changes negative numbers only. So the layer's
    output is replaced by −1, 0, 1, …, and the model has to return exactly these.
    """
    planted: list[Tensor] = []

    def plant(_layer: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        planted[:] = [torch.arange(-1, out.numel() - 1, device=out.device, dtype=out.dtype).view_as(out)]
        return planted[0].clone()  # a copy, as a layer behind may write into it

    hook = layer.register_forward_hook(plant)
    try:
        with evaluating(model), torch.no_grad():
            return _equal(scores_of(model, to_device(example, device_of(model))), planted[0])
    finally:
        hook.remove()


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return ``torch.equal``, which waits for the device unseen."""
    return one.shape == other.shape and bool(to_host((one == other).all(), "whether a layer's output is the model's"))


def scores_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the model's scores: its output, or the ``logits`` of it, as Hugging Face's models have them.

    Raises:
        InputError: if it is not a tensor, but a tuple, say.
    """
    out = model(inputs)
    out = getattr(out, "logits", out)
    if not isinstance(out, Tensor):
        raise InputError(
            f"{type(model).__name__} gives a {type(out).__name__}, not a tensor of scores: wrap it in a module whose "
            "forward returns the scores alone, such as model(x).logits"
        )
    return out


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and afterwards every module back to the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's parameters are, or else its buffers; the CPU for one that has neither."""
    return next((one.device for one in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the precision of the model's parameters; float32 for one that has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _opened(model: nn.Module, images: Images, workers: int) -> Batches:
    return open_batches(images, None, device_of(model), workers, dtype_of(model))


def _outputs(
    model: nn.Module, function: Callable[[Tensor], Tensor], source: Batches, batch: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield ``function`` of every batch, where the model is, and its targets."""
    batch = check_whole(batch, "batch", 1)
    rows = BatchSize(min(batch, len(source)))
    with evaluating(model), torch.no_grad():
        for inputs, targets in source.over(in_order(len(source), batch)):
            run = partial(_slice, function, inputs)
            yield _joined(model, [out.float() for _, out in halving_batches(run, len(inputs), rows)]), targets


def _slice(function: Callable[[Tensor], Tensor], inputs: Tensor, start: int, stop: int) -> Tensor:
    return function(inputs[start:stop])


# --- images in batches, from one tensor or a Dataset ------------------------------------------------------------------


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
