"""From samples to batches: threads decode a batch ahead of the model, each image once for every view of it.

Each thread writes its image where it belongs in the batch of a view, and nothing is stacked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import ThreadpoolController
from torch import Tensor

from fdgpu.arrays import empty_on_host, is_array, to_device, to_host
from fdgpu.device import cpu_count
from fdgpu.embedding.image_file import (
    DeviceDecoder,
    Plain,
    device_decoder,
    handed_over,
    is_file,
    made_of_file,
    picture_formats,
    plain_jpeg,
    torchcodec_decoders,
)
from fdgpu.embedding.picture import OUTSIDE, Picture, Treatment, as_unchecked_picture
from fdgpu.embedding.preprocess import shrunk
from fdgpu.errors import InputError, one_line

Shown = NDArray[np.uint8]  # (h, w, 3)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, as it lies there.

    Attributes:
        id: its name, by which reports show it and columns are joined to it.
        image: a path, the bytes of an image file or an open one, a PIL image, an array or a tensor; or a function
            without arguments that returns one of these: a thread calls it, some images ahead of the model.
        label: a class name or an id, or (k,) of 0 and 1 where it has several; None without one.
        split: "train", "val" or "test", where the source knows.
        transformed: what the source itself makes of the image for a classifier: a tensor (c, h, w), or a function of
            the image that gives it.

    Example:
        >>> fdgpu.Sample("a.png", np.zeros((8, 8, 3), np.uint8), label="cat", split="val").split
        'val'
    """

    id: str
    image: object
    label: object = None
    split: str | None = None
    transformed: Tensor | Callable[[Any], object] | None = None


@dataclass(frozen=True)
class View:
    """What a model takes of an image.

    Attributes:
        function: of its pixels (3, h, w), uint8 or floats in [0, 1], to a tensor (c, h, w); None for what the source
            itself has transformed.
        takes_image: give it the image as the source has it, PIL's where that is a file, instead of its pixels.
        smallest: a JPEG may be decoded at a reduced size whose sides have so many pixels; None for its whole size.
        device: where the view is wanted, so that a CUDA device may decode for it.
    """

    function: Callable[[Any], object] | None
    takes_image: bool = False
    smallest: int | None = None
    device: torch.device | None = None

    @property
    def of_pixels(self) -> bool:
        """Whether it is made of pixels alone."""
        return self.function is not None and not self.takes_image

    def of(self, sample: Sample, image: object, pixels: Tensor) -> Tensor:
        """Return the view.

        Raises:
            InputError: if the function gives no tensor (c, h, w).
        """
        function: object = sample.transformed if self.function is None else self.function
        made = function(pixels if self.of_pixels else _as_image(image, pixels)) if callable(function) else function
        if isinstance(made, Mapping) and "pixel_values" in made:
            made = made["pixel_values"][0]  # an image processor of Hugging Face, for a list of one
        if isinstance(made, np.ndarray) and made.dtype.kind in "fu":
            made = torch.from_numpy(made)
        if not isinstance(made, Tensor) or made.ndim != 3:
            what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
            raise WrongViewError(
                f"the transform gives {what} for the image {sample.id}: it has to give a tensor (channels, height, "
                "width), as one does that ends in torchvision's ToTensor and Normalize"
            )
        return made


class WrongViewError(InputError):
    """A transform gives no image: that is not the fault of one image."""


@dataclass(frozen=True)
class ImageBatch:
    """Images that were read, and the reasons why others were not.

    Attributes:
        ids: of every image, in the order of the source.
        views: for each view that was asked for (m, c, h, w), uint8 or floats: of the m images that were read, in order.
        read: which of ``ids`` these are.
        unreadable: the reason for each of the others, by id.
        treated: of every image what was done to it, where it is more than plain pixels.
        labels: of every image; None without one.
        splits: likewise.
    """

    ids: list[str]
    views: tuple[Tensor, ...]
    read: list[int]
    unreadable: dict[str, str] = field(default_factory=dict)
    treated: list[tuple[Treatment, ...]] = field(default_factory=list)
    labels: list[object] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)

    @property
    def pixels(self) -> Tensor:
        """The first view."""
        return self.views[0]


