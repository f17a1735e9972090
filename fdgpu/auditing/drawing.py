"""An audit's directions, decoded for its page: which classes, along which fit, from which caption."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fdgpu.auditing.decoded import DecodedDirections, decode_directions
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.captions import Recipe
from fdgpu.decoding.decoder import Decoder
from fdgpu.directions import FailureDirections
from fdgpu.embedding import ClipEmbedder
from fdgpu.files import write_atomically
from fdgpu.findings import ClassFindings, DecodedPictures
from fdgpu.progress import Reporter

MOST_CLASSES = 20  # on the page, the clearest failures first
SEEDS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Drawings:
    """Decoded pictures by class id, and their pixels (h, w, 3) uint8 by path within the audit's folder."""

    by_class: dict[int, tuple[DecodedPictures, ...]] = field(default_factory=dict)
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def added(self, classes: Sequence[ClassFindings]) -> tuple[ClassFindings, ...]:
        """Return the classes with what was decoded of each; class i has the id i."""
        return tuple(replace(one, decoded=self.by_class.get(k, ())) for k, one in enumerate(classes))

    def write(self, folder: Path) -> None:
        """Write every picture as a PNG."""
        for path, pixels in self.pixels.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            stream = BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            write_atomically(folder / path, stream.getvalue())


def draw_classes(
    decoder: Decoder,
    fit: FailureDirections,
    vectors: NDArray[np.float32],
    inputs: AuditInputs,
    fitted: NDArray[np.bool_],
    embedder: ClipEmbedder,
    recipe: Recipe,
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
        report: told of the decoding.
    """
    shown = _clearest(fit)
    if not shown:
        return Drawings()
    rows = fitted & np.isin(inputs.labels, shown)
    plain = FailureDirections(
        Cs=fit.Cs, cv=fit.cv, whiten=False, tol=fit.tol, max_iter=fit.max_iter, backend=fit.backend
    ).fit(vectors[rows], inputs.labels[rows], inputs.correct[rows])
    captions = [recipe.classes[int(k)].reference for k in plain.classes_]
    references = embedder.texts(captions, report)
    decoded = decode_directions(plain, references, decoder, seeds=SEEDS, progress=report)
    return _drawn(decoded, inputs.class_names)


def _clearest(fit: FailureDirections) -> list[int]:
    """Ids of the classes that have a direction, the significant ones first, and then by score."""
    found = np.flatnonzero(fit.n_directions_ > 0)
    order = sorted(found, key=lambda i: (not fit.significant_[i, 0], -fit.cv_score_[i, 0]))
    return [int(fit.classes_[i]) for i in order[:MOST_CLASSES]]


def _drawn(decoded: DecodedDirections, names: Sequence[str]) -> Drawings:
    grid = decoded.grid
    drawings = Drawings()
    pixels = grid.pictures.mul(255).round().to(torch.uint8).permute(0, 1, 2, 4, 5, 3).contiguous().cpu().numpy()
    for row, k in enumerate(decoded.classes):
        folder = f"decoded/{k:04d}-{re.sub(r'[^a-zA-Z0-9]+', '-', names[k]).strip('-').lower()}"
        columns = []
        for column, rotation in enumerate(grid.rotations):
            paths = tuple(f"{folder}/{rotation.end}-{rotation.alpha:g}-{seed}.png" for seed in grid.seeds)
            drawings.pixels.update(zip(paths, pixels[row, column], strict=True))
            columns.append(DecodedPictures(rotation.end, rotation.alpha, paths))
        drawings.by_class[k] = tuple(columns)
    return drawings
