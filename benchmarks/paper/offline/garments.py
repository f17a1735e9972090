"""Sets of rendered garments in which something is planted: a spurious attribute, or a subclass that is rare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from benchmarks.paper.sets import Marked
from benchmarks.paper.shares import outside
from fdgpu.demo.world import Attributes, draw_attributes, draw_scene, load_photographs, render, world_settings


@dataclass(frozen=True)
class Part:
    """Which photographs of every garment a set is made of: a range of a bundled split, in an order that a seed draws.

    Ranges of one seed that do not overlap have no photograph in common.
    """

    split: str
    start: int
    stop: int
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """Two garments to tell apart; mostly the first shows the first value of an attribute and the second the second.

    ``held`` are attributes that all pictures share, so that less else is hard; the others are drawn.
    """

    garments: tuple[str, str]
    attribute: str
    values: tuple[str, str]
    held: Mapping[str, str] = field(default_factory=dict)


def spurious_pair(pair: Pair, part: Part, shares: tuple[float, float], seed: int, renderings: int = 1) -> Marked:
    """Render two garments, of each its share with its own value of the attribute and the others with the other one's.

    The same seed gives the same pictures at every share, but for the attribute of those that change sides.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, kinds = photographs(pair.garments, part)
    pixels, kinds = pixels.repeat(renderings, 1, 1), kinds.repeat(renderings)
    labels = (kinds == _code(pair.garments[1])).long()
    attributes = draw_attributes(len(labels), generator)
    minority = outside(labels, shares, generator)
    codes = torch.tensor([world_settings().code(pair.attribute, value) for value in pair.values])
    shown = codes[torch.where(minority, 1 - labels, labels)]
    attributes = hold(replace(attributes, **{pair.attribute: shown}), pair.held)
    return _rendered(pixels, labels, kinds, minority, attributes, generator)


def superclasses(
    groups: Mapping[str, Sequence[str]],
    part: Part,
    rare: Mapping[str, float],
    seed: int,
    held: Mapping[str, str] | None = None,
) -> Marked:
    """Render every garment, with the number of its superclass as its label.

    Args:
        groups: superclass → garments.
        part: photographs of every garment.
        rare: garment → the share of its photographs that is kept; these garments are the minorities.
        seed: of everything drawn.
        held: attributes that all pictures share; the others are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    names = [name for group in groups.values() for name in group]
    pixels, kinds = photographs(names, part)
    kept = torch.ones(len(kinds), dtype=torch.bool)
    for name, share in rare.items():
        members = (kinds == _code(name)).nonzero()[:, 0]
        kept[members[round(share * len(members)) :]] = False
    pixels, kinds = pixels[kept], kinds[kept]
    label_of = {_code(name): label for label, group in enumerate(groups.values()) for name in group}
    labels = torch.tensor([label_of[kind] for kind in kinds.tolist()])
    minority = torch.isin(kinds, torch.tensor([_code(name) for name in rare], dtype=torch.long))
    attributes = hold(draw_attributes(len(labels), generator), held or {})
    return _rendered(pixels, labels, kinds, minority, attributes, generator)


def hold(attributes: Attributes, held: Mapping[str, str]) -> Attributes:
    """Give all pictures the same value of some attributes."""
    n = len(attributes)
    codes = {name: torch.full((n,), world_settings().code(name, value)) for name, value in held.items()}
    return replace(attributes, **codes)


def photographs(names: Sequence[str], part: Part) -> tuple[Tensor, Tensor]:
    """Return grey garments (n, 28, 28) and the code of each, (n,)."""
    pixels, labels = load_photographs(part.split)
    chosen = torch.cat([_drawn(labels, _code(name), part) for name in names])
    return pixels[chosen], labels[chosen]


def _drawn(labels: Tensor, code: int, part: Part) -> Tensor:
    """Return a garment's rows; its order does not depend on which garments stand beside it."""
    rows = (labels == code).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(len(world_settings().class_names) * part.seed + code)
    return rows[torch.randperm(len(rows), generator=generator)[part.start : part.stop]]


def _rendered(
    pixels: Tensor, labels: Tensor, kinds: Tensor, minority: Tensor, attributes: Attributes, generator: torch.Generator
) -> Marked:
    scene = draw_scene(attributes, kinds, generator)  # the other garments of a group are of the same kind
    return Marked(render(pixels, scene), labels, kinds, minority)


def _code(name: str) -> int:
    return world_settings().class_names.index(name)
