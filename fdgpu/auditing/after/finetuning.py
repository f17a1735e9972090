"""A classifier trained further on its training set and on what a repair wrote, by the paper's recipe (A.3, A.8)."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.v2 import Normalize

from fdgpu.arrays import to_host
from fdgpu.auditing.after.picturing import PAINTED
from fdgpu.auditing.after.repairing import HEADER, labelled
from fdgpu.auditing.columns.class_names import ClassNames, Outputs
from fdgpu.auditing.columns.pairing import Paired, listed
from fdgpu.auditing.columns.tables import ColumnNames
from fdgpu.auditing.laying import Model, opened_classifier
from fdgpu.checks import check_name, shown
from fdgpu.described import Described
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.loading import View, prepared
from fdgpu.embedding.sources import FileSource, IndexedSource
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.files import read_text_file, write_safetensors
from fdgpu.findings import Split
from fdgpu.progress import OneBar, Reporter
from fdgpu.repair.training_loop import fine_tune
from fdgpu.repair.training_recipe import TrainingRecipe, as_recipe

RECIPES = {"last": "cifar_last_layer", "all": "cifar"}  # by default: the paper's of A.8, and of A.3
MOST_BYTES = 2_000_000_000  # of a manifest


@dataclass(frozen=True, repr=False)
class FineTuned(Described):
    """A classifier that was trained further.

    Attributes:
        model: the trained network, on its device and in evaluation mode; the classifier itself is left alone.
        n: training images, without those that were added.
        n_added: images that a repair added.
        n_weighed: images whose loss weighed other than 1.
        weights: file with its state_dict, or None.
    """

    model: nn.Module
    n: int
    n_added: int
    n_weighed: int
    weights: Path | None

    def _described(self) -> dict[str, object]:
        weights = None if self.weights is None else str(self.weights)
        counts = {"n": self.n, "n_added": self.n_added, "n_weighed": self.n_weighed}
        return {"model": type(self.model).__name__, **counts, "weights": weights}


def finetune(
    classifier: Model,
    images: object,
    labels: object = None,
    *,
    repair: str | Path | None = None,
    layers: Literal["last", "all"] = "last",
    recipe: TrainingRecipe | str | None = None,
    out: str | Path | None = None,
    preprocess: object = None,
    class_names: ClassNames | None = None,
    columns: ColumnNames | None = None,
    allow_outside: bool = False,
    device: str | torch.device = "auto",
    workers: int = 0,
    seed: int = 0,
    progress: Reporter | None = None,
) -> FineTuned:
    """Train a classifier further, its last layer or all of it, with its own preprocessing.

    Args:
        classifier: a module, a name as :meth:`fdgpu.Classifier.from_name` takes it, or a classifier.
        images: the training images; those of a split other than train are left alone where the source knows splits.
        labels: of them, where they have none: a table, or a mapping of path to label.
        repair: folder that ``fdgpu repair`` wrote: what ``pool.csv`` and ``painted.csv`` list is added to the training
            images, and losses weigh what ``weights.csv`` says.
        layers: ``"last"`` trains the last linear layer, on what goes into it; ``"all"`` the whole network.
        recipe: epochs, batch, learning rate and, of all layers, random changes; by default the paper's
            ``"cifar_last_layer"`` for the last layer and ``"cifar"`` for all.
        out: file for the trained weights, safetensors, which ``NAME:FILE`` and ``FILE.py:FUNCTION:FILE`` load.
        preprocess: of a module, what it takes of a PIL image.
        class_names: of its outputs in their order, where it does not name them.
        columns: what a table calls its columns.
        allow_outside: take paths of a table that lead out of the folder.
        device: where to train.
        workers: processes that decode images.
        seed: of the order of images and of random changes.
        progress: a reporter; by default a bar where a person watches standard error.

    Raises:
        InputError: for a class that is none of the model's, an image that cannot be read, a repair that is not there or
            of other images; and what :func:`fdgpu.repair.fine_tune` cannot take.

    Example:
        >>> images = [(np.full((8, 8, 3), level, np.uint8), label) for level in range(0, 250, 10) for label in (0, 1)]
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
        >>> from torchvision.transforms.functional import to_tensor
        >>> found = fdgpu.auditing.finetune(network, images, preprocess=to_tensor, class_names=[0, 1], device="cpu")
        >>> found.n, found.n_added
        (50, 0)
    """
    check_name(layers, "layers", RECIPES)
    settings = as_recipe(RECIPES[layers] if recipe is None else recipe)
    repaired = _Repaired() if repair is None else _Repaired.of(Path(repair))
    paired = labelled(images, labels, columns, allow_outside)
    made = Classifier.from_name(classifier, device) if isinstance(classifier, str) else classifier
    opened, view = opened_classifier(made, preprocess, paired.source)
    by_folders = paired.by_folders and class_names is None
    outputs = Outputs(opened, paired.source.class_names if class_names is None else class_names, by_folders)
    for doubt in (*opened.doubts, *outputs.doubts):
        warnings.warn(doubt, FdgpuWarning, stacklevel=2)
    training = _training_images(paired)
    weights = repaired.weights_of([source.ids[row] for source, row, _ in training])
    every = [*training, *repaired.images()]
    dataset = _Images([one[:2] for one in every], outputs.columns_of([label for *_, label in every]), view)
    normalises = opened.normalisation is not None
    network = nn.Sequential(Normalize(*opened.normalisation), opened.model) if opened.normalisation else opened.model
    with OneBar(progress) as report:
        tuned = fine_tune(
            network,
            dataset,
            recipe=settings,
            layers=layers,
            features_once=layers == "last",
            device=device,
            workers=workers,
            seed=seed,
            weights=weights,
            augment=settings.augment if layers == "all" and normalises else None,
            progress=report,
        )
    model = tuned.get_submodule("1") if normalises else tuned
    if out is not None:
        state = {name: to_host(tensor, "trained weights") for name, tensor in model.state_dict().items()}
        write_safetensors(Path(out), state)
    n_weighed = 0 if weights is None else int((weights != 1).sum())
    n_added = len(every) - len(training)
    return FineTuned(model, len(training), n_added, n_weighed, None if out is None else Path(out))


Labelled = tuple[IndexedSource, int, object]  # an image: its source, its row there, its label


def _training_images(paired: Paired) -> list[Labelled]:
    """Return the images to train on, those of other splits left out.

    Raises:
        InputError: for a source that cannot be read in any order, none of the split train, or no labels.
    """
    source = paired.source
    if not isinstance(source, IndexedSource):
        raise InputError("training needs images in any order: pass a folder, a list, a tensor or a map-style Dataset")
    given = paired.joined(source.ids)
    labels = listed(given["labels"]) or [source.sample(row).label for row in range(len(source))]
    splits = listed(given["splits"]) or list(source.splits or [None] * len(source))
    kept = [row for row, split in enumerate(splits) if split is None or Split.named(str(split)) == Split.TRAIN]
    if not kept:
        raise InputError("images hold none of the split train: pass the training images")
    if any(labels[row] is None for row in kept):
        raise InputError("images have no labels: sort them into folders named by their class, or pass labels")
    return [(source, row, labels[row]) for row in kept]


class _Images(Dataset[tuple[Tensor, int]]):
    """Images as a classifier takes them, with the column of their class; decoded whenever they are asked for."""

    def __init__(self, images: list[tuple[IndexedSource, int]], columns: NDArray[np.int64], view: View) -> None:
        self.images, self.columns, self.view = images, columns, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        source, row = self.images[index]
        sample = source.sample(row)
        made = prepared(sample, [self.view])
        if isinstance(made, str):
            raise InputError(f"{sample.id} cannot be trained on, {made}: take it out of the training images")
        pixels = made.views[0]
        return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float(), int(self.columns[index])


@dataclass(frozen=True)
class _Repaired:
    """What a repair wrote: images to be added, with their classes, and weights of training images by path."""

    added: tuple[tuple[Path, str], ...] = ()
    weights: Mapping[str, float] | None = None

    @classmethod
    def of(cls, folder: Path) -> _Repaired:
        """Read the manifests of a folder.

        Raises:
            InputError: if there is none, one is not as ``fdgpu repair`` writes it, or an image of it is gone.
        """
        files = {way: folder / f"{way}.csv" for way in ("pool", PAINTED, "weights")}
        there = {way: repaired_rows(file) for way, file in files.items() if file.is_file()}
        if not there:
            raise InputError(
                f"{folder} holds none of {', '.join(f.name for f in files.values())}: pass one of fdgpu repair"
            )
        added = [row for way in ("pool", PAINTED) for row in there.get(way, ())]
        gone = [row["path"] for row in added if not (folder / row["path"]).is_file()]
        if gone:
            raise InputError(
                f"{len(gone)} images that {folder} lists are no files, the first is {shown(gone[0])}: repair again, "
                "with a pool that is a folder"
            )
        weights = {row["path"]: float(row["weight"]) for row in there["weights"]} if "weights" in there else None
        return cls(tuple((folder / row["path"], row["class"]) for row in added), weights)

    def images(self) -> list[Labelled]:
        """Return the images to be added."""
        files = FileSource([path for path, _ in self.added], [str(path) for path, _ in self.added])
        return [(files, row, name) for row, (_, name) in enumerate(self.added)]

    def weights_of(self, ids: Sequence[str]) -> NDArray[np.float32] | None:
        """Return a weight for each training image and, 1, for each that is added; None where nothing was weighed.

        Raises:
            InputError: for a training image that has no weight.
        """
        if self.weights is None:
            return None
        missing = [own for own in ids if own not in self.weights]
        if missing:
            raise InputError(
                f"weights.csv has no weight of {len(missing)} training images, the first is {shown(missing[0])}: "
                "repair with the same training images as these (--train)"
            )
        own = [self.weights[own] for own in ids]
        return np.array([*own, *([1.0] * len(self.added))], np.float32)


def repaired_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a manifest of a repair.

    Raises:
        InputError: for another file.
    """
    rows = list(csv.DictReader(StringIO(read_text_file(file, MOST_BYTES, "a manifest of fdgpu repair"))))
    if rows and set(HEADER) - set(rows[0]):
        raise InputError(f"{file} is no manifest of fdgpu repair: its columns are {', '.join(rows[0])}")
    return rows
