"""torch's ``Dataset`` and ``DataLoader`` as sources: the images apart from the transform where that is possible.

A Dataset's transform is the classifier's preprocessing. A CLIP has its own, and needs the image as it was before. So a
Dataset that keeps its transform in ``transform`` or ``transforms``, as torchvision's do, is asked without it, and the
transform becomes the source's; the first image shows whether both together give what the Dataset gives. Where they do
not, the CLIP sees what the transform leaves, and a doubt says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    default_collate,
)

from fdgpu.arrays import is_array, to_host
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.sources import FileSource, ImageSource, IndexedSource, printable, rows_of
from fdgpu.errors import InputError, one_line

CHANGING = (
    "The Dataset gives another image each time that it is asked: a random transform, as for training? The model's "
    "answers are of one such draw. Audit with the transform of evaluation."
)
TRIED = 32  # items, until one can be had
LOOKS = 8  # at one item: a flip of every second image stays hidden once in 256 times
Items = Dataset[object]


def dataset_source(images: Items | DataLoader[object]) -> ImageSource:
    """Make a source of a Dataset, or of a DataLoader over one.

    Of a loader, its rows, its workers and, where it has one, its way to make batches are taken; not its order, so that
    ids mean something.

    Raises:
        InputError: for a Dataset without items, or whose items are no images.
    """
    if isinstance(images, DataLoader):
        sampler = images.batch_sampler
        plain = images.collate_fn is default_collate and not isinstance(images.dataset, IterableDataset)
        if not plain or not isinstance(sampler, BatchSampler):
            return LoadedSource(images)
        rows = {int(row) for row in sampler.sampler}  # a sampler with replacement, or one that pads, names some twice
        return DatasetSource(images.dataset, sorted(rows), images.num_workers)
    return LoadedSource(images) if isinstance(images, IterableDataset) else DatasetSource(images)


class DatasetSource(IndexedSource):
    """A map-style Dataset of images, or of pairs (image, label).

    Its items are taken one after the other, by one thread or by the processes of a DataLoader, since a Dataset may hold
    an open file; decoding of paths that it lists, as an ``ImageFolder`` does, is done by threads.

    Args:
        dataset: with ``__len__`` and ``__getitem__``.
        rows: those to take; None for all.
        workers: processes that load items.

    Attributes:
        transformed: whether images come with the Dataset's transform only.
    """

    def __init__(self, dataset: Items, rows: Sequence[int] | None = None, workers: int = 0) -> None:
        self.rows = range(len(dataset)) if rows is None else rows  # type: ignore[arg-type]
        while isinstance(dataset, Subset):
            self.rows = [int(dataset.indices[row]) for row in self.rows]
            dataset = dataset.dataset
        if not len(self.rows):
            raise InputError(f"{type(dataset).__name__} has no items: pass a Dataset of images")
        self.dataset, self.workers, self.length = dataset, workers, len(dataset)  # type: ignore[arg-type]
        self.files = _files(dataset)
        self.ids = [self._id(row) for row in self.rows]
        row, image, label = self._tried()
        self.class_names, self.labels = _class_names(dataset), self._known_labels(row, label)
        changes = not all(_same(image, _pair(dataset[row], dataset)[0]) for _ in range(LOOKS))
        bare, self.transform = _apart(dataset, row, image, changes)
        self._items = _Guarded(bare, self.length)
        self.transformed = self.transform is None and isinstance(image, Tensor) and image.is_floating_point()
        self._invert = _un_normalised(dataset, image) if self.transformed else None
        self.doubts = (CHANGING,) * changes + ((_seen(dataset, image),) if self.transformed else ())

    def __len__(self) -> int:
        return len(self.rows)

    def samples(self) -> Iterator[Sample]:
        """Yield the items in order; those of files are opened by the threads that decode.

        Raises:
            InputError: if the Dataset has another length in the end than it had at first, or no item where it should.
        """
        if self.files is not None and self.transform is None:
            yield from super().samples()
        elif self.workers:
            loader = DataLoader(
                self._items, sampler=self.rows, batch_size=None, num_workers=self.workers, collate_fn=_as_it_is
            )
            yield from (self._sample(at, item) for at, item in enumerate(loader))
        else:
            yield from super().samples()
        if len(self.dataset) != self.length:  # type: ignore[arg-type]
            raise InputError(
                f"{type(self.dataset).__name__} had {self.length} items and has {len(self.dataset)} now: "  # type: ignore[arg-type]
                "leave it alone while it is audited"
            )

    def only(self, ids: Collection[str]) -> ImageSource:
        """Return some items, which as many processes load."""
        chosen, part = rows_of(self.ids, ids), copy.copy(self)
        part.rows, part.ids = [self.rows[row] for row in chosen], [self.ids[row] for row in chosen]
        part.labels = None if self.labels is None else [self.labels[row] for row in chosen]
        return part

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return the size and the time of files; none where the label or the picture may change beside them."""
        if self.files is None or self.labels is None or self.transformed:
            return [None] * len(rows)
        return FileSource([self.files[0][self.rows[row]] for row in rows], [""] * len(rows)).stamps(range(len(rows)))

    def sample(self, row: int) -> Sample:
        """Return one item; one that cannot be had is a sample whose image says why."""
        if self.files is not None and self.labels is not None and not self.transformed:
            path, loader = self.files[0][self.rows[row]], self.files[1]
            image = path if self.transform is None else lambda: loader(str(path))
            return Sample(self.ids[row], image, self.labels[row])
        return self._sample(row, self._items[self.rows[row]])

    def _sample(self, row: int, item: object) -> Sample:
        image, label = (item, None) if isinstance(item, _Raising) else _pair(item, self.dataset)
        label = label if self.labels is None else self.labels[row]
        if not self.transformed or not isinstance(image, Tensor):
            return Sample(self.ids[row], image, label)
        return Sample(self.ids[row], self._invert(image) if self._invert else image, label, None, image)

    def _id(self, row: int) -> str:
        if self.files is None:
            return str(row)
        path, root = self.files[0][row], getattr(self.dataset, "root", None)
        inside = root is not None and path.is_relative_to(root)
        return printable(path.relative_to(str(root)) if inside else path)

    def _tried(self) -> tuple[int, object, object]:
        """Return the first row whose item can be had, with its image and label."""
        reason: object = None
        for row in self.rows[:TRIED]:
            try:
                item = self.dataset[row]
            except Exception as error:
                reason = one_line(error)
                continue
            return (row, *_pair(item, self.dataset))
        raise InputError(
            f"{type(self.dataset).__name__} has no item that can be had ({reason}): try dataset[{self.rows[0]}]"
        )

    def _known_labels(self, first: int, label: object) -> list[object] | None:
        """Return ``targets``, as torchvision's data sets have them, if the first agrees with the first item."""
        targets = getattr(self.dataset, "targets", None)
        if targets is None or label is None or not hasattr(targets, "__len__") or len(targets) != self.length:
            return None
        listed = targets.tolist() if hasattr(targets, "tolist") else list(targets)
        own = label.tolist() if hasattr(label, "tolist") else label
        agrees = type(listed[first]) is type(own) and listed[first] == own
        return [listed[row] for row in self.rows] if agrees else None


