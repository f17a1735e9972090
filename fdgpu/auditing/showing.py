"""From arrays to what the page shows of every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as V

from fdgpu.auditing.captioning import CaptionedClasses, ModeCaptions
from fdgpu.auditing.evidence import AuditedImages, Shown, examples
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.trusting import evidence
from fdgpu.auditing.truth import Planted, judge
from fdgpu.directions import FailureDirections
from fdgpu.directions.samples import REMEDIES
from fdgpu.embedding import ImageSource
from fdgpu.embedding.sources import UNREADABLE
from fdgpu.findings import (
    ClassFindings,
    Curve,
    CurveRole,
    Findings,
    ModeFindings,
    PlantedTruth,
    ScoredCaption,
    Thumbnails,
)

THUMBNAIL = 96  # pixels of the longer side
TOP_WORDS = 12  # of a failure mode, on the page and in audit.json; effects.parquet has all
NOT_SEEN = ("no_samples", "No image of this class is in the split that directions are fitted on: add some.")


def class_findings(
    fit: FailureDirections,
    inputs: AuditInputs,
    images: AuditedImages,
    captions: CaptionedClasses,
    planted: Mapping[str, Planted],
) -> tuple[ClassFindings, ...]:
    """Describe every class of ``inputs.class_names``, with or without a direction.

    Args:
        fit: the fitted directions, their attributes as NumPy arrays.
        inputs: the audit's columns.
        images: the audit's images.
        captions: of the classes that have a direction.
        planted: what is known, by class name.
    """
    place = {int(k): i for i, k in enumerate(fit.classes_)}
    found = []
    for k, name in enumerate(inputs.class_names):
        if k not in place:
            found.append(ClassFindings(name, NOT_SEEN[0], NOT_SEEN[1], n=0, n_errors=0))
            continue
        counted = _counted(fit, place[k], name)
        if int(fit.n_directions_[place[k]]):
            rows = np.flatnonzero(images.shown & (inputs.labels == k))
            counted = _with_modes(counted, _Class(fit, place[k], rows, inputs, images, planted.get(name)), captions)
        found.append(counted)
    return tuple(found)


@dataclass(frozen=True)
class _Class:
    """A class that has a direction: its place ``i`` in the fit, its shown rows, and what is known of it."""

    fit: FailureDirections
    i: int
    rows: NDArray[np.int64]
    inputs: AuditInputs
    images: AuditedImages
    planted: Planted | None

    def shown(self, direction: int) -> Shown:
        """Return its shown images with their decision values along one of its directions."""
        return Shown.of(self.rows, self.images.decisions[self.rows, direction], self.inputs)


def _counted(fit: FailureDirections, i: int, name: str) -> ClassFindings:
    """What the fit alone says of its ``i``-th class."""
    status = fit.status_[i]
    return ClassFindings(
        name,
        status,
        REMEDIES[status],
        n=int(fit.n_samples_[i]),
        n_errors=int(fit.n_errors_[i]),
        n_permutations=int(fit.n_permutations_[i]),
        nested_score=float(fit.nested_score_[i]),
        solver=fit.solver_[i],
    )


def _with_modes(counted: ClassFindings, one: _Class, captions: CaptionedClasses) -> ClassFindings:
    """Add what each of the class's directions shows."""
    kept = int(one.fit.n_directions_[one.i])
    own = captions.by_class.get(int(one.fit.classes_[one.i]), (None,) * kept)
    first = one.shown(0)
    return replace(
        counted,
        modes=tuple(_mode(one, direction, own[direction]) for direction in range(kept)),
        n_shown=len(one.rows),
        accuracy_shown=float(first.correct.mean()) if len(one.rows) else float("nan"),
        unsure_examples=examples(first.least_sure(), one.images, one.inputs),
    )


