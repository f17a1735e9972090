"""An audit's directions, decoded for its page: which classes, along which fit, from which caption."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.showing import shrunk
from fdgpu.captions import CaptionRecipe
from fdgpu.decoding import DecodedGrid, Decoder, decode_grid
from fdgpu.decoding.grid import ALPHAS, rotations_of
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.files import write_png
from fdgpu.findings import ClassFindings, DecodedPictures
from fdgpu.progress import Reporter

MOST_CLASSES = 20  # on the page, the clearest failures first
SEEDS = (0, 1, 2, 3)
MEMORY = 2**28  # bytes of decoded pictures at a time: 780 classes of the bundled decoder, one at 768 x 768 pixels


@dataclass(frozen=True)
class Drawings:
    """Decoded pictures by class id, and small pixels (h, w, 3) uint8 by path within the audit's folder."""

    by_class: dict[int, tuple[DecodedPictures, ...]] = field(default_factory=dict)
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def added(self, classes: Sequence[ClassFindings]) -> tuple[ClassFindings, ...]:
        """Return the classes with what was decoded of each; class i has the id i."""
        return tuple(replace(one, decoded=self.by_class.get(k, ())) for k, one in enumerate(classes))


def draw_classes(
    decoder: Decoder,
    fit: FailureDirections,
    vectors: NDArray[np.float32],
    inputs: AuditInputs,
    fitted: NDArray[np.bool_],
    embedder: ClipEmbedder,
    recipe: CaptionRecipe,
    folder: Path | None,
    report: Reporter,
) -> Drawings:
    """Decode the clearest classes' directions.

    A fit that whitens has no direction in CLIP's space: the same samples are then fitted once more without (A.7).

    Args:
        decoder: of the embedder's space.
        fit: the audit's own; its scores decide which classes are shown.
        vectors: (n, d) of all images.
        inputs: the audit's columns.
        fitted: (n,) the images that it was fitted on.
        embedder: reads each class's reference caption.
        recipe: has that caption.
        folder: where every picture goes as a PNG, in the decoder's resolution; None writes none.
        report: told of the decoding.
    """
    drawings, shown = Drawings(), _clearest(fit)
    if not shown:
        return drawings
    rows = fitted & np.isin(inputs.labels, shown)
    plain = FailureDirections(
        Cs=fit.Cs, cv=fit.cv, whiten=False, tol=fit.tol, max_iter=fit.max_iter, backend=fit.backend
    ).fit(vectors[rows], inputs.labels[rows], inputs.correct[rows])
    ids = [int(k) for k in plain.classes_]
    references = embedder.texts([recipe.classes[k].reference for k in ids], report)
    directions = torch.from_numpy(plain.directions_[:, 0]).to(references)
    per_class = len(rotations_of(ALPHAS)) * len(SEEDS)
    for part in torch.arange(len(ids)).split(max(1, MEMORY // (12 * per_class * decoder.size[0] * decoder.size[1]))):
        told = _onward(report, int(part[0]) * per_class, len(ids) * per_class)
        grid = decode_grid(decoder, references[part], directions[part], seeds=SEEDS, progress=told)
        for k, pictures in zip([ids[i] for i in part], grid.pictures, strict=True):
            _keep(drawings, k, inputs.class_names[k], grid, pictures, folder)
    return drawings


def _clearest(fit: FailureDirections) -> list[int]:
    """Ids of the classes that have a direction, the significant ones first, and then by score."""
    found = np.flatnonzero(fit.n_directions_ > 0)
    order = sorted(found, key=lambda i: (not fit.significant_[i, 0], -fit.cv_score_[i, 0]))
    return [int(fit.classes_[i]) for i in order[:MOST_CLASSES]]


def _onward(report: Reporter, before: int, whole: int) -> Reporter:
    """A part of the work, told as what it is of the whole."""

    def told(stage: str, done: int, total: int | None) -> None:  # noqa: ARG001 - the part's own
        report(stage, before + done, whole)

    return told


def _keep(drawings: Drawings, k: int, name: str, grid: DecodedGrid, pictures: Tensor, folder: Path | None) -> None:
    """Keep one class's pictures (p, s, 3, h, w): small ones for the page, whole ones in the folder."""
    place = f"decoded/{k:04d}-{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-').lower()}"
    columns = []
    for rotation, own in zip(grid.rotations, pictures, strict=True):
        paths = tuple(f"{place}/{rotation.end}-{rotation.alpha:g}-{seed}.png" for seed in grid.seeds)
        for path, picture in zip(paths, own, strict=True):
            drawings.pixels[path] = shrunk(picture)
            if folder is not None:
                pixels = picture.mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()
                write_png(folder / path, pixels.numpy())
        columns.append(DecodedPictures(rotation.end, rotation.alpha, paths))
    drawings.by_class[k] = tuple(columns)