@dataclass(frozen=True)
class Prepared:
    """One image's views, whether its floats lie in [0, 1], and what was done to it; see :class:`Picture`."""

    views: tuple[Tensor, ...]
    inside: Tensor | None
    treated: tuple[Treatment, ...]

    def on(self, device: torch.device) -> Prepared:
        """Return it with its views on a device."""
        return replace(self, views=tuple(to_device(view, device) for view in self.views))


def loaded(samples: Iterable[Sample], size: int, views: Sequence[View]) -> Iterator[ImageBatch]:
    """Yield batches of at most ``size`` images; one that cannot be read is listed with its reason."""
    picture_formats(), torchcodec_decoders()  # plugins and libraries are imported here, and not by many threads
    with image_threads() as pool, device_decoder(_wanted_on(views)) as decoder:
        ahead: list[Callable[[], ImageBatch]] = []  # batches in the pool: the next, and one more
        for some in batched(samples, size):
            files = is_file(some[0].image) or callable(some[0].image)
            ahead.append(_there(some, views, pool, decoder) if decoder and files else _by_threads(some, views, pool))
            if len(ahead) > 1:
                yield ahead.pop(0)()
        for last in ahead:
            yield last()


def _by_threads(some: list[Sample], views: Sequence[View], pool: ThreadPoolExecutor) -> Callable[[], ImageBatch]:
    """Begin a batch on the host; what is returned waits for it."""
    written = Written(len(some), len(views))

    def prepare(row: int) -> Prepared | str:
        made = prepared(some[row], views)
        return made if isinstance(made, str) else replace(made, views=written.put(row, made.views))

    # A device's work is ordered by the thread that asks for it.
    making = (map if _on_a_device(some[0].image) else pool.map)(prepare, range(len(some)))
    return lambda: _gathered(some, in_range(list(making)), written)


def _there(
    some: list[Sample], views: Sequence[View], pool: ThreadPoolExecutor, decoder: DeviceDecoder
) -> Callable[[], ImageBatch]:
    """Begin a batch whose JPEGs a device decodes: threads read the files, and decode what it cannot."""

    def opened(sample: Sample) -> Plain | Prepared | str:
        try:
            image = sample.image() if callable(sample.image) else sample.image
        except Exception:  # which is said below
            return prepared(sample, views)
        plain = plain_jpeg(image) if is_file(image) else None
        return plain or prepared(replace(sample, image=image), views)

    opening = pool.map(opened, some)

    def finish() -> ImageBatch:
        read = list(opening)
        jpegs = {row: one for row, one in enumerate(read) if isinstance(one, Plain)}
        rows = list(jpegs)

        def seen(index: int, picture: Picture) -> Prepared | None:
            try:
                made = tuple(view.of(some[rows[index]], None, picture.pixels) for view in views)
            except (RuntimeError, MemoryError):  # too large for what the device has left
                return None
            return Prepared(made, picture.inside, picture.treated)

        found = dict(zip(rows, decoder.each(list(jpegs.values()), seen), strict=True))
        made = [
            (found[row] or prepared(some[row], views)) if isinstance(one, Plain) else one
            for row, one in enumerate(read)
        ]
        if any(_on_a_device(view) for one in read if isinstance(one, Prepared) for view in one.views):
            decoder.stream.wait_stream(torch.cuda.default_stream(decoder.device))  # on which a source made it
        up = [one if isinstance(one, str) else one.on(decoder.device) for one in in_range(made)]
        return _gathered(some, up, Written(len(some), len(views)))

    coming = decoder.submit(finish)

    def arrived() -> ImageBatch:
        batch, ready = coming.result()
        handed_over(batch.views, ready)
        return batch

    return arrived


def _wanted_on(views: Sequence[View]) -> torch.device | None:
    """Return the device where all views are wanted, made of pixels; None if they are not."""
    devices = {view.device for view in views}
    return devices.pop() if all(view.of_pixels for view in views) and len(devices) == 1 else None


