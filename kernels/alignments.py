"""How far captions point along a direction (paper, 2.2): plain products, on any device that torch knows.

With c the unit vector of a caption, r that of the reference and σ the deviations of the whitening, a caption is
d = (c − r) / σ, scaled to length 1. The mean of the whitening cancels in a difference; its scale does not.
"""

from __future__ import annotations

import torch

EQUAL = 1e-6  # a text difference shorter than this is rounding: the caption is the reference
CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}  # of float64 differences at a time


def caption_differences(
    captions: torch.Tensor, reference: torch.Tensor, scale: torch.Tensor, equal: float = EQUAL
) -> torch.Tensor:
    """Return (…, m, d) float64 unit differences of captions from the reference; NaN where the caption is the reference.

    Args:
        captions: (…, m, d) unit text vectors; leading dimensions are classes, say.
        reference: (…, d) unit text vector of each.
        scale: (d,) the whitening's σ, ones without it.
        equal: a text difference shorter than this is rounding.
    """
    difference = captions.double() - reference.to(captions.device).double().unsqueeze(-2)
    same = torch.linalg.vector_norm(difference, dim=-1, keepdim=True) < equal
    difference /= relative(scale).to(difference)
    lengths = torch.linalg.vector_norm(difference, dim=-1, keepdim=True)
    return difference / torch.where(same, torch.nan, lengths)


def relative(scale: torch.Tensor) -> torch.Tensor:
    """Return σ (d,) by a power of two that brings the smallest near 1: unit differences stay, and cannot overflow."""
    least = scale.amin()
    power = least / (2 * torch.frexp(least).mantissa)
    return (scale / power).clamp(max=torch.finfo(scale.dtype).max)


def alignments(captions: torch.Tensor, reference: torch.Tensor, w: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return w·d of every caption, float64; most negative is hardest. NaN for a caption that equals the reference.

    The differences of all captions are never held at once. With a unit ``w`` this is the cosine.

    Args:
        captions: (…, m, d) unit text vectors.
        reference: (…, d) unit text vector of each of the leading dimensions, which are classes, say.
        w: (…, d) a direction in whitened space, or (…, r, d) several.
        scale: (d,) the whitening's σ, ones without it.

    Returns:
        (…, m), or (…, m, r) for several directions, on the captions' device.

    >>> alignments(torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.ones(2))
    tensor([   nan, 1.4142], dtype=torch.float64)
    """
    along = w.to(captions.device, torch.float64)
    along = along.mT if w.ndim > reference.ndim else along.unsqueeze(-1)
    at_once = CHUNK_BYTES.get(captions.device.type, CHUNK_BYTES["cpu"])
    a_row = 8 * max(1, captions.numel() // max(1, captions.shape[-2]))  # bytes of one caption of every class
    parts = captions.split(max(1, at_once // a_row), dim=-2)
    found = torch.cat([caption_differences(part, reference, scale) @ along for part in parts], dim=-2)
    return found if w.ndim > reference.ndim else found.squeeze(-1)
