"""CelebA's own faces as the experiment asks for them: subsets of a split in which gender goes with age (B.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.paper.files.celeba import celeba
from benchmarks.paper.files.pipelines import check_space, load_decoder
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.spaces import OTHER, Space
from benchmarks.paper.synthetic import Painter, Words
from fdgpu import Decoder
from fdgpu.captions import CaptionRecipe
from fdgpu.embedding import FeatureEmbedder
from fdgpu.errors import InputError, ModelError
from fdgpu.repair import TrainingRecipe

CLASSES = ("old", "young")
MINORITIES = ("woman", "man")


@dataclass(frozen=True)
class Faces:
    """One seed's subsets; ``splits`` are whole, and the same for all seeds."""

    lab: Lab
    settings: Mapping[str, Any]
    splits: SeenOnce
    seed: int

    def val(self) -> Seen:
        """Return as many of each group."""
        each = self.settings["held_out_each"]
        return self.splits["val"][subset(self.splits.splits["val"], each, each, self.seed)]

    def test(self) -> Seen:
        """Return the test split as it comes."""
        return self.splits["test"]

    def train(self, strength: float) -> Seen:
        """Return ``per_class`` of each class, or as many as the groups of the split allow at this strength."""
        return self.splits["train"][self._rows(strength)]

    def pool(self, strength: float) -> Seen:
        """Return what :meth:`train` leaves of the training split."""
        left = torch.ones(len(self.splits.splits["train"]), dtype=torch.bool)
        left[self._rows(strength)] = False
        return self.splits["train"][left.nonzero()[:, 0]]

    def val_as_training(self, strength: float) -> Seen:
        """Return validation faces, as many of each group as the correlation of the training set allows."""
        val = self.splits.splits["val"]
        sizes = group_sizes(val, strength, self.settings["held_out_as_training"])
        return self.splits["val"][subset(val, *sizes, self.seed)]

    def unaltered(self) -> tuple[Seen, Seen, Seen]:
        """Return the splits whole."""
        return self.splits["train"], self.splits["val"], self.splits["test"]

    def spaces(self) -> Mapping[str, Space]:
        """Return the space of a network that was trained on ImageNet."""
        return _other_spaces(self.settings["other_space"])

    def words(self) -> list[Words]:
        """Return the recipe's captions of each age; the minority is named by its gender."""
        entries = CaptionRecipe.resolve("celeba", CLASSES).classes
        rare = [f"a photo of a {age} {gender}" for age, gender in zip(CLASSES, MINORITIES, strict=True)]
        return [Words(own.grammar, own.reference, text) for own, text in zip(entries, rare, strict=True)]

    def painter(self) -> Painter | None:
        """Return a pipeline that decodes the embedder's vectors, where there is one."""
        pipeline, clip = self.settings["decoder"], self.lab.clip
        decoder = _decoder(pipeline, clip) if _fits(pipeline, self.settings["decoder_clip"], clip) else None
        return None if decoder is None else partial(_paint, decoder)

    def _rows(self, strength: float) -> Tensor:
        train = self.splits.splits["train"]
        return subset(train, *group_sizes(train, strength, self.settings["per_class"]), self.seed)


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Faces]:
    """Return the worlds of the faces in a folder, see :func:`benchmarks.paper.files.celeba.celeba`."""
    splits = celeba(folder)
    _fits(settings["decoder"], settings["decoder_clip"], clip)  # before hours of work
    lab = Lab.on_files(clip, TrainingRecipe.named(settings["recipe"]), workers=settings.get("workers"))
    return partial(Faces, lab, settings, SeenOnce(lab, splits))


@cache
def _other_spaces(name: str) -> dict[str, Space]:
    """Return a torchvision network's space; none, and a line that says so, where its weights cannot be had."""
    try:
        embedder = FeatureEmbedder.torchvision(name)
    except ModelError as error:
        Console().print(f"without the space of {name}: {error}", markup=False)
        return {}
    return {OTHER: lambda seen: embedder.images(seen.marked.images).cpu().numpy()}


@cache
def _fits(pipeline: str, wanted: str, clip: Any) -> bool:
    """Whether a pipeline decodes the embedder's vectors, by name; a line, once, where it does not."""
    try:
        check_space(pipeline, wanted, clip)
    except InputError as error:
        Console().print(f"without decoded faces: {error}", markup=False)
        return False
    return True


@cache
def _decoder(pipeline: str, clip: Any) -> Decoder | None:
    """Load a pipeline; none, and a line, where it cannot be had, or is of another space after all."""
    try:
        return load_decoder(pipeline, clip)
    except (ModelError, InputError) as error:
        Console().print(f"without decoded faces: {error}", markup=False)
        return None


def _paint(decoder: Decoder, vectors: Tensor, seed: int) -> Tensor:
    pictures: Tensor = decoder.sample(vectors, seed=seed)
    return pictures.cpu()


def group_sizes(marked: Marked, strength: float, per_class: int) -> tuple[int, int]:
    """Return how many of the majority and of the minority each class is to have.

    Their ratio is ``strength``, and their sum ``per_class``, or the largest that both classes have faces for.

    Raises:
        InputError: for a group without a face.
    """
    sizes = _sizes(marked)
    majority, minority = (min(sizes[label, group] for label in (0, 1)) for group in (False, True))
    if not min(majority, minority):
        raise InputError(f"{_named(sizes)}: the correlation needs faces in every group")
    total = min(per_class, int(minority * (1 + strength)), int(majority * (1 + strength) / strength))
    few = int(total / (1 + strength))
    return total - few, few


def subset(marked: Marked, majority: int, minority: int, seed: int) -> Tensor:
    """Return the rows of a subset, so many of each class; with the same seed a smaller one is part of a larger one.

    Raises:
        InputError: if there are not enough.
    """
    sizes = _sizes(marked)
    wanted = {(label, group): count for label in (0, 1) for group, count in ((False, majority), (True, minority))}
    if any(sizes[key] < count for key, count in wanted.items()):
        raise InputError(f"{_named(sizes)}; {majority} of each majority and {minority} of each minority are asked for")
    order = torch.randperm(len(marked), generator=torch.Generator().manual_seed(seed))
    labels, groups = marked.labels[order], marked.minority[order]
    rows = [order[(labels == label) & (groups == group)][:count] for (label, group), count in wanted.items()]
    return torch.cat(rows).sort().values


def _sizes(marked: Marked) -> dict[tuple[int, bool], int]:
    """Count each class's majority (False) and minority (True)."""
    return {
        (label, group): int(((marked.labels == label) & (marked.minority == group)).sum())
        for label in (0, 1)
        for group in (False, True)
    }


def _named(sizes: Mapping[tuple[int, bool], int]) -> str:
    counts = (
        f"{count} {CLASSES[label]} of the {'minority' if group else 'majority'}"
        for (label, group), count in sizes.items()
    )
    return f"the split has {', '.join(counts)}"
