"""The captions of the bundled world in the paper's grammar (A.6), their truth, and whether a CLIP model sees it.

    a photo of a {adjective} {noun} {preposition}

The adjective is a colour, a framing or "blurry", the preposition a background; both may be left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fdgpu.demo.world import Attributes, world_settings

TextEncoder = Callable[[list[str]], Tensor]

# What the bundled weights must reach on held-out photographs.
REQUIRED = {"noun": 0.80, "colour": 0.97, "background": 0.97, "size": 0.90, "blur": 0.95, "group": 0.90}


@dataclass(frozen=True)
class Phrase:
    """One adjective or preposition, with the attribute and code that make it true; none for an empty slot."""

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


NOTHING = Phrase("")


def adjectives() -> list[Phrase]:
    """Return the empty slot, the colours, the framings that have a name, and "blurry"."""
    settings = world_settings()
    phrases = [Phrase(name, "colour", code) for code, name in enumerate(settings.names("colour"))]
    phrases += [Phrase(name, "framing", code) for code, name in enumerate(settings.names("framing")) if code > 0]
    return [NOTHING, *phrases, Phrase("blurry", "blurry", 1)]


def prepositions() -> list[Phrase]:
    """Return the empty slot and the backgrounds that have a name."""
    settings = world_settings()
    names = settings.names("background")
    return [NOTHING] + [Phrase(f"on a {name} background", "background", c) for c, name in enumerate(names) if c > 0]


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


def zero_shot_accuracy(images: Tensor, encode: TextEncoder, attributes: Attributes, labels: Tensor) -> dict[str, float]:
    """Measure how often the right caption is the nearest.

    Every question but the first is asked with the true noun: "a photo of a red boot" against the other colours,
    and "a photo of a blurry boot" against "a photo of a boot".

    Args:
        images: (n, d) unit vectors of rendered pictures.
        encode: captions to (m, d) unit vectors.
        attributes: what the n pictures show.
        labels: (n,) classes.

    Returns:
        Accuracy by attribute; pictures to which a question does not apply are left out of it.
    """
    settings = world_settings()
    framing = settings.names("framing")
    walls = settings.names("background")[1:]
    everything = torch.ones_like(labels, dtype=torch.bool)
    is_close, is_far, is_group = (attributes.framing == framing.index(f) for f in ("close-up", "far away", "group of"))

    def ask(choices: list[tuple[str, str]], answer: Tensor, rows: Tensor) -> float:
        return float((_nearest(images[rows], encode, choices, labels[rows]) == answer[rows]).float().mean())

    nouns = encode([compose(noun) for noun in settings.class_names])
    return {
        "noun": float(((images @ nouns.T).argmax(1) == labels).float().mean()),
        "colour": float((read_codes(images, encode, "colour", labels) == attributes.colour).float().mean()),
        "background": ask(
            [("", f"on a {w} background") for w in walls], attributes.background - 1, attributes.background > 0
        ),
        "size": ask([("close-up", ""), ("far away", "")], is_far.long(), is_close | is_far),
        "blur": ask([("", ""), ("blurry", "")], attributes.blurry, everything),
        "group": ask([("", ""), ("group of", "")], is_group.long(), everything),
    }


def read_codes(images: Tensor, encode: TextEncoder, attribute: str, labels: Tensor) -> Tensor:
    """Read one attribute, of all the values that it has.

    Args:
        images: (n, d) unit vectors.
        encode: captions to (m, d) unit vectors.
        attribute: ``"colour"``, ``"background"`` or ``"framing"``; a plain wall and an ordinary size are what a
            caption does not mention.
        labels: (n,) classes; the question is asked with their noun.

    Returns:
        (n,) codes.
    """
    phrases = [phrase for phrase in (*adjectives(), *prepositions()) if phrase.attribute == attribute]
    unnamed = [("", "")] if phrases[0].code else []  # the captions name no value of code 0
    named = [("", phrase.text) if phrase in prepositions() else (phrase.text, "") for phrase in phrases]
    return _nearest(images, encode, unnamed + named, labels)


def _nearest(images: Tensor, encode: TextEncoder, choices: list[tuple[str, str]], labels: Tensor) -> Tensor:
    """Return (n,) which adjective and preposition, with the image's own noun, make the caption nearest to it."""
    nouns = world_settings().class_names
    vectors = encode([compose(noun, *choice) for noun in nouns for choice in choices])
    own = vectors.view(len(nouns), len(choices), -1)[labels]
    return torch.einsum("nd,ncd->nc", images, own).argmax(1)
