"""The one door for images: what came → a source of it; formats beyond files and arrays are imported when one comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from fdgpu.arrays import is_array, to_torch
from fdgpu.checks import shown
from fdgpu.embedding.image_file import ELSEWHERE, suffixes
from fdgpu.embedding.sources import (
    FileSource,
    ImageSource,
    IterableSource,
    ListedSource,
    SplitSource,
    TensorSource,
    printable,
)
from fdgpu.errors import InputError
from fdgpu.findings import Split

TABLES = {"datasets", "pandas", "polars", "pyarrow"}  # libraries of tables
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def image_source(images: object) -> ImageSource:
    """Make a source of images, in any of the forms below.

    Args:
        images: a folder (searched for image files, in sorted order), a list of paths, a tensor or array of images,
            any iterable of PIL images, arrays or tensors, or of pairs of one and its label, a torch ``Dataset`` or
            ``DataLoader``, a data set of Hugging Face, a frame, a Parquet, tar, zip or ``.beton`` file, an address that
            fsspec opens, a mapping of "train", "val" and "test" to any of these, or an :class:`ImageSource`.
            docs/sources.md has a line on each. What becomes of an orientation, an alpha channel, 16 bits, CMYK and
            several frames: :mod:`fdgpu.embedding.picture`.

    Raises:
        InputError: for a folder, file or address that is not there, cannot be read or holds no image.

    Example:
        >>> [sample.id for sample in image_source(np.zeros((2, 8, 8, 3), np.uint8)).samples()]
        ['0', '1']
    """
    of_library = images if isinstance(images, ImageSource) else _of_library(images)
    if of_library is not None:
        return of_library
    if isinstance(images, (str, Path)):
        return _addressed(images) or _folder(Path(images))
    if isinstance(images, torch.Tensor):
        return TensorSource(images)
    if isinstance(images, np.ndarray) and images.dtype.kind in "uif":
        return TensorSource(torch.from_numpy(np.ascontiguousarray(images)))
    if is_array(images):
        return TensorSource(to_torch(images, "images"))
    if isinstance(images, Mapping):
        return SplitSource({str(name): image_source(part) for name, part in images.items()})
    if isinstance(images, (torch.utils.data.Dataset, torch.utils.data.DataLoader)):
        from fdgpu.embedding.datasets import dataset_source

        return dataset_source(images)
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
        return _addressed(paths) or FileSource([Path(path) for path in paths], [printable(path) for path in paths])
    listed = list(images) if isinstance(images, np.ndarray) else images
    return ListedSource(listed) if isinstance(listed, Sequence) else IterableSource(listed)


def _of_library(images: object) -> ImageSource | None:
    """Return the source of another library's data set; its type tells, so that nothing is imported to find out."""
    library = type(images).__module__.partition(".")[0]
    if library == "ffcv":
        from fdgpu.embedding.beton import FfcvSource

        return FfcvSource(images)
    if library == "webdataset":
        from fdgpu.embedding.archives import LoadedShards

        return LoadedShards(images)
    is_table = hasattr(images, "columns") or hasattr(images, "column_names")  # and no column, and no splits of tables
    if library in TABLES and is_table and not isinstance(images, Mapping):
        from fdgpu.embedding.tabular import table_source

        return table_source(images)
    return None


def _addressed(images: str | Path | list[str]) -> ImageSource | None:
    """Return the source of archives, a table or addresses; None for folders and images on disk."""
    first = str(images[0] if isinstance(images, list) else images)
    if Path(first).is_dir():
        return None
    if first.endswith(".beton"):
        from fdgpu.embedding.beton import BetonSource

        return BetonSource(first)
    if first.endswith(".parquet"):
        from fdgpu.embedding.tabular import table_source

        return table_source(images)
    if "://" in first or first.endswith(ARCHIVES):
        from fdgpu.embedding.archives import archive_source

        return archive_source(images)
    return None


def _folder(root: Path) -> FileSource:
    paths = _found(root)
    return FileSource(paths, [printable(path.relative_to(root)) for path in paths])


def class_folders_or_images(images: object) -> ImageSource:
    """Make a source; of a folder with nothing but folders of classes one with labels."""
    if isinstance(images, (str, Path)) and Path(images).is_dir():
        with suppress(InputError):
            return class_folders(Path(images))
    return image_source(images)


def class_folders(root: Path) -> FileSource:
    """Make a source of a folder with a folder for each class, whose name is the label.

    The folders of classes may lie in folders of the splits: ``val/cat/1.jpg``.

    Raises:
        InputError: for an image that lies in no folder of a class.
    """
    paths = _found(root)
    ids = [printable(path.relative_to(root)) for path in paths]
    splits = [Split.named(own.split("/")[0]) for own in ids]
    in_splits = all(splits)
    depth = 2 if in_splits else 1
    for own in ids:
        if own.count("/") < depth:
            raise InputError(
                f"{root} holds {shown(own)} outside of a folder of its class: sort images into folders named by their "
                "class, or pass labels"
            )
    source = FileSource(paths, ids, [own.split("/")[depth - 1] for own in ids], splits if in_splits else None)  # type: ignore[arg-type]
    source.class_names = tuple(sorted(set(map(str, source.labels or ()))))
    return source


def _found(root: Path) -> list[Path]:
    """Search a folder for images, in sorted order."""
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
    return paths
