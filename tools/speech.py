"""What can truthfully be said of a picture: the world's captions in the paper's grammar (appendix A.6).

    a photo of a {adjective} {noun} {preposition}

The adjective is a colour, a framing or "blurry", the preposition a background; both may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fdgpu.demo.renderer import Attributes
from fdgpu.demo.settings import world_settings


@dataclass(frozen=True)
class Phrase:
    """One adjective or preposition, with the attribute and code that make it true; none for silence."""

    text: str
    attribute: str | None = None
    code: int = 0

    def holds(self, attributes: Attributes) -> Tensor:
        """Return (n,) bool: of which pictures the phrase is true."""
        if self.attribute is None:
            return torch.ones(len(attributes), dtype=torch.bool)
        return torch.as_tensor(getattr(attributes, self.attribute) == self.code)


@dataclass(frozen=True)
class Caption:
    """A caption and what it claims."""

    text: str
    noun: int
    adjective: Phrase
    preposition: Phrase

    @property
    def claims(self) -> int:
        """How many attributes the caption mentions beside the noun."""
        return (self.adjective.attribute is not None) + (self.preposition.attribute is not None)


SILENCE = Phrase("")


def adjectives() -> list[Phrase]:
    """Return silence, the colours, the framings that have a name, and "blurry"."""
    settings = world_settings()
    phrases = [Phrase(name, "colour", code) for code, name in enumerate(settings.names("colour"))]
    phrases += [Phrase(name, "framing", code) for code, name in enumerate(settings.names("framing")) if code > 0]
    return [SILENCE, *phrases, Phrase("blurry", "blurry", 1)]


def prepositions() -> list[Phrase]:
    """Return silence and the backgrounds that have a name."""
    settings = world_settings()
    names = settings.names("background")
    return [SILENCE] + [Phrase(f"on a {name} background", "background", c) for c, name in enumerate(names) if c > 0]


def compose(noun: str, adjective: str = "", preposition: str = "") -> str:
    """Return one caption; an empty slot leaves no double space."""
    return " ".join(["a photo of a", *filter(None, [adjective, noun, preposition])])


def all_captions() -> list[Caption]:
    """Return every caption of the world, noun by noun."""
    return [
        Caption(compose(noun, a.text, p.text), code, a, p)
        for code, noun in enumerate(world_settings().class_names)
        for a in adjectives()
        for p in prepositions()
    ]


def truth_table(captions: list[Caption], attributes: Attributes, labels: Tensor) -> Tensor:
    """Return (n, m) bool: whether caption j is true of picture i."""
    return torch.stack(
        [(labels == c.noun) & c.adjective.holds(attributes) & c.preposition.holds(attributes) for c in captions], dim=1
    )