def _mode(one: _Class, direction: int, own: ModeCaptions | None) -> ModeFindings:
    """What the fit, the captions and the shown images say of one direction."""
    fit, at, of_mode = one.fit, (one.i, direction), one.shown(direction)
    hard_captions = _captions(one, direction, own, of_mode, hard=True) if own else ()
    return ModeFindings(
        cv_score=float(fit.cv_score_[at]),
        p_value=float(fit.p_value_[at]),
        q_value=float(fit.q_value_[at]),
        significant=bool(fit.significant_[at]),
        C=float(fit.C_[at]),
        C_at_edge=bool(fit.C_at_edge_[at]),
        C_tied=_tied(fit, at),
        converged=bool(fit.converged_[at]),
        n_errors=int(fit.n_errors_of_[at]),
        hard_captions=hard_captions,
        easy_captions=_captions(one, direction, own, of_mode, hard=False) if own else (),
        word_effects=own.words.strongest(TOP_WORDS) if own else (),
        explained_by_words=own.words.explained if own else float("nan"),
        hard_examples=examples(of_mode.hardest(), one.images, one.inputs, direction),
        easy_examples=examples(of_mode.easiest(), one.images, one.inputs, direction),
        decisions=of_mode.histogram(),
        nearest_accuracy=_nearest_curves(own, of_mode, one.images.vectors[one.rows]) if own else (),
        planted=_judged(one.planted, one.rows, of_mode, hard_captions) if one.planted else None,
    )


def _captions(one: _Class, direction: int, own: ModeCaptions, shown: Shown, *, hard: bool) -> tuple[ScoredCaption, ...]:
    """The captions of one end with what speaks for them and against."""
    plain = own.scored(own.ranked.hard if hard else own.ranked.easy)
    if own.standings is None:
        return plain
    fit, vectors = one.fit, one.images.vectors[one.rows]
    held_out = bool((one.inputs.splits[one.rows] != "val").all())
    chance = fit.n_permutations > 0 and not bool(fit.significant_[one.i, direction])
    return tuple(
        replace(
            caption,
            also=tuple(own.texts[i] for i in standing.group.also),
            evidence=evidence(
                standing, lambda v: shown.nearest_first(vectors @ v), hard=hard, held_out=held_out, chance=chance
            ),
        )
        for caption, standing in zip(plain, own.standings.hard if hard else own.standings.easy, strict=True)
    )


def _judged(
    planted: Planted, rows: NDArray[np.int64], shown: Shown, captions: tuple[ScoredCaption, ...]
) -> PlantedTruth:
    """What was planted, judged by all hard captions; and whether the one that names it was withheld."""
    texts = [caption.caption for caption in captions]
    truth = judge(planted, rows, shown.decisions, shown.by_confidence, texts)
    return replace(truth, named_but_withheld=truth.named_at is not None and captions[truth.named_at - 1].withheld)


def _tied(fit: FailureDirections, at: tuple[int, int]) -> bool:
    """Whether the C after the chosen one scores the same; then the smaller one was chosen for being smaller."""
    after = fit.Cs.index(float(fit.C_[at])) + 1
    scores = fit.cv_scores_[at]
    return after < len(scores) and bool(np.isclose(scores[after], fit.cv_score_[at], rtol=0, atol=1e-12))


def _nearest_curves(captions: ModeCaptions, shown: Shown, vectors: NDArray[np.float32]) -> tuple[Curve, ...]:
    """Accuracy of the K images nearest to the hardest and to the easiest caption."""
    if not len(vectors):
        return ()
    return tuple(
        shown.nearest_accuracy(f"nearest to the {end} caption", CurveRole(f"{end}_caption"), vectors @ caption)
        for end, caption in captions.ends.items()
    )


def thumbnails(findings: Findings, source: ImageSource, ids: list[str]) -> Thumbnails:
    """Fetch the pictures that the page shows, at most :data:`THUMBNAIL` pixels high and wide."""
    place = {path: i for i, path in enumerate(ids)}
    pictures = Thumbnails()
    for entry in findings.classes:
        for example in entry.examples:
            if example.path in pictures.pixels:
                continue
            try:
                picture = source.picture(place[example.path])
            except UNREADABLE:  # gone since it was embedded: the page shows a placeholder
                continue
            if picture is None:
                continue
            pictures.pixels[example.path] = shrunk(picture)
    return pictures


def shrunk(picture: torch.Tensor) -> NDArray[np.uint8]:
    """Return a picture (3, h, w) as (h, w, 3) uint8, at most :data:`THUMBNAIL` pixels high and wide."""
    height, width = picture.shape[-2:]
    ratio = min(1.0, THUMBNAIL / max(height, width))
    size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
    small = V.to_dtype(V.resize(picture.cpu(), size, antialias=True), scale=True, dtype=torch.uint8)
    return np.ascontiguousarray(small.movedim(0, -1).numpy())
