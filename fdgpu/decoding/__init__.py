"""Directions → pictures: rotate a reference towards a direction, and decode the vector (paper, 2.2 and A.7)."""

from fdgpu.decoding.slerp import slerp

__all__ = ["slerp"]
