"""Directions → pictures: rotate a reference towards a direction, and decode the vector (paper, 2.2 and A.7).

Names are imported when first used: :func:`slerp` needs no diffusers, which takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fdgpu.decoding.slerp import slerp

if TYPE_CHECKING:
    from fdgpu.decoding.decoder import Decoder
    from fdgpu.decoding.grid import DecodedGrid, decode_grid
    from fdgpu.decoding.synthetic import SyntheticImages, text_to_image

_HOME = {
    "DecodedGrid": "fdgpu.decoding.grid",
    "Decoder": "fdgpu.decoding.decoder",
    "SyntheticImages": "fdgpu.decoding.synthetic",
    "decode_grid": "fdgpu.decoding.grid",
    "text_to_image": "fdgpu.decoding.synthetic",
}

__all__ = ["DecodedGrid", "Decoder", "SyntheticImages", "decode_grid", "slerp", "text_to_image"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fdgpu.decoding' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