class LoadedSource(ImageSource):
    """An iterable Dataset, or a DataLoader that makes batches in a way of its own: read in order, ids are positions."""

    _invert: Callable[[Tensor], Tensor] | None = None

    def __init__(self, loader: DataLoader[object] | Items) -> None:
        self.loader = loader
        made = iter(loader)
        try:
            first = next(made)
        except StopIteration:
            raise InputError(f"{type(loader).__name__} has no items: pass images") from None
        self._begun: Iterable[object] | None = chain([first], made)
        dataset = loader.dataset if isinstance(loader, DataLoader) else loader
        image = next(self._items(first))[0]
        self.once = isinstance(loader, Iterator) or _shuffles(loader)  # ids are positions
        self.transformed = isinstance(image, Tensor) and image.is_floating_point()
        if self.transformed:
            self._invert = _un_normalised(dataset, image)
            self.doubts = (_seen(dataset, image),)

    def samples(self) -> Iterator[Sample]:
        """Yield the items of all batches, or all items."""
        row, batches = 0, self._begun if self._begun is not None else self.loader
        self._begun = None
        for one in batches:  # type: ignore[union-attr]  # an iterable Dataset
            for image, label in self._items(one):
                if self.transformed and isinstance(image, Tensor):
                    yield Sample(str(row), self._invert(image) if self._invert else image, label, None, image)
                else:
                    yield Sample(str(row), image, label)
                row += 1

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Go through once more, where that gives the same."""
        return [None] * len(rows) if self.once else super().again(rows)

    def _items(self, one: object) -> Iterator[tuple[object, object]]:
        """Yield the pairs of a batch, or of one item."""
        if not isinstance(self.loader, DataLoader) or self.loader.batch_sampler is None:
            yield _pair(one, self.loader)
            return
        images, labels = one[:2] if isinstance(one, (tuple, list)) and len(one) > 1 else _pair(one, self.loader)
        if labels is not None and len(labels) != len(images):
            raise InputError("a batch of the DataLoader has more images than labels, or fewer: give one label an image")
        yield from zip(images, [None] * len(images) if labels is None else labels, strict=True)


class _Guarded(Dataset[object]):
    """A Dataset, of which one item that cannot be had does not stop the others."""

    def __init__(self, dataset: Items, length: int) -> None:
        self.dataset, self.length = dataset, length

    def __getitem__(self, row: int) -> object:
        try:
            return self.dataset[row]
        except IndexError:
            raise InputError(
                f"{type(self.dataset).__name__} has no item {row}, and says that it has {self.length}: correct its "
                "__len__"
            ) from None
        except Exception as error:
            return _Raising(one_line(error))


class _Raising:
    """Stands for the image of an item that cannot be had."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self) -> object:
        raise InputError(f"cannot be loaded ({self.reason})")


class _OfTarget:
    """Stands for ``transforms`` where only the target is to be transformed."""

    def __init__(self, target: Callable[[object], object]) -> None:
        self.target = target

    def __call__(self, image: object, label: object) -> tuple[object, object]:
        return image, self.target(label)


