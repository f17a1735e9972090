"""Where images come from: anything that yields samples, with their ids, and labels where it has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.checks import shown
from fdgpu.device import BatchSize, halving_batches
from fdgpu.embedding.loading import (
    ImageBatch,
    Prepared,
    Sample,
    Shown,
    View,
    brought_down,
    loaded,
    shown_pictures,
    unusable,
)
from fdgpu.embedding.picture import Treatment, as_pictures, on_white
from fdgpu.embedding.preprocess import shrunk
from fdgpu.errors import InputError
from fdgpu.findings import Split

STATS_IN_A_ROW = 256  # files that a thread asks for: one task a file would take more memory than their vectors
STATS_AT_ONCE = 16  # files that are asked for their size and time, which over a network takes long
SHOWN_AT_ONCE = 256  # pictures that are shrunk together, from a device on which they may be large

Function = Callable[[Tensor], Tensor]


class ImageSource:
    """Images in one order, each with an id. A source of one's own is a subclass that writes :meth:`samples`.

    Attributes:
        count: how many there are; None where that is not known beforehand.
        ids: of all images; None where they are not known beforehand.
        labels: of all images, where they are known without reading images; None otherwise.
        splits: of all images, likewise.
        class_names: of labels that are whole numbers, in the order of these.
        transform: what the source itself would make of an image for a classifier: an image as its samples hold it →
            (c, h, w). None without one.
        transformed: whether its samples hold what was already transformed for a classifier.
        doubts: sentences on what a reader should know before believing a report on these images.
        once: they can be gone through only once.

    Example:
        >>> class Squares(ImageSource):
        ...     def samples(self):
        ...         for grey in (0, 128, 255):
        ...             yield Sample(f"grey {grey}", np.full((8, 8, 3), grey, np.uint8), label="square")
        >>> [batch.ids for batch in Squares().batches(2, lambda pixels: pixels)]
        [['grey 0', 'grey 128'], ['grey 255']]
    """

    count: int | None = None
    ids: Sequence[str] | None = None
    labels: Sequence[object] | None = None
    splits: Sequence[str | None] | None = None
    class_names: tuple[str, ...] | None = None
    transform: Callable[[object], Tensor] | None = None
    transformed: bool = False
    doubts: tuple[str, ...] = ()
    once: bool = False

    def samples(self) -> Iterator[Sample]:
        """Yield all images in order. What takes long, as decoding does, goes into a sample's ``image``, a function."""
        raise NotImplementedError

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Return some samples, to look at or to show; None for one that cannot be had again.

        By default all are gone through again up to the last of them.
        """
        wanted = set(rows)
        found: dict[int, Sample] = {}
        for row, sample in enumerate(self.samples()):
            if row in wanted:
                found[row] = sample
                if len(found) == len(wanted):
                    break
        return [found.get(row) for row in rows]

    def only(self, ids: Collection[str]) -> ImageSource:
        """Return the images of these ids alone, in the order of the source; an id that comes twice comes once."""
        return OnlySource(self, ids)

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return of some images what changes when they do, such as the size and the time of a file.

        None stands for an image of which nothing is known but its picture.
        """
        return [None] * len(rows)

    def batches(self, size: int, *views: View | Function) -> Iterator[ImageBatch]:
        """Yield batches of at most ``size`` images, with each view of them; functions are of pixels (3, h, w)."""
        return loaded(self.samples(), size, [_as_view(view) for view in views])

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Return images to be shown, (h, w, 3) each, at most ``side`` pixels high and wide.

        From a device they come down together, after they were shrunk there. None stands for an image that cannot be
        read, or not again.
        """
        return shown_pictures(self.again(rows), side)


class IndexedSource(ImageSource):
    """Images that can be had in any order: a subclass writes :meth:`__len__` and :meth:`sample`.

    Example:
        >>> class Greys(fdgpu.IndexedSource):
        ...     ids = ["dark", "bright"]
        ...
        ...     def __len__(self):
        ...         return len(self.ids)
        ...
        ...     def sample(self, row):
        ...         return fdgpu.Sample(self.ids[row], np.full((8, 8, 3), 255 * row, np.uint8), label="square")
        >>> Greys().again([1])[0].id, Greys().count
        ('bright', 2)
    """

    ids: list[str]

    def __len__(self) -> int:
        raise NotImplementedError

    def sample(self, row: int) -> Sample:
        """Return one image."""
        raise NotImplementedError

    @property
    def count(self) -> int:  # type: ignore[override]  # known
        """How many images there are."""
        return len(self)

    def samples(self) -> Iterator[Sample]:
        """Yield all images in order."""
        return map(self.sample, range(len(self)))

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Return some samples."""
        return [self.sample(row) for row in rows]

    def reason(self, row: int) -> str | None:
        """Return why an image cannot be used; None where it can."""
        return unusable(self.sample(row))

    def only(self, ids: Collection[str]) -> ImageSource:
        """Return the images of these ids alone."""
        rows = rows_of(self.ids, ids)
        if type(self).samples is not IndexedSource.samples or type(self).batches is not ImageSource.batches:
            return OnlySource(self, ids)  # which loads them in a way of its own
        return IndexedPart(self, rows)


