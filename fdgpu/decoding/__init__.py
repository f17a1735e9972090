"""Directions → pictures: rotate a reference towards a direction, and decode the vector (paper, 2.2 and A.7)."""

from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.grid import DecodedGrid, decode_grid, slerp
from fdgpu.decoding.synthetic import SyntheticImages, text_to_image

__all__ = ["DecodedGrid", "Decoder", "SyntheticImages", "decode_grid", "slerp", "text_to_image"]
