"""Where images come from: anything that yields batches of pictures with their ids.

A further source, such as tar shards or a hub's data set, is one more class with the members of :class:`ImageSource`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import empty_on_host, is_array, to_device, to_host, to_torch
from fdgpu.device import BatchSize, cpu_count, halving_batches
from fdgpu.embedding.picture import (
    ELSEWHERE,
    OUTSIDE,
    Picture,
    Treatment,
    as_pictures,
    as_unchecked_picture,
    on_white,
    picture_formats,
    read_picture,
    suffixes,
)
from fdgpu.embedding.preprocess import shrunk
from fdgpu.errors import InputError

SHOWN_AT_ONCE = 256  # pictures that are shrunk together, from a device on which they may be large

T = TypeVar("T")
Resize = Callable[[Tensor], Tensor]
Shown = NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True)
class ImageBatch:
    """Images that were read, and the reasons why others were not.

    ``ids`` holds the id of every image, in the order of the source; ``unreadable`` maps those that could not be read
    to the reason. ``pixels`` is (m, 3, h, w) in the model's size, uint8 or floats in [0, 1]: the m others, in order.
    ``treated`` counts what was done to images that are more than plain pixels.
    """

    ids: list[str]
    pixels: Tensor
    unreadable: dict[str, str]
    treated: Counter[Treatment] = field(default_factory=Counter)


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
        picture_formats()  # PIL's plugins are imported here, and not by many threads

    @property
    def count(self) -> int:
        """How many files."""
        return len(self.paths)

    def batches(self, size: int, resize: Resize) -> Iterator[ImageBatch]:
        """Yield batches; a file that cannot be read is listed with its reason."""

        def load(path: Path) -> Picture | str:
            return _read(path, resize)

        with ThreadPoolExecutor(cpu_count()) as pool:
            ahead: list[tuple[list[str], Iterator[Picture | str]]] = []  # batches in the pool: the next, and one more
            for rows in _batched(range(len(self.paths)), size):
                ids = [self.ids[i] for i in rows]
                ahead.append((ids, pool.map(load, [self.paths[i] for i in rows])))
                if len(ahead) > 1:
                    yield _gather(*ahead.pop(0))
            for ids, loaded in ahead:
                yield _gather(ids, loaded)

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Read some files again."""

        def read(row: int) -> Picture | str:
            return _read(self.paths[row], lambda pixels: shrunk(pixels, side))

        with ThreadPoolExecutor(cpu_count()) as pool:
            return _brought_down(list(pool.map(read, rows)))

    def reason(self, row: int) -> str | None:
        """Return why an image cannot be used; None where it can."""
        read = _read(self.paths[row], lambda pixels: pixels)
        return read if isinstance(read, str) else None


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
        alpha = [Treatment.ON_WHITE] if self.images.ndim == 4 and self.images.shape[1] == 4 else []
        for stop, pixels in halving_batches(
            lambda a, b: resize(on_white(self.images[a:b])), self.count, BatchSize(size)
        ):
            yield ImageBatch(self.ids[start:stop], pixels, {}, Counter(alpha * (stop - start)))
            start = stop

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Shrink some images on their device, a batch after the other."""
        index = to_device(torch.tensor(rows, dtype=torch.long), self.images.device)
        parts = halving_batches(
            lambda a, b: shrunk(on_white(self.images[index[a:b]]), side), len(rows), BatchSize(SHOWN_AT_ONCE)
        )
        return _brought_down([Picture(picture) for _, part in parts for picture in part])


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
            yield _gather(ids, _in_range([_convert(image, resize) for _, image in rows]))

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Take some images of a sequence again; a generator is read once."""
        if not isinstance(self.images, Sequence):
            return [None] * len(rows)
        made = [_convert(self.images[row], lambda picture: shrunk(picture, side)) for row in rows]
        return _brought_down(_in_range(made))

    def reason(self, row: int) -> str | None:
        """Return why an image cannot be used; None where it can, or where it could be taken once only."""
        if not isinstance(self.images, Sequence):
            return None
        (made,) = _in_range([_convert(self.images[row], lambda picture: picture)])
        return made if isinstance(made, str) else None


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items (``itertools.batched`` needs Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def image_source(images: object) -> ImageSource:
    """Make a source of images, in any of the forms below.

    Args:
        images: a folder (searched for image files, in sorted order), a list of paths, a tensor or array of images,
            any iterable of PIL images, arrays or tensors, or an :class:`ImageSource`. What becomes of an orientation,
            an alpha channel, 16 bits, CMYK and several frames: :mod:`fdgpu.embedding.picture`.

    Raises:
        InputError: for a folder that does not exist or holds no image that can be read.
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
    known = suffixes()
    searched = {*known, *ELSEWHERE}  # the latter to be listed with the reason
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in searched and path.is_file())
    if not paths:
        raise InputError(f"{root} holds no image ({', '.join(known)}): is it the right folder?")
    found = Counter(path.suffix.lower() for path in paths)
    if not any(suffix in known for suffix in found):
        ((suffix, n), *_) = found.most_common(1)
        raise InputError(
            f"{root} holds no image that can be read here: {n} files end in {suffix}, which {ELSEWHERE[suffix]}"
        )
    return FileSource(paths, [printable(path.relative_to(root)) for path in paths])


def printable(path: str | Path) -> str:
    """Return a path as text that can be written as UTF-8; bytes of its name that are no UTF-8 are escaped."""
    text = path.as_posix() if isinstance(path, Path) else path
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name holds
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _read(path: Path, resize: Resize) -> Picture | str:
    """Return the resized picture, or the reason why there is none."""
    try:
        return read_picture(path, resize)
    except InputError as error:
        return str(error)


def _convert(image: object, resize: Resize) -> Picture | str:
    try:
        picture = as_unchecked_picture(image)
    except InputError as error:
        return str(error)
    return replace(picture, pixels=resize(picture.pixels))


def _in_range(made: list[Picture | str]) -> list[Picture | str]:
    """Look at all pictures' floats together: what is on a device comes down in one copy."""
    there: dict[torch.device, list[Tensor]] = {}
    for one in made:
        if isinstance(one, Picture) and one.inside is not None:
            there.setdefault(one.inside.device, []).append(one.inside)
    known = {
        device: iter(to_host(torch.stack(flags), "which images' floats lie in [0, 1]"))
        for device, flags in there.items()
    }

    def settled(one: Picture | str) -> Picture | str:
        if isinstance(one, str) or one.inside is None or next(known[one.inside.device]):
            return one
        return OUTSIDE

    return [settled(one) for one in made]


def _gather(ids: list[str], loaded: Iterable[Picture | str]) -> ImageBatch:
    """Write what was read, (3, h, w) each, into one batch as it comes; of different types, pictures become floats."""
    batch, read = torch.empty(0, 3, 1, 1, dtype=torch.uint8), 0
    unreadable: dict[str, str] = {}
    treated: Counter[Treatment] = Counter()
    for own, one in zip(ids, loaded, strict=True):
        if isinstance(one, str):
            unreadable[own] = one
            continue
        picture = one.pixels
        treated.update(one.treated)
        if not read:
            batch = _empty_like(picture, len(ids))
        if picture.device != batch.device:
            raise InputError(f"images lie on {batch.device} and on {picture.device}: pass them on one device")
        if picture.dtype != batch.dtype:
            batch, picture = _as_floats(batch), _as_floats(picture)
        batch[read] = picture
        read += 1
    return ImageBatch(ids, batch[:read], unreadable, treated)


def _empty_like(picture: Tensor, n: int) -> Tensor:
    """Return memory for n pictures of the size and type of one, on its device."""
    shape = (n, *picture.shape)
    if picture.device.type == "cpu":
        return empty_on_host(shape, picture.dtype)
    return torch.empty(shape, dtype=picture.dtype, device=picture.device)


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _brought_down(made: Sequence[Picture | str]) -> list[Shown | None]:
    """Return pictures (h, w, 3) uint8 of one device on the host, all in one copy."""
    pictures = [one.pixels if isinstance(one, Picture) else None for one in made]
    there = [picture for picture in pictures if picture is not None]
    if not there:
        return [None] * len(pictures)
    flat = to_host(torch.cat([picture.flatten() for picture in there]), "the pictures to show")
    parts = iter(np.split(flat, np.cumsum([picture.numel() for picture in there])[:-1]))
    return [None if picture is None else next(parts).reshape(picture.shape) for picture in pictures]
