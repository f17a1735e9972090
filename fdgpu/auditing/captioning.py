"""Candidates of every class, encoded once, scored along each of the class's directions, and judged (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.auditing.inputs import AuditImages
from fdgpu.captions.additive import WordEffects, word_effects
from fdgpu.captions.candidates import CaptionRecipe, pool_captions
from fdgpu.captions.reliability import judge_captions, score_captions
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.findings import ScoredCaption, Side, Split
from fdgpu.progress import Reporter


@dataclass(frozen=True)
class ModeCaptions:
    """A class's candidates along one of its directions.

    ``texts`` m captions, the same for every direction of a class, with their ``scores`` (m,), NaN for the reference;
    ``hard`` and ``easy`` the captions that are shown, each a different thing, the most extreme first; ``extremes`` the
    unit vector (d,) of the first of each side that has one; ``words`` what each word does to the alignments.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    hard: tuple[ScoredCaption, ...]
    easy: tuple[ScoredCaption, ...]
    extremes: Mapping[str, NDArray[np.float32]]
    words: WordEffects


@dataclass(frozen=True)
class CaptionedClasses:
    """Class id → its captions by direction, where it has one; and captions left out for being too long."""

    by_class: dict[int, tuple[ModeCaptions, ...]]
    too_long: list[str]


def caption_classes(
    fit: FailureDirections,
    embedder: ClipEmbedder,
    recipe: CaptionRecipe,
    report: Reporter,
    images: AuditImages | None = None,
) -> CaptionedClasses:
    """Score the candidates of every class along each of its directions; a text that classes share is encoded once.

    A caption that the model would cut is left out; a class whose reference is too long has none.

    Args:
        fit: of the embedder's vectors, with its resamples.
        embedder: of the captions.
        recipe: has an entry for every class id.
        report: shows how many captions are encoded.
        images: those that are shown, to judge captions by; without any the rank alone decides.
    """
    coef, resampled, kept, significant = fit.coef_, fit.resampled_coef_, fit.n_directions_, fit.significant_
    classes = [(i, int(k)) for i, k in enumerate(fit.classes_) if kept[i]]
    chosen = [recipe.classes[k] for _, k in classes]
    pooled, members, firsts = pool_captions(
        [*(entry.grammar for entry in chosen), [entry.reference for entry in chosen]]
    )
    fitting = {text: row for row, text in enumerate(filter(embedder.fits, pooled))}
    vectors = embedder.texts(list(fitting), report).cpu().numpy() if fitting else np.empty((0, 0), np.float32)
    captioned = {}
    for (i, k), entry, own_members, own_firsts in zip(classes, chosen, members[:-1], firsts[:-1], strict=True):
        if entry.reference not in fitting:
            continue
        listed = [pooled[member] for member in own_members]
        at = own_firsts[[text in fitting for text in listed]]  # indices in the grammar of the captions that fit
        texts = [text for text in listed if text in fitting]
        own, reference = vectors[[fitting[text] for text in texts]], vectors[fitting[entry.reference]]
        points = fit.caption_directions(own, reference)  # (m, d)
        seen, correct, held_out = _shown(images, k, own.shape[1])
        modes = []
        for direction in range(int(kept[i])):
            w = coef[i, direction]
            scores, alignments = score_captions(points, w)
            judged = judge_captions(
                texts, own, points, w, resampled[i, direction], seen, correct,
                held_out=held_out, chance=fit.n_permutations > 0 and not significant[i, direction],
            )  # fmt: skip
            modes.append(
                ModeCaptions(
                    texts,
                    scores,
                    hard=tuple(judged[Side.HARD].values()),
                    easy=tuple(judged[Side.EASY].values()),
                    extremes={str(side): own[next(iter(first))].copy() for side, first in judged.items() if first},
                    words=word_effects(entry.grammar, alignments, at),
                )
            )
        captioned[k] = tuple(modes)
    return CaptionedClasses(captioned, [text for text in pooled if text not in fitting])


def _shown(images: AuditImages | None, k: int, dimension: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], bool]:
    """Return the vectors of a class's shown images, whether the model was right, and whether none was fitted on."""
    if images is None:
        return np.empty((0, dimension), np.float32), np.empty(0, np.bool_), True
    rows = images.rows_of(k)
    return images.vectors[rows], images.inputs.correct[rows], images.shown_from != Split.VAL
