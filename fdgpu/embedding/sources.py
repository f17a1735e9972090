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
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fdgpu.arrays import empty_on_host, is_array, to_device, to_host, to_torch
from fdgpu.device import BatchSize, cpu_count, halving_batches
from fdgpu.embedding.preprocess import OUTSIDE, as_picture, as_pictures, as_unchecked_picture, in_range, shrunk
from fdgpu.errors import InputError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

SHOWN_AT_ONCE = 256  # pictures that are shrunk together, from a device on which they may be large

T = TypeVar("T")
Resize = Callable[[Tensor], Tensor]
Shown = NDArray[np.uint8]  # (h, w, 3)

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


@dataclass(frozen=True)
class Doubtful:
    """A picture in the model's size, and whether its floats lie in [0, 1], where it lies; None where they must."""

    pixels: Tensor
    inside: Tensor | None


class ImageSource(Protocol):
    """Yields batches of pictures."""

    @property
    def count(self) -> int | None:
        """How many images there are; None where that is not known beforehand."""
        ...

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield batches of at most ``size`` images, each brought to the model's size by ``resize``."""
        ...

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Return images to be shown, (h, w, 3) each, at most ``side`` pixels high and wide.

        From a device they come down together, after they were shrunk there. None stands for an image that cannot be
        read, or not again.
        """
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

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Read some files again."""

        def read(row: int) -> Tensor | None:
            try:
                return shrunk(read_picture(self.paths[row]), side)
            except UNREADABLE:  # gone since it was embedded
                return None

        with ThreadPoolExecutor(cpu_count()) as pool:
            return _brought_down(list(pool.map(read, rows)))


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
        """Yield slices of the tensor, resized on its device; the batch is halved where that has no memory for more."""
        start = 0
        for stop, pixels in halving_batches(lambda a, b: resize(self.images[a:b]), self.count, BatchSize(size)):
            yield ImageBatch(self.ids[start:stop], pixels, {})
            start = stop

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Shrink some images on their device, a batch after the other."""
        index = to_device(torch.tensor(rows, dtype=torch.long), self.images.device)
        parts = halving_batches(lambda a, b: shrunk(self.images[index[a:b]], side), len(rows), BatchSize(SHOWN_AT_ONCE))
        return _brought_down([picture for _, part in parts for picture in part])


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
            ids = [str(i) for i, _ in rows]
            yield _gather(ids, _without_doubts([_convert(image, resize) for _, image in rows]))

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Take some images of a sequence again; a generator is read once."""
        if not isinstance(self.images, Sequence):
            return [None] * len(rows)
        made = [_convert(self.images[row], lambda picture: shrunk(picture, side)) for row in rows]
        return _brought_down([one if isinstance(one, Tensor) else None for one in _without_doubts(made)])


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
        return TensorSource(to_torch(images, "images"))
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
        return FileSource([Path(path) for path in paths], [printable(path) for path in paths])
    return IterableSource(images)


def _folder(root: Path) -> FileSource:
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: pass the folder that holds the images")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{root} holds no image ({', '.join(sorted(SUFFIXES))}): is it the right folder?")
    return FileSource(paths, [printable(path.relative_to(root)) for path in paths])


def printable(path: str | Path) -> str:
    """Return a path as text that can be written as UTF-8; bytes of its name that are no UTF-8 are escaped."""
    text = path.as_posix() if isinstance(path, Path) else path
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name holds
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


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


def _convert(image: object, resize: Resize) -> Doubtful | str:
    try:
        picture = as_unchecked_picture(image)
        return Doubtful(resize(picture), in_range(picture))
    except UNREADABLE as error:
        return str(error)


def _without_doubts(made: list[Doubtful | str]) -> list[Tensor | str]:
    """Look at all pictures' doubts together: those of pictures on a device come down in one copy."""
    there: dict[torch.device, list[Tensor]] = {}
    for one in made:
        if isinstance(one, Doubtful) and one.inside is not None:
            there.setdefault(one.inside.device, []).append(one.inside)
    known = {
        device: iter(to_host(torch.stack(flags), "which images' floats lie in [0, 1]"))
        for device, flags in there.items()
    }

    def settled(one: Doubtful | str) -> Tensor | str:
        if isinstance(one, str):
            return one
        return one.pixels if one.inside is None or next(known[one.inside.device]) else OUTSIDE

    return [settled(one) for one in made]


def _gather(ids: list[str], loaded: Iterable[Tensor | str]) -> ImageBatch:
    """Write what was read, (3, h, w) each, into one batch as it comes; of different types, pictures become floats."""
    batch, read = torch.empty(0, 3, 1, 1, dtype=torch.uint8), 0
    unreadable: dict[str, str] = {}
    for own, picture in zip(ids, loaded, strict=True):
        if isinstance(picture, str):
            unreadable[own] = picture
            continue
        if not read:
            batch = _empty_like(picture, len(ids))
        if picture.device != batch.device:
            raise InputError(f"images lie on {batch.device} and on {picture.device}: pass them on one device")
        if picture.dtype != batch.dtype:
            batch, picture = _as_floats(batch), _as_floats(picture)
        batch[read] = picture
        read += 1
    return ImageBatch(ids, batch[:read], unreadable)


def _empty_like(picture: Tensor, n: int) -> Tensor:
    """Return memory for n pictures of the size and type of one, on its device."""
    shape = (n, *picture.shape)
    if picture.device.type == "cpu":
        return empty_on_host(shape, picture.dtype)
    return torch.empty(shape, dtype=picture.dtype, device=picture.device)


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _brought_down(pictures: list[Tensor | None]) -> list[Shown | None]:
    """Return pictures (h, w, 3) uint8 of one device on the host, all in one copy."""
    there = [picture for picture in pictures if picture is not None]
    if not there:
        return [None] * len(pictures)
    flat = to_host(torch.cat([picture.flatten() for picture in there]), "the pictures to show")
    parts = iter(np.split(flat, np.cumsum([picture.numel() for picture in there])[:-1]))
    return [None if picture is None else next(parts).reshape(picture.shape) for picture in pictures]
