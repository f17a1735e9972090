"""Candidates of every class, encoded once and scored along the class's direction (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions import Recipe
from fdgpu.captions.ranking import RankedCaptions, distinct, rank_captions
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.findings import ScoredCaption
from fdgpu.progress import Reporter

TOP = 5  # captions of each end that the page shows of a class


@dataclass(frozen=True)
class ClassCaptions:
    """One class's candidates: texts, (m, d) unit vectors, (m,) scores, and the places of the extreme ones."""

    texts: list[str]
    vectors: NDArray[np.float32]
    scores: NDArray[np.float64]
    ranked: RankedCaptions

    def scored(self, places: Sequence[int]) -> tuple[ScoredCaption, ...]:
        """Return captions with their scores."""
        return tuple(ScoredCaption(self.texts[i], float(self.scores[i])) for i in places)


CaptionedClasses = dict[int, ClassCaptions]


def caption_classes(
    fit: FailureDirections, embedder: ClipEmbedder, recipe: Recipe, class_names: Sequence[str], report: Reporter
) -> CaptionedClasses:
    """Score the candidates of every class that has a direction.

    Returns:
        Class id → its captions. A text that several classes share is encoded once.
    """
    directed = [int(c) for c, status in zip(fit.classes_, fit.status_, strict=True) if status == "ok"]
    candidates = {k: list(dict.fromkeys(recipe.grammars[class_names[k]])) for k in directed}
    references = {k: recipe.references[class_names[k]] for k in directed}
    places = distinct([*candidates.values(), list(references.values())])
    vectors = embedder.texts(list(places), report).cpu().numpy() if places else np.empty((0, 0), np.float32)
    captioned = {}
    for k in directed:
        own = vectors[[places[text] for text in candidates[k]]]
        scores = fit.score_captions(own, vectors[places[references[k]]], k)
        captioned[k] = ClassCaptions(candidates[k], own, scores, rank_captions(scores, TOP))
    return captioned
