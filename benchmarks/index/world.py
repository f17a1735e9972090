"""A million captions from the words of the bundled recipes, and directions to search them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fdgpu import CaptionGrammar, ClipEmbedder, FailureDirections
from fdgpu.demo.world import make_split
from fdgpu.findings import Split

TEMPLATE = "a photo of a {quality} {colour} {noun} {preposition}"
LONGEST = "a photo of a low quality yellow {noun} on a brown background"
REFERENCE = "a photo"
QUALITIES = "imagenet_c"  # its adjectives that are not CIFAR-10's colours
PICTURES = 256  # of each class that a direction is fitted on
ERRORS = 0.25


@dataclass(frozen=True)
class Questions:
    """``directions`` (q, d) of a fit and the deviations (d,) of its whitening; ``images`` (q, d), as many pictures."""

    directions: NDArray[np.float32]
    scale: NDArray[np.float64]
    images: NDArray[np.float32]


def captions(clip: ClipEmbedder, count: int) -> Sequence[str]:
    """Return ``count`` captions spread evenly over a grammar, none of them stored.

    3.4 million: qualities and colours, nouns of CIFAR-10's extended set, prepositions of ImageNet's classes.
    """
    colours = _words("adjective", "cifar10")
    grammar = CaptionGrammar(
        TEMPLATE,
        quality=[None, *(word for word in _words("adjective", QUALITIES) if word not in colours)],
        colour=colours,
        noun=_nouns(clip),
        preposition=_words("preposition", "imagenet", "cifar10"),
    )
    return grammar[:: max(1, len(grammar) // count)][:count]


def references(clip: ClipEmbedder, count: int) -> Tensor:
    """Return the vectors (count, d) of "a photo of a {noun}", of nouns spread evenly over those of the captions."""
    nouns = _nouns(clip)
    return clip.texts([f"{REFERENCE} of a {noun}" for noun in nouns[:: len(nouns) // count][:count]])


def _nouns(clip: ClipEmbedder) -> list[str | None]:
    return [noun for noun in _words("noun", "cifar10_extended") if clip.fits(LONGEST.format(noun=noun))]


def questions(clip: ClipEmbedder, count: int) -> Questions:
    """Fit ``count`` classes of pictures of the bundled world, and take as many pictures.

    Each class is a draw of pictures on which a model fails where they are most like a picture of its own.
    """
    val = clip.images(make_split(Split.VAL, 0).pictures).cpu().numpy()
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.choice(len(val), PICTURES, replace=False) for _ in range(count)])
    labels = np.repeat(np.arange(count), PICTURES)
    like = val[rng.integers(len(val), size=count)]
    likeness = np.einsum("ijk,ik->ij", val[rows].reshape(count, PICTURES, -1), like)
    right = likeness < np.quantile(likeness, 1 - ERRORS, axis=1, keepdims=True)
    fit = FailureDirections().fit(val[rows], labels, right.ravel(), reference=val)
    scale = val.astype(np.float64).std(axis=0, ddof=1)
    return Questions(fit.coef_[:, 0], scale, val[rng.choice(len(val), count, replace=False)])


def _words(slot: str, *recipes: str) -> list[str | None]:
    """Return the words that the classes of some recipes have for a slot, each once."""
    grammars = [grammar for name in recipes for grammar in CaptionGrammar.recipe(name).values()]
    return list(dict.fromkeys(word for grammar in grammars for word in grammar.slots.get(slot, ())))
