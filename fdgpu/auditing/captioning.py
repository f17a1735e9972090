"""Candidates of every class, encoded once and scored along each of the class's directions (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.auditing.trusting import Standings, standings
from fdgpu.captions import CaptionGrammar, CaptionRecipe, WordEffects, pool_captions, word_effects
from fdgpu.captions.additive import NO_EFFECTS
from fdgpu.captions.ranking import RankedCaptions
from fdgpu.captions.ranks import ResampledScores
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.findings import ScoredCaption
from fdgpu.progress import Reporter


@dataclass(frozen=True)
class ModeCaptions:
    """A class's candidates along one of its directions.

    ``texts`` m captions, the same for every direction of a class, with their ``scores`` (m,); ``length`` ‖w‖;
    ``ranked`` the places of the extreme ones, each a different thing; ``ends`` the unit vectors (d,) of the hardest and
    of the easiest, by name, where there is one; ``standings`` what the fit says of the ranked ones; ``words`` what each
    word does to the alignments.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    length: float
    ranked: RankedCaptions
    ends: dict[str, NDArray[np.float32]]
    standings: Standings | None = None
    words: WordEffects = NO_EFFECTS

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
    fit: FailureDirections, embedder: ClipEmbedder, recipe: CaptionRecipe, report: Reporter
) -> CaptionedClasses:
    """Score the candidates of every class along each of its directions; a text that classes share is encoded once.

    ``recipe`` has an entry for every class id. A caption that the model would cut is left out; a class whose reference
    is too long has none.
    """
    coef = {int(k): w[:kept] for k, w, kept in zip(fit.classes_, fit.coef_, fit.n_directions_, strict=True) if kept}
    halves = {
        int(k): own[:kept] for k, own, kept in zip(fit.classes_, fit.resampled_coef_, fit.n_directions_, strict=True)
    }
    chosen = [recipe.classes[k] for k in coef]
    pooled, members, firsts = pool_captions(
        [*(entry.grammar for entry in chosen), [entry.reference for entry in chosen]]
    )
    fitting = {text: place for place, text in enumerate(filter(embedder.fits, pooled))}
    vectors = embedder.texts(list(fitting), report).cpu().numpy() if fitting else np.empty((0, 0), np.float32)
    captioned = {}
    for (k, directions), entry, own_members, own_firsts in zip(
        coef.items(), chosen, members[:-1], firsts[:-1], strict=True
    ):
        if entry.reference not in fitting:
            continue
        listed = [pooled[member] for member in own_members]
        at = own_firsts[[text in fitting for text in listed]]
        texts = [text for text in listed if text in fitting]
        own, reference = vectors[[fitting[text] for text in texts]], vectors[fitting[entry.reference]]
        points = fit.caption_directions(own, reference)
        modes = [_mode(texts, own, points, w, of_halves) for w, of_halves in zip(directions, halves[k], strict=True)]
        captioned[k] = tuple(_with_words(mode, entry.grammar, at) for mode in modes)
    return CaptionedClasses(captioned, [text for text in pooled if text not in fitting])


def _mode(
    texts: list[str], vectors: NDArray[np.float32], points: NDArray[Any], w: NDArray[Any], halves: NDArray[Any]
) -> ModeCaptions:
    stand = standings(texts, vectors, points, ResampledScores.of(points, w, halves))
    ends = {end: first[0].vector for end, first in (("hard", stand.hard), ("easy", stand.easy)) if first}
    return ModeCaptions(texts, points @ w.astype(np.float64), float(np.linalg.norm(w)), stand.ranked, ends, stand)


def _with_words(mode: ModeCaptions, grammar: CaptionGrammar, at: NDArray[np.int64]) -> ModeCaptions:
    """Fit the captions' alignments by the words that they have at these places of the grammar."""
    alignments = mode.scores / mode.length if mode.length else np.full_like(mode.scores, np.nan)
    return replace(mode, words=word_effects(grammar, alignments, at))