@contextmanager
def image_threads() -> Iterator[ThreadPoolExecutor]:
    """Open a pool with a thread a core, each of which computes alone: else torch would use all cores in each."""
    openmp = _openmp()

    def alone() -> None:
        torch.get_num_threads()  # torch sets the limit of a thread that is new to it: after that it is this one
        openmp.limit(limits=1)  # of this thread only

    with ThreadPoolExecutor(cpu_count(), initializer=alone) as pool:
        yield pool


@cache
def _openmp() -> ThreadpoolController:
    """Look up the library by which torch computes in several threads, once torch is there."""
    return ThreadpoolController().select(user_api="openmp")


def prepared(sample: Sample, views: Sequence[View]) -> Prepared | str:
    """Return an image's views, or the reason why there are none."""

    def use(picture: Picture, image: object = None) -> Prepared:
        made = tuple(view.of(sample, image, picture.pixels) for view in views)
        return Prepared(made, picture.inside, picture.treated)

    try:
        image = sample.image() if callable(sample.image) else sample.image
        if is_file(image):
            return made_of_file(image, use, smallest_of(views))
        return use(as_unchecked_picture(image), image)
    except WrongViewError:
        raise
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"cannot be loaded ({one_line(error)})"


def smallest_of(views: Sequence[View]) -> int | None:
    """Return how small an image may be decoded for all views; None for its whole size."""
    sides = [view.smallest for view in views]
    return None if not sides or None in sides else max(side for side in sides if side is not None)


def unusable(sample: Sample) -> str | None:
    """Return why an image cannot be used; None where it can."""
    (made,) = in_range([prepared(sample, [])])
    return made if isinstance(made, str) else None


