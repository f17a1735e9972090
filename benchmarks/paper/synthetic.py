"""Decoded pictures as further training images (2.3, A.7, A.8): of hard directions, of captions, and of the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import correct
from benchmarks.paper.painting import with_pictures
from benchmarks.paper.rankings import BASE, ORACLE, OURS
from benchmarks.paper.remedies import TrainingSet
from fdgpu import FailureDirections, slerp

REFERENCE, HARD_CAPTION = "reference caption", "hard caption"

Painter = Callable[[Tensor, int], Tensor]  # CLIP vectors (n, d) and a seed → pictures (n, 3, h, w) in [0, 1]


@dataclass(frozen=True)
class Words:
    """What is said of a class: candidate captions, the one of the whole class, and the one of its minority."""

    candidates: Sequence[str]
    reference: str
    minority: str


def vectors_to_decode(fitted: Fitted, words: Sequence[Words], alpha: float) -> dict[str, Tensor]:
    """Return for each method one vector a class, (k, d); ``words`` are in the order of the labels.

    The hard end of a direction is the reference caption's vector rotated by ``alpha`` towards -w. That w is fitted
    without whitening, since it has to lie in the decoder's space (A.7).
    """
    clip, val = fitted.lab.clip, fitted.val
    reference = _texts(clip, [own.reference for own in words])
    plain = FailureDirections(whiten=False).fit(val.embeddings, val.labels, correct(val))
    w = torch.from_numpy(np.asarray(plain.directions_, np.float32)[:, 0])
    return {
        REFERENCE: reference,
        OURS: slerp(reference, -w, alpha),
        HARD_CAPTION: _texts(clip, [hardest_caption(fitted, own, label) for label, own in enumerate(words)]),
        ORACLE: _texts(clip, [own.minority for own in words]),
    }


def hardest_caption(fitted: Fitted, words: Words, label: int) -> str:
    """Return the candidate that the class's direction finds hardest."""
    captions = _texts(fitted.lab.clip, words.candidates).numpy()
    reference = _texts(fitted.lab.clip, [words.reference])[0].numpy()
    scores = np.asarray(fitted.directions.score_captions(captions, reference, label))
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
