"""ImageNet as it lies on disks: folders of classes, tar shards or FFCV's files; all of its classes, or a share."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from fdgpu.captions.recipe import bundled_folder
from fdgpu.checks import shown
from fdgpu.embedding import BetonSource, archive_source
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.opening import class_folders
from fdgpu.embedding.sources import FileSource, ImageSource, SplitSource
from fdgpu.errors import InputError

SPLITS = ("train", "val")
FORMS = (
    "train/WNID/*.JPEG and val/WNID/*.JPEG, train*.tar and val*.tar as WebDataset writes them (a .cls beside each "
    "image: the class's number in the order of the WNIDs, or its WNID), or train.beton and val.beton of FFCV"
)


@cache
def wnids() -> tuple[str, ...]:
    """Return the thousand classes' WordNet ids in their order, by which classes are numbered."""
    with (bundled_folder() / "imagenet_classes.csv").open(encoding="utf-8") as stream:
        return tuple(row["also"].partition(";")[0] for row in csv.DictReader(stream))


def share(fraction: float) -> list[str]:
    """Return a share of the thousand classes, at least two, spread over all; each keeps all its images.

    Raises:
        InputError: for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction is {fraction}: pass the share of the classes, above 0 and at most 1")
    classes = wnids()
    count = max(2, round(fraction * len(classes)))
    return [classes[i] for i in np.linspace(0, len(classes) - 1, count).round().astype(int)]


def imagenet(place: Path, fraction: float = 1.0) -> ImageSource:
    """Make a source of ImageNet's training and validation images, whose labels are WordNet ids.

    Args:
        place: a folder in one of the ``FORMS``.
        fraction: of the classes.

    Raises:
        InputError: for a folder in another form, or a label that is none of ImageNet's classes.
    """
    if (place / "train").is_dir():
        return _some_folders(class_folders(place), fraction)
    tars = {split: sorted(place.glob(f"{split}*.tar")) for split in SPLITS}
    if all(tars.values()):
        return Labelled(SplitSource({split: archive_source(shards) for split, shards in tars.items()}), fraction)
    betons = {split: place / f"{split}.beton" for split in SPLITS}
    if all(path.is_file() for path in betons.values()):
        return Labelled(SplitSource({split: BetonSource(path) for split, path in betons.items()}), fraction)
    raise InputError(f"{place} does not hold ImageNet: lay there {FORMS}")


def _some_folders(source: FileSource, fraction: float) -> FileSource:
    labels, splits = list(map(str, source.labels or ())), list(map(str, source.splits or ()))
    strange = sorted(set(labels) - set(wnids()))
    if strange or set(splits) != set(SPLITS):
        found = f"a class {shown(strange[0])}" if strange else f"{' and '.join(sorted(set(splits))) or 'no splits'}"
        raise InputError(f"the folder holds {found}: lay there {FORMS}")
    kept = set(share(fraction))
    rows = [row for row, label in enumerate(labels) if label in kept]
    return FileSource(
        [source.paths[row] for row in rows],
        [source.ids[row] for row in rows],
        [labels[row] for row in rows],
        [splits[row] for row in rows],
    )


class Labelled(ImageSource):
    """Images of another source that are of a share of ImageNet's classes, under the WordNet ids of these."""

    def __init__(self, source: ImageSource, fraction: float) -> None:
        self.source, self._kept = source, set(share(fraction))
        if fraction == 1:
            self.count, self.splits = source.count, source.splits

    def samples(self) -> Iterator[Sample]:
        """Yield the images of these classes."""
        for sample in self.source.samples():
            label = _wnid(sample)
            if label in self._kept:
                yield replace(sample, label=label)


def _wnid(sample: Sample) -> str:
    label = sample.label
    if isinstance(label, int) and 0 <= label < len(wnids()):
        return wnids()[label]
    if isinstance(label, str) and label in wnids():
        return label
    raise InputError(
        f"{sample.id} has the label {shown(label)}, which is none of ImageNet's classes: lay there {FORMS}"
    )