class IndexedPart(IndexedSource):
    """Some rows of a source."""

    def __init__(self, of: IndexedSource, rows: Sequence[int]) -> None:
        self.of, self.rows, self.ids = of, rows, [of.ids[row] for row in rows]
        self.transform, self.transformed, self.class_names = of.transform, of.transformed, of.class_names

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, row: int) -> Sample:
        """Return one image."""
        return self.of.sample(self.rows[row])

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return what changes when images do."""
        return self.of.stamps([self.rows[row] for row in rows])


class OnlySource(ImageSource):
    """Some images of a source that is gone through from its beginning.

    Args:
        of: the source.
        ids: of the images.
        samples: how it is gone through; by default as the source says.
    """

    def __init__(
        self, of: ImageSource, ids: Collection[str], samples: Callable[[], Iterator[Sample]] | None = None
    ) -> None:
        self.wanted, self._samples = ids, samples or of.samples
        self.count = len(set(ids))
        self.transform, self.transformed, self.class_names = of.transform, of.transformed, of.class_names

    def samples(self) -> Iterator[Sample]:
        """Yield those that are wanted."""
        left = set(self.wanted)
        for sample in self._samples():
            if sample.id in left:
                left.remove(sample.id)
                yield sample


class FileSource(IndexedSource):
    """Image files.

    Args:
        paths: of the files.
        ids: of the images.
        labels: of the images, or None.
        splits: of the images, or None.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        ids: Sequence[str],
        labels: Sequence[object] | None = None,
        splits: Sequence[str] | None = None,
    ) -> None:
        self.paths, self.ids = list(paths), list(ids)
        self.labels, self.splits = labels, splits

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, row: int) -> Sample:
        """Return one file."""
        return Sample(
            self.ids[row],
            self.paths[row],
            None if self.labels is None else self.labels[row],
            None if self.splits is None else self.splits[row],
        )

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return the size and the time of each file."""

        def of_some(start: int) -> list[str | None]:
            return [stamp_of_file(self.paths[row]) for row in rows[start : start + STATS_IN_A_ROW]]

        with ThreadPoolExecutor(STATS_AT_ONCE) as pool:
            return list(chain.from_iterable(pool.map(of_some, range(0, len(rows), STATS_IN_A_ROW))))


def stamp_of_file(path: Path) -> str | None:
    """Return the size of a file in bytes and the nanosecond of its last change; None where it cannot be asked."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return f"{found.st_size}-{found.st_mtime_ns}"


