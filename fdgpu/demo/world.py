"""The demo's data set: photographs that ship (Fashion-MNIST), rendered with planted correlations, and the truth.

Photographs lie in one PNG sprite sheet per split and class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdgpu.checks import LARGEST_SEED
from fdgpu.demo.renderer import Attributes, draw_attributes, draw_scene, render
from fdgpu.demo.settings import Plant, world_settings
from fdgpu.errors import InputError
from fdgpu.findings import Split

PHOTOGRAPHS = {Split.TRAIN: "base", Split.VAL: "val", Split.TEST: "test"}
BALANCED = 0.5
POOL = 1 << 40  # added to the seed: no split has it
TILE = 28  # pixels, the side of a photograph
Bytes = NDArray[np.uint8]


def load_photographs(split: str, folder: Traversable | None = None) -> tuple[Tensor, Tensor]:
    """Load one split: grey garments on nothing, sorted by class.

    Args:
        split: ``"base"``, ``"val"`` or ``"test"``; no photograph is in two of them.
        folder: one with further splits; by default the one that ships.

    Returns:
        Pixels (n, 28, 28) uint8 and classes (n,) int64.

    Raises:
        InputError: if the split is unknown.
    """
    source = resources.files("fdgpu.demo") / "photographs" if folder is None else folder
    known = sorted(part.name for part in source.iterdir() if part.is_dir())
    if split not in known:
        raise InputError(f"split is {split!r}: use one of {', '.join(known)}")
    pixels = []
    for name in world_settings().class_names:
        with (source / split / f"{name}.png").open("rb") as stream:
            pixels.append(cut_sheet(np.asarray(Image.open(stream)), TILE))
    labels = np.repeat(np.arange(len(pixels)), [len(own) for own in pixels])
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(labels)


def cut_sheet(sheet: Bytes, tile: int) -> Bytes:
    """Cut a sprite sheet (rows·tile, columns·tile) into tiles (rows·columns, tile, tile), row by row."""
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(-1, tile, tile)


@dataclass(frozen=True)
class RenderedSplit:
    """Rendered pictures (n, 3, 64, 64) uint8, their classes (n,) and attributes, and whether each is of a minority."""

    name: str
    pictures: Tensor
    labels: Tensor
    attributes: Attributes

    @property
    def paths(self) -> list[str]:
        """Relative paths, one a picture: ``val/boot/0007.png``."""
        names = world_settings().class_names
        counts = dict.fromkeys(range(len(names)), 0)
        paths = []
        for label in self.labels.tolist():
            paths.append(f"{self.name}/{names[label]}/{counts[label]:04d}.png")
            counts[label] += 1
        return paths

    def minority(self, plant: Plant) -> Tensor:
        """(n,) bool: pictures of the plant's class that show what the model was taught to fail on."""
        settings = world_settings()
        shows_hard = getattr(self.attributes, plant.attribute) == settings.code(plant.attribute, plant.hard)
        return torch.as_tensor(shows_hard & (self.labels == settings.class_names.index(plant.class_name)))


def make_split(name: Split, seed: int, device: torch.device | str = "cpu", every: int = 1) -> RenderedSplit:
    """Render one split, of each ``every``-th photograph.

    In ``train`` a planted class shows its easy value in ``strength`` of the pictures; in ``val`` and ``test`` half and
    half. The same seed gives the same pictures.
    """
    generator = torch.Generator().manual_seed(
        (seed * len(PHOTOGRAPHS) + list(PHOTOGRAPHS).index(name)) % (LARGEST_SEED + 1)
    )
    pixels, labels = (own[::every] for own in load_photographs(PHOTOGRAPHS[name]))
    settings = world_settings()
    attributes = draw_attributes(len(labels), generator)
    for plant in settings.plants:
        strength = settings.strength if name == Split.TRAIN else BALANCED
        attributes = _plant(attributes, labels, plant, strength, generator)
    scene = draw_scene(attributes, labels, generator)
    return RenderedSplit(name, render(pixels, scene, device=device), labels, attributes)


def make_pool(seed: int, device: torch.device | str = "cpu", every: int = 4) -> RenderedSplit:
    """Render further pictures of each ``every``-th training photograph, in scenes of their own.

    Planted attributes are half and half, so that a class's minority is there to be found.
    """
    generator = torch.Generator().manual_seed((seed + POOL) % (LARGEST_SEED + 1))
    pixels, labels = (own[::every] for own in load_photographs(PHOTOGRAPHS[Split.TRAIN]))
    attributes = draw_attributes(len(labels), generator)
    for plant in world_settings().plants:
        attributes = _plant(attributes, labels, plant, BALANCED, generator)
    scene = draw_scene(attributes, labels, generator)
    return RenderedSplit("pool", render(pixels, scene, device=device), labels, attributes)


def _plant(
    attributes: Attributes, labels: Tensor, plant: Plant, strength: float, generator: torch.Generator
) -> Attributes:
    """Give exactly ``strength`` of a class's pictures the easy value, the others the hard one."""
    settings = world_settings()
    members = (labels == settings.class_names.index(plant.class_name)).nonzero()[:, 0]
    members = members[torch.randperm(len(members), generator=generator)]
    codes = getattr(attributes, plant.attribute).clone()
    codes[members] = settings.code(plant.attribute, plant.hard)
    codes[members[: round(strength * len(members))]] = settings.code(plant.attribute, plant.easy)
    return replace(attributes, **{plant.attribute: codes})


def phrase(plant: Plant) -> str:
    """Return the words by which a caption names a plant's hard value."""
    if plant.attribute == "background":
        return f"on a {plant.hard} background"
    return f"a {plant.hard} {plant.class_name}"


def truth_document(seed: int, test: RenderedSplit) -> dict[str, object]:
    """Return ``truth.json``: what was planted in each class, and what each test picture shows."""
    settings = world_settings()
    plants = {plant.class_name: plant for plant in settings.plants}
    classes = {
        name: {
            "attribute": plants[name].attribute,
            "easy": plants[name].easy,
            "hard": plants[name].hard,
            "named_by": phrase(plants[name]),
        }
        if name in plants
        else None
        for name in settings.class_names
    }
    minority = torch.zeros(len(test.labels), dtype=torch.bool)
    for plant in settings.plants:
        minority |= test.minority(plant)
    pictures = {path: {**test.attributes.named(i), "minority": bool(minority[i])} for i, path in enumerate(test.paths)}
    return {"seed": seed, "strength": settings.strength, "planted": classes, "test": pictures}
