"""Zero-shot accuracy of a CLIP model on the bundled world: does it see what a caption names?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fdgpu.demo.renderer import Attributes
from fdgpu.demo.settings import world_settings
from tools.speech import adjectives, compose, prepositions

TextEncoder = Callable[[list[str]], Tensor]

# What the bundled weights must reach on held-out photographs.
REQUIRED = {"noun": 0.80, "colour": 0.97, "background": 0.97, "size": 0.90, "blur": 0.95, "group": 0.90}


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
    silent = [("", "")] if phrases[0].code else []  # the captions name no value of code 0
    spoken = [("", phrase.text) if phrase in prepositions() else (phrase.text, "") for phrase in phrases]
    return _nearest(images, encode, silent + spoken, labels)


def _nearest(images: Tensor, encode: TextEncoder, choices: list[tuple[str, str]], labels: Tensor) -> Tensor:
    """Return (n,) which adjective and preposition, with the image's own noun, make the caption nearest to it."""
    nouns = world_settings().class_names
    vectors = encode([compose(noun, *choice) for noun in nouns for choice in choices])
    own = vectors.view(len(nouns), len(choices), -1)[labels]
    return torch.einsum("nd,ncd->nc", images, own).argmax(1)
