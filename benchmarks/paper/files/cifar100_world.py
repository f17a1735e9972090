"""CIFAR-100's own images as the experiment asks for them: the paper's split, and its rare subclasses (B.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.files.cifar import Superclasses, cifar100, cifar100_names
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked, Seen
from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe


@dataclass(frozen=True)
class Subclasses:
    """One seed's split of the training images, of every subclass the same shares."""

    lab: Lab
    settings: Mapping[str, Any]
    names: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    turns: Sequence[Sequence[str]]
    splits: SeenOnce
    seed: int

    def train(self, kept: Mapping[str, float]) -> Seen:
        """Return the training part with a share of each named subclass."""
        return self._cut(self._parts["train"], kept)

    def whole(self, kept: Mapping[str, float]) -> Seen:
        """Return training part and pool, with a share of each named subclass."""
        return self._cut(torch.cat([self._parts["train"], self._parts["pool"]]), kept)

    def val(self) -> Seen:
        """Return what train and pool leave."""
        return self.splits["train"][self._parts["val"]]

    def test(self) -> Seen:
        """Return the test split."""
        return self.splits["test"]

    def pool(self) -> Seen:
        """Return the extra data."""
        return self.splits["train"][self._parts["pool"]]

    def _cut(self, rows: Tensor, kept: Mapping[str, float]) -> Seen:
        kinds = self.splits.splits["train"].kinds
        codes = {self.names.index(name): share for name, share in kept.items()}
        cut = torch.isin(kinds[rows], torch.tensor(list(codes), dtype=torch.long))
        few = [own[: round(share * len(own))] for code, share in codes.items() for own in [rows[kinds[rows] == code]]]
        seen = self.splits["train"][torch.cat([rows[~cut], *few])]
        return seen.with_minority(torch.isin(seen.kinds, torch.tensor(list(codes), dtype=torch.long)))

    @cached_property
    def _parts(self) -> dict[str, Tensor]:
        """Rows of the training images, by lot."""
        kinds = self.splits.splits["train"].kinds
        order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(self.seed))
        parts: dict[str, list[Tensor]] = {"train": [], "pool": [], "val": []}
        for kind in kinds.unique():
            own = order[kinds[order] == kind]
            train, pool = (round(self.settings[part] * len(own)) for part in ("train", "pool"))
            for part, rows in zip(parts.values(), own.split([train, pool, len(own) - train - pool]), strict=True):
                part.append(rows)
        return {part: torch.cat(rows) for part, rows in parts.items()}


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Subclasses]:
    """Return the worlds of the images in a folder, see :func:`benchmarks.paper.files.cifar.cifar100`."""
    lab = Lab.on_files(clip, TrainingRecipe.named(settings["recipe"]), workers=settings.get("workers"))
    splits, names = cifar100(folder), _spoken(cifar100_names(folder))
    groups = subclasses_of(splits["train"], names)
    turns = [rare_subclasses(groups, settings["rare"])]
    return partial(Subclasses, lab, settings, names.fine, groups, turns, SeenOnce(lab, splits))


def subclasses_of(marked: Marked, names: Superclasses) -> dict[str, list[str]]:
    """Return each superclass's subclasses, in the order of their numbers, as the images are labelled."""
    return {
        name: [names.fine[kind] for kind in marked.kinds[marked.labels == label].unique().tolist()]
        for label, name in enumerate(names.coarse)
    }


def rare_subclasses(groups: Mapping[str, Sequence[str]], rare: Mapping[str, str]) -> list[str]:
    """Return the subclass that is rare in each superclass, in the order of the superclasses.

    Raises:
        InputError: if a superclass has none, or one that is not its own.
    """
    for name, group in groups.items():
        if rare.get(name) not in group:
            raise InputError(f"the rare subclass of {name!r} is {rare.get(name)!r}: choose one of {', '.join(group)}")
    return [rare[name] for name in groups]


def _spoken(names: Superclasses) -> Superclasses:
    """Spell names as captions do."""
    return Superclasses(*(tuple(name.replace("_", " ") for name in own) for own in (names.coarse, names.fine)))
