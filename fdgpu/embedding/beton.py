"""FFCV's ``.beton`` files, read without FFCV: their JPEGs and pixels are decoded as any other image is; and its Loader.

The layout is that of FFCV's second version, the only one there is: a header, a description of each field, a row of
metadata for each sample, pages of data, and at the end a table of where and how long each piece of data is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.checks import shown
from fdgpu.embedding.loading import ImageBatch, Sample, View
from fdgpu.embedding.sources import Function, IndexedSource, functions_of_pixels, stamp_of_file
from fdgpu.errors import InputError
from fdgpu.files import check_regular_file

Scalar = TypeVar("Scalar", bound=np.generic)

VERSION = 2
HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
FIELD = np.dtype([("kind", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
PIECE = np.dtype([("sample", "<u8"), ("start", "<u8"), ("size", "<u8")])
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8")])
SPAN = np.dtype([("start", "<u8"), ("size", "<u8")])
METADATA = {  # of a sample, by the kind of field: a number, an image, bytes, an array, JSON, a tensor
    0: np.dtype("<f8"), 1: np.dtype("<i8"), 2: IMAGE, 3: SPAN, 4: np.dtype("<u8"), 5: SPAN, 6: np.dtype("<u8"),
}  # fmt: skip
NUMBER, PIXELS, JPEG = 1, 2, 0
LABELS = ("label", "labels", "target", "class", "cls", "y")


class BetonSource(IndexedSource):
    """Images of a ``.beton``; they have no names, so that their ids are their positions, "0", "1", ….

    Args:
        path: of the file.
        image: the field of images; None where there is one.
        label: the field of labels, whole numbers; None takes the one, or the one that is called so.

    Raises:
        InputError: for a file that is none or was not written to its end, and without a field of images.
    """

    def __init__(self, path: str | Path, *, image: str | None = None, label: str | None = None) -> None:
        self.path = check_regular_file(path, "a .beton of FFCV")
        header = self._read(HEADER, 0, 1)[0]
        if header["version"] != VERSION:
            raise InputError(f"{path} is no .beton of FFCV's version {VERSION}: write it with FFCV 1")
        fields = self._read(FIELD, HEADER.itemsize, int(header["fields"]))
        kinds = {bytes(one["name"]).rstrip(b"\0").decode("ascii", "replace"): int(one["kind"]) for one in fields}
        if not set(kinds.values()) <= set(METADATA):
            raise InputError(f"{path} has a field of one's own: write it with FFCV's fields only")
        chosen = _one(kinds, PIXELS, image, ("image",), "image")
        if chosen is None:
            raise InputError(f"{path} has no field of images, an RGBImageField: it has {', '.join(kinds)}")
        names = list(kinds)
        rows = np.dtype([(f"f{i}", METADATA[kind]) for i, kind in enumerate(kinds.values())], align=True)
        samples = self._read(rows, HEADER.itemsize + fields.nbytes, int(header["samples"]))
        if not len(samples):
            raise InputError(f"{path} has no samples: there is nothing to audit")
        pieces = self._read(PIECE, int(header["table"]), -1) if header["table"] else np.empty(0, PIECE)
        self.images = samples[f"f{names.index(chosen)}"]
        pieces = np.sort(pieces, order="start")
        at = np.searchsorted(pieces["start"], self.images["start"])
        whole = at.max() < len(pieces) and np.array_equal(pieces["start"][at], self.images["start"])
        if not whole:
            raise InputError(f"{path} was not written to its end, or was cut off: copy or write it again")
        self.spans = pieces[at]
        told = _one(kinds, NUMBER, label, LABELS, "label")
        self.ids = [str(row) for row in range(len(samples))]
        self.labels = None if told is None else samples[f"f{names.index(told)}"].tolist()

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, row: int) -> Sample:
        """Return one image, which a thread will read."""
        return Sample(self.ids[row], partial(self._image, row), None if self.labels is None else self.labels[row])

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return the size and the time of the file."""
        return [stamp_of_file(self.path)] * len(rows)

    def _image(self, row: int) -> bytes | NDArray[np.uint8]:
        image, span = self.images[row], self.spans[row]
        content: NDArray[np.uint8] = self._read(np.dtype(np.uint8), int(span["start"]), int(span["size"]))
        if image["mode"] == JPEG:
            return content.tobytes()
        shape = int(image["height"]), int(image["width"]), 3
        if content.size != np.prod(shape):
            raise InputError(f"has {content.size:,} bytes for {shape[1]} x {shape[0]} pixels: write the .beton again")
        return content.reshape(shape)

    def _read(self, kind: np.dtype[Scalar], start: int, count: int) -> NDArray[Scalar]:
        """Return some records, or all to the end of the file.

        Raises:
            InputError: if the file ends before.
        """
        held = (self.path.stat().st_size - start) // kind.itemsize
        if held < max(count, 0):
            raise InputError(f"{self.path} is no .beton of FFCV, or was cut off: copy or write it again")
        return np.fromfile(self.path, kind, count, offset=start)


