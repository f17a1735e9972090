"""From a fit or an audit to pictures: directions to a decoder, captions to a text-to-image pipeline (A.7, A.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import Array, restorer, to_device, to_host, to_torch
from fdgpu.auditing.columns.conditions import UNKNOWN, nouns_without
from fdgpu.auditing.gathering import THUMBNAIL
from fdgpu.auditing.images import AuditImages
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.grid import ALPHAS, DecodedGrid, decode_grid, rotations_of
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import CaptionReader
from fdgpu.embedding.preprocess import shrunk
from fdgpu.errors import InputError
from fdgpu.files import write_png
from fdgpu.findings import DecodedPictures, Findings, Side, Split
from fdgpu.progress import Reporter

MOST_CLASSES = 20  # on the page, the clearest failures first
SEEDS = (0, 1, 2, 3)
MEMORY = 2**28  # bytes of decoded pictures at a time: 780 classes of the bundled decoder, one at 768 x 768 pixels


@dataclass(frozen=True)
class DrawnClasses:
    """Pictures by class id, small pixels (h, w, 3) for the page by path, and why a class has none, in sentences."""

    by_class: dict[int, tuple[DecodedPictures, ...]]
    pixels: dict[str, NDArray[np.uint8]]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecodedDirections:
    """The grid of the classes that have a direction; row i of it is ``classes[i]``."""

    classes: tuple[int, ...]
    grid: DecodedGrid


def decode_directions(
    fit: FailureDirections,
    references: Array,
    decoder: Decoder,
    *,
    direction: int = 0,
    clip: ClipEmbedder | str | None = None,
    **grid: Any,
) -> DecodedDirections:
    """Decode every class's direction, from easy over neutral to hard (paper, 2.2 and A.7).

    Args:
        fit: fitted with ``whiten=False`` on the vectors of the decoder's own CLIP.
        references: (k, d) vector of the reference caption of each of ``fit.classes_``.
        decoder: see :class:`fdgpu.Decoder`.
        direction: which of each class's directions.
        clip: the embedder that the fit's vectors came from, or its name, to be checked against the decoder's.
        grid: alphas, seeds, steps, guidance and progress, see :func:`fdgpu.decoding.decode_grid`.

    Raises:
        InputError: for a fit with whitening, no class with such a direction, or another CLIP space.

    Example:
        >>> clip, decoder = fdgpu.ClipEmbedder.bundled("cpu"), fdgpu.Decoder.bundled("cpu")
        >>> vectors = np.random.default_rng(0).normal(size=(100, decoder.dimension))
        >>> fit = fdgpu.FailureDirections(whiten=False).fit(vectors, np.zeros(100, int), vectors[:, 0] > -1)
        >>> references = clip.texts(["a photo of a boot"])
        >>> decoded = fdgpu.decode_directions(fit, references, decoder, seeds=[0], alphas=0.2, steps=2)
        >>> decoded.classes, decoded.grid.pictures.shape  # a class, columns from easy to hard, seeds, and a picture
        ((0,), torch.Size([1, 3, 1, 3, 32, 32]))
    """
    if fit.fitted.solver_settings.whiten:
        raise InputError(
            "the fit whitened its embeddings, and a whitened direction is none of CLIP's space: fit again with "
            "FailureDirections(whiten=False) to decode (paper, A.7)"
        )
    if clip is not None:
        decoder.check(clip)
    classes, kept = fit.fitted.classes, fit.fitted.n_directions
    vectors = to_torch(references, "references")
    if vectors.ndim != 2 or len(vectors) != len(classes):
        raise InputError(
            f"references has the shape {tuple(vectors.shape)}: pass one row for each of {len(classes)} classes"
        )
    rows = np.flatnonzero(kept > direction) if direction >= 0 else np.empty(0, np.int64)
    if not len(rows):
        raise InputError(f"no class has a direction {direction}: there is nothing to decode")
    own = fit.fitted.directions[rows, direction]
    decoded = decode_grid(decoder, restorer(references)(vectors[to_device(rows, vectors.device)]), own, **grid)
    return DecodedDirections(tuple(int(k) for k in classes[rows]), decoded)


def extreme_captions(findings: Findings, grammar: object = None) -> dict[str, dict[str, str]]:
    """Return each class's hardest, easiest and reference caption, as :func:`fdgpu.text_to_image` takes them (A.8).

    A caption that the audit withheld as unreliable is not returned: pictures of it would show no failure.

    Args:
        findings: of an audit; classes without a reliable caption are left out.
        grammar: what the audit took its captions from, for its reference captions; None: the general recipe's.

    Example:
        >>> fdgpu.extreme_captions(audited.findings)
        {}
    """
    names = [found.name for found in findings.classes]
    references = CaptionRecipe.resolve(grammar, names, nouns_without(findings.conditions)).classes
    captions = {}
    for found, entry in zip(findings.classes, references, strict=True):
        mode = found.strongest
        sides = {Side.HARD: mode.reliable_hard_captions, Side.EASY: mode.reliable_easy_captions}
        own = {str(side): ranked[0].caption for side, ranked in sides.items() if ranked}
        if own:
            captions[found.name] = own | {"reference": entry.reference}
    return captions


def draw_classes(
    decoder: Decoder,
    fit: FailureDirections,
    images: AuditImages,
    embedder: CaptionReader,
    recipe: CaptionRecipe,
    folder: Path | None,
    report: Reporter,
) -> DrawnClasses:
    """Decode the directions of an audit's clearest classes for its page.

    A fit that whitens has no direction in CLIP's space: the same samples are then fitted once more without (A.7).

    Args:
        decoder: of the embedder's space.
        fit: the audit's own; its scores decide which classes are shown.
        images: of the audit.
        embedder: reads each class's reference caption.
        recipe: has that caption.
        folder: where every picture goes as a PNG, in the decoder's resolution; None writes none.
        report: shows how many pictures are decoded.
    """
    inputs, clearest = images.inputs, _clearest(fit)
    shown = [k for k in clearest if embedder.fits(recipe.classes[k].reference)]
    doubts = _doubts(
        [inputs.class_names[k] for k in clearest if k not in shown],
        f"their captions {embedder.unread}: give them shorter names",
    )
    drawn = DrawnClasses({}, {}, doubts)
    if not shown:
        return drawn
    every, correct = inputs.by_image(inputs.labels), inputs.by_image(inputs.correct)
    rows = images.readable & (inputs.splits == Split.VAL)
    if every.ndim == 1:
        rows &= np.isin(every, shown)
    estimator = FailureDirections.from_settings(replace(fit.solver_settings, whiten=False))
    labels = np.where(np.isin(every, shown), every, UNKNOWN)[rows]
    plain = estimator.fit(images.vectors.chosen(np.flatnonzero(rows)), labels, correct[rows]).fitted
    found = np.isfinite(plain.directions[:, 0]).all(axis=1)
    ids = plain.classes[found].tolist()
    drawn = replace(
        drawn,
        doubts=doubts
        + _doubts([inputs.class_names[k] for k in shown if k not in ids], "they have no direction without whitening"),
    )
    if not ids:
        return drawn
    references = embedder.texts([recipe.classes[k].reference for k in ids], report)
    directions = to_device(plain.directions[found, 0], references.device).to(references.dtype)
    per_class = len(rotations_of(ALPHAS)) * len(SEEDS)
    at_once = max(1, MEMORY // (12 * per_class * decoder.size[0] * decoder.size[1]))
    for start in range(0, len(ids), at_once):
        part = slice(start, start + at_once)
        progress = _onward(report, start * per_class, len(ids) * per_class)
        grid = decode_grid(decoder, references[part], directions[part], alphas=ALPHAS, seeds=SEEDS, progress=progress)
        pictures_of = to_host(grid.pictures.mul(255).round().to(torch.uint8), "decoded pictures")
        for k, pictures in zip(ids[part], torch.from_numpy(pictures_of), strict=True):
            drawn.by_class[k], small = _keep(f"{k:04d}-{_slug(inputs.class_names[k])}", grid, pictures, folder)
            drawn.pixels.update(small)
    return drawn


def _doubts(names: list[str], reason: str) -> tuple[str, ...]:
    """Say of which classes nothing is drawn, and why, in one sentence; none where there are none."""
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return (
        (f"No pictures of {len(names)} {'class' if len(names) == 1 else 'classes'} were decoded ({listed}): {reason}.",)
        if names
        else ()
    )


def _clearest(fit: FailureDirections) -> list[int]:
    """Ids of the classes that have a direction, the significant ones first, and then by score."""
    fitted = fit.fitted
    found, significant = np.flatnonzero(fitted.n_directions > 0), fitted.significant[:, 0]
    order = sorted(found, key=lambda i: (not significant[i], -fitted.cv_score[i, 0]))
    return [int(fitted.classes[i]) for i in order[:MOST_CLASSES]]


def _onward(report: Reporter, before: int, whole: int) -> Reporter:
    """Report the progress of a part as that of the whole."""

    def onward(stage: str, done: int, total: int | None) -> None:  # noqa: ARG001 - the part's own
        report(stage, before + done, whole)

    return onward


def _slug(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-").lower()


def _keep(
    name: str, grid: DecodedGrid, pictures: Tensor, folder: Path | None
) -> tuple[tuple[DecodedPictures, ...], dict[str, NDArray[np.uint8]]]:
    """Keep one class's pictures (p, s, 3, h, w) uint8: small ones for the page, whole ones in the folder."""
    columns, small = [], {}
    for rotation, own in zip(grid.rotations, pictures, strict=True):
        paths = tuple(f"decoded/{name}/{rotation.side}-{rotation.alpha:g}-{seed}.png" for seed in grid.seeds)
        for path, picture in zip(paths, own, strict=True):
            small[path] = shrunk(picture, THUMBNAIL).numpy()
            if folder is not None:
                write_png(folder / path, picture.permute(1, 2, 0).contiguous().numpy())
        columns.append(DecodedPictures(rotation.side, rotation.alpha, paths))
    return tuple(columns), small
