"""Candidates of every class, encoded once and scored along the class's direction (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions import CaptionGrammar, Recipe
from fdgpu.captions.ranking import RankedCaptions, distinct, rank_captions
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.findings import ScoredCaption
from fdgpu.progress import Reporter

TOP = 5  # captions of each end that the page shows of a class


@dataclass(frozen=True)
class ClassCaptions:
    """One class's candidates.

    ``texts`` m captions with their ``scores`` (m,); ``length`` ‖w‖; ``ranked`` the places of the extreme ones;
    ``ends`` the unit vectors (d,) of the hardest and of the easiest, by name, where there is one.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    length: float
    ranked: RankedCaptions
    ends: dict[str, NDArray[np.float32]]

    def scored(self, places: Sequence[int]) -> tuple[ScoredCaption, ...]:
        """Return captions with their scores."""
        return tuple(
            ScoredCaption(self.texts[i], float(self.scores[i]), float(self.scores[i] / self.length)) for i in places
        )


@dataclass(frozen=True)
class CaptionedClasses:
    """Class id → its captions, for classes with a direction; and captions left out for being too long."""

    by_class: dict[int, ClassCaptions]
    too_long: list[str]


def caption_classes(
    fit: FailureDirections, embedder: ClipEmbedder, recipe: Recipe, class_names: Sequence[str], report: Reporter
) -> CaptionedClasses:
    """Score the candidates of every class that has a direction; a text that several classes share is encoded once."""
    directed = [int(c) for c, status in zip(fit.classes_, fit.status_, strict=True) if status == "ok"]
    references = {k: recipe.references[class_names[k]] for k in directed}
    candidates, too_long = _that_fit({k: recipe.grammars[class_names[k]] for k in directed}, references, embedder)
    places = distinct([*candidates.values(), list(references.values())])
    vectors = embedder.texts(list(places), report).cpu().numpy() if places else np.empty((0, 0), np.float32)
    lengths = dict(zip(fit.classes_.tolist(), np.linalg.norm(fit.coef_[:, 0], axis=-1).tolist(), strict=True))
    captioned = {}
    for k in candidates:
        own = vectors[[places[text] for text in candidates[k]]]
        scores = fit.score_captions(own, vectors[places[references[k]]], k)
        ranked = rank_captions(scores, TOP)
        ends = {end: own[at[0]].copy() for end, at in (("hard", ranked.hard), ("easy", ranked.easy)) if at}
        captioned[k] = ClassCaptions(candidates[k], scores, lengths[k], ranked, ends)
    return CaptionedClasses(captioned, too_long)


def _that_fit(
    grammars: dict[int, CaptionGrammar], references: dict[int, str], embedder: ClipEmbedder
) -> tuple[dict[int, list[str]], list[str]]:
    """Leave out captions that the model would cut; a class whose reference is too long has none."""
    candidates: dict[int, list[str]] = {}
    too_long: list[str] = []
    for k, grammar in grammars.items():
        fitting: list[str] = []
        for caption in dict.fromkeys(grammar):
            (fitting if embedder.fits(caption) else too_long).append(caption)
        if embedder.fits(references[k]):
            candidates[k] = fitting
        else:
            too_long.append(references[k])
            del references[k]
    return candidates, too_long
