"""From a fit or an audit to pictures: directions to a decoder, captions to a text-to-image pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fdgpu.arrays import restorer, to_numpy, to_torch
from fdgpu.captions import CaptionRecipe
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.grid import DecodedGrid, decode_grid
from fdgpu.directions import FailureDirections
from fdgpu.errors import InputError
from fdgpu.findings import Findings


@dataclass(frozen=True)
class DecodedDirections:
    """The grid of the classes that have a direction; row i of it is ``classes[i]``."""

    classes: tuple[int, ...]
    grid: DecodedGrid


def decode_directions(
    fit: FailureDirections,
    references: Any,
    decoder: Decoder,
    *,
    direction: int = 0,
    clip: Any = None,
    **grid: Any,
) -> DecodedDirections:
    """Decode every class's direction, from easy over neutral to hard (paper, 2.2 and A.7).

    Args:
        fit: fitted with ``whiten=False`` on the vectors of the decoder's own CLIP.
        references: (k, d) vector of the reference caption of each of ``fit.classes_``.
        decoder: see :class:`fdgpu.Decoder`.
        direction: which of each class's directions.
        clip: the embedder that the fit's vectors came from, to be checked against the decoder's.
        grid: alphas, seeds, steps, guidance and progress, see :func:`fdgpu.decoding.decode_grid`.

    Raises:
        InputError: for a fit with whitening, no class with such a direction, or another CLIP space.
    """
    if fit.whiten:
        raise InputError(
            "the fit whitened its embeddings, and a whitened direction is none of CLIP's space: fit again with "
            "FailureDirections(whiten=False) to decode (paper, A.7)"
        )
    if clip is not None:
        decoder.check(clip)
    classes, kept = to_numpy(fit.classes_, "classes_"), to_numpy(fit.n_directions_, "n_directions_")
    vectors = to_torch(references, "references")
    if vectors.ndim != 2 or len(vectors) != len(classes):
        raise InputError(
            f"references has the shape {tuple(vectors.shape)}: pass one row for each of {len(classes)} classes"
        )
    rows = np.flatnonzero(kept > direction) if direction >= 0 else np.empty(0, np.int64)
    if not len(rows):
        raise InputError(f"no class has a direction {direction}: there is nothing to decode")
    own = to_numpy(fit.directions_, "directions_")[rows, direction]
    decoded = decode_grid(decoder, restorer(references)(vectors[rows.tolist()]), own, **grid)
    return DecodedDirections(tuple(int(k) for k in classes[rows]), decoded)


def extreme_captions(findings: Findings, grammar: Any = None) -> dict[str, dict[str, str]]:
    """Return each class's hardest, easiest and reference caption, as :func:`fdgpu.text_to_image` takes them (A.8).

    A caption that the audit withheld as unreliable is not returned: pictures of it would show no failure.

    Args:
        findings: of an audit; classes without a reliable caption are left out.
        grammar: what the audit took its captions from, for its reference captions; None: the general recipe's.
    """
    names = [found.name for found in findings.classes]
    references = CaptionRecipe.resolve(grammar, names).classes
    captions = {}
    for found, entry in zip(findings.classes, references, strict=True):
        mode = found.strongest
        ends = {"hard": mode.reliable_hard_captions, "easy": mode.reliable_easy_captions}
        own = {end: ranked[0].caption for end, ranked in ends.items() if ranked}
        if own:
            captions[found.name] = own | {"reference": entry.reference}
    return captions