class TensorSource(IndexedSource):
    """Images that already are one tensor, on any device."""

    def __init__(self, images: Tensor, ids: Sequence[str] | None = None) -> None:
        self.images = as_pictures(images)
        self.ids = list(ids) if ids is not None else [str(i) for i in range(len(images))]
        if len(self.ids) != len(self.images):
            raise InputError(f"ids has {len(self.ids)} entries, images has {len(self.images)}: pass one id an image")

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, row: int) -> Sample:
        """Return one image, where it lies."""
        return Sample(self.ids[row], self.images[row])

    def reason(self, row: int) -> None:
        """All were looked at together."""

    def only(self, ids: Collection[str]) -> ImageSource:
        """Return a part of the tensor; a run of rows is not copied."""
        rows = rows_of(self.ids, ids)
        run = bool(rows) and rows[-1] - rows[0] + 1 == len(rows)
        there = torch.tensor(rows, dtype=torch.long)
        index = slice(rows[0], rows[-1] + 1) if run else to_device(there, self.images.device)
        return TensorSource(self.images[index], [self.ids[row] for row in rows])

    def batches(self, size: int, *views: View | Function) -> Iterator[ImageBatch]:
        """Yield slices of the tensor, resized on its device; the batch is halved where that has no memory for more."""
        functions = functions_of_pixels(views)
        if functions is None:
            yield from super().batches(size, *views)  # one by one
            return
        start = 0
        treated = (Treatment.ON_WHITE,) if self.images.ndim == 4 and self.images.shape[1] == 4 else ()

        def seen(first: int, last: int) -> tuple[Tensor, ...]:
            pixels = on_white(self.images[first:last])
            return tuple(function(pixels) for function in functions)

        for stop, made in halving_batches(seen, len(self), BatchSize(size)):
            n = stop - start
            nothing: list[None] = [None] * n
            every: list[tuple[Treatment, ...]] = [treated] * n
            yield ImageBatch(self.ids[start:stop], made, list(range(n)), {}, every, list(nothing), list(nothing))
            start = stop

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:
        """Shrink some images on their device, a batch after the other."""
        index = to_device(torch.tensor(rows, dtype=torch.long), self.images.device)
        parts = halving_batches(
            lambda a, b: shrunk(on_white(self.images[index[a:b]]), side), len(rows), BatchSize(SHOWN_AT_ONCE)
        )
        made = [Prepared((picture.movedim(-1, 0),), None, ()) for _, part in parts for picture in part]
        return brought_down(made)


class ListedSource(IndexedSource):
    """A sequence of PIL images, arrays or tensors, or of pairs of these with their labels."""

    def __init__(self, images: Sequence[object]) -> None:
        self.images, self.ids = images, [str(row) for row in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, row: int) -> Sample:
        """Return one image."""
        return _listed_sample(row, self.images[row])


class IterableSource(ImageSource):
    """An iterable of PIL images, arrays or tensors, or of pairs of these with their labels.

    A generator is read once, a batch ahead of the model.
    """

    def __init__(self, images: Iterable[object]) -> None:
        self.images, self.once = images, isinstance(images, Iterator)
        self.count = len(images) if isinstance(images, Sized) else None

    def samples(self) -> Iterator[Sample]:
        """Yield the images in the order of the iterable."""
        return (_listed_sample(row, image) for row, image in enumerate(self.images))

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Go through the iterable once more; a generator is read once."""
        return [None] * len(rows) if self.once else super().again(rows)


class Names:
    """Makes ids unique: one that came before gets its position, ``a.jpg#7``."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.count = 0

    def of(self, name: str | None) -> str:
        """Return the id of the next image; without a name, its position."""
        row, own = self.count, printable(name) if name else str(self.count)
        while own in self.seen:
            own = f"{own}#{row}"
        self.seen.add(own)
        self.count += 1
        return own

    def once(self, sample: Sample) -> Sample:
        """Return the next sample under its id."""
        return replace(sample, id=self.of(sample.id))


