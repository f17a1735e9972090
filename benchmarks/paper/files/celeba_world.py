"""CelebA's own faces as the experiment asks for them: subsets of a split in which gender goes with age (B.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.files.celeba import celeba
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked, Seen
from fdgpu.errors import InputError
from fdgpu.training import Recipe

CLASSES = ("old", "young")


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

    def _rows(self, strength: float) -> Tensor:
        train = self.splits.splits["train"]
        return subset(train, *group_sizes(train, strength, self.settings["per_class"]), self.seed)


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Faces]:
    """Return the worlds of the faces in a folder, see :func:`benchmarks.paper.files.celeba.celeba`."""
    lab = Lab.on_files(clip, Recipe.named(settings["recipe"]), workers=settings.get("workers"))
    return partial(Faces, lab, settings, SeenOnce(lab, celeba(folder)))


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