def _as_it_is(item: object) -> object:
    return item


def _pair(item: object, dataset: object) -> tuple[object, object]:
    """Return the image and the label of an item, or those of a batch.

    Raises:
        InputError: if the item is neither an image, nor a pair of one and its label, nor a mapping of both.
    """
    if isinstance(item, Mapping):
        for name in ("image", "img", "pixel_values"):
            if name in item:
                return item[name], next((item[own] for own in ("label", "labels", "target") if own in item), None)
        keys = ", ".join(map(repr, list(item)[:5]))
        raise InputError(f"an item of {type(dataset).__name__} has the keys {keys}: call its image 'image'")
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) >= 2 and _is_image(item[0]) and not _is_image(item[1]):
        return item[0], item[1]
    inside = ", ".join(type(one).__name__ for one in item[:5])
    raise InputError(
        f"an item of {type(dataset).__name__} is a {type(item).__name__} of {len(item)} ({inside}): it has to be an "
        "image, or a pair (image, label)"
    )


def _is_image(one: object) -> bool:
    """Whether it can be an image, or a batch of them; a label has one dimension at most, in a batch two."""
    if isinstance(one, (Tensor, np.ndarray)) or is_array(one):
        return one.ndim >= (3 if isinstance(one, Tensor) and one.is_floating_point() else 2)  # type: ignore[attr-defined, no-any-return]
    return isinstance(one, (Image.Image, Path, bytes))


def _apart(dataset: Items, row: int, image: object, changes: bool) -> tuple[Items, Callable[[object], Tensor] | None]:
    """Return the Dataset without its transform, and the transform; the Dataset and None where they cannot be parted.

    Both together have to give what the Dataset gives, or, of a random transform, an image of that size.
    """
    transform = getattr(dataset, "transform", None)
    if not callable(transform) or not isinstance(image, Tensor):
        return dataset, None
    bare = copy.copy(dataset)
    of_target = getattr(bare, "target_transform", None)
    for name in ("transform", "transforms"):
        if hasattr(bare, name):
            setattr(bare, name, None)
    if of_target is not None and hasattr(bare, "transforms"):
        bare.transforms = _OfTarget(of_target)
    try:
        made = transform(_pair(bare[row], bare)[0])
    except Exception:
        return dataset, None
    fits = isinstance(made, Tensor) and made.shape == image.shape and (changes or _same(made, image))
    return (bare, transform) if fits else (dataset, None)


def _same(one: object, other: object) -> bool:
    """Whether two images are equal; on a device that is not asked."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and (one.device.type != "cpu" or bool((one == other).all()))
    return not isinstance(one, Image.Image) or one == other


def _files(dataset: Items) -> tuple[list[Path], Callable[[str], object]] | None:
    """Return the paths that torchvision's ``DatasetFolder`` lists, and what opens them."""
    samples, loader = getattr(dataset, "samples", None), getattr(dataset, "loader", None)
    if not isinstance(samples, list) or not callable(loader) or len(samples) != len(dataset):  # type: ignore[arg-type]
        return None
    if not all(isinstance(one, tuple) and one and isinstance(one[0], (str, Path)) for one in samples[:1]):
        return None
    return [Path(one[0]) for one in samples], loader


def _class_names(dataset: Items) -> tuple[str, ...] | None:
    names = getattr(dataset, "classes", None)
    listed = isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names)
    return tuple(names) if listed else None  # type: ignore[arg-type]


def _in_unit(image: Tensor) -> bool:
    return bool(to_host((image.amin() >= 0) & (image.amax() <= 1), "whether the first image lies in [0, 1]"))


def _un_normalised(dataset: Items, image: object) -> Callable[[Tensor], Tensor] | None:
    """Return what takes the transform's last step back, if that is a normalisation; None where none is needed.

    Raises:
        InputError: if the image lies outside of [0, 1], and nothing says how it came there.
    """
    if not isinstance(image, Tensor) or not image.is_floating_point() or _in_unit(image):
        return None
    transform = getattr(dataset, "transform", None)
    steps = [transform, *getattr(transform, "transforms", [])]
    step = next((one for one in reversed(steps) if hasattr(one, "mean") and hasattr(one, "std")), None)
    if step is None:
        raise InputError(
            f"{type(dataset).__name__} gives images with values outside [0, 1], and keeps no image apart from its "
            "transform: pass the Dataset without the transform, and the transform as preprocess"
        )
    mean, std = (
        torch.tensor(list(getattr(step, name)), dtype=torch.float32)[:, None, None] for name in ("mean", "std")
    )
    return lambda pixels: (pixels * std + mean).clamp(0, 1)


def _seen(dataset: object, image: object) -> str:
    size = " x ".join(map(str, image.shape)) if isinstance(image, Tensor) else "as they are"
    return (
        f"{type(dataset).__name__} gives its images with its transform only: what embeds them sees these ({size}), and "
        "not the originals. Pass the Dataset without its transform, and the transform as preprocess."
    )


def _shuffles(loader: object) -> bool:
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    return not isinstance(loader.sampler, SequentialSampler)
