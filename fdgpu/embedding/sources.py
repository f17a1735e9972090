"""Where images come from: anything that yields batches of pictures with their ids.

A further source, such as tar shards or a hub's data set, is one more class with the members of :class:`ImageSource`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fdgpu.arrays import is_array, to_numpy
from fdgpu.device import cpu_count
from fdgpu.embedding.preprocess import as_picture, as_pictures
from fdgpu.errors import InputError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

T = TypeVar("T")
Resize = Callable[[Tensor], Tensor]

# What decoding a damaged image raises: PIL's own, its decoders' plain errors, and ours for an image of no use.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, InputError)


@dataclass(frozen=True)
class ImageBatch:
    """Images that were read, and the reasons why others were not.

    ``ids`` holds the id of every image, in the order of the source; ``unreadable`` maps those that could not be read
    to the reason. ``pixels`` is (m, 3, h, w) in the model's size, uint8 or floats in [0, 1]: the m others, in order.
    """

    ids: list[str]
    pixels: Tensor
    unreadable: dict[str, str]


class ImageSource(Protocol):
    """Yields batches of pictures."""

    @property
    def count(self) -> int | None:
        """How many images there are; None where that is not known beforehand."""
        ...

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield batches of at most ``size`` images, each brought to the model's size by ``resize``."""
        ...

    def picture(self, index: int) -> Tensor | None:
        """Return one image (3, h, w) again, to be shown; None where the source can be read only once."""
        ...


class FileSource:
    """Image files, decoded and resized by a pool of threads, a batch ahead of the model."""

    def __init__(self, paths: Sequence[Path], ids: Sequence[str]) -> None:
        self.paths, self.ids = list(paths), list(ids)

    @property
    def count(self) -> int:
        """How many files."""
        return len(self.paths)

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield batches; a file that cannot be read is listed with its reason."""

        def load(path: Path) -> Tensor | str:
            return _read_file(path, resize)

        with ThreadPoolExecutor(cpu_count()) as pool:
            ahead: list[tuple[list[str], Iterator[Tensor | str]]] = []  # batches in the pool: the next, and one more
            for rows in _batched(range(len(self.paths)), size):
                ids = [self.ids[i] for i in rows]
                ahead.append((ids, pool.map(load, [self.paths[i] for i in rows])))
                if len(ahead) > 1:
                    yield _gather(*ahead.pop(0))
            for ids, loaded in ahead:
                yield _gather(ids, loaded)

    def picture(self, index: int) -> Tensor | None:
        """Read one file again, in its own size."""
        return read_picture(self.paths[index])


class TensorSource:
    """Images that already are one tensor, on any device."""

    def __init__(self, images: Tensor, ids: Sequence[str] | None = None) -> None:
        self.images = as_pictures(images)
        self.ids = list(ids) if ids is not None else [str(i) for i in range(len(images))]
        if len(self.ids) != len(self.images):
            raise InputError(f"ids has {len(self.ids)} entries, images has {len(self.images)}: pass one id an image")

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.images)

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield slices of the tensor, resized on its device."""
        for start in range(0, self.count, size):
            ids = self.ids[start : start + size]
            yield ImageBatch(ids, resize(self.images[start : start + size]), {})

    def picture(self, index: int) -> Tensor | None:
        """Return one image."""
        return self.images[index]


class IterableSource:
    """Any iterable of PIL images, arrays or tensors; read once, a batch at a time."""

    def __init__(self, images: Iterable[object]) -> None:
        self.images = images

    @property
    def count(self) -> int | None:
        """How many images; None of a generator."""
        return len(self.images) if isinstance(self.images, Sized) else None

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield batches in the order of the iterable."""
        for rows in _batched(enumerate(self.images), size):
            yield _gather([str(i) for i, _ in rows], [_convert(image, resize) for _, image in rows])

    def picture(self, index: int) -> Tensor | None:
        """Return one image of a sequence; None for a generator, which is read once."""
        return as_picture(self.images[index]) if isinstance(self.images, Sequence) else None


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items (``itertools.batched`` needs Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def image_source(images: object) -> ImageSource:
    """Make a source of images, in any of the forms below.

    Args:
        images: a folder (searched for image files, in sorted order), a list of paths, a tensor or array of images,
            any iterable of PIL images, arrays or tensors, or an :class:`ImageSource`.

    Raises:
        InputError: for a folder that does not exist or holds no image.
    """
    if hasattr(images, "batches"):
        return cast(ImageSource, images)
    if isinstance(images, (str, Path)):
        return _folder(Path(images))
    if isinstance(images, torch.Tensor):
        return TensorSource(images)
    if isinstance(images, np.ndarray) and images.dtype.kind in "uif":
        return TensorSource(torch.from_numpy(np.ascontiguousarray(images)))
    if is_array(images):
        return TensorSource(torch.from_numpy(np.ascontiguousarray(to_numpy(images, "images"))))
    if isinstance(images, Iterable):
        return _listed(images)
    raise InputError(f"images is a {type(images).__name__}: pass a folder, paths, a tensor or an iterable of images")


def _listed(images: Iterable[object]) -> ImageSource:
    """Distinguish paths from pictures by the first item; of a generator no more than that is read."""
    if isinstance(images, (Sequence, np.ndarray)) or not isinstance(images, Iterator):
        first = next(iter(images), None)
    else:
        first = next(images, None)
        images = chain([first], images) if first is not None else images
    if isinstance(first, (str, Path)):
        paths = [str(path) for path in images]
        return FileSource([Path(path) for path in paths], paths)
    return IterableSource(images)


def _folder(root: Path) -> FileSource:
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: pass the folder that holds the images")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{root} holds no image ({', '.join(sorted(SUFFIXES))}): is it the right folder?")
    return FileSource(paths, [printable(path.relative_to(root)) for path in paths])


def printable(path: Path) -> str:
    """Return a path as text that can be written as UTF-8; bytes of its name that are no UTF-8 are escaped."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def read_picture(path: Path) -> Tensor:
    """Decode one image file to (3, h, w) uint8; raises what PIL raises."""
    with Image.open(path) as image:
        return as_picture(image)


def _read_file(path: Path, resize: Resize) -> Tensor | str:
    """Return the resized picture, or the reason why there is none."""
    try:
        return resize(read_picture(path))
    except FileNotFoundError:
        return "does not exist"
    except UnidentifiedImageError:
        return "is not an image"
    except UNREADABLE as error:
        return f"cannot be decoded ({error})"


def _convert(image: object, resize: Resize) -> Tensor | str:
    try:
        return resize(as_picture(image))
    except UNREADABLE as error:
        return str(error)


def _gather(ids: list[str], loaded: Iterable[Tensor | str]) -> ImageBatch:
    """Stack what was read, (3, h, w) each; pictures of different types in a batch become floats."""
    results = list(loaded)
    unreadable = {i: reason for i, reason in zip(ids, results, strict=True) if isinstance(reason, str)}
    pictures = [pixels for pixels in results if isinstance(pixels, Tensor)]
    if len({pixels.dtype for pixels in pictures}) > 1:
        pictures = [pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float() for pixels in pictures]
    stacked = torch.stack(pictures) if pictures else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return ImageBatch(ids, stacked, unreadable)