class SplitSource(ImageSource):
    """Sources of several splits, one after the other; an id begins with its split, as in "train/7"."""

    def __init__(self, parts: Mapping[str, ImageSource]) -> None:
        self.parts = {_split_of(name): part for name, part in parts.items()}
        if len(self.parts) < len(parts):
            raise InputError(f"images maps two names to one split, {', '.join(parts)}: pass each split once")
        self._counts = {name: part.count for name, part in self.parts.items() if part.count is not None}
        if len(self._counts) == len(self.parts):
            self.count = sum(self._counts.values())
            self.splits = [name for name, count in self._counts.items() for _ in range(count)]
        if all(part.ids is not None for part in self.parts.values()):
            self.ids = [f"{name}/{own}" for name, part in self.parts.items() for own in part.ids or ()]
        if all(part.labels is not None for part in self.parts.values()):
            self.labels = [label for part in self.parts.values() for label in part.labels or ()]
        names = {part.class_names for part in self.parts.values()}
        if len(names) > 1:
            raise InputError("images has splits whose classes differ in name or order: pass splits of one data set")
        self.class_names = names.pop() if names else None
        transforms = {id(part.transform): part.transform for part in self.parts.values()}
        if len(transforms) == 1:
            (self.transform,) = transforms.values()
        self.transformed = self.transform is None and all(
            part.transformed or part.transform is not None for part in self.parts.values()
        )
        self.once = any(part.once for part in self.parts.values())
        self.doubts = tuple(dict.fromkeys(doubt for part in self.parts.values() for doubt in part.doubts))

    def samples(self) -> Iterator[Sample]:
        """Yield the samples of each split."""
        for name, part in self.parts.items():
            count = 0
            for sample in part.samples():
                yield self._in_split(sample, name)
                count += 1
            self._counts[name] = count

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Ask each split for its own, up to one that nobody has counted."""
        found: dict[int, Sample | None] = {}
        start = 0
        for name, part in self.parts.items():
            stop = start + self._counts[name] if name in self._counts else None
            own = [row for row in dict.fromkeys(rows) if row >= start and (stop is None or row < stop)]
            samples = part.again([row - start for row in own]) if own else []
            found |= {row: one and self._in_split(one, name) for row, one in zip(own, samples, strict=True)}
            if stop is None:
                break
            start = stop
        return [found.get(row) for row in rows]

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Ask each split for its own."""
        found: dict[int, str | None] = {}
        start = 0
        for name, part in self.parts.items():
            if name not in self._counts:  # whose rows nobody knows
                break
            stop = start + self._counts[name]
            own = [row for row in rows if start <= row < stop]
            found |= zip(own, part.stamps([row - start for row in own]), strict=True)
            start = stop
        return [found.get(row) for row in rows]

    def only(self, ids: Collection[str]) -> ImageSource:
        """Ask each split for its own, where they know their ids."""
        if self.ids is None:
            return super().only(ids)
        wanted = set(ids)
        chosen = {
            name: [own for own in part.ids or () if f"{name}/{own}" in wanted] for name, part in self.parts.items()
        }
        return SplitSource({name: self.parts[name].only(own) for name, own in chosen.items() if own})

    def _in_split(self, sample: Sample, split: str) -> Sample:
        """Return a sample of one split, with the transform of its own: for training it is often another."""
        own = self.parts[split].transform if sample.transformed is None else sample.transformed
        return replace(sample, id=f"{split}/{sample.id}", split=split, transformed=own)


def rows_of(own: Sequence[str], ids: Collection[str]) -> list[int]:
    """Return the rows of ids, each once, in ascending order."""
    left, rows = set(ids), []
    for row, one in enumerate(own):
        if one in left:
            left.remove(one)
            rows.append(row)
            if not left:
                break
    return rows


def functions_of_pixels(views: Sequence[View | Function]) -> list[Function] | None:
    """Return what makes each view of pixels alone; None where one takes more."""
    own = [_as_view(view) for view in views]
    return [cast(Function, view.function) for view in own] if all(view.of_pixels for view in own) else None


def _as_view(view: View | Function) -> View:
    return view if isinstance(view, View) else View(view)


def _listed_sample(row: int, image: object) -> Sample:
    pair = isinstance(image, tuple) and len(image) == 2
    return Sample(str(row), image[0], image[1]) if pair else Sample(str(row), image)  # type: ignore[index]


def _split_of(name: str) -> str:
    known = Split.named(name)
    if known is None:
        raise InputError(f"images maps {shown(name)} to a source: its keys are the splits {', '.join(Split)}")
    return known


def printable(path: str | Path) -> str:
    """Return a path as text that can be written as UTF-8; bytes of its name that are no UTF-8 are escaped."""
    text = path.as_posix() if isinstance(path, Path) else path
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name holds
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
