"""Decoded pictures as further training images (2.3, A.7, A.8): of hard directions, of captions, and of the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.baselines import Confidence, Examples
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import correct
from benchmarks.paper.painting import with_pictures
from benchmarks.paper.rankings import BASE, CONFIDENCE, ORACLE, OURS, RANDOM, both_methods
from benchmarks.paper.remedies import TrainingSet, as_many
from fdgpu import FailureDirections, slerp

REFERENCE, HARD_CAPTION = "reference caption", "hard caption"

Painter = Callable[[Tensor, int], Tensor]  # CLIP vectors (n, d) and a seed → pictures (n, 3, h, w) in [0, 1]


@dataclass(frozen=True)
class Words:
    """The captions of a class: candidates, the one of the whole class, and the one of its minority."""

    candidates: Sequence[str]
    reference: str
    minority: str


def vectors_to_decode(fitted: Fitted, words: Sequence[Words], alpha: float, seed: int) -> dict[str, Tensor]:
    """Return for each method one vector a class, (k, d); ``words`` are in the order of the labels.

    The hard side of a direction is the reference caption's vector rotated by ``alpha`` towards -w. That w is fitted
    without whitening, since it has to lie in the decoder's space (A.7). Beside it stand a rotation towards where the
    base model is least confident, and one towards anywhere.
    """
    clip, val = fitted.lab.clip, fitted.val
    reference = _texts(clip, [own.reference for own in words])
    w = {
        name: torch.from_numpy(np.asarray(fit.directions_, np.float32)[:, 0])
        for name, fit in both_methods(val, None, whiten=False).items()
    }
    return {
        REFERENCE: reference,
        **{name: slerp(reference, -own, alpha) for name, own in w.items()},
        CONFIDENCE: slerp(reference, towards_doubt(val), alpha),
        RANDOM: slerp(reference, _anywhere(w[OURS], seed), alpha),
        HARD_CAPTION: _texts(
            clip, [hardest_caption(clip, fitted.directions, own, label) for label, own in enumerate(words)]
        ),
        ORACLE: _texts(clip, [own.minority for own in words]),
    }


def towards_doubt(val: Examples) -> Tensor:
    """Return for each class the unit vector from its mean to that of its least confident images, as many as are wrong.

    It is what confidence has to say of a direction, without an SVM.
    """
    doubtful = as_many(Confidence().hardness(val), val.labels, ~correct(val))
    shifts = [
        val.embeddings[doubtful & own].mean(0) - val.embeddings[own].mean(0)
        for own in (val.labels == label for label in np.unique(val.labels))
    ]
    return F.normalize(torch.from_numpy(np.asarray(shifts, np.float32)), dim=1)


def _anywhere(like: Tensor, seed: int) -> Tensor:
    return F.normalize(torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def names_the_minority(caption: str, words: Words) -> bool:
    """Whether a caption has every word by which the minority's caption differs from that of the whole class."""
    return set(words.minority.split()) - set(words.reference.split()) <= set(caption.split())


def hardest_caption(clip: Any, fit: FailureDirections, words: Words, label: int) -> str:
    """Return the candidate that the class's direction finds hardest."""
    captions = _texts(clip, words.candidates).numpy()
    reference = _texts(clip, [words.reference])[0].numpy()
    scores = np.asarray(fit.score_captions(captions, reference, label))
    return words.candidates[int(np.nanargmin(scores))]


def decoded(
    fitted: Fitted, vectors: Mapping[str, Tensor], painter: Painter, count: int, seed: int
) -> dict[str, TrainingSet]:
    """Add ``count`` pictures of each class, under its label; the same noise by every method."""
    train, side = fitted.train, fitted.lab.recipe.resolution
    sets = {BASE: TrainingSet.of(train)}
    for name, of_class in vectors.items():
        labels = torch.arange(len(of_class)).repeat_interleave(count)
        sets[name] = with_pictures(train, painter(of_class[labels], seed), labels, side)
    return sets


def _texts(clip: Any, captions: Sequence[str]) -> Tensor:
    vectors: Tensor = clip.texts(list(captions))
    return vectors.cpu().float()