class FfcvSource(BetonSource):
    """An ``ffcv.loader.Loader``: all images of its file or of its ``indices``, in their order, whatever its own is.

    Where its pipeline ends in uint8, these are the images: FFCV has cropped and resized them. Where it ends in floats,
    they are for the classifier, and the images come from the file.

    Args:
        loader: with a pipeline of one field of images, which ends in (b, 3, h, w).
    """

    def __init__(self, loader: Any) -> None:
        fields = [spec.source for spec in loader.pipeline_specs.values()]
        images = [name for name in fields if type(loader.reader.handlers.get(name)).__name__ == "RGBImageField"]
        if len(images) != 1:
            raise InputError(f"the Loader gives {len(images)} fields of images: let it give one, or pass its .beton")
        super().__init__(loader.fname, image=images[0])
        self.place, self.rows = fields.index(images[0]), loader.indices
        self.loader = copy.copy(loader)  # with what is compiled
        self.loader.drop_last = self.loader.distributed = False
        self.loader.traversal_order = SimpleNamespace(sample_order=lambda _: loader.indices)
        self.loader.first_traversal_order = loader.indices
        self.ids = [self.ids[row] for row in self.rows]
        self.labels = None if self.labels is None else [self.labels[row] for row in self.rows]
        epoch = iter(self.loader)
        first = next(epoch)[self.place]
        self._begun: tuple[Tensor, Any] | None = first, epoch  # for the first pass, so that nothing is decoded twice
        if first.ndim != 4 or first.shape[1] != 3:
            raise InputError(
                f"the Loader gives images of shape {tuple(first.shape)}: end its pipeline in ToTensor(), ToTorchImage()"
            )
        self.transformed = first.is_floating_point()
        if not self.transformed:
            self.doubts = (
                f"The images are what FFCV's Loader makes of them, {first.shape[3]} x {first.shape[2]} pixels: what "
                "embeds them sees these. Pass the path of the .beton for the images as they are.",
            )

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, row: int) -> Sample:
        """Return one image as it lies in the file."""
        held = None if self.labels is None else self.labels[row]
        return Sample(self.ids[row], partial(self._image, self.rows[row]), held)

    def samples(self) -> Iterator[Sample]:
        """Yield the images with what the Loader makes of them."""
        for row, one in enumerate(chain.from_iterable(batch.unbind() for batch in self._loaded())):
            made, sample = one.clone(), self.sample(row)  # the Loader writes over its batches
            yield replace(sample, transformed=made) if self.transformed else replace(sample, image=made)

    def batches(self, size: int, *views: View | Function) -> Iterator[ImageBatch]:
        """Yield the Loader's batches, each whole where it holds the images themselves."""
        functions = None if self.transformed else functions_of_pixels(views)
        if functions is None:
            yield from super().batches(size, *views)
            return
        start = 0
        for pixels in chain.from_iterable(torch.split(batch, size) for batch in self._loaded()):
            stop = start + len(pixels)
            yield ImageBatch(
                self.ids[start:stop],
                tuple(function(pixels) for function in functions),
                list(range(len(pixels))),
                labels=[None] * len(pixels) if self.labels is None else list(self.labels[start:stop]),
                splits=[None] * len(pixels),
            )
            start = stop

    def _loaded(self) -> Iterator[Tensor]:
        begun, self._begun = self._begun, None
        epoch = begun[1] if begun else iter(self.loader)
        with closing(epoch):  # its thread would go on where not all of it is asked for
            if begun:
                yield begun[0]
            for batch in epoch:
                yield batch[self.place]


def _one(kinds: dict[str, int], wanted: int, asked: str | None, usual: tuple[str, ...], what: str) -> str | None:
    """Return the field of a kind: the one that is asked for, the only one, or the one with a usual name."""
    found = [name for name, kind in kinds.items() if kind == wanted]
    if asked is not None and asked not in found:
        raise InputError(f"{what} is {shown(asked)}, and the .beton has {', '.join(kinds)}: name a field of {what}s")
    named = found if len(found) == 1 else [name for name in found if name.casefold() in usual]
    if asked is None and len(found) > 1 and len(named) != 1:
        raise InputError(
            f"{' and '.join(found)} can be the {what}: name one, as by fdgpu.embedding.BetonSource(path, "
            f"{what}={found[0]!r})"
        )
    return asked or (named[0] if named else None)
