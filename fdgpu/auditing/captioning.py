"""Candidates of every class, encoded once and scored along each of the class's directions (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions import CaptionGrammar, Recipe
from fdgpu.captions.ranking import RankedCaptions, distinct, rank_captions
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.findings import ScoredCaption
from fdgpu.progress import Reporter

TOP = 5  # captions of each end that the page shows of a failure mode


@dataclass(frozen=True)
class ModeCaptions:
    """A class's candidates along one of its directions.

    ``texts`` m captions, the same for every direction of a class, with their ``scores`` (m,); ``length`` ‖w‖;
    ``ranked`` the places of the extreme ones; ``ends`` the unit vectors (d,) of the hardest and of the easiest, by
    name, where there is one.
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
    """Class id → its captions by direction, where it has one; and captions left out for being too long."""

    by_class: dict[int, tuple[ModeCaptions, ...]]
    too_long: list[str]


def caption_classes(
    fit: FailureDirections, embedder: ClipEmbedder, recipe: Recipe, class_names: Sequence[str], report: Reporter
) -> CaptionedClasses:
    """Score the candidates of every class along each of its directions; a shared text is encoded once."""
    coef = {int(k): w[:kept] for k, w, kept in zip(fit.classes_, fit.coef_, fit.n_directions_, strict=True) if kept}
    references = {k: recipe.references[class_names[k]] for k in coef}
    candidates, too_long = _that_fit({k: recipe.grammars[class_names[k]] for k in coef}, references, embedder)
    places = distinct([*candidates.values(), list(references.values())])
    vectors = embedder.texts(list(places), report).cpu().numpy() if places else np.empty((0, 0), np.float32)
    captioned = {}
    for k, texts in candidates.items():
        own, reference = vectors[[places[text] for text in texts]], vectors[places[references[k]]]
        scores = [fit.score_captions(own, reference, k, direction) for direction in range(len(coef[k]))]
        captioned[k] = tuple(_mode(texts, own, s, w) for s, w in zip(scores, coef[k], strict=True))
    return CaptionedClasses(captioned, too_long)


def _mode(texts: list[str], vectors: NDArray[np.float32], scores: NDArray[np.float64], w: NDArray[Any]) -> ModeCaptions:
    ranked = rank_captions(scores, TOP)
    ends = {end: vectors[at[0]].copy() for end, at in (("hard", ranked.hard), ("easy", ranked.easy)) if at}
    return ModeCaptions(texts, scores, float(np.linalg.norm(w)), ranked, ends)


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
