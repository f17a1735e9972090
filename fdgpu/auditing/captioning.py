"""Candidates of every class, encoded once, scored along each of the class's directions, and judged (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.auditing.inputs import AuditImages
from fdgpu.captions.additive import WordEffects, word_effects
from fdgpu.captions.candidates import CaptionRecipe, ClassCaptions, pool_captions
from fdgpu.captions.reliability import Candidates, JudgedCaptions, ShownImages, judge_captions
from fdgpu.device import BatchSize, halving_batches
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.findings import ScoredCaption, Side, Split
from fdgpu.progress import Reporter

BATCH_BYTES = 1 << 28  # of the candidates that are judged at once: their vectors, and numbers of each and each resample
NUMBERS = 6  # float64 numbers of each candidate and resample that judging holds at its peak


@dataclass(frozen=True)
class ModeCaptions:
    """A class's candidates along one of its directions.

    ``texts`` m captions, the same for every direction of a class, with their ``scores`` (m,), NaN for the reference;
    ``hard`` and ``easy`` the captions that are shown, each a different thing, the most extreme first; ``nearest``, for
    each side that has one, whether the model was right, the image nearest to the first caption first; ``words`` what
    each word does to the alignments.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    hard: tuple[ScoredCaption, ...]
    easy: tuple[ScoredCaption, ...]
    nearest: Mapping[Side, NDArray[np.bool_]]
    words: WordEffects


@dataclass(frozen=True)
class CaptionedClasses:
    """Class id → its captions by direction, where it has one; and captions left out for being too long."""

    by_class: dict[int, tuple[ModeCaptions, ...]]
    too_long: list[str]


@dataclass(frozen=True)
class _Described:
    """A class with a direction: its index in the fit, its id, its captions, and where their vectors are.

    ``texts`` m candidates that fit into the model's context, ``rows`` (m,) of their vectors, ``reference`` that of the
    reference caption, and ``at`` (m,) their indices in the grammar.
    """

    index: int
    class_id: int
    entry: ClassCaptions
    texts: list[str]
    rows: NDArray[np.int64]
    reference: int
    at: NDArray[np.int64]


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
        embedder: of the captions, whose vectors stay on its device.
        recipe: has an entry for every class id.
        report: shows how many captions are encoded.
        images: those that are shown, to judge captions by; without any the rank alone decides.
    """
    fitted = fit.fitted
    classes = [(i, int(k)) for i, k in enumerate(fitted.classes) if fitted.n_directions[i]]
    chosen = [recipe.classes[k] for _, k in classes]
    pooled, members, firsts = pool_captions(
        [*(entry.grammar for entry in chosen), [entry.reference for entry in chosen]]
    )
    fitting = {text: row for row, text in enumerate(filter(embedder.fits, pooled))}
    described = []
    for (i, k), entry, own_members, own_firsts in zip(classes, chosen, members[:-1], firsts[:-1], strict=True):
        if entry.reference in fitting:
            listed = [pooled[member] for member in own_members]
            texts = [text for text in listed if text in fitting]
            rows = np.array([fitting[text] for text in texts], np.int64)
            at = own_firsts[[text in fitting for text in listed]]
            described.append(_Described(i, k, entry, texts, rows, fitting[entry.reference], at))
    by_class: dict[int, tuple[ModeCaptions, ...]] = {one.class_id: () for one in described}
    if described:
        vectors = embedder.texts(list(fitting), report)
        for direction in range(int(fitted.n_directions.max())):
            along = [one for one in described if fitted.n_directions[one.index] > direction]
            for one, judged in _judged(fit, along, direction, vectors, images):
                by_class[one.class_id] += (_captions_of(one, judged),)
    return CaptionedClasses(by_class, [text for text in pooled if text not in fitting])


def _captions_of(one: _Described, judged: JudgedCaptions) -> ModeCaptions:
    return ModeCaptions(
        one.texts,
        judged.scores,
        hard=tuple(judged.sides[Side.HARD].values()),
        easy=tuple(judged.sides[Side.EASY].values()),
        nearest=judged.nearest,
        words=word_effects(one.entry.grammar, judged.alignments, one.at),
    )


def _judged(
    fit: FailureDirections,
    classes: Sequence[_Described],
    direction: int,
    vectors: torch.Tensor,
    images: AuditImages | None,
) -> Iterator[tuple[_Described, JudgedCaptions]]:
    """Judge the captions of classes along one direction of each, as many classes at a time as fit into memory."""
    fitted = fit.fitted
    resampled = fitted.resampled(direction, vectors.device)
    chance = (fitted.search_settings.n_permutations > 0) & ~fitted.significant[:, direction]
    scale = torch.from_numpy(fitted.scale).to(vectors.device)

    def judge(start: int, stop: int) -> list[JudgedCaptions]:
        own = classes[start:stop]
        rows = np.full((len(own), max(1, *(len(one.rows) for one in own))), -1)
        for row, one in zip(rows, own, strict=True):
            row[: len(one.rows)] = one.rows
        indices = [one.index for one in own]
        references = vectors[[one.reference for one in own]]
        candidates = Candidates([one.texts for one in own], vectors, rows, references, scale)
        shown = _shown(images, [one.class_id for one in own], vectors)
        return judge_captions(candidates, fitted.coef[indices, direction], resampled[indices], shown, chance[indices])

    most = max((len(one.rows) for one in classes), default=0)
    a_class = most * (4 * vectors.shape[1] + 8 * NUMBERS * (1 + resampled.shape[1]))
    batch = BatchSize(max(1, BATCH_BYTES // max(1, a_class)))
    start = 0
    for stop, judged in halving_batches(judge, len(classes), batch):
        yield from zip(classes[start:stop], judged, strict=True)
        start = stop


def _shown(images: AuditImages | None, class_ids: Sequence[int], vectors: torch.Tensor) -> ShownImages:
    """Return the images that are shown of classes; none were fitted on, unless directions were fitted on all."""
    if images is None:
        return ShownImages.none(len(class_ids), vectors)
    rows = [images.rows_of(k) for k in class_ids]
    return ShownImages(images.vectors, images.inputs.correct, rows, images.shown_from != Split.VAL)
