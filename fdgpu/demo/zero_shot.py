"""Zero-shot accuracy of a CLIP model on the bundled world: does it see what a caption names?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fdgpu.demo.renderer import Attributes
from fdgpu.demo.settings import world_settings
from fdgpu.demo.speech import compose

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
    colours, walls = settings.names("colour"), settings.names("background")[1:]
    everything = torch.ones_like(labels, dtype=torch.bool)
    is_close, is_far, is_group = (attributes.framing == framing.index(f) for f in ("close-up", "far away", "group of"))

    def ask(choices: list[tuple[str, str]], answer: Tensor, rows: Tensor) -> float:
        texts = [compose(noun, *choice) for noun in settings.class_names for choice in choices]
        vectors = encode(texts).view(len(settings.class_names), len(choices), -1)
        scores = torch.einsum("nd,ncd->nc", images[rows], vectors[labels[rows]])
        return float((scores.argmax(1) == answer[rows]).float().mean())

    nouns = encode([compose(noun) for noun in settings.class_names])
    return {
        "noun": float(((images @ nouns.T).argmax(1) == labels).float().mean()),
        "colour": ask([(c, "") for c in colours], attributes.colour, everything),
        "background": ask(
            [("", f"on a {w} background") for w in walls], attributes.background - 1, attributes.background > 0
        ),
        "size": ask([("close-up", ""), ("far away", "")], is_far.long(), is_close | is_far),
        "blur": ask([("", ""), ("blurry", "")], attributes.blurry, everything),
        "group": ask([("", ""), ("group of", "")], is_group.long(), everything),
    }