def shown_pictures(samples: Sequence[Sample | None], side: int) -> list[Shown | None]:
    """Return images (h, w, 3) on the host, at most ``side`` pixels high and wide; None for what cannot be read."""
    small = [View(lambda pixels: shrunk(pixels, side).movedim(-1, 0))]

    def made(sample: Sample | None) -> Prepared | str:
        return "is gone" if sample is None else prepared(sample, small)

    first = next((sample.image for sample in samples if sample is not None), None)
    if _on_a_device(first):
        return brought_down(in_range([made(sample) for sample in samples]))
    with image_threads() as pool:
        return brought_down(in_range(list(pool.map(made, samples))))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` items (``itertools.batched`` needs Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def in_range(made: list[Prepared | str]) -> list[Prepared | str]:
    """Look at all pictures' floats together: what is on a device comes down in one copy."""
    there: dict[torch.device, list[Tensor]] = {}
    for one in made:
        if isinstance(one, Prepared) and one.inside is not None:
            there.setdefault(one.inside.device, []).append(one.inside)
    known = {
        device: iter(to_host(torch.stack(flags), "which images' floats lie in [0, 1]"))
        for device, flags in there.items()
    }

    def settled(one: Prepared | str) -> Prepared | str:
        if isinstance(one, str) or one.inside is None or next(known[one.inside.device]):
            return one
        return OUTSIDE

    return [settled(one) for one in made]


def brought_down(made: Sequence[Prepared | str]) -> list[Shown | None]:
    """Return pictures (3, h, w) uint8 of one device as (h, w, 3) on the host, all in one copy."""
    pictures = [one.views[0].movedim(0, -1) if isinstance(one, Prepared) else None for one in made]
    there = [picture for picture in pictures if picture is not None]
    if not there:
        return [None] * len(pictures)
    flat = to_host(torch.cat([picture.flatten() for picture in there]), "the pictures to show")
    parts = iter(np.split(flat, np.cumsum([picture.numel() for picture in there])[:-1]))
    return [None if picture is None else next(parts).reshape(picture.shape) for picture in pictures]


def _as_image(image: object, pixels: Tensor) -> object:
    """Return the image as the source has it; of a file, PIL's."""
    if image is not None:
        return image
    whole = pixels if pixels.dtype == torch.uint8 else pixels.mul(255).round().byte()
    return Image.fromarray(whole.movedim(0, -1).contiguous().numpy())


def _on_a_device(image: object) -> bool:
    if isinstance(image, Tensor):
        return image.device.type != "cpu"
    return is_array(image) and not isinstance(image, np.ndarray)


def _gathered(samples: list[Sample], made: list[Prepared | str], written: Written) -> ImageBatch:
    usable = [(row, one) for row, one in enumerate(made) if isinstance(one, Prepared)]
    rows = [row for row, _ in usable]
    return ImageBatch(
        ids=[sample.id for sample in samples],
        views=tuple(written.whole(view, rows, [one.views[view] for _, one in usable]) for view in range(written.views)),
        read=rows,
        unreadable={sample.id: one for sample, one in zip(samples, made, strict=True) if isinstance(one, str)},
        treated=[one.treated if isinstance(one, Prepared) else () for one in made],
        labels=on_the_host([sample.label for sample in samples]),
        splits=[sample.split for sample in samples],
    )


def on_the_host(labels: list[object]) -> list[object]:
    """Bring labels that lie on a device down together."""
    there = [label for label in labels if isinstance(label, Tensor) and label.device.type != "cpu"]
    if not there or len(there) < len(labels):
        return labels
    return list(to_host(torch.stack(there), "labels that come with images"))


# --- the batch of each view -------------------------------------------------------------------------------------------


class Written:
    """Memory for ``n`` images in each of some views, on the host; pinned where CUDA runs.

    The first image says how large, of what type and in what order a view is. What does not fit, because it is of
    another type, lies on a device or has no place, stays as it is, and the view is stacked in the end.
    """

    def __init__(self, n: int, views: int) -> None:
        self.n, self.views = n, views
        self._batches: list[Tensor | None] = [None] * views
        self._fits = [True] * views
        self._first = threading.Lock()

    def put(self, row: int, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Write an image's views (c, h, w) into its row, and return them where they are then."""
        return tuple(self._put(number, row, view) for number, view in enumerate(views))

    def _put(self, number: int, row: int, view: Tensor) -> Tensor:
        with self._first:
            if self._batches[number] is None and view.device.type == "cpu":
                self._batches[number] = _memory(self.n, view)
        batch = self._batches[number]
        if batch is None or (batch.shape[1:], batch.dtype, batch.device) != (view.shape, view.dtype, view.device):
            self._fits[number] = False
            return view
        return batch[row].copy_(view)

    def whole(self, number: int, rows: Sequence[int], views: Sequence[Tensor]) -> Tensor:
        """Return one view (m, c, h, w) of the images at ``rows``, of which ``put`` returned ``views``."""
        batch = self._batches[number]
        if batch is None or not self._fits[number]:
            return stacked(views)
        return batch if len(rows) == self.n else batch[torch.tensor(rows, dtype=torch.long)]


def stacked(pictures: Sequence[Tensor]) -> Tensor:
    """Write pictures (c, h, w) of one device into one batch; of different types, they become floats."""
    if not pictures:
        return torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    first = pictures[0]
    for one in pictures:
        if one.device != first.device:
            raise InputError(f"images lie on {first.device} and on {one.device}: pass them on one device")
        if one.shape != first.shape:
            raise InputError(
                f"the transform gives images of different shapes, {tuple(first.shape)} and {tuple(one.shape)}: let it "
                "resize or crop all to one"
            )
    if len({one.dtype for one in pictures}) > 1:
        pictures = [one / 255 if one.dtype == torch.uint8 else one.float() for one in pictures]
    batch = _memory(len(pictures), pictures[0])
    for row, one in enumerate(pictures):
        batch[row] = one
    return batch


def _memory(n: int, picture: Tensor) -> Tensor:
    """Return memory for n pictures of the size, type and order of one, on its device."""
    if picture.device.type != "cpu":
        return torch.empty((n, *picture.shape), dtype=picture.dtype, device=picture.device)
    channels, height, width = picture.shape
    if picture.stride(0) == 1 and channels > 1:  # as decoders give pixels: a copy is a row at a time
        return empty_on_host((n, height, width, channels), picture.dtype).movedim(-1, 1)
    return empty_on_host((n, channels, height, width), picture.dtype)
