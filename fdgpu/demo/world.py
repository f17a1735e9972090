"""The demo's data set: rendered splits with correlations planted in training, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fdgpu.demo.photographs import load_photographs
from fdgpu.demo.renderer import Attributes, draw_attributes, draw_scene, render
from fdgpu.demo.settings import Plant, world_settings
from fdgpu.findings import Split

PHOTOGRAPHS = {Split.TRAIN: "base", Split.VAL: "val", Split.TEST: "test"}
BALANCED = 0.5


@dataclass(frozen=True)
class RenderedSplit:
    """Rendered pictures (n, 3, 64, 64) uint8, their classes (n,) and attributes, and whether each is of a minority."""

    name: Split
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


def make_split(name: Split, seed: int, device: torch.device | str = "cpu") -> RenderedSplit:
    """Render one split.

    In ``train`` a planted class shows its easy value in ``strength`` of the pictures; in ``val`` and ``test`` half and
    half. The same seed gives the same pictures.
    """
    generator = torch.Generator().manual_seed(seed * len(PHOTOGRAPHS) + list(PHOTOGRAPHS).index(name))
    pixels, labels = load_photographs(PHOTOGRAPHS[name])
    settings = world_settings()
    attributes = draw_attributes(len(labels), generator)
    for plant in settings.plants:
        strength = settings.strength if name == Split.TRAIN else BALANCED
        attributes = _plant(attributes, labels, plant, strength, generator)
    scene = draw_scene(attributes, labels, generator)
    return RenderedSplit(name, render(pixels, scene, device=device), labels, attributes)


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
