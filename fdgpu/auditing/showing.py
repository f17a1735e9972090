"""From arrays to what the page shows of every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as V

from fdgpu.auditing.captioning import CaptionedClasses, ClassCaptions
from fdgpu.auditing.evidence import AuditedImages, Shown, examples
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.truth import Planted, judge
from fdgpu.directions import FailureDirections
from fdgpu.directions.problem import REMEDIES
from fdgpu.embedding import ImageSource
from fdgpu.embedding.sources import UNREADABLE
from fdgpu.findings import ClassFindings, Curve, Findings, Thumbnails

THUMBNAIL = 96  # pixels of the longer side
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
        fit: the fitted directions.
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
        if counted.status == "ok":
            rows = np.flatnonzero(images.shown & (inputs.labels == k))
            of_class = Shown.of(rows, images.decisions[rows], inputs)
            counted = _shown(counted, captions.by_class.get(k), of_class, images, inputs)
            if name in planted:
                hard = [caption.caption for caption in counted.hard_captions]
                truth = judge(planted[name], rows, of_class.decisions, of_class.by_confidence, hard)
                counted = replace(counted, planted=truth)
        found.append(counted)
    return tuple(found)


def _counted(fit: FailureDirections, i: int, name: str) -> ClassFindings:
    """What the fit alone says of its ``i``-th class."""
    status = fit.status_[i]
    return ClassFindings(
        name,
        status,
        REMEDIES[status],
        n=int(fit.n_samples_[i]),
        n_errors=int(fit.n_errors_[i]),
        cv_score=float(fit.cv_score_[i, 0]),
        p_value=float(fit.p_value_[i, 0]),
        q_value=float(fit.q_value_[i, 0]),
        C=float(fit.C_[i, 0]),
        C_at_edge=bool(fit.C_at_edge_[i, 0]),
        C_tied=status == "ok" and _tied(fit, i),
        converged=bool(fit.converged_[i, 0]),
    )


def _shown(
    counted: ClassFindings, own: ClassCaptions | None, of_class: Shown, images: AuditedImages, inputs: AuditInputs
) -> ClassFindings:
    """Add what the class's captions and shown images say."""
    return replace(
        counted,
        n_shown=len(of_class.rows),
        accuracy_shown=float(of_class.correct.mean()) if len(of_class.rows) else float("nan"),
        hard_captions=own.scored(own.ranked.hard) if own else (),
        easy_captions=own.scored(own.ranked.easy) if own else (),
        hard_examples=examples(of_class.hardest(), images, inputs),
        easy_examples=examples(of_class.easiest(), images, inputs),
        unsure_examples=examples(of_class.least_sure(), images, inputs),
        decisions=of_class.histogram(),
        nearest_accuracy=_nearest_curves(own, of_class, images.vectors[of_class.rows]) if own else (),
    )


def _tied(fit: FailureDirections, i: int) -> bool:
    """Whether the C after the chosen one scores the same; then the smaller one was chosen for being smaller."""
    after = fit.Cs.index(float(fit.C_[i, 0])) + 1
    scores = fit.cv_scores_[i, 0]
    return after < len(scores) and bool(np.isclose(scores[after], fit.cv_score_[i, 0], rtol=0, atol=1e-12))


def _nearest_curves(captions: ClassCaptions, shown: Shown, vectors: NDArray[np.float32]) -> tuple[Curve, ...]:
    """Accuracy of the K images nearest to the hardest and to the easiest caption."""
    if not len(vectors):
        return ()
    return tuple(
        shown.nearest_accuracy(f"nearest to the {end} caption", vectors @ caption)
        for end, caption in captions.ends.items()
    )


def thumbnails(findings: Findings, source: ImageSource, ids: list[str]) -> Thumbnails:
    """Fetch the pictures that the page shows, at most :data:`THUMBNAIL` pixels high and wide."""
    place = {path: i for i, path in enumerate(ids)}
    pictures = Thumbnails()
    for entry in findings.classes:
        for example in (*entry.hard_examples, *entry.easy_examples, *entry.unsure_examples):
            if example.path in pictures.pixels:
                continue
            try:
                picture = source.picture(place[example.path])
            except UNREADABLE:  # gone since it was embedded: the page shows a placeholder
                continue
            if picture is None:
                continue
            height, width = picture.shape[-2:]
            ratio = min(1.0, THUMBNAIL / max(height, width))
            size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
            small = V.to_dtype(V.resize(picture.cpu(), size, antialias=True), scale=True, dtype=torch.uint8)
            pictures.pixels[example.path] = np.ascontiguousarray(small.movedim(0, -1).numpy())
    return pictures
